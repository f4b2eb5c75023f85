"""The shell blocks of the Markdown pages, with the comments in front of them that say what a test does with a block.

    (no comment)                     it is run, in a copy of the checkout with a finished exp/tiny and models/tiny
    <!-- needs: corpus, time -->     it is not run, because it needs what is not here: see KINDS
    <!-- run by: .ci/run -->         it is run there: its commands stand in that file
    <!-- before: COMMANDS -->        what is run first, to make what the reader has; then the block is run
    <!-- output -->                  before a `text` block: what the `sh` block above prints; `…` stands for any text
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from helpers import ROOT

KINDS = {"corpus", "gpu", "several machines", "internet", "time", "root", "your files", "a script to be written"}
_FENCE = re.compile(r"(?P<comments>(?:^ *<!--(?:(?!-->).)*-->\n)*)^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)"
                    r"^ *```$", re.S | re.M)
_MARKER = re.compile(r"<!-- (needs|run by|before|output)(?:: (.*?))? -->", re.S)
_SEPARATORS, _KEYWORDS = ";&|()\n", {"do", "then", "else", "if", "while", "!", "exec", "time", "nice", "{", "}"}


@dataclass
class Block:
    """A shell block."""

    page: str
    line: int
    text: str
    needs: set[str] = field(default_factory=set)
    run_by: str = ""
    before: str = ""
    output: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return not self.needs and not self.run_by


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")),
            *sorted(ROOT.glob("recipes/**/README.md"))]


def blocks_of(page: Path) -> list[Block]:
    """The shell blocks of a page, in order, with the output that the page shows."""
    text, found = page.read_text(encoding="utf-8"), []
    for fence in _FENCE.finditer(text):
        markers = dict(_MARKER.findall(fence["comments"]))
        name = page.relative_to(ROOT).as_posix()
        line = text.count("\n", 0, fence.start("language")) + 1
        body = "".join(part.removeprefix(fence["indent"]) for part in fence["text"].splitlines(keepends=True))
        if fence["language"] in ("sh", "bash"):
            assert "output" not in markers, f"{name}:{line}: `output` belongs in front of a `text` block"
            found.append(Block(name, line, body, set(filter(None, markers.get("needs", "").split(", "))),
                               markers.get("run by", ""), markers.get("before", "")))
        elif "output" in markers:
            found[-1].output += body.splitlines()
        else:
            assert not markers, f"{name}:{line}: {markers} in front of a block that is no shell"
    return found


def commands(text: str) -> list[list[str]]:
    """The words of each simple command of a shell program; heuristic, but enough for documentation."""
    text = re.sub(r"<<-?'?(\w+)'?.*?^\1$", "\n", text, flags=re.S | re.M).replace("\\\n", " ")  # no here-documents
    text = re.sub(r"\$\(\([^()]*\)\)", "0", text)  # no arithmetic
    lexer = shlex.shlex(re.sub(r"(^|\s)#[^\n]*", r"\1", text), posix=True, punctuation_chars=_SEPARATORS + "<>")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    found, words, skip = [], [], False
    for token in [*lexer, "\n"]:
        if set(token) <= set("<>&") and set(token) & set("<>"):
            skip = True  # the file of a redirection
        elif token and set(token) <= set(_SEPARATORS + "<>"):
            found, words, skip = [*found, words], [], False
        elif skip:
            skip = False
        elif words or not (token in _KEYWORDS or re.match(r"\w+=", token)):
            words.append(token)
    return [w for w in found if w and w[0] not in ("for", "done", "fi", "case", "esac") and w[0] != "$"]


def matches(expected: list[str], printed: str) -> bool:
    """Whether the expected lines are in the printed text, in this order; `…` is any text, and alone any lines."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split("…"))) + r" *\n"
    return re.search("^" + pattern, printed + "\n", re.M) is not None
