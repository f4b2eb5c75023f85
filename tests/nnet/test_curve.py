"""The event files that TensorBoard reads."""

import struct

import pytest

from lstmp.nnet.curve import write_events

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

RECORD = {"learning_rate": 0.001, "batches": 10, "frames": 1000, "loss_train": 2.5, "accuracy_train": 0.5,
          "loss_valid": 2.75, "accuracy_valid": 0.4375, "seconds": 4.0, "frames_per_second": 250}


def shown(folder) -> dict[tuple[str, int], float]:
    """(tag, epoch) → value, read from the event files: records of length, checksum, bytes, checksum."""
    values = {}
    for path in sorted(folder.iterdir()):
        data, offset = path.read_bytes(), 0
        while offset < len(data):
            size, = struct.unpack_from("<Q", data, offset)
            event = event_pb2.Event.FromString(data[offset + 12:offset + 12 + size])
            offset += size + 16
            values |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
    return values


def test_every_epoch_is_written(tmp_path):
    write_events({"epoch": 1} | RECORD, tmp_path / "tb")
    write_events({"epoch": 2} | RECORD | {"loss_valid": 2.5}, tmp_path / "tb")
    values = shown(tmp_path / "tb")
    assert values["loss/held_out", 1] == 2.75 and values["loss/held_out", 2] == 2.5
    assert values["accuracy/train", 2] == 0.5 and values["run/frames_per_second", 1] == 250
    assert {tag for tag, _ in values} == {"loss/train", "loss/held_out", "accuracy/train", "accuracy/held_out",
                                          "run/learning_rate", "run/seconds", "run/frames_per_second"}


def test_a_new_training_does_not_keep_the_last_ones_curves(tmp_path):
    for epoch in (1, 2, 1):
        write_events({"epoch": epoch} | RECORD, tmp_path / "tb")
    assert {step for _, step in shown(tmp_path / "tb")} == {1}
