"""The report page of an experiment: results, curves, errors, words and sound of every utterance, in HTML."""
