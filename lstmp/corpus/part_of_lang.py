"""A lang folder for few words: the same phones and ids, quick to read where the whole one has 100,000 words."""

import shutil
from collections.abc import Collection
from pathlib import Path

from lstmp import config
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError

_BY_WORD = ("words.txt", "lexiconp.txt", "lexiconp_silprob.txt")  # the word is in the first column


def write_part(lang_dir, words: Collection[str], out) -> Path:
    """Write to ``out`` what the lang folder says of ``words``, and of its symbols that are no words; returns ``out``.

    The graph L is left out.

    Raises:
        UserError: no such folder, or files missing.
    """
    lang_dir, out = Path(lang_dir), Path(out)
    if not (lang_dir / "oov.txt").is_file():
        raise UserError("no such file", file=lang_dir / "oov.txt", mend="give a lang folder, or run stage 2")
    keep = {*words, *(lang_dir / "oov.txt").read_text(encoding="utf-8").split()}
    for source in sorted(lang_dir.rglob("*")):
        name = source.relative_to(lang_dir)
        if source.is_dir() or source.suffix == ".fst" or source.name.startswith("."):
            continue
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if str(name) not in _BY_WORD:
            shutil.copyfile(source, out / name)
            continue
        lines = [line for _, line in numbered_lines(source)
                 if (word := line.partition(" ")[0]) in keep or word[:1] in "<#"]
        config.write_text(out / name, "".join(f"{line.rstrip()}\n" for line in lines))
    return out
