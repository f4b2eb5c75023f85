"""Writes a lang folder that contains only some words, with the same phones and ids.

Such a folder is fast to read even if the full folder has 100,000 words. Words that are missing from the full folder can
be added; the result can be used for alignment but not for decoding.
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
    """Copy a lang folder to ``out`` with only the given words and the special symbols, and return ``out``.

    The transducers L.fst and L_disambig.fst are left out.

    Raises:
        UserError: the folder does not exist or has missing files.
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
    """Add pronunciations of new or existing words to a folder written by :func:`write_part`.

    Args:
        lang_dir: the folder.
        entries: (word, probability, phones without position marks). Existing pronunciations are not added again.

    Raises:
        UserError: a phone is not in the lang folder.
    """
    d = Path(lang_dir)
    words, phones = read_symbols(d / "words.txt"), read_symbols(d / "phones.txt")
    marked = any(p.endswith(MARKS) for p in phones)
    prons = {(fields[0], tuple(fields[2:])): float(fields[1]) for _, line in numbered_lines(d / "lexiconp.txt")
             if (fields := columns(line))}
    silence = SilenceModel.read(d, prons) if (d / LEXICON).is_file() else None
    for word, probability, plain in entries:
        pronunciation = mark_positions(plain) if marked else plain
        if unknown := [p for p, q in zip(plain, pronunciation, strict=True) if q not in phones]:
            base = sorted({plain_phone(p) for p in phones if p[:1] not in "<#"})
            raise UserError(f"phone {unknown[0]} of the word {word} is not a phone of the model",
                            hint=f"use only these phones: {' '.join(base)}")
        prons.setdefault((word, pronunciation), probability)
        words.setdefault(word, max(words.values()) + 1)
    entries = [(word, probability, pronunciation) for (word, pronunciation), probability in prons.items()]
    config.write_text(d / "words.txt", "".join(f"{word} {i}\n" for word, i in words.items()))
    config.write_text(d / "lexiconp.txt", "".join(f"{word} {p!r} {' '.join(x)}\n" for word, p, x in entries))
    if silence:
        silence.write(d, entries, [silence.of(word, pronunciation) for word, _, pronunciation in entries])


def plain_phone(name: str) -> str:
    """Return the name of a phone without its position mark: ``AH0_B`` → ``AH0``."""
    return name[:-2] if name.endswith(MARKS) else name
