"""Typed configuration: reads a YAML file of ``conf/`` into a frozen dataclass and checks every key.

The files in ``conf/`` hold the values with comments; the dataclasses give names and types. Some fields have a default:
their keys may be left out of a file, which then means what it meant before the key existed. An unknown key, a key that
is missing and has no default, or a value of the wrong type raises a :class:`~lstmp.errors.UserError` that names the
file, the line and the fix.
"""

import dataclasses
import difflib
import json
import re
import shutil
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from lstmp import files
from lstmp.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Json = dict[str, Any]  # a JSON object, or a mapping that can be written as one
T = TypeVar("T", bound="DataclassInstance")
_MAX_YAML, _MAX_JSON = 1 << 18, 32 << 20  # bytes: much larger files would take minutes and gigabytes to read
_MAX_DEPTH = 20  # levels of nested groups


def read_yaml(path: Path | str) -> tuple[Json, dict[str, int]]:
    """Read a YAML mapping.

    Returns:
        (values, line number of each key; a key inside a group has a dotted name)

    Raises:
        UserError: no such file, not a YAML mapping, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such configuration file", file=path, hint="check the path; the defaults are in conf/")
    _check_size(path, _MAX_YAML, "see the files in conf/ for the form")
    try:
        text = path.read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise ValueError("groups are nested too deeply")
            if isinstance(event, yaml.AliasEvent):  # a few nested aliases can stand for billions of values
                mark = event.start_mark
                raise UserError(f"an alias, `*{event.anchor}`", file=path, line=mark.line + 1 if mark else None,
                                hint="write the value itself")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", file=path, hint="save it as UTF-8") from None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        problem = getattr(e, "problem", None) or "cannot be parsed"
        raise UserError(f"not valid YAML: {problem}", file=path, line=mark.line + 1 if mark else None,
                        hint="write `key: value`, one a line") from None
    except (ValueError, RecursionError) as e:  # an impossible date or number, groups that are nested too deeply
        raise UserError(f"not valid YAML: {str(e)[:80]}", file=path, hint="write `key: value`, one a line") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        raise UserError("expected `key: value` lines", file=path, line=1, hint="see the files in conf/ for the form")
    return values, _key_lines(node, path)


def _check_size(path: Path, maximum: int, hint: str) -> None:
    if (size := path.stat().st_size) > maximum:
        raise UserError(f"its size is {size} bytes, but a few thousand are usual", file=path, hint=hint)


def _key_lines(node: yaml.MappingNode, path: Path, prefix: str = "") -> dict[str, int]:
    """Find the line of each key of a mapping and of its groups; a key that is given twice is an error."""
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = f"{prefix}{key.value}"
        if name in lines:
            raise UserError(f"key `{key.value}` is given twice", file=path, line=line, hint="keep one of the two")
        lines[name] = line
        if isinstance(value, yaml.MappingNode):
            lines |= _key_lines(value, path, f"{name}.")
    return lines


def is_count(text: str, digits: int = 9) -> bool:
    """Whether ``text`` is an unsigned whole number of at most ``digits`` digits; ``isdigit`` alone accepts `²` too."""
    return text.isascii() and text.isdigit() and len(text) <= digits


def json_value(text: str | bytes) -> Any:
    """Call ``json.loads``, but raise ValueError for every error, also for values that are nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path | str, hint: str) -> Json:
    """Read a JSON object.

    Raises:
        UserError: no such file (``hint`` says how to make it), not a JSON object, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", file=path, hint=hint)
    _check_size(path, _MAX_JSON, f"delete it; {hint}")
    try:
        value = json_value(path.read_text(encoding="utf-8"))
    except ValueError as e:
        line = getattr(e, "lineno", None)
        raise UserError("not valid JSON", file=path, line=line, hint=f"delete it; {hint}") from None
    if not isinstance(value, dict):
        raise UserError("expected a JSON object", file=path, hint=f"delete it; {hint}")
    return value


def load(path: Path | str, cls: type[T]) -> T:
    """Read the YAML file at ``path`` into the dataclass ``cls``.

    Raises:
        UserError: for an unknown or missing key or a value of the wrong type.
    """
    values, lines = read_yaml(path)
    return build(values, cls, file=path, lines=lines)


def build(values: Json, cls: type[T], *, file: Path | str | None = None,
          lines: Mapping[str, int | None] | None = None, prefix: str = "") -> T:
    """Check ``values`` against the fields of the dataclass ``cls`` and build it; nested mappings give nested ones.

    Args:
        values: field → value.
        file, lines: the source, for error messages: the file, and the line of each key by its dotted name.
        prefix: is put before the names of keys in error messages.
    """
    lines = lines or {}
    values = group(values, prefix.rstrip("."), file=file)
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            raise unknown(f"key `{prefix}{key}`", str(key), names, file=file, line=lines.get(key))
    missing = [f.name for f in dataclasses.fields(cls)
               if f.name not in values and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise UserError(f"key `{prefix}{missing[0]}` is missing", file=file, hint="copy its line from conf/")
    checked = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(hints[key]):
            group(value, f"{prefix}{key}", file=file, line=lines.get(key))
            checked[key] = build(value, hints[key], file=file, prefix=f"{prefix}{key}.", lines={
                k: lines.get(f"{key}.{k}", lines.get(key)) for k in value})
        else:
            checked[key] = coerce(value, hints[key], f"{prefix}{key}", file=file, line=lines.get(key))
    try:
        return cls(**checked)
    except UserError as e:  # raised by a __post_init__ that checks ranges; it does not know the file
        key = e.what.split("`")[1] if e.what.count("`") >= 2 else ""
        what = e.what.replace(f"`{key}`", f"`{prefix}{key}`", 1) if key in names else e.what
        raise UserError(what, file=e.file or file, line=lines.get(key), hint=e.hint) from None


def group(value: Any, name: str, *, file: Path | str | None = None, line: int | None = None) -> Json:
    """Return ``value`` if it is a mapping, else raise an error; ``name`` is its key."""
    if not isinstance(value, dict):
        raise UserError(f"`{name}` must be a group of keys, not {value!r}", file=file, line=line,
                        hint="indent its keys below it")
    return value


def unknown(what: str, name: str, known: Iterable[str], *, file: Path | str | None = None,
            line: int | None = None) -> UserError:
    """Make the error for an unknown name. It suggests the most similar known name, and lists at most ten of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    if len(known) > 10:
        similar = sorted(known, key=lambda k: -difflib.SequenceMatcher(None, name, k).ratio())[:10]
        listed = f"among the {len(known)} known are: {', '.join(sorted(similar))}"
    else:
        listed = f"known are: {', '.join(known)}"
    return UserError(f"unknown {what}", file=file, line=line, hint=hint + listed)


