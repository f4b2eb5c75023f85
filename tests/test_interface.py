"""The public names of the package, the time to import them, and the examples of the documentation."""

import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT

import lstmp

NAMES = {"LstmpNetwork", "Recognizer", "UserError", "align", "fbank", "mfcc", "read_alignment"}
def python(program: str, folder=ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=600,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_has_its_public_names():
    assert set(lstmp.__all__) == NAMES and NAMES | {"__version__"} <= set(dir(lstmp))
    for name in NAMES:
        assert getattr(lstmp, name).__doc__ and getattr(lstmp, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Recogniser'"):
        lstmp.Recogniser  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    output = python("import sys, lstmp\n"
                  "print(*(m in sys.modules for m in ('torch', 'numpy', 'lstmp.errors')))\n"
                  "lstmp.fbank, lstmp.LstmpNetwork\n"
                  "print(*(m in sys.modules for m in ('torch', 'matplotlib', 'k2', 'lstmp.decode.decode')))")
    assert output.split("\n")[:2] == ["False False False", "True False False False"]


def test_the_examples_of_the_page_run(tmp_path):
    """Each section is one program, in a folder with a model, recordings and an alignment."""
    from helpers.five_words import babble, export_options, make_parts

    from lstmp.corpus.audio import write_wav
    from lstmp.transcribe.export import main

    (tmp_path / "parts").mkdir()
    main(export_options(make_parts(tmp_path / "parts"), tmp_path / "models/mine"))
    for name in ("talk.wav", "corpus/anna/one.wav", "corpus/bert/two.wav"):
        write_wav(tmp_path / name, babble(6.0))
        if name != "talk.wav":
            (tmp_path / name).with_suffix(".txt").write_text("RED ARID A\n")
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    sections = [re.findall(r"^```python\n(.*?)^```", part, re.S | re.M) for part in text.split("\n## ")]
    programs = ["\n".join(blocks) for blocks in sections if blocks]
    assert len(programs) == 4
    for name in NAMES:
        assert any(f"lstmp.{name}" in p for p in programs), name
    for program in programs:
        expected = re.findall(r"# → (.*)", program)
        output = python(program, tmp_path)
        for line in expected:
            assert line in output, program
