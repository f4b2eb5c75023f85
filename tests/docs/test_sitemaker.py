"""The pages that docs/sitemaker makes for the documentation site. Their links are checked by docs/build.sh."""

import json
import re
from dataclasses import dataclass

import pytest
import yaml
from helpers import CONF, ROOT
from sitemaker import api, commands, configuration
from sitemaker.__main__ import contents, navigation
from sitemaker.docstrings import with_attributes, with_returns
from sitemaker.notebook import as_markdown
from sitemaker.pages import Linked, markdown_pages, site_name, with_links

from lstmp.conf_files import leaves, read_sections
from lstmp.config import check


@pytest.mark.parametrize(("link", "expected"), [
    ("[a](formats.md#x)", "[a](formats.md#x)"),
    ("[a](README.md)", "[a](stages.md)"),
    ("[a](../README.md)", "[a](index.md)"),
    ("[`a`](../lstmp/stage.py)", "[`a`](#code-lstmp-stage)"),
    ("[a](../lstmp/gmm)", "[a](#code-lstmp-gmm)"),
    ("[a](../conf/lstmp.yaml)", "[a](#conf-lstmp)"),
    ("[a](../steps/train_lstmp.sh)", "[a](#script-steps-train-lstmp)"),
    ("[a](../recipes/sak2014/processes/)", "[a](recipes/sak2014/processes/README.md)"),
    ("[a](../Dockerfile)", "[a](files/Dockerfile.md)"),
    ("[a](https://arxiv.org/abs/1402.1128)", "[a](https://arxiv.org/abs/1402.1128)"),
    ("[a](no_such.md)", "[a](no_such.md)"),  # Sphinx reports it
    ("`steps/decode.sh`", "[`steps/decode.sh`](#script-steps-decode)"),
    ("# `./run.sh`", "# `./run.sh`"),
    ("`./run.sh` [`run.sh`](formats.md)", "[`./run.sh`](#script-run) [`run.sh`](formats.md)"),
    ("`steps/no_such.sh` `local/path.sh`", "`steps/no_such.sh` `local/path.sh`"),
    ("`[a](README.md)`", "`[a](README.md)`"),
    ("```sh\n[a](README.md)\n```", "```sh\n[a](README.md)\n```"),
])
def test_links_lead_to_pages_of_the_site(link, expected):
    assert with_links(link, "docs/stage-01-data.md", Linked()) == expected


def test_files_and_pictures_that_are_linked_come_along():
    linked = Linked()
    text = with_links("![p](lstmp-curve.png) [r](recipe.yaml)", "recipes/mini_librispeech/README.md", linked)
    assert text == "![p](lstmp-curve.png) [r](../../files/recipes/mini_librispeech/recipe.yaml.md)"
    assert linked.pictures == {"recipes/mini_librispeech/lstmp-curve.png"}
    assert linked.texts == {"recipes/mini_librispeech/recipe.yaml"}


def test_every_page_is_in_the_navigation_once():
    captions = yaml.safe_load((ROOT / "docs/navigation.yaml").read_text(encoding="utf-8"))
    named = [re.sub(r".*<(.*)>", r"\1", entry) for entries in captions.values() for entry in entries]
    pages = {site_name(p).removesuffix(".md") for p in markdown_pages()} - {"index"}
    assert sorted(named) == sorted(pages | {"reference/configuration", "reference/commands", "reference/api"})
    assert navigation().count("```{toctree}") == len(captions)


def test_every_key_of_the_configuration_is_explained():
    page = configuration.page(Linked())
    for section, values in read_sections(CONF).items():
        for key in leaves(values):
            assert f"```{{confval}} {section}.{key}\n" in page, key
    entry = page.split("```{confval} lstmp.cells\n")[1].split("```")[0]
    assert "emory cells per layer" in entry and "default: `512`" in entry and "at least 1" in entry
    assert re.search(r"Recipes: .*`128` in .*tiny", entry)


def test_comments_of_several_lines_and_groups():
    text = ("# Head,\n# two lines\n\na: 1      # of a\n          # goes on\n"
            "# Alone\ng:\n  b: [x, y]  # of b\nc: \"# no comment\"\n")
    head, a, alone, g, b, c = configuration.parse(text)
    assert (head, alone) == ("Head, two lines", "Alone")
    assert (a.value, a.comment, g.name, b.name, b.comment) == ("1", "of a goes on", "g", "g.b", "of b")
    assert c.name == "c"


@dataclass(frozen=True)
class Inner:
    size: float


@dataclass(frozen=True)
class Outer:
    inner: Inner
    names: list[str]
    limit: int | None
    other: int

    def __post_init__(self):
        for name in ("limit", "other"):
            check(getattr(self, name) >= 0, name, "0 or more")
        check(self.other < 5, "other", "below 5")


def test_types_and_rules_of_keys():
    assert configuration.type_of(Outer, "inner.size") == ("a number", "")
    assert configuration.type_of(Outer, "names") == ("a list of texts", "")
    assert configuration.type_of(Outer, "limit") == ("a whole number or nothing", "0 or more")
    assert configuration.type_of(Outer, "other") == ("a whole number", "0 or more; below 5")


def test_every_script_and_module_has_its_place():
    pages, _ = contents()
    for script in sorted(ROOT.glob("steps/*.sh")):
        assert f"### steps/{script.name}\n" in pages[commands.PAGE]
    assert "usage: steps/decode.sh" in pages[commands.PAGE] and "usage: lstmp align" in pages[commands.PAGE]
    modules = set(re.findall(r"^\.\. automodule:: (\S+)", "".join(api.pages().values()), re.M))
    assert {"lstmp.nnet.cell", "lstmp.stage", "lstmp.nnet.kernels.fused"} <= modules and len(modules) > 150


def test_a_notebook_becomes_a_page():
    cells = [{"cell_type": "markdown", "source": ["# A\n", "b"]},
             {"cell_type": "code", "source": ["f()"],
              "outputs": [{"text": ["x\n", "y\n"]}, {"data": {"image/png": "aG\n"}}]}]
    assert as_markdown(json.dumps({"cells": cells})) == (
        "# A\nb\n\n```python\nf()\n```\n\n```text\nx\ny\n```\n\n"
        "![the picture that this code draws](data:image/png;base64,aG)\n")


def test_returns_of_docstrings():
    assert with_returns(["Do.", "", "Returns:", "    (a: b), c", "    and more", "", "Raises:", "    X: y"]) == \
        ["Do.", "", ":returns: (a: b), c", "    and more", "", "Raises:", "    X: y"]
    assert with_returns(["Returns:", "    a: one", "        more", "    b: two"]) == \
        [":returns:", "", "    * **a**: one", "      more", "    * **b**: two", ""]
    assert with_returns(["Do."]) == ["Do."]


def test_attributes_that_are_described_together():
    lines = ["A thing.", "", "Attributes:", "    a, b: two", "        more", "    c: three, four: five", "", "End."]
    both = ["    a: two", "        more", "    b: two", "        more"]
    assert with_attributes(lines) == [*lines[:3], *both, *lines[5:]]
    assert with_attributes(["Do."]) == ["Do."]
