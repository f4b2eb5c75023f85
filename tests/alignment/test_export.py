"""Exports of alignments whose words and phones are known."""

import gzip
import re
import shutil

import kaldi_io
import pytest
from helpers import spoken

from lstmp.alignment import export as export_alignment
from lstmp.alignment.word_times import word_segments
from lstmp.corpus.datadir import read_table, write_table
from lstmp.corpus.ids import file_name
from lstmp.features.ark import write_int_vectors
from lstmp.gmm.align import Segment, read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.kaldi import import_alignment as kaldi_import
from lstmp.kaldi.import_alignment import read_model


@pytest.fixture(scope="module", params=[True, False], ids=["marks", "no marks"])
def toy(tmp_path_factory, request):
    return spoken.make(tmp_path_factory.mktemp("spoken"), marks=request.param)


def export(toy, out, *options):
    export_alignment.main(["--ali", str(toy.ali), "--lang", str(toy.lang_dir), "--out", str(out), *options])
    return out


def test_ctm_files_have_the_true_words_and_times(toy, tmp_path):
    out = export(toy, tmp_path, "--data", str(toy.data), "--format", "ctm")
    lines = [line.split() for line in (out / "words.ctm").read_text().splitlines()]
    expected = [(u, "1", w, a, n) for u in sorted(toy.words) for w, a, n in toy.words[u]]
    got = [(u, c, w, round(float(a) * 100), round(float(n) * 100)) for u, c, a, n, w in lines]
    assert got == expected
    assert (out / "phones.ctm").read_bytes() == (toy.ali / "phones.ctm").read_bytes()
    assert not (out / "kaldi").exists() and not (out / "textgrid").exists()


def parse_textgrid(text):
    """Parse the long text format: tier → [(xmin, xmax, text)]; all counts and orders are checked."""
    head = re.match(r'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = ([\d.]+)\n'
                    r"tiers\? <exists>\nsize = (\d+)\nitem \[\]:\n", text)
    tiers = {}
    for n, part in enumerate(re.split(r"    item \[\d+\]:\n", text[head.end():])[1:], 1):
        assert f"    item [{n}]:\n" in text
        name, end, size = re.match(r'        class = "IntervalTier"\n        name = "(\w+)"\n        xmin = 0\n'
                                   r"        xmax = ([\d.]+)\n        intervals: size = (\d+)\n", part).groups()
        found = re.findall(r"        intervals \[(\d+)\]:\n            xmin = ([\d.]+)\n            xmax = ([\d.]+)\n"
                           r'            text = "((?:[^"]|"")*)"\n', part)
        assert [int(f[0]) for f in found] == list(range(1, int(size) + 1)) and end == head[1]
        tiers[name] = [(float(a), float(b), label.replace('""', '"')) for _, a, b, label in found]
        assert tiers[name][0][0] == 0 and tiers[name][-1][1] == float(end)
        assert all(x[1] == y[0] and x[0] < x[1] for x, y in zip(tiers[name], tiers[name][1:], strict=False))
    assert len(tiers) == int(head[2])
    return tiers


def test_textgrids_cover_the_utterance(toy, tmp_path):
    out = export(toy, tmp_path, "--data", str(toy.data), "--format", "textgrid")
    transitions = AcousticModel.load(toy.ali).transitions
    assert len(list((out / "textgrid").iterdir())) == len(toy.alignment)
    for utt, tids in toy.alignment.items():
        tiers = parse_textgrid((out / "textgrid" / f"{utt}.TextGrid").read_text(encoding="utf-8"))
        assert list(tiers) == ["words", "phones", "states"]
        frames = {name: [label for a, b, label in tier for _ in range(round(100 * (b - a)))]
                  for name, tier in tiers.items()}
        words = [""] * len(tids)
        for word, start, length in toy.words[utt]:
            words[start:start + length] = [word] * length
        assert frames["words"] == words
        assert [(t[2], round(100 * t[0])) for t in tiers["words"] if t[2]] == [(w, a) for w, a, _ in toy.words[utt]]
        assert frames["phones"] == [toy.lang.phone_names[p] for p in transitions.tid_phone.numpy()[tids]]
        assert frames["states"] == [str(p) for p in transitions.tid_pdf.numpy()[tids]]
        starts = {round(100 * t[0]) for t in tiers["states"]}
        assert starts >= {s.start for s in segments(tids, transitions)}


