"""Stage 2, first half: a lexicon file becomes ``data/<recipe>/dict/``."""

import argparse
from pathlib import Path

from lstmp.corpus.dictionary import Dictionary
from lstmp.errors import command
from lstmp.log import say
from lstmp.stage import Stage

FILES = ("lexiconp.txt", "silence_phones.txt", "nonsilence_phones.txt", "optional_silence.txt", "extra_questions.txt")


def prepare_dict(lexicon, out) -> None:
    """Read ``lexicon`` (see :func:`lstmp.corpus.dictionary.read_lexicon`) and write the folder ``out``.

    Raises:
        UserError: a bad line, named.
    """
    stage = Stage(out, "dict", inputs=[lexicon], settings={})
    if stage.is_done():
        return
    dictionary = Dictionary.from_lexicon(lexicon)
    dictionary.write(out)
    stage.mark(outputs=[Path(out) / name for name in FILES])
    words = len({word for word, _, _ in dictionary.entries})
    say(f"{out}: {words} words, {len(dictionary.entries)} pronunciations, {len(dictionary.nonsilence)} base phones, "
        f"{sum(map(len, dictionary.nonsilence))} with stress")


@command
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lexicon", required=True,
                        help="`WORD PHONE PHONE …` lines, plain or .gz; a probability may stand second")
    parser.add_argument("--out", required=True, help="the folder to write, data/<recipe>/dict")
    args = parser.parse_args(argv)
    prepare_dict(args.lexicon, args.out)


if __name__ == "__main__":
    main()
