"""The learning curves of an experiment, for its report."""

import json

from helpers.toy_data import run

from lstmp.nnet.learning_curves import curves, write_curves
from lstmp.shards import read_shard

EPOCH = {"epoch": 1, "learning_rate": 0.002, "loss_train": 2.5, "accuracy_train": 0.25, "loss_valid": 2.25,
         "accuracy_valid": 0.375, "seconds": 90, "frames_per_second": 1000, "batches": 7}


def test_curves_are_those_of_the_logs(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    second = {**EPOCH, "epoch": 2, "seconds": 30}
    (tmp_path / "a/log.jsonl").write_text(f"{json.dumps(EPOCH)}\n{json.dumps(second)}\n{json.dumps(second)[:20]}")
    (tmp_path / "a/train.json").write_text("{}")
    (tmp_path / "b/log.jsonl").write_text(json.dumps(EPOCH) + "\n")
    found = curves(tmp_path, "x.")
    assert {name: (len(x["epochs"]), x["running"]) for name, x in found.items()} == {
        "x.a": (2, False), "x.b": (1, True)}
    assert found["x.b"]["epochs"] == [{
        "epoch": 1, "loss": 2.5, "accuracy": 25, "valid_loss": 2.25, "valid_accuracy": 37.5, "rate": 0.002,
        "frames_per_second": 1000, "minutes": 1.5}]
    assert [e["minutes"] for e in found["x.a"]["epochs"]] == [1.5, 2]
    write_curves(tmp_path / "report", {"": tmp_path, "again.": tmp_path})
    assert set(read_shard(tmp_path / "report", "curves")["systems"]) == {"a", "b", "again.a", "again.b"}


def test_what_is_no_number_is_left_out(tmp_path):
    (tmp_path / "a").mkdir()
    bad = {**EPOCH, "loss_valid": float("nan"), "accuracy_train": "high", "seconds": "long"}
    (tmp_path / "a/log.jsonl").write_text(json.dumps(bad) + "\n")
    (epoch,) = curves(tmp_path)["a"]["epochs"]
    assert epoch == {"epoch": 1, "loss": 2.5, "valid_accuracy": 37.5, "rate": 0.002, "frames_per_second": 1000,
                     "minutes": 0}


def test_a_training_writes_them_after_each_epoch_if_there_is_a_report(toy, small_config):
    out = run(toy, small_config(epochs=1))
    assert not (toy.path / "report").exists()
    (toy.path / "report").mkdir()
    run(toy, small_config(epochs=2), "second")
    systems = read_shard(toy.path / "report", "curves")["systems"]
    assert [len(systems[name]["epochs"]) for name in (out.name, "second")] == [1, 2]
    assert systems["second"]["running"]  # there is no train.json before the end


def test_curves_that_cannot_be_written_end_no_training(toy, small_config, capsys):
    (toy.path / "report").mkdir()
    (toy.path / "report/data").write_text("a file")
    run(toy, small_config(epochs=1), "third")
    assert capsys.readouterr().err.startswith("warning: the learning curves of the report cannot be written: ")