def coerce(value: Any, expected: Any, name: str, *, file: Path | str | None = None, line: int | None = None) -> Any:
    """Check ``value`` against a type hint (bool, int, float, str, list[...], X | None) and return it.

    An int is accepted as a float.
    """
    origin, args = typing.get_origin(expected), typing.get_args(expected)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return coerce(value, next(a for a in args if a is not type(None)), name, file=file, line=line)
    if origin in (list, tuple):
        if isinstance(value, (list, tuple)):
            return [coerce(v, args[0], name, file=file, line=line) for v in value]
    elif origin is dict or expected is dict:
        if isinstance(value, dict):
            return value
    elif expected is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == value and abs(value) != float("inf"):
            return float(value)
    elif isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
        return value
    type_name = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
        expected, str(expected))
    hint = "correct the value"
    if expected is float and isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", value):
        hint = "YAML reads it as text; write it with a dot and a sign, as 1.0e-3 or 1.0e+3"
    elif expected is str and isinstance(value, (bool, int, float)):
        hint = f'write "{value}", in quotes'
    raise UserError(f"`{name}` must be {type_name}, not {value!r}", file=file, line=line, hint=hint)


def check(ok: bool, name: str, rule: str) -> None:
    """Raise an error unless ``ok``; for ``__post_init__``. ``rule`` completes the sentence '`name` must be …'."""
    if not ok:
        raise UserError(f"`{name}` must be {rule}", hint="correct the value")


def to_dict(cfg: "DataclassInstance") -> Json:
    """Convert a dataclass configuration to plain nested dictionaries, for YAML, JSON and hashing."""
    return dataclasses.asdict(cfg)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` to a temporary file and rename it to ``path``, so that a killed run leaves no half file."""
    write_bytes(path, text.encode())


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path`` in the way of :func:`write_text`."""
    with files.replacing(path) as tmp:
        tmp.write_bytes(content)


def copy_file(source: Path | str, path: Path | str) -> Path:
    """Copy a file to ``path`` in the way of :func:`write_text`. Returns ``path``."""
    with files.replacing(path) as tmp:
        shutil.copyfile(source, tmp)
    return Path(path)
