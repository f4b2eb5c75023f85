"""Phones and states of the decoder's best path."""

from pathlib import Path

import numpy as np
import pytest

from lstmp import config
from lstmp.corpus.lang import Lang
from lstmp.decode.ctm import confident_path
from lstmp.decode.lattice import read_lattices
from lstmp.decode.nbest import chosen_weights, lattice_files
from lstmp.gmm.beam_align import BeamAligner
from lstmp.gmm.model import AcousticModel
from lstmp.report.path_aligner import PathAligner


@pytest.fixture(params=["mono", "lstmp"])
def decoded(experiment, request):
    """Model, lang folder, and the best path of each utterance: utterance → (words, confidences, pdf-ids)."""
    folder = experiment / f"exp/{request.param}/decode_lm_train"
    model = AcousticModel.load(config.read_json(folder / "decode.json", "")["model"])
    weights = chosen_weights(folder, None, None)
    paths = {utt: confident_path(x, *weights) for p in lattice_files(folder) for utt, x in read_lattices(p).items()}
    assert len(paths) == 6
    return model, Lang.load(Path(experiment / "data/lang_lm")), paths


@pytest.mark.parametrize("compiled", [True, False])
def test_the_path_has_exactly_the_states_of_the_lattice(decoded, monkeypatch, compiled):
    model, lang, paths = decoded
    if not compiled:
        monkeypatch.setattr(BeamAligner, "available", staticmethod(lambda device: False))
    aligner = PathAligner(model, lang)
    for utt, (words, _, pdfs) in paths.items():
        tids = aligner(words, pdfs)
        assert tids is not None, utt
        model.transitions.check(utt, tids)
        assert model.transitions.tid_pdf.numpy()[tids].tolist() == pdfs.tolist()


def test_words_without_such_a_path_have_none(decoded):
    model, lang, paths = decoded
    aligner = PathAligner(model, lang)
    words, _, pdfs = max(paths.values(), key=lambda p: len(p[2]))
    assert aligner(words * 30, pdfs) is None  # more words than there are frames for
    assert aligner(words, np.full_like(pdfs, model.transitions.num_pdfs)) is None  # of another model
    assert aligner(words, (pdfs + 3) % model.transitions.num_pdfs) is None  # other states
