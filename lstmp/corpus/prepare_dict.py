"""Stage 2, first half: a lexicon file, or a list of words to be spelled, becomes ``data/<recipe>/dict/``."""

import argparse
from pathlib import Path

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.graphemes import spell_words
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

FILES = ("lexiconp.txt", "silence_phones.txt", "nonsilence_phones.txt", "optional_silence.txt", "extra_questions.txt")


def prepare_dict(lexicon, out, *, spell=()) -> None:
    """Write the folder ``out``.

    Args:
        lexicon: see :func:`lstmp.corpus.dictionary.read_lexicon`; None with ``spell``.
        spell: data dirs, ARPA models and texts whose words are pronounced as they are spelled.

    Raises:
        UserError: a bad line, named.
    """
    if (lexicon is None) == (not spell):
        raise UserError("give either a lexicon or words to spell", hint="use one of --lexicon, --spell")
    stage = Stage(out, "dict", inputs=[Path(p) / "text" if Path(p).is_dir() else p for p in spell] or [lexicon],
                  settings={"spell": True} if spell else {}, version=2)
    if stage.is_done():
        return
    if spell:
        dictionary = Dictionary.from_entries(spell_words(spell), ", ".join(map(str, spell)))
    else:
        dictionary = Dictionary.from_lexicon(lexicon)
    dictionary.write(out)
    stage.mark(outputs=[Path(out) / name for name in FILES])
    words = len({word for word, _, _ in dictionary.entries})
    say(f"{out}: {words} words, {len(dictionary.entries)} pronunciations, {len(dictionary.nonsilence)} base phones, "
        f"{sum(map(len, dictionary.nonsilence))} with stress")


@command
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lexicon", help="`WORD PHONE PHONE …` lines, plain or .gz; a probability may stand second")
    parser.add_argument("--spell", nargs="+", default=[], metavar="SOURCE", help="instead, for a language without a "
                        "dictionary: the words of these data dirs, ARPA models and texts, their letters for phones")
    parser.add_argument("--out", required=True, help="the folder to write, data/<recipe>/dict")
    args = parser.parse_args(argv)
    prepare_dict(args.lexicon, args.out, spell=args.spell)


if __name__ == "__main__":
    main()
