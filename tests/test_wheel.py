"""A wheel contains everything that the package needs, and is built without a network."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers import ROOT

from lstmp import __version__, kit

SOURCES = ("lstmp", "conf", "recipes", "steps", "local", "run.sh", "transcribe.sh", "pyproject.toml", "setup.py",
           "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the sources, so that building makes no build/ in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(source, out):
    """Build the wheel without a network."""
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index",
                           "-w", str(out)], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    old = source / "build/lib/lstmp/kit/steps/of_an_earlier_build.sh"
    old.parent.mkdir(parents=True)
    old.write_text("")
    return build(source, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_contains_the_package_and_the_kit(wheel, source):
    names = set(wheel.namelist())
    code = {str(p.relative_to(source)) for end in ("py", "cpp", "h") for p in (source / "lstmp").rglob(f"*.{end}")}
    scripts = {f"lstmp/kit/{p.relative_to(source)}" for d in ("conf", "steps", "local") for p in (source / d).iterdir()
               if f"local/{p.name}" not in kit.OWN_ENVIRONMENT}
    recipes = {f"lstmp/kit/{p.relative_to(source)}" for n in ("recipe.yaml", "run.sh", "grid.yaml", "README.md")
               for p in (source / "recipes").rglob(n)}
    pages = [p for d in ("report/templates", "report/assets", "serve/page")
             for p in (source / "lstmp" / d).rglob("*") if p.is_file()]
    code |= {str(p.relative_to(source)) for p in pages}
    expected = code | scripts | recipes | {"lstmp/kit/run.sh", "lstmp/kit/transcribe.sh"}
    assert expected <= names
    others = {n for n in names - expected if ".dist-info/" not in n}
    assert others == {"lstmp/kit/recipes/librispeech/slurm.sbatch", "lstmp/kit/recipes/options.sh"}
    assert sum(i.file_size for i in wheel.infolist()) < 4e6
    assert all(wheel.getinfo(n).external_attr >> 16 & 0o111 for n in names if n.startswith("lstmp/kit/steps/"))


def test_the_metadata_of_the_wheel_are_correct(wheel):
    about = f"lstmp-{__version__}.dist-info"
    text = wheel.read(f"{about}/METADATA").decode()
    assert f"Version: {__version__}\n" in text and "Requires-Python: <3.15,>=3.10\n" in text
    assert re.search(r"^Requires-Dist: numpy$", text, re.M) and re.search(r"^Requires-Dist: torch>=", text, re.M)
    assert wheel.read(f"{about}/entry_points.txt").decode() == "[console_scripts]\nlstmp = lstmp.cli:main\n"
    assert f"{about}/licenses/LICENSE" in wheel.namelist()


def test_a_source_distribution_makes_the_same_wheel(source, wheel, tmp_path):
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, capture_output=True)
    shutil.unpack_archive(tmp_path / f"lstmp-{__version__}.tar.gz", tmp_path)
    again = build(tmp_path / f"lstmp-{__version__}", tmp_path / "wheel")
    assert sorted(again.namelist()) == sorted(wheel.namelist())
