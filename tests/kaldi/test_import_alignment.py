"""Import of Kaldi alignment folders, and its error messages."""

import gzip

import kaldi_io
import numpy as np
import pytest
from helpers import kaldi_bytes as kb

from lstmp.errors import UserError
from lstmp.features.ark import read_int_vectors
from lstmp.gmm.align import read_alignment
from lstmp.gmm.model import AcousticModel
from lstmp.kaldi import import_alignment as kaldi_import
from lstmp.kaldi.import_alignment import import_alignment, is_kaldi_alignment

ALI = {"a-1": [2, 1, 1, 4, 3, 6], "a-2": [8, 10, 9, 9], "b-1": [2, 2, 4, 6]}
PDFS = {"a-1": [0, 0, 0, 1, 1, 2], "a-2": [3, 4, 4, 4], "b-1": [0, 0, 1, 2]}
PHONES = "<eps> 0\nSIL 1\nAA 2\nB 3\n#0 4\n"
CTM = ["a-1 1 0.000 0.030 SIL", "a-1 1 0.030 0.030 AA", "a-2 1 0.000 0.040 B", "b-1 1 0.000 0.010 SIL",
       "b-1 1 0.010 0.010 SIL", "b-1 1 0.020 0.020 AA"]


@pytest.fixture
def folder(tmp_path):
    """A Kaldi alignment folder with three utterances in two parts, one binary and one text."""
    kaldi = tmp_path / "kaldi_ali"
    kaldi.mkdir()
    (kaldi / "ali.1.gz").write_bytes(kb.gzipped_ark({u: ALI[u] for u in ("b-1", "a-1")}))
    (kaldi / "ali.2.gz").write_bytes(gzip.compress(b"a-2 8 10 9 9 \n"))
    (kaldi / "num_jobs").write_text("2\n")
    (kaldi / "tree").write_bytes(kb.MONO_TREE)
    (kaldi / "final.mdl").write_bytes(kb.MONO_MODEL)
    (kaldi / "phones.txt").write_text(PHONES)
    return kaldi


def vectors(path):
    return {utt: v.tolist() for utt, v in read_int_vectors(path)}


def test_a_kaldi_alignment_folder_is_imported(folder, tmp_path, capsys):
    assert is_kaldi_alignment(folder)
    out = tmp_path / "ali"
    kaldi_import.main(["--kaldi", str(folder), "--out", str(out)])
    assert {u: t.tolist() for u, t in read_alignment(out).items()} == ALI
    assert vectors(out / "pdf.scp") == PDFS and (out / "num_pdfs").read_text() == "5\n"
    assert (out / "phones.ctm").read_text().splitlines() == CTM
    model = AcousticModel.load(out)
    assert model.transitions.tuples.tolist() == [list(t) for t in kb.TRIPLES] and model.tree.pdf((3,), 1) == 4
    assert not is_kaldi_alignment(out)
    capsys.readouterr()
    kaldi_import.main(["--kaldi", str(folder), "--out", str(out)])
    assert "import is done" in capsys.readouterr().out
    (folder / "ali.2.gz").write_bytes(gzip.compress(b"a-2 8 8 10 9 \n"))
    kaldi_import.main(["--kaldi", str(folder), "--out", str(out)])
    assert vectors(out / "pdf.ark")["a-2"] == [3, 3, 4, 4]


def test_an_archive_written_by_kaldi_io_is_imported(folder, tmp_path):
    with open(tmp_path / "ali.ark", "wb") as f:
        for utt in ("b-1", "a-1"):
            kaldi_io.write_vec_int(f, np.array(ALI[utt], dtype=np.int32), utt)
    (folder / "ali.1.gz").write_bytes(gzip.compress((tmp_path / "ali.ark").read_bytes()))
    import_alignment(folder, tmp_path / "ali")
    assert vectors(tmp_path / "ali" / "ali.ark") == ALI


def test_phones_txt_and_num_jobs_are_optional_and_the_model_may_be_in_another_folder(folder, tmp_path):
    (folder / "num_jobs").unlink()
    (folder / "phones.txt").unlink()
    model = tmp_path / "tri"
    model.mkdir()
    for name in ("tree", "final.mdl"):
        (folder / name).rename(model / name)
    import_alignment(folder, tmp_path / "ali", model=model)
    assert vectors(tmp_path / "ali" / "pdf.ark") == PDFS
    assert (tmp_path / "ali" / "phones.ctm").read_text().splitlines()[0] == "a-1 1 0.000 0.030 1"


class FakeLang:
    """The attributes of a lang folder that the importer uses."""

    def __init__(self, path, **phones):
        path.mkdir()
        self.dir, self.phones, self.silence, self.nonsilence = path, phones, [phones["SIL"]], []
        self.nonsilence = [i for name, i in phones.items() if name != "SIL"]
        self.phone_names = {i: name for name, i in phones.items()}
        (path / "phones.txt").write_text("<eps> 0\n" + "".join(f"{n} {i}\n" for n, i in phones.items()))


