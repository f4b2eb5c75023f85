"""Stage 2, first half: convert a lexicon file, or the words of texts with letters as phones, to a dictionary folder."""

import argparse
from pathlib import Path

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.graphemes import spell_words
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

FILES = ("lexiconp.txt", "silence_phones.txt", "nonsilence_phones.txt", "optional_silence.txt", "extra_questions.txt")


def prepare_dict(lexicon, out, *, spell=()) -> None:
    """Write the dictionary folder ``out``.

    Args:
        lexicon: lexicon file, see :func:`lstmp.corpus.lexicon.read_lexicon`; None if ``spell`` is given.
        out: the folder to write.
        spell: data dirs, ARPA models and texts; their words get their letters as phones.

    Raises:
        UserError: a line of a file is bad; with the line number.
    """
    if (lexicon is None) == (not spell):
        raise UserError("give either a lexicon or words to spell", hint="use either --lexicon or --spell")
    stage = Stage(out, "dict", inputs=[Path(p) / "text" if Path(p).is_dir() else p for p in spell] or [lexicon],
                  settings={"spell": True} if spell else {}, version=3 if spell else 2)
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
    parser = argparse.ArgumentParser(prog="local/prepare_dict.sh", description=__doc__)
    parser.add_argument("--lexicon", help="file with lines `WORD PHONE PHONE …`, plain or .gz; a probability may "
                        "follow the word")
    parser.add_argument("--spell", nargs="+", default=[], metavar="SOURCE", help="instead of --lexicon, for a language "
                        "without a dictionary: use the words of these data dirs, ARPA models and texts, with their "
                        "letters as phones")
    parser.add_argument("--out", required=True, help="the dictionary folder to write, data/<recipe>/dict")
    args = parser.parse_args(argv)
    prepare_dict(args.lexicon, args.out, spell=args.spell)


if __name__ == "__main__":
    main()
