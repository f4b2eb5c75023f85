"""The frames of a team: what one process has loaded, the others get, in memory or in the archives."""

from types import SimpleNamespace

import torch

from lstmp import message
from lstmp.features.load import FeatureConfig
from lstmp.nnet.data import FrameSet
from lstmp.nnet.distributed.shared_frames import team_frames
from lstmp.nnet.frame_files import FrameFiles
from lstmp.nnet.load_frames import load_frames
from lstmp.nnet.model import StateNetwork


def test_frames_in_memory_and_in_files_are_shared(toy, small_config, tmp_path):
    def load(memory):
        frames = load_frames(toy.data, toy.ali, FeatureConfig("fbank", "none", 0), 5, 0.2, "test", memory=memory)
        return frames.normalized(*frames.mean_and_std())

    in_memory, in_files = load(1.0), load(1e-9)
    model = StateNetwork(small_config(), in_memory.dim, 5)
    team = SimpleNamespace(leads=True, size=2, gather=lambda value: [message.unpack(message.pack(value))] * 2)
    network, train, valid = team_frames(small_config(), team, tmp_path / "out", lambda: (model, in_files, in_memory))
    assert network is model and isinstance(train, FrameFiles) and isinstance(valid, FrameSet)
    for name, value in vars(in_memory).items():
        found = getattr(valid, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value
    for x, y in zip(train.read(2), in_files.read(2), strict=True):
        assert torch.equal(x, y)
    assert valid.features.data_ptr() != in_memory.features.data_ptr() and not list((tmp_path / "out").iterdir())
