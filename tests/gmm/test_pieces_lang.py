"""A lang folder of word pieces cannot be used with transcripts of words."""

import numpy as np
import pytest

from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.errors import UserError
from lstmp.features.ark import ArkWriter
from lstmp.features.load import FeatureConfig
from lstmp.gmm.shard import Shard


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lexicon").write_text("▁BA B A\nKI▁ K I\n")
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    data = tmp_path / "data"
    data.mkdir()
    with ArkWriter(data / "feats.ark", data / "feats.scp") as ark:
        ark.write("a", np.zeros((9, 3), np.float32))
    for name, text in (("utt2spk", "a a"), ("spk2utt", "a a"), ("wav.scp", "a a.wav")):
        (data / name).write_text(text + "\n")
    return tmp_path


def shard(folder, transcript):
    (folder / "data/text").write_text(f"a {transcript}\n")
    return Shard(folder / "data", Lang.load(folder / "lang"), FeatureConfig("mfcc", "none", 0), "cpu")


def test_transcripts_of_words_are_an_error_and_transcripts_of_pieces_are_not(folder):
    with pytest.raises(UserError, match="its entries are pieces of words, but the transcripts have words"):
        shard(folder, "BAKI")
    assert len(shard(folder, "▁BA KI▁").words["a"]) == 2
