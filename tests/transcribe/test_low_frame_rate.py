"""Export, transcription and online recognition with a network with subsampling, untrained."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.five_words import babble, export_options, make_parts, one_segment

from lstmp.corpus.audio import read_audio
from lstmp.decode.decode_online import decode_pieces
from lstmp.decode.online import OnlineSearch
from lstmp.features.extract import compute_features
from lstmp.transcribe import export, transcribe
from lstmp.transcribe.recognizer import Recognizer


@pytest.fixture(scope="module", params=[{}, {"repeat_scores": True}, {"criterion": "lfmmi"}],
                ids=["output frames", "repeated", "lfmmi"])
def model(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("low-frame-rate")
    parts = make_parts(folder, subsampling=3, **request.param)
    export.main(export_options(parts, folder / "model"))
    return folder / "model"


def test_words_have_times_within_the_recording(model, recording, tmp_path):
    transcribe.main(["--model", str(model), "--format", "json", "--nj", "1", "--out", str(tmp_path), str(recording)])
    (path,) = tmp_path.glob("*.json")
    words = json.loads(path.read_text())["words"]
    assert len(words) > 3
    assert all(0 <= w["begin"] < w["end"] <= 9.0 and 0 <= w["confidence"] <= 1 for w in words)
    assert all(a["end"] <= b["begin"] + 1e-6 for a, b in zip(words[:-1], words[1:], strict=True))
    assert words[-1]["end"] > 4


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_a_segment_has_the_words_of_offline_decoding(model, recording, pieces):
    samples = read_audio(recording)
    live, segment = one_segment(model, samples, pieces)
    feats = torch.from_numpy(compute_features(samples, live.features))
    whole = OnlineSearch(live.graph, live.search)
    whole.accept(live.network(feats))
    decoded = decode_pieces(live.network, OnlineSearch(live.graph, live.search), feats, 11)
    assert decoded.words == [w for _, w in live.graph.words_on(whole.finish().arcs)]
    assert segment.words == tuple(live.names[w] for w in decoded.words) and len(segment.words) > 1
    step = live.network.subsampling
    assert (segment.begin, segment.end) == (0.0, pytest.approx(step * math.ceil(len(feats) / step) / 100))


def test_the_python_interface_recognizes_online(model):
    samples = (babble(6.0) / 32768).astype(np.float32)
    with Recognizer(model).stream() as stream:
        found = [s for block in np.array_split(samples, 50) for s in stream.accept(block, 16000)] + stream.finish()
    assert any(s.words for s in found) and all(0 <= s.begin < s.end <= 6.05 for s in found)
