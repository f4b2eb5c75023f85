"""The Python of docs/model.md prints what the page says, and its excerpts are in the files that they are from."""

import re
import subprocess
import sys

from lstmp.paths import ROOT

PAGE = (ROOT / "docs/model.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^<!-- excerpt of (\S+) -->\n)?^```python\n(.*?)^```", re.S | re.M)


def blocks(excerpt: bool):
    return [(file, code) for file, code in BLOCK.findall(PAGE) if bool(file) == excerpt]


def test_the_program_prints_what_the_page_says():
    program = "\n".join(code for _, code in blocks(False))
    expected = re.findall(r"# → (.*)", program)
    assert len(expected) == 7
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if not re.search(" compiling .*, once$", line)]
    assert printed == expected


def test_excerpts_are_in_their_files():
    assert blocks(True)
    for file, code in blocks(True):
        source = (ROOT / file).read_text(encoding="utf-8")
        for line in code.splitlines():
            assert line.split("#")[0].strip() in source, line
