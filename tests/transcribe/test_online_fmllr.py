"""An exported network with online fMLLR, untrained: live it recognizes the same as offline, and it keeps a speaker."""


import numpy as np
import pytest
import torch
from helpers.five_words import babble, export_options, make_parts, one_segment

from lstmp.corpus.audio import read_audio
from lstmp.decode.online import OnlineSearch
from lstmp.features.extract import compute_features
from lstmp.transcribe import export
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.recognizer import Recognizer
from lstmp.transcribe.transcribe import LiveModel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online-fmllr")
    export.main(export_options(make_parts(folder, "online_fmllr", freq_masks=0), folder / "model"))
    return folder / "model"


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_a_segment_has_the_words_of_offline_decoding(model, recording, pieces):
    samples = read_audio(recording)
    live, segment = one_segment(model, samples, pieces)
    feats = torch.from_numpy(compute_features(samples, live.features))
    assert feats.shape[1] == 13 and live.network.adapter is not None
    whole = OnlineSearch(live.graph, live.search)
    whole.accept(live.network(feats))
    words = tuple(live.names[w] for _, w in live.graph.words_on(whole.finish().arcs))
    assert segment.words == words and len(words) > 1


def test_what_was_heard_of_a_speaker_is_kept_and_used(model, tmp_path):
    recognizer, file = Recognizer(model), tmp_path / "anna.safetensors"
    samples = (babble(6.0) / 32768).astype(np.float32)
    network, heard = LiveModel(ModelFolder.load(model)).network, []
    for _ in range(2):
        with recognizer.stream(speaker=file) as stream:
            found = [*stream.accept(samples, 16000), *stream.finish()]
        assert any(s.final and s.words for s in found)
        heard.append(file.read_bytes())
    assert heard[0] != heard[1]
    feats = compute_features(32768 * samples, LiveModel(ModelFolder.load(model)).features)
    before = network.listen(feats, None)
    fresh, known = network.batch([torch.from_numpy(feats)] * 2, [None, before])
    assert not torch.allclose(fresh[:20], known[:20], atol=1e-3), "from the first frame on"
