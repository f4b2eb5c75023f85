"""Estimates the probabilities of pronunciations and of the silence around them from the counts of an alignment.

The estimates are those of Chen, Xu, Povey and Khudanpur, "Pronunciation and silence probability modeling for ASR"
(Interspeech 2015), with the constants and the rounding of Kaldi's ``dict_dir_add_pronprobs.sh``. There is one
difference from that script: the expected silence before a word at the start of a sentence is P(s | <s>), as in the
paper, whereas the script uses 0.
"""

import argparse
import dataclasses
from collections import Counter, defaultdict
from pathlib import Path

from lstmp import config
from lstmp.corpus import pron_counts
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.lexicon import Entry
from lstmp.corpus.pieces import MODEL
from lstmp.corpus.pron_counts import PronCounts
from lstmp.corpus.silence_model import LEXICON, SENTENCE, SilenceModel, SilenceTerms
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

LAMBDA_2 = LAMBDA_3 = 2  # names of the paper: pseudo-counts for the silence after and before a pronunciation
FILES = ("lexiconp.txt", "silence_phones.txt", "nonsilence_phones.txt", "optional_silence.txt", "extra_questions.txt")


def pron_probs(entries: list[Entry], counts: Counter, *, max_normalize: bool = True) -> list[Entry]:
    """Estimate pronunciation probabilities, with a pseudo-count of 1 for every entry of the lexicon.

    Args:
        entries: entries of the dictionary.
        counts: (word, phone, …) → number of occurrences.
        max_normalize: divide by the probability of the word's most likely pronunciation, so that a word with many
            pronunciations does not cost more; otherwise the probabilities of a word sum to 1.

    Returns:
        The entries with new probabilities, rounded to six digits. A word that never occurred keeps its probabilities,
        which without ``max_normalize`` are divided by their sum.
    """
    occurrences: Counter[str] = Counter()
    total: dict[str, float] = defaultdict(float)
    largest: dict[str, float] = defaultdict(float)
    times = [counts[key] for key in ((word, *phones) for word, _, phones in entries)]
    for (word, _, _), n in zip(entries, times, strict=True):
        occurrences[word] += n
    weights = [n + 1 if occurrences[word] else prob for (word, prob, _), n in zip(entries, times, strict=True)]
    for (word, _, _), weight in zip(entries, weights, strict=True):
        total[word] += weight
        largest[word] = max(largest[word], weight)
    probs = []
    for (word, _, _), weight in zip(entries, weights, strict=True):
        norm = total[word] if not max_normalize else largest[word] if occurrences[word] else 1
        probs.append(float(f"{weight / norm:.6g}"))
    return sorted((word, prob, phones) for (word, _, phones), prob in zip(entries, probs, strict=True))


def silence_model(entries: list[Entry], counts: PronCounts) -> SilenceModel:
    """Estimate the silence terms of every pronunciation, rounded to two decimals as in Kaldi.

    Let C(s w) be the count of silence before w, C(v s) the count of silence after v, and C(v w) the count of w after v.
    Then P(s | v) = (C(v s) + λ₂ P(s)) / (C(v) + λ₂) and F(s | w) = (C(s w) + λ₃) / (Σ_v C(v w) P(s | v) + λ₃).
    F(n | w) is computed in the same way for no silence. A pronunciation that never occurred gets P(s), 1 and 1.
    Probabilities are limited to the range from 0.01 to 0.99.
    """
    with_silence = counts.silence_before.total()
    overall = _probability(with_silence / (with_silence + counts.none_before.total()))

    def after(v) -> float:
        silence, none = counts.silence_after[v], counts.none_after[v]
        return _probability((silence + LAMBDA_2 * overall) / (silence + none + LAMBDA_2))

    # before each pronunciation, given the previous one
    expected_silence: dict[tuple, float] = defaultdict(float)
    expected_none: dict[tuple, float] = defaultdict(float)
    for (v, w), n in counts.bigrams.items():
        p = after(v)
        expected_silence[w] += n * p
        expected_none[w] += n * (1 - p)

    def before(w) -> tuple[float, float]:
        return (_factor((counts.silence_before[w] + LAMBDA_3) / (expected_silence[w] + LAMBDA_3)),
                _factor((counts.none_before[w] + LAMBDA_3) / (expected_none[w] + LAMBDA_3)))

    terms = {(word, phones): SilenceTerms(after((word, *phones)), *before((word, *phones)))
             for word, _, phones in entries}
    return SilenceModel(after(pron_counts.START), *before(pron_counts.END), overall, terms)


