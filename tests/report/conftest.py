"""A small experiment with results, whose only set is its training data; a browser, and a page with made-up data."""

import shutil
from pathlib import Path

import pytest
from helpers import browser, report_sample, small_experiment

from lstmp.decode import decode
from lstmp.score import results, score


@pytest.fixture(scope="session")
def experiment(tmp_path_factory):
    """A folder with conf/, data/ and exp/ (mono, lstmp, results.json)."""
    root = tmp_path_factory.mktemp("report")
    small_experiment.build(root)
    exp, data = root / "exp", root / "data"
    decode.main(["--model", f"{exp}/lstmp", "--graph", f"{exp}/mono/graph_lm", "--data", f"{data}/train_fbank",
                 "--out", f"{exp}/lstmp/decode_lm_train", "--config", f"{root}/conf/decode.yaml"])
    for system in ("mono", "lstmp"):
        score.main(["--dev", f"{exp}/{system}/decode_lm_train", "--config", f"{root}/conf/score.yaml"])
    results.main(["--recipe-dir", str(exp), "--title", "small", "--systems", "mono", "lstmp", "--sets", "train",
                  "--lms", "lm", "--train-data", f"{data}/train", "--command", "./run.sh --seed 2"])
    shutil.copytree(root / "conf", exp / "conf")
    return root


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium; skips where there is none."""
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("no Chromium with its driver")
    started = browser.Browser()
    yield started
    started.close()


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Path:
    """The page of a finished experiment with 1,000 utterances of a set."""
    return report_sample.write(tmp_path_factory.mktemp("finished"))
