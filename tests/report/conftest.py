"""A small experiment with results: two systems, whose only set is their training data."""

import shutil

import pytest
from helpers import world

from lstmp.decode import decode
from lstmp.score import results, score


@pytest.fixture(scope="session")
def experiment(tmp_path_factory):
    """A folder with conf/, data/ and exp/ (mono, lstmp, results.json)."""
    root = tmp_path_factory.mktemp("report")
    world.build(root)
    exp, data = root / "exp", root / "data"
    decode.main(["--model", f"{exp}/lstmp", "--graph", f"{exp}/mono/graph_lm", "--data", f"{data}/train_fbank",
                 "--out", f"{exp}/lstmp/decode_lm_train", "--config", f"{root}/conf/decode.yaml"])
    for system in ("mono", "lstmp"):
        score.main(["--dev", f"{exp}/{system}/decode_lm_train", "--config", f"{root}/conf/score.yaml"])
    results.main(["--recipe-dir", str(exp), "--title", "small", "--systems", "mono", "lstmp", "--sets", "train",
                  "--lms", "lm", "--train-data", f"{data}/train", "--command", "./run.sh --seed 2"])
    shutil.copytree(root / "conf", exp / "conf")
    return root
