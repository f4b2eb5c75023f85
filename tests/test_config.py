"""Reading configuration files: types, nesting, and errors that name file and line."""

import os
from dataclasses import dataclass

import pytest
from helpers import CONF

from lstmp import config
from lstmp.errors import UserError


@dataclass(frozen=True)
class Inner:
    depth: int
    name: str


@dataclass(frozen=True)
class Outer:
    rate: float
    steps: int
    mixed: bool
    word: str
    sizes: list[int]
    limit: float | None
    inner: Inner

    def __post_init__(self):
        config.check(self.rate > 0, "rate", "above 0")


GOOD = "rate: 0.5\nsteps: 3\nmixed: true\nword: abc\nsizes: [1, 2]\nlimit: null\ninner:\n  depth: 2\n  name: x\n"


def load(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path, Outer)


def test_values_are_read_with_their_types_and_nesting(tmp_path):
    cfg = load(tmp_path, GOOD)
    assert cfg == Outer(0.5, 3, True, "abc", [1, 2], None, Inner(2, "x"))
    assert load(tmp_path, GOOD.replace("0.5", "2")).rate == 2.0  # a whole number is accepted as a number
    assert load(tmp_path, GOOD.replace("null", "1.5")).limit == 1.5
    assert config.build(config.to_dict(cfg), Outer) == cfg


@pytest.mark.parametrize("old, new, message", [
    ("rate: 0.5", "rates: 0.5", "c.yaml:1: unknown key `rates`; did you mean `rate`?"),
    ("steps: 3\n", "", "c.yaml: key `steps` is missing"),
    ("steps: 3", "steps: 3.0", "c.yaml:2: `steps` must be a whole number, not 3.0"),
    ("steps: 3", "steps: true", "c.yaml:2: `steps` must be a whole number, not True"),
    ("mixed: true", "mixed: 1", "c.yaml:3: `mixed` must be true or false, not 1"),
    ("rate: 0.5", "rate: fast", "c.yaml:1: `rate` must be a number, not 'fast'"),
    ("rate: 0.5", "rate: 1e-3", "c.yaml:1: `rate` must be a number, not '1e-3'; YAML reads it as text"),
    ("rate: 0.5", "rate: 1.0e3", "write it with a dot and a sign"),
    ("rate: 0.5", "rate: .nan", "c.yaml:1: `rate` must be a number, not nan"),
    ("rate: 0.5", "rate: .inf", "c.yaml:1: `rate` must be a number, not inf"),
    ("rate: 0.5", "rate: true", "c.yaml:1: `rate` must be a number, not True"),
    ("rate: 0.5", "rate:", "c.yaml:1: `rate` must be a number, not None"),
    ("rate: 0.5", "rate: -1", "c.yaml:1: `rate` must be above 0"),
    ("word: abc", "word: no", "c.yaml:4: `word` must be text, not False; write \"False\", in quotes"),
    ("[1, 2]", "[1, x]", "c.yaml:5: `sizes` must be a whole number, not 'x'"),
    ("[1, 2]", "1", "c.yaml:5: `sizes` must be list[int], not 1"),
    ("limit: null", "limit: x", "c.yaml:6: `limit` must be a number, not 'x'"),
    ("  depth: 2", "  deep: 2", "c.yaml:8: unknown key `inner.deep`"),
    ("  depth: 2\n", "", "c.yaml: key `inner.depth` is missing"),
    ("  depth: 2", "  depth: x", "c.yaml:8: `inner.depth` must be a whole number"),
    ("inner:\n  depth: 2\n  name: x", "inner: 3", "c.yaml:7: `inner` must be a group of keys"),
    ("steps: 3", "rate: 1", "c.yaml:2: key `rate` is given twice"),
    ("  name: x", "  depth: 3", "c.yaml:9: key `depth` is given twice"),
    ("steps: 3", "1: 3", "unknown key `1`"),
    ("steps: 3", "? [a]\n: 3", "c.yaml:2: not valid YAML"),
    ("word: abc", "word: [", "not valid YAML"),
    ("word: abc", "\tword: abc", "c.yaml:4: not valid YAML"),
    ("word: abc", "word: !!python/object/apply:os.getcwd []", "c.yaml:4: not valid YAML"),
])
def test_errors_name_file_line_and_fix(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(UserError) as e:
        load(tmp_path, GOOD.replace(old, new))
    assert message in str(e.value) and "; " in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("text, message", [
    (b"rate: \xff\n", "not UTF-8"), (b"- 1\n- 2\n", "c.yaml:1: expected `key: value` lines"),
    (b"", "key `rate` is missing"),
    (b"just text", "expected `key: value`"), (b"rate: \x00", "not valid YAML"),
    (b"a: *b\n", "c.yaml:1: an alias, `*b`"),
    (b"a: &a [x]\n" + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b"*%c, *%c" % (97 + i, 97 + i)) for i in range(24)),
     "c.yaml:2: an alias, `*a`"),
    (b"rate: " + b"[" * 20_000, "not valid YAML"), (b"rate: " + b"{a: " * 20_000, "not valid YAML"),
    (b"rate: 2001-13-45\n", "not valid YAML: month must be"), (b"rate: " + b"9" * 5000, "not valid YAML"),
    (b"# " + b"x" * (1 << 18), "but a few thousand are usual")])
def test_a_file_that_is_not_a_configuration_is_an_error(tmp_path, text, message):
    with pytest.raises(UserError) as e:
        load(tmp_path, text)
    assert message in str(e.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="none.yaml: no such configuration file"):
        config.load(tmp_path / "none.yaml", Outer)


def test_every_key_of_conf_is_documented():
    """Every key of conf/ has a comment on its line or above it; groups and their keys need none."""
    files = sorted(CONF.glob("*.yaml"))
    assert files
    for path in files:
        values, lines = config.read_yaml(path)
        text = path.read_text().splitlines()
        for key, number in lines.items():
            explained = "#" in text[number - 1] or text[number - 2].lstrip().startswith("#")
            assert explained or "." in key or isinstance(values[key], dict), f"{path.name}: {key}"


def test_write_text_leaves_a_complete_file_or_none(tmp_path, monkeypatch):
    path = tmp_path / "new" / "f.txt"
    config.write_text(path, "öne\n")
    assert path.read_text(encoding="utf-8") == "öne\n" and os.listdir(path.parent) == ["f.txt"]

    def full(*args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        config.write_text(path, "two\n")
    assert path.read_text(encoding="utf-8") == "öne\n" and os.listdir(path.parent) == ["f.txt"]


@pytest.mark.parametrize("text, message", [
    ('{"a": ' + "[" * 100_000, "not valid JSON"), ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
    ("[1]", "expected a JSON object"), ('{"a": "' + "x" * (32 << 20) + '"}', "but a few thousand are usual")])
def test_json_that_is_too_large_or_not_an_object_is_an_error(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=message):
        config.read_json(tmp_path / "x.json", "make it")