@pytest.fixture
def lang(tmp_path, monkeypatch):
    """A function that makes a lang folder with the given phones: ``lang(SIL=1, …)``."""
    def make(**phones):
        fake = FakeLang(tmp_path / f"lang-{len(list(tmp_path.glob('lang-*')))}", **phones)
        monkeypatch.setattr(kaldi_import.Lang, "load", lambda directory: fake)
        return fake.dir
    return make


def test_phones_are_renumbered_by_name(folder, tmp_path, lang):
    import_alignment(folder, tmp_path / "same", lang=lang(SIL=1, AA=2, B=3))
    assert vectors(tmp_path / "same" / "ali.ark") == ALI
    import_alignment(folder, tmp_path / "other", lang=lang(SIL=1, B=5, AA=7))
    model = AcousticModel.load(tmp_path / "other")
    assert model.transitions.tuples.tolist() == [[1, 0, 0], [5, 0, 3], [5, 1, 4], [7, 0, 1], [7, 1, 2]]
    assert vectors(tmp_path / "other" / "pdf.ark") == PDFS
    assert vectors(tmp_path / "other" / "ali.ark")["a-2"] == [4, 6, 5, 5]
    assert (tmp_path / "other" / "phones.ctm").read_text().splitlines() == CTM
    (folder / "phones.txt").unlink()
    import_alignment(folder, tmp_path / "numbers", lang=lang(SIL=1, X=2, Y=3))
    assert vectors(tmp_path / "numbers" / "ali.ark") == ALI
    with pytest.raises(UserError, match="the model has 3 phones, .*lang-3 has 3 or other numbers for them, and there "):
        import_alignment(folder, tmp_path / "o", lang=lang(SIL=1, X=2, Y=4))


@pytest.mark.parametrize("phones,message", [
    ({"SIL": 1, "AA": 2, "B": 3, "C": 4}, "phones.txt: phone C is not in it; give the lang folder"),
    ({"SIL": 1, "AA": 2}, "phones.txt: phone B is not a phone of the lang folder")])
def test_a_lang_folder_with_other_phones_is_an_error(folder, tmp_path, lang, phones, message):
    with pytest.raises(UserError, match=message):
        import_alignment(folder, tmp_path / "ali", lang=lang(**phones))


def cut(path):
    path.write_bytes(path.read_bytes()[:-12])


BAD = {
    "no such id": (lambda f: (f / "ali.2.gz").write_bytes(kb.gzipped_ark({"a-2": [8, 11]})),
                   r"ali.2.gz: transition-id 11 in a-2, but .*final.mdl has 1 to 10; give the tree"),
    "id 0": (lambda f: (f / "ali.2.gz").write_bytes(kb.gzipped_ark({"a-2": [8, 0]})), r"ali.2.gz: transition-id 0"),
    "missing part": (lambda f: (f / "ali.1.gz").unlink(),
                     r"ali.1.gz: no such file, although the alignment has 2 parts; copy all"),
    "missing last": (lambda f: (f / "num_jobs").write_text("3"),
                     r"ali.3.gz: no such file, although the alignment has 3 parts"),
    "jobs": (lambda f: (f / "num_jobs").write_text("two"), r"num_jobs:1: 'two' is not a number of jobs"),
    "cut off": (lambda f: cut(f / "ali.1.gz"), r"ali.1.gz: the archive is cut off or damaged at byte \d+; copy it"),
    "not an archive": (lambda f: (f / "ali.1.gz").write_bytes(b"a-1 1 x 3\n"), r"ali.1.gz: the archive is cut off"),
    "not integers": (lambda f: (f / "ali.2.gz").write_bytes(gzip.compress(b"a-2 8 x 9 \n")), r"ali.2.gz: the archive"),
    "twice": (lambda f: (f / "ali.2.gz").write_bytes(kb.gzipped_ark({"a-1": [8]})),
              r"ali.2.gz: utterance a-1 occurs twice in the alignment"),
    "empty": (lambda f: [(f / f"ali.{n}.gz").write_bytes(gzip.compress(b"")) for n in (1, 2)], r"no utterance in it"),
    "no model": (lambda f: (f / "final.mdl").unlink(), r"final.mdl: no such file; give the folder that has it"),
    "no tree": (lambda f: (f / "tree").unlink(), r"tree: no such file; give the folder that has it"),
    "other tree": (lambda f: (f / "tree").write_text(kb.MONO_TREE_TEXT.replace("CE 4 )", "CE 5 )")),
                   r"final.mdl: 5 pdfs, but the tree in the same folder has 6; give the tree and the final.mdl"),
    "phones": (lambda f: (f / "phones.txt").write_text("<eps> 0\nSIL 1\n"), r"phones.txt: 2 phones of final.mdl"),
    "subsampled": (lambda f: (f / "frame_subsampling_factor").write_text("3\n"), r"alignment has subsampled frames"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_folder_gives_a_one_line_error(folder, tmp_path, capsys, name):
    spoil, message = BAD[name]
    spoil(folder)
    with pytest.raises(UserError, match=message):
        import_alignment(folder, tmp_path / "ali")
    with pytest.raises(SystemExit):
        kaldi_import.main(["--kaldi", str(folder), "--out", str(tmp_path / "ali")])
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ")
    assert not (tmp_path / "ali" / "pdf.ark").exists() and not (tmp_path / "ali" / ".done.import.json").exists()
