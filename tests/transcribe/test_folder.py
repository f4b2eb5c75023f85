"""model.json of a folder from an unknown source: every value is checked, and no file outside the folder is read."""

import json

import pytest

from lstmp.errors import UserError
from lstmp.transcribe.folder import FORMAT, ModelFolder

GOOD = {"format": FORMAT, "feature": "fbank", "adapts": False, "live": True, "lm_weight": 8.0, "word_penalty": 0.5,
        "silent": [0, 1], "files": {"network/x": 3}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m" / "network").mkdir(parents=True)
    (tmp_path / "m" / "network" / "x").write_bytes(b"abc")
    (tmp_path / "outside").write_bytes(b"abc")
    return tmp_path / "m"


def load(folder, **changes):
    (folder / "model.json").write_text(json.dumps({**GOOD, **changes}))
    return ModelFolder.load(folder)


def test_a_valid_description_is_read(folder):
    found = load(folder, lm_weight=8)
    assert (found.feature, found.adapts, found.live, found.silent) == ("fbank", False, True, [0, 1])
    assert found.lm_weight == 8 and isinstance(found.lm_weight, float)


@pytest.mark.parametrize("changes, words", [
    ({"lm_weight": "8"}, "`lm_weight` must be a number"), ({"lm_weight": True}, "`lm_weight` must be a number"),
    ({"lm_weight": 0}, "LM weight of 0"), ({"word_penalty": [1]}, "`word_penalty` must be a number"),
    ({"adapts": 1}, "`adapts` must be true or false"), ({"live": None}, "`live` must be true or false"),
    ({"feature": ["fbank"]}, "`feature` must be text"), ({"feature": "../x"}, "features of unknown type '../x'"),
    ({"silent": "all"}, "`silent` must be"), ({"silent": [0.5]}, "`silent` must be a whole number"),
    ({"files": ["network/x"]}, "a part of the description is missing"), ({"files": {"network/x": "3"}}, "3 of 3 bytes"),
    ({"files": {"../outside": 3}}, "'../outside' among its files"), ({"files": {"/etc/x": 3}}, "'/etc/x' among"),
    ({"files": {"network/../../outside": 3}}, "among its files"), ({"files": {"": 3}}, "'' among its files"),
    ({"files": {"a\0b": 3}}, "among its files"), ({"format": ["x"]}, "not a model in the format"),
])
def test_impossible_values_are_errors(folder, changes, words):
    with pytest.raises(UserError) as e:
        load(folder, **changes)
    assert words in str(e.value) and "model.json" in str(e.value) or words == "3 of 3 bytes" and words in str(e.value)
