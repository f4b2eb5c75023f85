"""The list of skipped tests at the end of a run, and the reasons that are allowed."""

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers import ROOT, skips

TESTS = ROOT / "tests"


def text_of(node: ast.expr) -> str:
    """A reason as it stands in the source; what is put in when it runs becomes `x`."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
    return node.value if isinstance(node, ast.Constant) else ""


def reasons_in(source: str) -> list[str]:
    """The reasons that a file of tests gives to pytest.skip and pytest.mark.skipif."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("skip", "skipif"):
            given = [k.value for k in node.keywords if k.arg == "reason"] or node.args[:1]
            found += [text_of(g) for g in given]
    return [reason for reason in found if reason]


SOURCES = sorted(p for p in TESTS.rglob("test_*.py") if reasons_in(p.read_text(encoding="utf-8")))
# a part of it is put in when it runs: here an `x` that no such part can be
VARYING = {"no x, no C++ compiler, or LSTMP_NATIVE=0", "x does not know x"}


def test_there_are_files_that_skip():
    assert len(SOURCES) > 10


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(TESTS).as_posix())
def test_every_reason_in_the_source_is_allowed(path):
    counts = Counter(reasons_in(path.read_text(encoding="utf-8")))
    assert set(skips.not_allowed(counts, skips.read_allowed())) <= VARYING


@pytest.mark.parametrize(("reason", "allowed"), [
    ("no AMX, no C++ compiler, or LSTMP_NATIVE=0", True), ("no AVX-512, no C++ compiler, or LSTMP_NATIVE=0", True),
    ("c++ does not know -march=armv8.2-a+sve", True), ("could not import 'k2': No module named 'k2'", True),
    ("could not import 'onnxruntime': No module named 'onnxruntime'", False), ("no GPU today", False), ("", False)])
def test_a_reason_is_matched_as_a_whole(reason, allowed):
    assert skips.not_allowed(Counter([reason]), skips.read_allowed()) == ([] if allowed else [reason])


@pytest.mark.parametrize(("line", "fault"), [("no GPU", "no `  # why`"), ("no GPU  # ", "no `  # why`"),
                                             ("no (GPU  # of NVIDIA", "missing \\)")])
def test_a_list_that_cannot_be_read(tmp_path, line, fault):
    (tmp_path / "list").write_text(f"# a comment\n\n{line}\n")
    with pytest.raises(ValueError, match=f"list:3: .*{fault}"):
        skips.read_allowed(tmp_path / "list")


def run_in(folder: Path, source: str, *options: str) -> tuple[subprocess.CompletedProcess, str]:
    """A run of pytest in a folder with our conftest.py; and what it wrote for .ci/run."""
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text(encoding="utf-8"))
    (folder / "test_it.py").write_text(f"import pytest\n\n{source}")
    told = folder / "told"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder),
         *options, str(folder / "test_it.py")], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT)]), "LSTMP_SKIPS": str(told)})
    return done, told.read_text() if told.exists() else ""


SKIPPING = '''
@pytest.mark.parametrize("n", range(3))
def test_one(n):
    pytest.skip("{reason}")

@pytest.mark.skipif(True, reason="no GPU")
def test_two():
    pass

def test_three():
    pass
'''


@pytest.mark.parametrize(("options", "reason", "status"), [((), "no unshare", 0), (("-n", "2"), "no time", 1)],
                         ids=["one process", "two processes"])
def test_a_run_ends_with_the_list_and_fails_for_a_new_reason(tmp_path, options, reason, status):
    done, told = run_in(tmp_path, SKIPPING.format(reason=reason), *options)
    assert done.returncode == status, done.stdout + done.stderr
    assert told == f"     3 {reason}\n     1 no GPU\n" and told in done.stdout
    assert "4 skipped, by reason" in done.stdout
    assert ("error: not among the reasons of tests/allowed_skips.txt: no time" in done.stdout) == bool(status)


def test_a_whole_file_that_is_skipped_counts(tmp_path):
    done, told = run_in(tmp_path, 'pytest.importorskip("no_such_module")\n\ndef test_one():\n    pass\n')
    assert "could not import 'no_such_module'" in told and done.returncode != 0


def test_a_run_without_skipped_tests_has_no_list(tmp_path):
    done, told = run_in(tmp_path, "def test_one():\n    pass\n")
    assert done.returncode == 0 and not told and "skipped" not in done.stdout
