"""The configuration reference: every key of conf/ and recipe.yaml, with its comment there."""

import ast
import dataclasses
import functools
import inspect
import re
import sys
import textwrap
import types
import typing
from collections import defaultdict

from lstmp.conf_files import leaves
from lstmp.config import read_yaml
from lstmp.nnet.config import LstmpConfig
from lstmp.recipe.keys import RECIPE_KEYS, Recipe
from lstmp.recipe.sections import _types
from sitemaker.pages import ROOT, Linked, with_links

PAGE = "reference/configuration.md"
_KEY = re.compile(r"( *)([\w-]+):(?: +(.*?))??(?: +# ?(.*))?$")
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a group of keys"}
HEAD = """(configuration)=
# Configuration

Every key of `conf/*.yaml`, with its comment there, its type, and the recipes that set another
value. A recipe overrides `conf/` in its `recipe.yaml`, and an option of `run.sh` with the key's name overrides both:
`./run.sh --lstmp.cells 800`. [How configuration works](../stages.md#how-configuration-works) has more.

"""


@dataclasses.dataclass
class Key:
    """A key of a YAML file: its dotted name, its value as it is written, and the comment beside it."""

    name: str
    value: str
    comment: str
    indent: int


def parse(text: str) -> list[Key | str]:
    """The keys of a YAML file, and the comments that stand alone, one string per paragraph."""
    items: list[Key | str] = []
    groups: list[tuple[int, str]] = []
    new = True  # whether a comment begins a new paragraph
    for line in text.splitlines():
        match = _KEY.match(line)
        if line.lstrip().startswith("#"):
            words, indent = line.strip("# "), len(line) - len(line.lstrip())
            last = items[-1] if items else None
            if isinstance(last, Key) and indent > last.indent:
                last.comment += " " + words
            elif isinstance(last, str) and not new:
                items[-1] = f"{last} {words}"
            else:
                items.append(words)
            new = False
        elif match:
            indent = len(match[1])
            groups = [g for g in groups if g[0] < indent] + [(indent, match[2])]
            items.append(Key(".".join(name for _, name in groups), match[3] or "", match[4] or "", indent))
        else:
            new = True
    return items


def type_of(cls: type, name: str) -> tuple[str, str]:
    """The type and the allowed values of a key, by the fields and checks of its dataclass."""
    first, _, rest = name.partition(".")
    hint = typing.get_type_hints(cls)[first]
    if rest:  # conf/sequence.yaml has a group with keys of conf/lstmp.yaml
        return type_of(LstmpConfig if hint is dict else hint, rest)
    if dataclasses.is_dataclass(hint):
        return "a group of keys", ""
    rules: list[str] = []
    for base in cls.__mro__:
        rules += _rules(base).get(first, []) if "__post_init__" in vars(base) else []
    return _type_name(hint), "; ".join(dict.fromkeys(rules))


def _type_name(hint) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("nothing" if a is type(None) else _type_name(a) for a in args)
    if origin in (list, tuple):
        return "a list of " + {int: "whole numbers", float: "numbers", str: "texts"}.get(args[0], "lists")
    return _TYPES.get(origin or hint, str(hint))


def _rules(cls: type) -> dict[str, list[str]]:
    """Key → the rules of the calls `check(…, key, rule)` in `__post_init__`."""
    rules = defaultdict(list)
    names: dict[str, list[str]] = {}  # of a loop `for name in (…)`

    def visit(node: ast.AST):
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple) and isinstance(node.target, ast.Name):
            names[node.target.id] = [e.value for e in node.iter.elts if isinstance(e, ast.Constant)]
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("check", "config.check") and len(node.args) == 3:
            _, key, rule = node.args
            keys = [key.value] if isinstance(key, ast.Constant) else names.get(ast.unparse(key), [])
            try:
                words = eval(compile(ast.Expression(rule), "", "eval"), vars(sys.modules[cls.__module__]))
            except NameError:  # a rule with other values of the configuration in it
                return
            for k in keys:
                rules[k].append(words)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(textwrap.dedent(inspect.getsource(cls.__post_init__))))  # type: ignore[attr-defined]
    return rules


@functools.cache
def other_values() -> dict[str, dict[str, list[str]]]:
    """Dotted key → value → the recipes (or networks of a recipe) that set it."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(ROOT.glob("recipes/*/recipe.yaml")):
        values, _ = read_yaml(path)
        for section in set(values) - set(RECIPE_KEYS):
            for key, value in leaves({section: values[section]}).items():
                found[key][_written(value)].append(path.parent.name)
        for network, changes in values["networks"].items():
            for key, value in changes.items():
                found[f"lstmp.{key}"][_written(value)].append(f"{path.parent.name}, network {network}")
    return found


def _written(value) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value) or '""'


def _prose(comment: str, linked: Linked) -> str:
    """A comment of a YAML file as Markdown: its signs have no meaning there, but names of files become links."""
    text = re.sub(r"([*<$|\[\]])", r"\\\1", comment)
    text = re.sub(r"(?<![\w/`])((?:conf|docs|steps|local|lstmp|recipes)/[\w./-]*\w)",
                  lambda m: f"[{m[1]}]({m[1]})" if (ROOT / m[1]).exists() else m[1], text)
    return with_links(text, "README.md", linked, PAGE)


def _section(title: str, text: str, cls: type, prefix: str, linked: Linked) -> str:
    parts, others = [title], other_values() if prefix else {}
    for item in parse(text):
        if isinstance(item, str):
            parts.append(_prose(item, linked))
            continue
        kind, rule = type_of(cls, item.name)
        facts = f"{kind[0].upper()}{kind[1:]}" + (f", {_prose(rule, linked)}" if rule else "")
        facts += f"; default: `{item.value}`." if item.value else "."
        if uses := others.get(prefix + item.name):
            facts += " Recipes: " + "; ".join(f"`{v}` in {', '.join(names)}" for v, names in uses.items()) + "."
        words = [_prose(item.comment, linked)] if item.comment else []
        parts.append("\n\n".join([f"```{{confval}} {prefix}{item.name}", *words, facts]) + "\n```")
    return "\n\n".join(parts) + "\n\n"


def page(linked: Linked) -> str:
    """The page, as Markdown."""
    classes = _types()
    text = HEAD
    for path in sorted((ROOT / "conf").glob("*.yaml")):
        section = path.stem
        cls = classes["tri" if section.startswith("tri") else section]
        title = f"(conf-{section})=\n## conf/{path.name}"
        text += _section(title, path.read_text(encoding="utf-8"), cls, f"{section}.", linked)
    recipe, _ = (ROOT / "recipes/own/recipe.yaml").read_text(encoding="utf-8").split("\n\n\n", 1)
    title = "## recipe.yaml\n\nThe keys of a recipe, with the values of `recipes/own`."
    return text + _section(title, recipe, Recipe, "", linked)
