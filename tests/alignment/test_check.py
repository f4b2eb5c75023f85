"""Check of transcripts: planted errors are found, and the reasons describe them."""

import csv
import shutil

import numpy as np
import pytest
import yaml
from helpers.known_gaussians import ALIGN, write_feats

from lstmp.alignment import check as check_alignment
from lstmp.alignment.biased import Departure
from lstmp.alignment.suspicion import JudgeConfig, Measurements, judge
from lstmp.corpus.datadir import read_table, write_table
from lstmp.features.ark import read_mat, read_scp

CHECK = {"align": ALIGN, "phone_cost": 2.0, "gap_cost": 3.0, "skip_cost": 3.0, "frame_cost": 0.5,
         "judge": {"max_gain": 6.0, "max_unlike": 6.0, "max_short": 8.0, "max_long": 9.0, "max_rate": 3.0}}
LIMITS = JudgeConfig(max_gain=5.0, max_unlike=3.0, max_short=4.0, max_long=6.0, max_rate=1.5)


def run(data, toy, model, out, *options, **changed):
    conf = out.parent / "check.yaml"
    conf.write_text(yaml.safe_dump({**CHECK, **changed}))
    check_alignment.main(["--data", str(data), "--lang", str(toy.lang), "--model", str(model), "--out", str(out),
                          "--config", str(conf), *options])
    lines = [line.split(maxsplit=2) for line in (out / "suspicious.txt").read_text().splitlines()]
    return {utt: reason for utt, _, reason in lines}


@pytest.fixture
def planted(toy, tmp_path):
    """A copy of the data with two swapped transcripts, one added word, and one utterance cut in half."""
    data = tmp_path / "data"
    shutil.copytree(toy.data, data)
    text = read_table(data / "text")
    text["s0-020"], text["s0-022"] = text["s0-022"], text["s0-020"]
    text["s1-025"] += " DEED"
    feats = {utt: read_mat(rx) for utt, rx in read_scp(toy.data / "feats.scp").items()}
    feats["s1-031"] = feats["s1-031"][:len(feats["s1-031"]) // 2]
    write_table(data / "text", text)
    write_feats(data, feats)
    return data


def test_planted_errors_are_found_with_few_false_alarms(toy, mono_dir, tri_dir, planted, tmp_path):
    bad = {"s0-020", "s0-022", "s1-025", "s1-031", "s1-short"}
    for model in (mono_dir, tri_dir):
        found = run(planted, toy, model, tmp_path / model.name)
        assert bad <= set(found) and len(found) <= len(bad) + 2, found
        assert found["s1-short"].startswith("cannot be aligned: 23 frames, but its transcript needs at least")
        assert "DEED not heard at" in found["s1-025"]
    rows = list(csv.DictReader(open(tmp_path / "mono" / "utterances.tsv"), delimiter="\t"))
    assert len(rows) == len(toy.truth) + 1
    assert [float(r["score"]) for r in rows] == sorted((float(r["score"]) for r in rows), reverse=True)


def test_the_number_of_processes_does_not_change_the_result(toy, mono_dir, planted, tmp_path):
    run(planted, toy, mono_dir, tmp_path / "one")
    run(planted, toy, mono_dir, tmp_path / "two", "--nj", "2")
    assert (tmp_path / "one" / "utterances.tsv").read_text() == (tmp_path / "two" / "utterances.tsv").read_text()


def test_an_unknown_word_is_not_a_departure_but_a_wrong_word_is(toy, mono_dir, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(toy.data, data)
    text = read_table(data / "text")
    known = text["s0-024"]
    text["s0-024"] = " ".join(["XYLOPHONE", *known.split()[1:]])
    write_table(data / "text", text)
    assert "s0-024" not in run(data, toy, mono_dir, tmp_path / "unknown")
    text["s0-024"] = " ".join(["DARE" if known.split()[0] != "DARE" else "ID", *known.split()[1:]])
    write_table(data / "text", text)
    assert "s0-024" in run(data, toy, mono_dir, tmp_path / "wrong")


def test_bad_input_gives_a_one_line_error(toy, ali_dir, mono_dir, tmp_path, capsys):
    for model, changed, expected in [(ali_dir, {}, "no Gaussian mixtures in it; give the folder of a GMM"),
                                     (mono_dir, {"gap_cost": -1}, "`gap_cost` must be 0 or more")]:
        with pytest.raises(SystemExit):
            run(toy.data, toy, model, tmp_path / "out", **changed)
        assert expected in capsys.readouterr().err.strip().splitlines()[-1]


def measurements(ratio=0.0, length=8, first=None, **given):
    phones = np.array([[0, 10 * i, first or length if i == 0 else length] for i in range(10)])
    return Measurements(frames=100, words=3, ratio=ratio, phones=phones, shortest=[3] * 10, **given)


def verdict(odd: Measurements):
    rng = np.random.default_rng(0)
    others = {f"a-{i}": measurements(float(x)) for i, x in enumerate(rng.normal(-0.1, 0.01, 20))}
    return judge({**others, "a-odd": odd}, dict.fromkeys([*others, "a-odd"], ["ONE", "TWO", "THREE"]),
                 dict.fromkeys([*others, "a-odd"], "a"), ["AH"], LIMITS, 0.01)


@pytest.mark.parametrize("odd,reason", [
    (measurements(-0.1, gain=10.0, departures=[Departure(50, 20, 1, 1, 20)]), "TWO not heard at 0.50 s"),
    (measurements(-0.1, gain=10.0, departures=[Departure(50, 20, 1, 0, 20)]), "0.20 s of speech at 0.50 s not in the"),
    (measurements(-0.1, gain=10.0, departures=[Departure(0, 50, 0, 2, 30)]), "2 of 3 words not heard"),
    (measurements(-0.4), "deviations worse than the speaker's other utterances"),
    (measurements(-0.1, length=3), "100% of its phones are of the shortest length"),
    (measurements(-0.1, first=60), "AH at 0.00 s lasts 0.60 s"),
    (measurements(-0.1, length=60), "spoken 0.13 times as fast"),
    (Measurements(failed="no path"), "cannot be aligned: no path")])
def test_the_reason_describes_what_is_odd(odd, reason):
    verdicts = verdict(odd)
    assert reason in verdicts["a-odd"].reason and verdicts["a-odd"].score >= 1 and next(iter(verdicts)) == "a-odd"
    assert all(v.score < 1 for u, v in verdicts.items() if u != "a-odd")


def test_normal_utterances_are_not_suspicious():
    assert verdict(measurements(-0.1))["a-odd"].score < 1
    assert verdict(Measurements(failed="x"))["a-3"].score < 1
    assert judge({"u": Measurements(failed="x")}, {}, {}, ["AH"], LIMITS, 0.01)["u"].score == np.inf
