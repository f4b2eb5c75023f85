"""Reading alignment folders."""

import shutil

import numpy as np
import pytest

from lstmp.errors import UserError
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.model import AcousticModel


def test_transitions_pdfs_and_phones_of_a_folder_agree(ali_dir):
    tids, pdfs, phones = (read_alignment(ali_dir, what) for what in ("transitions", "pdfs", "phones"))
    transitions = AcousticModel.load(ali_dir).transitions
    assert set(tids) == set(pdfs) == set(phones) and len(tids) > 1
    for utt, ids in tids.items():
        assert ids.dtype == pdfs[utt].dtype == np.int32
        assert np.array_equal(transitions.tid_pdf.numpy()[ids], pdfs[utt])
        times = [(s.start / 100, (s.start + s.length) / 100) for s in segments(ids, transitions)]
        assert np.allclose([p[1:] for p in phones[utt]], times) and phones[utt][-1][2] == len(ids) / 100
    assert list(read_alignment(ali_dir)) == list(tids)
    some = list(tids)[1:5:2]
    for what, every in (("transitions", tids), ("phones", phones)):
        chosen = read_alignment(ali_dir, what, only={*some, "absent"})
        assert list(chosen) == some and all(np.array_equal(chosen[u], every[u]) for u in some)


def test_words_are_read_from_a_ctm_with_and_without_confidences(tmp_path):
    (tmp_path / "words.ctm").write_text("u1 1 0.100 0.250 HELLO\nu1 1 0.350 0.070 YOU 0.912\nu2 1 0.000 1.000 NO\n")
    assert read_alignment(tmp_path, "words") == {"u1": [("HELLO", 0.1, 0.35), ("YOU", 0.35, 0.42)],
                                                 "u2": [("NO", 0.0, 1.0)]}
    (tmp_path / "words.ctm").write_text("u1 1 0.100 0.250 HELLO\nu1 1 x 0.070 YOU\n")
    with pytest.raises(UserError, match="words.ctm:2: not `utterance channel begin duration label`"):
        read_alignment(tmp_path, "words")


def test_missing_and_damaged_files_are_errors(ali_dir, tmp_path):
    with pytest.raises(UserError, match="ask for one of transitions, pdfs, phones, words"):
        read_alignment(ali_dir, "states")
    with pytest.raises(UserError, match="words.ctm: no such alignment; give a folder that lstmp.align"):
        read_alignment(ali_dir, "words")
    with pytest.raises(UserError, match="ali.ark: no such alignment; run steps/align.sh first"):
        read_alignment(tmp_path)
    shutil.copytree(ali_dir, tmp_path / "cut")
    (tmp_path / "cut/ali.ark").write_bytes((ali_dir / "ali.ark").read_bytes()[:-5])
    with pytest.raises(UserError, match="ali.ark: the archive is cut off"):
        read_alignment(tmp_path / "cut")
