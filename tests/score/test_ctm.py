"""Reading CTM files and comparing two phone alignments."""

import gzip

import numpy as np
import pytest

from lstmp.errors import UserError
from lstmp.score.compare_ctm import main
from lstmp.score.ctm import base_phone, compare, read_ctm

REF = "u 0.000 0.100 SIL\nu 0.100 0.100 AH0_B\nu 0.200 0.050 T_E\nu 0.250 0.100 SIL\nv 0.000 0.050 SIL\n"
# in HYP, T starts 30 ms earlier, the last silence starts 10 ms later and ends 20 ms later
HYP = "u 1 0.00 0.10 SIL\nu 1 0.10 0.07 AH1_I\nu 1 0.17 0.09 T_S\nu 1 0.26 0.11 SIL\nw 1 0.00 0.05 SIL\n"


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("phone, base", [("AH0_B", "AH"), ("T_E", "T"), ("SIL", "SIL"), ("SIL_S", "SIL"), ("ZH", "ZH"),
                                         ("EH2", "EH"), ("_B", "_B"), ("3", "3"), ("S_S", "S")])
def test_base_phone(phone, base):
    assert base_phone(phone) == base


def test_with_and_without_channel_and_gzipped(tmp_path):
    ref, hyp = read_ctm(write(tmp_path / "r.ctm.gz", REF)), read_ctm(write(tmp_path / "h.ctm", HYP))
    assert ref["u"].phones == hyp["u"].phones == ["SIL", "AH", "T", "SIL"]
    assert ref["u"].start.tolist() == [0, 10, 20, 25] and hyp["u"].end.tolist() == [10, 17, 26, 37]


def test_agreement_matches_a_manual_count(tmp_path):
    result = compare(read_ctm(write(tmp_path / "r.ctm", REF)), read_ctm(write(tmp_path / "h.ctm", HYP)))
    assert (result["utterances"], result["only_in_reference"], result["only_in_hypothesis"]) == (1, 1, 1)
    assert (result["frames"], result["frames_in_one_only"]) == (37, 2)
    assert result["frame_agreement"] == pytest.approx((10 + 7 + 5 + 9) / 37, abs=1e-5)
    assert result["frame_agreement_speech"] == pytest.approx(12 / 15, abs=1e-5)
    assert result["boundaries"] == 3 and result["boundary_median_ms"] == 10
    assert result["boundary_mean_ms"] == pytest.approx(40 / 3, abs=1e-3)
    assert result["boundary_within_20ms"] == pytest.approx(2 / 3, abs=1e-5)


def test_identical_and_shifted(tmp_path):
    ref = read_ctm(write(tmp_path / "r.ctm", REF))
    same = compare(ref, ref)
    assert same["frame_agreement"] == 1 and same["boundary_median_ms"] == 0 and same["boundary_within_20ms"] == 1
    other = "u 0.00 0.13 SIL\nu 0.13 0.10 AH0_B\nu 0.23 0.05 T_E\nu 0.28 0.07 SIL\n"
    shifted = compare(ref, read_ctm(write(tmp_path / "o.ctm", other)))
    assert shifted["boundary_median_ms"] == 30 and shifted["boundary_within_20ms"] == 0


def test_inserted_phones_do_not_shift_the_match(tmp_path):
    ref = read_ctm(write(tmp_path / "r.ctm", "u 0.00 0.10 A\nu 0.10 0.10 B\nu 0.20 0.10 C\n"))
    hyp = read_ctm(write(tmp_path / "h.ctm", "u 0.00 0.05 SIL\nu 0.05 0.05 A\nu 0.10 0.10 B\nu 0.20 0.10 C\n"))
    result = compare(ref, hyp)
    assert result["boundaries"] == 3 and np.isclose(result["boundary_mean_ms"], 50 / 3, atol=1e-3)