def test_utterance_ids_that_are_paths_do_not_leave_the_output_folder(toy, tmp_path):
    ids = {utt: f"{part}{utt}" for utt, part in zip(toy.alignment, (f"{tmp_path}/", "../../", "a/b/"), strict=False)}
    shutil.copytree(toy.ali, tmp_path / "ali")
    write_int_vectors(tmp_path / "ali" / "ali.ark", ((new, toy.alignment[utt]) for utt, new in ids.items()))
    (tmp_path / "data").mkdir()
    write_table(tmp_path / "data" / "text", {new: read_table(toy.data / "text")[utt] for utt, new in ids.items()})
    export_alignment.main(["--ali", str(tmp_path / "ali"), "--lang", str(toy.lang_dir), "--data",
                           str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--format", "textgrid"])
    assert {p.name for p in (tmp_path / "out" / "textgrid").iterdir()} == {f"{file_name(u)}.TextGrid"
                                                                           for u in ids.values()}
    assert {p.name for p in tmp_path.iterdir()} == {"ali", "data", "out"}


def test_an_exported_kaldi_folder_is_imported_again_without_change(toy, tmp_path):
    out = export(toy, tmp_path / "out", "--format", "kaldi")
    folder = out / "kaldi"
    model = AcousticModel.load(toy.ali)
    pdfs = model.transitions.tid_pdf.numpy()
    for name, expected in (("ali", toy.alignment), ("pdf", {u: pdfs[t] for u, t in toy.alignment.items()})):
        with gzip.open(folder / f"{name}.1.gz", "rb") as f:
            got = dict(kaldi_io.read_vec_int_ark(f))
        assert list(got) == sorted(expected) and all((got[u] == expected[u]).all() for u in expected)
    assert (folder / "num_jobs").read_text() == "1\n"
    tree, transitions = read_model(folder)
    assert transitions.tuples.equal(model.transitions.tuples) and transitions.log_prob.equal(model.transitions.log_prob)
    kaldi_import.main(["--kaldi", str(folder), "--lang", str(toy.lang_dir), "--out", str(tmp_path / "back")])
    back = read_alignment(tmp_path / "back")
    assert back.keys() == toy.alignment.keys()
    assert all((back[u] == toy.alignment[u]).all() for u in back)
    for name in ("phones.ctm", "num_pdfs", "topo", "pdf.ark", "ali.ark"):
        assert (tmp_path / "back" / name).read_bytes() == (toy.ali / name).read_bytes(), name


def test_utterances_that_do_not_fit_their_transcript_are_left_out_with_a_warning(toy, tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    lines = (toy.data / "text").read_text().splitlines()
    (data / "text").write_text("\n".join([lines[0].split()[0] + " DARE DARE DARE", *lines[1:-1]]) + "\n")
    out = export(toy, tmp_path / "out", "--data", str(data), "--format", "ctm")
    said = capsys.readouterr().err
    first, last = lines[0].split()[0], lines[-1].split()[0]
    assert f"no words for {first}: its phones are not a pronunciation of its transcript" in said
    assert f"no words for {last}: {data}/text: it has no transcript" in said
    got = {line.split()[0] for line in (out / "words.ctm").read_text().splitlines()}
    assert got == set(toy.words) - {first, last}
    assert {line.split()[0] for line in (out / "phones.ctm").read_text().splitlines()} == set(toy.words)
    (data / "text").write_text("".join(f"{u} DARE DARE DARE DARE DARE DARE\n" for u in sorted(toy.words)))
    with pytest.raises(SystemExit):
        export(toy, tmp_path / "none", "--data", str(data))
    assert "text: no utterance of the alignment has words" in capsys.readouterr().err


def test_what_cannot_be_exported_gives_a_one_line_error(toy, tmp_path, capsys):
    for options, message in [([], "error: --data is needed for the words; give the data dir"),
                             (["--format", "kaldi", "--model", str(toy.ali)], "or mixtures for other states")]:
        with pytest.raises(SystemExit):
            export(toy, tmp_path / "out", *options)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "kaldi").exists()


def test_words_without_marks_are_found_by_their_pronunciations(tmp_path):
    """The phones A R can be words or parts of words in several ways; the transcript decides."""
    lang = spoken.make(tmp_path, marks=False, utts=1).lang
    a, r = (lang.lexicon[lang.words[w]][0][1][0] for w in ("A", "OR"))
    sil = lang.optional_silence
    phones = [Segment(p, 3 * i, 3) for i, p in enumerate([sil, a, r, a, r, sil, r])]
    assert word_segments(phones, ["ARE", "A", "OR", "OR"], lang) == [("ARE", 3, 6), ("A", 9, 3), ("OR", 12, 3),
                                                                    ("OR", 18, 3)]
    assert word_segments(phones, ["A", "OR", "ARE", "OR"], lang) == [("A", 3, 3), ("OR", 6, 3), ("ARE", 9, 6),
                                                                    ("OR", 18, 3)]


def test_times_follow_the_frame_shift_of_the_alignment(tmp_path):
    toy = spoken.make(tmp_path / "toy", shift=0.0125)
    out = export(toy, tmp_path / "out", "--data", str(toy.data), "--format", "ctm", "textgrid")
    utt, words = next((u, w) for u, w in sorted(toy.words.items()) if len(w) > 2)
    found = [line.split() for line in (out / "words.ctm").read_text().splitlines() if line.startswith(f"{utt} ")]
    assert [(float(a), float(n)) for _, _, a, n, _ in found] == [
        pytest.approx((0.0125 * a, 0.0125 * n), abs=6e-4) for _, a, n in words]
    tiers = parse_textgrid((out / f"textgrid/{utt}.TextGrid").read_text())
    assert tiers["phones"][-1][1] == pytest.approx(0.0125 * len(toy.alignment[utt]))
