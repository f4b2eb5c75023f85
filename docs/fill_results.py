"""Puts the rows of the larger language model of recipes/mini_librispeech/RESULTS.md into README.md, between its
`results` marks.

    .venv/bin/python docs/fill_results.py
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "recipes" / "mini_librispeech" / "RESULTS.md"
LM = "tgmed"
START, END = "<!-- results -->", "<!-- /results -->"


def first_table(markdown: str) -> str:
    """Head and rows of the larger language model of the first table."""
    lines = []
    for line in markdown.splitlines():
        if line.startswith("|"):
            lines.append(line)
        elif lines:
            break
    if not lines:
        raise SystemExit(f"error: {SOURCE}: no table in it; run the recipe and copy its RESULTS.md there")
    return "\n".join(line for i, line in enumerate(lines) if i < 2 or f"| {LM} |" in line)


def main():
    if not SOURCE.is_file():
        raise SystemExit(f"error: {SOURCE}: no such file; run the recipe and copy its RESULTS.md there")
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    new = f"{START}\n{first_table(SOURCE.read_text(encoding='utf-8'))}\n{END}"
    text, count = re.subn(f"{re.escape(START)}.*?{re.escape(END)}", lambda _: new, text, flags=re.S)
    if count != 1:
        raise SystemExit(f"error: {readme}: expected the marks {START} and {END} once; restore them")
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