def add_pron_probs(dict_dir, counts_dir, out, *, max_normalize: bool = True, sil_probs: bool = True) -> None:
    """Write the dictionary folder ``out``.

    Args:
        dict_dir: the dictionary that was used for the alignment.
        counts_dir: folder of the counts, written by steps/get_prons.sh.
        out: the dictionary folder to write.
        max_normalize: see :func:`pron_probs`.
        sil_probs: whether to estimate silence probabilities and write ``lexiconp_silprob.txt`` and ``silprob.txt``.

    Raises:
        UserError: ``out`` is ``dict_dir``, a file is malformed, or a counted pronunciation is not in the dictionary.
    """
    dict_dir, counts_dir, out = Path(dict_dir), Path(counts_dir), Path(out)
    if out.resolve() == dict_dir.resolve():
        raise UserError("--out must not be the dictionary given by --dict", file=out, hint="give another folder")
    inputs = [dict_dir, *(counts_dir / n for n in (pron_counts.PRONS, pron_counts.SILENCES, pron_counts.BIGRAMS))]
    stage = Stage(out, "dict_probs", inputs=inputs, settings=[max_normalize, sil_probs])
    if stage.is_done():
        return
    dictionary, counts = Dictionary.load(dict_dir), PronCounts.read(counts_dir)
    _check_known(dictionary, counts, counts_dir)
    entries = pron_probs(dictionary.entries, counts.prons, max_normalize=max_normalize)
    model = silence_model(entries, counts) if sil_probs else None
    dataclasses.replace(dictionary, entries=entries, silence_model=model).write(out)
    if pieces := (dict_dir / MODEL).is_file():
        config.copy_file(dict_dir / MODEL, out / MODEL)
    more = [*([LEXICON, SENTENCE] if model else []), *([MODEL] if pieces else [])]
    stage.mark(outputs=[out / n for n in (*FILES, *more)])
    prons_of = Counter(word for word, _, _ in entries)
    changed = {p[0] for p in counts.prons if prons_of[p[0]] > 1}
    say(f"{out}: {len(changed)} of {sum(n > 1 for n in prons_of.values())} words with several pronunciations have new "
        "probabilities" + (f"; P(silence): {model.overall} between words, {model.start} at start" if model else ""))


def _check_known(dictionary: Dictionary, counts: PronCounts, counts_dir: Path):
    known = {(word, *phones) for word, _, phones in dictionary.entries} | {pron_counts.START, pron_counts.END}
    silence = (pron_counts.SILENCE, dictionary.optional_silence)
    pairs = {p for pair in counts.bigrams for p in pair}
    for name, counted in ((pron_counts.PRONS, set(counts.prons) - {silence}),
                          (pron_counts.SILENCES, set(counts.silence_before) | set(counts.silence_after)),
                          (pron_counts.BIGRAMS, pairs)):
        if unknown := sorted(counted - known):
            raise UserError(f"the dictionary has no pronunciation `{' '.join(unknown[0])}`", file=counts_dir / name,
                            hint="give the dictionary from which the lang folder of the alignment was made")
    if not counts.silence_before.total() + counts.none_before.total():
        raise UserError("the counts are empty", file=counts_dir / pron_counts.SILENCES, hint=pron_counts.HINT)


def _probability(value: float) -> float:
    return min(max(round(value, 2), 0.01), 0.99)


def _factor(value: float) -> float:
    return max(round(value, 2), 0.01)


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/add_pron_probs.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--dict", required=True, help="the dictionary folder, data/<recipe>/dict")
    parser.add_argument("--counts", required=True, help="folder of the counts, written by steps/get_prons.sh")
    parser.add_argument("--out", required=True, help="the dictionary folder to write; local/prepare_lang.sh reads it")
    parser.add_argument("--sum-to-one", action="store_true", help="make the pronunciation probabilities of a word sum "
                        "to 1; default: the most likely pronunciation has the probability 1")
    parser.add_argument("--no-sil-probs", action="store_true", help="do not estimate silence probabilities")
    args = parser.parse_args(argv)
    add_pron_probs(args.dict, args.counts, args.out, max_normalize=not args.sum_to_one,
                   sil_probs=not args.no_sil_probs)


if __name__ == "__main__":
    main()
