"""A lang folder for few words: the same phones and ids, quick to read where the whole one has 100,000 words.

Words that the whole one lacks can be added to it: to align with, not to decode.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from lstmp import config
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.lexicon import Entry
from lstmp.corpus.prepare_lang import MARKS, mark_positions
from lstmp.corpus.silence_model import LEXICON, SilenceModel
from lstmp.corpus.textlines import columns, first_columns, numbered_lines
from lstmp.errors import UserError

_BY_WORD = ("words.txt", "lexiconp.txt", LEXICON)  # the word is in the first column


def write_part(lang_dir, words: Collection[str], out) -> Path:
    """Write to ``out`` what the lang folder says of ``words``, and of its symbols that are no words; returns ``out``.

    The graph L is left out.

    Raises:
        UserError: no such folder, or files missing.
    """
    lang_dir, out = Path(lang_dir), Path(out)
    if not (lang_dir / "oov.txt").is_file():
        raise UserError("no such file", file=lang_dir / "oov.txt", hint="give a lang folder, or run stage 2")
    keep = {*words, *first_columns(lang_dir / "oov.txt")}
    for source in sorted(lang_dir.rglob("*")):
        name = source.relative_to(lang_dir)
        if source.is_dir() or source.suffix == ".fst" or source.name.startswith("."):
            continue
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if str(name) not in _BY_WORD:
            config.copy_file(source, out / name)
            continue
        lines = [line for _, line in numbered_lines(source)
                 if (word := "".join(columns(line)[:1])) in keep or word[:1] in "<#"]
        config.write_text(out / name, "".join(f"{line.rstrip()}\n" for line in lines))
    return out


def add_pronunciations(lang_dir, entries: Iterable[Entry]):
    """Add pronunciations, of new words or of those that are there, to a folder that :func:`write_part` wrote.

    Args:
        lang_dir: the folder.
        entries: (word, probability, phones without position marks); what is there already is not added again.

    Raises:
        UserError: a phone that the lang folder does not have.
    """
    d = Path(lang_dir)
    words, phones = read_symbols(d / "words.txt"), read_symbols(d / "phones.txt")
    marked = any(p.endswith(MARKS) for p in phones)
    prons = {(fields[0], tuple(fields[2:])): float(fields[1]) for _, line in numbered_lines(d / "lexiconp.txt")
             if (fields := columns(line))}
    silence = SilenceModel.read(d, prons) if (d / LEXICON).is_file() else None
    for word, probability, said in entries:
        spelling = mark_positions(said) if marked else said
        if unknown := [p for p, q in zip(said, spelling, strict=True) if q not in phones]:
            base = sorted({plain_phone(p) for p in phones if p[:1] not in "<#"})
            raise UserError(f"phone {unknown[0]} of the word {word} is not one of the model's",
                            hint=f"write it with these: {' '.join(base)}")
        prons.setdefault((word, spelling), probability)
        words.setdefault(word, max(words.values()) + 1)
    entries = [(word, probability, spelling) for (word, spelling), probability in prons.items()]
    config.write_text(d / "words.txt", "".join(f"{word} {i}\n" for word, i in words.items()))
    config.write_text(d / "lexiconp.txt", "".join(f"{word} {p!r} {' '.join(x)}\n" for word, p, x in entries))
    if silence:
        silence.write(d, entries, [silence.of(word, spelling) for word, _, spelling in entries])


def plain_phone(name: str) -> str:
    """A phone's name without its position mark: ``AH0_B`` → ``AH0``."""
    return name[:-2] if name.endswith(MARKS) else name