@pytest.mark.parametrize("text, message", [
    ("u 0.0 0.1\n", r":1: 3 columns"), ("u 0.0 0.1 A\nu x 0.1 A\n", r":2: start x and duration 0.1 are not times"),
    ("u 0.0 -1 A\n", ":1: start"), ("u 0.0 nan A\n", ":1: start"), ("", ": it is empty"),
    ("u 0.1 0.2 A\nu 0.0 0.1 B\n", ":2: B of u starts before"), ("u 0.0 0.2 A\nu\n", ":2: 1 columns"),
    ("u 1 0.0 \u0661 A\n", ":1: start"), ("u 1 0.0 0.1 A 0.9 lex spk x\n", ":1: 9 columns"),
    (";; only a comment\n\n", ": it is empty"), ("u 1 * * <ALT_BEGIN>\n", ":1: start")])
def test_malformed(tmp_path, text, message):
    with pytest.raises(UserError, match=r"x\.ctm" + message):
        read_ctm(write(tmp_path / "x.ctm", text))


@pytest.mark.parametrize("text", [
    "u 1 0.00 0.10 A\nu 1 0.10 0.20 3\n", "u 0.00 0.10 A\nu 0.10 0.20 3\n",
    ";; made by a tool\n\nu 1 0.00 0.10 A 0.98\n  ;; more\nu 1 0.10 0.20 3 1.00\n",
    "u 0.00 0.10 A 0.98\nu 0.10 0.20 3 1.00\n", "u\t1\t0.00\t0.10\tA\t0.9\tlex\tspk\r\nu 1 .1 .2 3\r\n",
    "\ufeffu A 0 1e-1 A\nu A 0.10 0.20 3\n"])
def test_all_variants_of_the_format(tmp_path, capsys, text):
    """With and without channel, confidence and comments. The name of a phone may be a number."""
    u = read_ctm(write(tmp_path / "x.ctm", text))["u"]
    assert (u.phones, u.start.tolist(), u.end.tolist()) == (["A", "3"], [0, 10], [10, 30])
    assert capsys.readouterr().err == ""


def test_overlapping_phones_are_cut_off(tmp_path, capsys):
    """Each phone ends where the next one starts. There is only one warning, for the first line."""
    u = read_ctm(write(tmp_path / "x.ctm", "u 0.00 0.11 A\nu 0.10 0.21 B\nu 0.30 0.10 C\nu 0.30 0.10 D\n"))["u"]
    assert (u.start.tolist(), u.end.tolist()) == ([0, 10, 30, 30], [10, 30, 30, 40])
    err = capsys.readouterr().err
    assert "x.ctm:2: 3 phones overlap" in err and err.count("\n") == 1


def test_missing_and_damaged_files_and_no_common_utterance(tmp_path):
    with pytest.raises(UserError, match="no such alignment"):
        read_ctm(tmp_path / "x.ctm")
    whole = gzip.compress("".join(f"u{i} 0.0 0.1 A\n" for i in range(1000)).encode())
    (tmp_path / "x.ctm.gz").write_bytes(whole[:-9])
    with pytest.raises(UserError, match="cut off or damaged"):
        read_ctm(tmp_path / "x.ctm.gz")
    (tmp_path / "x.ctm.gz").write_text("plain text")
    with pytest.raises(UserError, match="x.ctm.gz:1: 2 columns"):
        read_ctm(tmp_path / "x.ctm.gz")
    (tmp_path / "x.ctm").write_bytes(b"u 0.0 0.1 A\nu 0.1 0.1 A\xff\n")
    with pytest.raises(UserError, match="x.ctm:2: not UTF-8 text"):
        read_ctm(tmp_path / "x.ctm")
    ref = read_ctm(write(tmp_path / "a.ctm", "u 0.0 0.1 A\n"))
    with pytest.raises(UserError, match="no utterance in common"):
        compare(ref, read_ctm(write(tmp_path / "b.ctm", "v 0.0 0.1 A\n")))


def test_the_command_prints_the_agreement(tmp_path, capsys):
    ref, hyp = str(write(tmp_path / "r.ctm.gz", REF)), str(write(tmp_path / "h.ctm", HYP))
    main([ref, hyp, "--out", str(tmp_path / "agreement.json")])
    out, err = capsys.readouterr()
    assert "83.78 % of 37 frames" in out and "1 utterances are only in the reference" in err
    assert '"boundary_median_ms": 10.0' in (tmp_path / "agreement.json").read_text()
    with pytest.raises(SystemExit) as e:
        main([ref, str(tmp_path / "none.ctm")])
    assert e.value.code == 1 and capsys.readouterr().err.count("\n") == 1
