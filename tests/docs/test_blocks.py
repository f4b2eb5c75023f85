"""The shell blocks of the documentation run, and print what the pages show.

Each page is a shell session in its own copy of the checkout, with a finished exp/tiny; its blocks run one after the
other.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.shell_blocks import blocks_of, matches, pages

RUNNABLE = [page for page in pages() if any(b.runs for b in blocks_of(page))]
EXPORT = "steps/export_model.sh exp/tiny/lstmp"
NOT_COPIED = (".git", ".venv", "exp", "data", "models", "downloads", "_build", "__pycache__", ".*_cache", "*.tmp")


def copy(source: Path, target: Path):
    """Copy a folder; large files, which steps only replace and never change, are linked."""
    def one(a, b):
        if os.stat(a).st_size > 1 << 16 and not Path(a).name.startswith("."):
            try:
                return os.link(a, b)
            except OSError:  # another file system
                pass
        return shutil.copy2(a, b)

    shutil.copytree(source, target, copy_function=one, symlinks=True, dirs_exist_ok=True)


def call(text: str, folder: Path) -> subprocess.CompletedProcess:
    scripts = Path(sys.executable).parent
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LSTMP_", "PYTEST"))}
    env |= {"LSTMP_PYTHON": sys.executable, "PATH": f"{folder}/.bin:{scripts}:{env['PATH']}", "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
    return subprocess.run(["bash", "-eo", "pipefail", "-c", text], cwd=folder, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout with a finished run of the recipe tiny."""
    if not (ROOT / "exp/tiny/RESULTS.md").is_file() or not (ROOT / "data/tiny/test/text").is_file():
        pytest.skip("no finished exp/tiny: ./run.sh makes it")
    folder = tmp_path_factory.mktemp("docs") / "lstmp"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    for name in ("exp/tiny", "data/tiny"):
        copy(ROOT / name, folder / name)
    (folder / ".bin").mkdir()
    (folder / ".bin/lstmp").write_text('#!/bin/sh\nexec python -m lstmp "$@"\n')
    (folder / ".bin/lstmp").chmod(0o755)
    done = call(EXPORT, folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def sessions(checkout):
    """Page → the problem that running it showed, as a future: pages run at the same time."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield {page: pool.submit(run_page, page, checkout) for page in RUNNABLE}


def run_page(page: Path, checkout: Path) -> str:
    """Run the blocks of a page in a copy of the checkout. Returns what is wrong, or nothing."""
    folder = checkout.parent / page.relative_to(ROOT).as_posix().replace("/", "-")
    blocks = [block for block in blocks_of(page) if block.runs]
    copy(checkout, folder)
    if any(EXPORT in block.text for block in blocks):
        shutil.rmtree(folder / "models")
    try:
        for block in blocks:
            text = re.sub(r"^( *\./run\.sh)(?!.*--(?:help|dry-run))", r"\1 --dry-run", block.text, flags=re.M)
            if block.before and (before := call(block.before, folder)).returncode:
                return f"{block.name}: before it: {before.stdout[-2000:]}"
            done = call(text, folder)
            if done.returncode:
                return f"{block.name}: exit status {done.returncode}\n{done.stdout[-2000:]}"
            if not matches(block.output, done.stdout):
                return f"{block.name}: it printed\n{done.stdout[-3000:]}"
    finally:
        shutil.rmtree(folder)
    return ""


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(page, sessions):
    problem = sessions[page].result()
    assert not problem, problem


def test_expected_output_is_compared():
    printed = "a\n1.5 minutes spent\nb\nc\n"
    assert matches(["a", "… minutes …", "…", "c"], printed) and matches([], "") and matches(["b"], printed)
    assert not matches(["b", "a"], printed) and not matches(["minutes"], printed) and not matches(["a", "b"], printed)
