"""A decoded dev and test set that are small enough for counting errors manually."""

import json

import pytest

from lstmp.corpus.datadir import Utterance, write_data_dir

REFS = {"dev": {"a-1": "ONE TWO THREE FOUR", "a-2": "FIVE SIX", "b-1": "SEVEN"},
        "test": {"c-1": "ONE ONE TWO", "d-1": "THREE"}}
# errors: dev 8_0: 3 of 7; dev 9_0: 2 of 7; dev 9_0.5: 2 of 7 (a tie: the lower penalty is chosen)
HYPS = {("dev", "8_0.0"): {"a-1": "ONE THREE FOUR FOUR", "a-2": "FIVE SIX", "b-1": ""},
        ("dev", "9_0.0"): {"a-1": "ONE TWO TREE FOUR", "a-2": "FIVE FIVE SIX", "b-1": "SEVEN"},
        ("dev", "9_0.5"): {"a-1": "ONE TWO TREE FOUR", "a-2": "FIVE", "b-1": "SEVEN"},
        ("test", "8_0.0"): {"c-1": "ONE ONE TWO", "d-1": "THREE"},
        ("test", "9_0.0"): {"c-1": "ONE TWO TWO", "d-1": "THREE OH"},
        ("test", "9_0.5"): {"c-1": "ONE", "d-1": ""}}


@pytest.fixture
def decoded(tmp_path):
    """A folder with data/{dev,test}, exp/mono/decode_tg_{dev,test} and exp/mono/train.json."""
    for name, texts in REFS.items():
        write_data_dir(tmp_path / "data" / name, [Utterance(u, u[0], f"{u}.wav", tuple(t.split()))
                                                  for u, t in texts.items()])
        folder = tmp_path / "exp" / "mono" / f"decode_tg_{name}"
        (folder / "scoring").mkdir(parents=True)
        for (set_name, cell), hyps in HYPS.items():
            if set_name == name:
                lines = [f"{u} {t}".strip() + "\n" for u, t in hyps.items()]
                (folder / "scoring" / f"{cell}.txt").write_text("".join(lines))
        (folder / "decode.json").write_text(json.dumps({
            "data": str(tmp_path / "data" / name), "audio_seconds": 10.0 if name == "dev" else 30.0, "seconds": 4.0,
            "processes": 1, "rtf": 0.4 if name == "dev" else 0.2, "failed": 0, "engine": "native"}))
    (tmp_path / "exp" / "mono" / "train.json").write_text(json.dumps(
        {"system": "mono", "params": 12345, "minutes": 1.5, "seed": 1, "config": "conf/mono.yaml"}))
    return tmp_path
