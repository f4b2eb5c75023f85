"""The files of a report's data."""

import json
import re

import pytest

from lstmp.errors import UserError
from lstmp.shards import read_shard, remove_others, shard_name, write_shard


def test_a_shard_is_a_call_with_json_that_cannot_end_the_script(tmp_path):
    value = {"text": "</script><!-- \u2028 é", "n": [1, None, 0.5]}
    path = write_shard(tmp_path, "words/a/0", value)
    assert path == tmp_path / "data/words/a/0.js"
    text = path.read_text(encoding="utf-8")
    assert "<" not in text and "\u2028" not in text and "é" in text and text.count("\n") == 1
    call = re.fullmatch(r'lstmpReport\.add\("words/a/0", (.*)\);\n', text)
    assert json.loads(call[1]) == value == read_shard(tmp_path, "words/a/0")


def test_files_have_whole_blocks(tmp_path):
    sizes = [write_shard(tmp_path, "progress", {"text": "é" * n}).stat().st_size for n in (0, 500, 2027, 2028)]
    assert sizes == [4096, 4096, 4096, 8192]


def test_names_are_safe_and_distinct():
    assert shard_name("errors", "tri3b_mmi-1.0", "tg", "test") == "errors/tri3b_mmi-1.0/tg/test"
    parts = ["a/b", "a%2Fb", "..", ".", "%2E", "x y", "é"]
    names = [shard_name(p) for p in parts]
    assert len(set(names)) == len(parts) and names[2] == "%2E%2E"
    assert all(re.fullmatch(r"[A-Za-z0-9%_.~-]+", n) and n.strip(".") for n in names)


def test_values_that_are_no_json_are_refused(tmp_path):
    with pytest.raises(ValueError):
        write_shard(tmp_path, "x", {"wer": float("nan")})
    assert not list(tmp_path.rglob("*.js"))


@pytest.mark.parametrize("text", ["", 'lstmpReport.add("y", {});\n', 'lstmpReport.add("x", {"a": );\n'])
def test_a_damaged_shard_is_an_error(tmp_path, text):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.js").write_text(text)
    with pytest.raises(UserError, match=r"x.js: missing or damaged; delete it"):
        read_shard(tmp_path, "x")


def test_parts_of_an_earlier_report_are_removed(tmp_path):
    kept = [write_shard(tmp_path, f"words/a/{i}", {}) for i in range(3)][:2] + [write_shard(tmp_path, "states/a/2", {})]
    (tmp_path / "data/words/a/.done.words.json").write_text("{}")
    remove_others(tmp_path / "data/words/a", kept)
    assert sorted(p.name for p in (tmp_path / "data/words/a").iterdir()) == [".done.words.json", "0.js", "1.js"]
