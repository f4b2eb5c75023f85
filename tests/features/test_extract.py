"""Features of kaldi-native-fbank against textbook formulas; lstmp.features.extract on good and bad data."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import CONF

from lstmp import config
from lstmp.errors import UserError
from lstmp.features import ark
from lstmp.features.extract import FbankConfig, MfccConfig, compute_features, extract, main

FBANK = dataclasses.replace(config.load(CONF / "fbank.yaml", FbankConfig), dither=0.0)
MFCC = dataclasses.replace(config.load(CONF / "mfcc.yaml", MfccConfig), dither=0.0)


def mel(f):
    """Hz → mel."""
    return 1127 * np.log(1 + f / 700)


def reference_fbank(samples, cfg):
    """Log-mel filterbank energies by the textbook: samples [n] → float64 [T, num_mel_bins]."""
    rate = cfg.sample_rate
    length, shift = (int(ms * rate / 1000) for ms in (cfg.frame_length_ms, cfg.frame_shift_ms))
    size = 1 << (length - 1).bit_length()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    window = {"povey": hann**0.85, "hanning": hann, "rectangular": np.ones(length),
              "hamming": 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(length) / (length - 1))}[cfg.window]
    high = cfg.high_freq if cfg.high_freq > 0 else rate / 2 + cfg.high_freq
    edges = np.linspace(mel(cfg.low_freq), mel(high), cfg.num_mel_bins + 2)
    bins = mel(np.arange(size // 2) * rate / size)
    bank = np.zeros((cfg.num_mel_bins, size // 2))
    for m in range(cfg.num_mel_bins):
        left, center, right = edges[m:m + 3]
        bank[m] = np.clip(np.minimum((bins - left) / (center - left), (right - bins) / (right - center)), 0, None)
    frames = []
    for t in range(1 + (len(samples) - length) // shift):
        x = samples[t * shift:t * shift + length].astype(np.float64)
        x = x - x.mean()
        x = x - cfg.preemphasis * np.concatenate([x[:1], x[:-1]])
        power = np.abs(np.fft.rfft(x * window, size)) ** 2
        frames.append(np.log(np.maximum(bank @ power[:-1], np.finfo(np.float32).eps)))
    return np.array(frames)


def reference_mfcc(samples, cfg):
    """MFCCs by the textbook, from an orthonormal DCT with liftering: samples [n] → float64 [T, num_ceps]."""
    n = cfg.num_mel_bins
    k, j = np.arange(cfg.num_ceps)[:, None], np.arange(n)
    dct = np.sqrt(2 / n) * np.cos(np.pi * k * (j + 0.5) / n)
    dct[0] = np.sqrt(1 / n)
    q = cfg.cepstral_lifter
    lifter = 1 + q / 2 * np.sin(np.pi * np.arange(cfg.num_ceps) / q) if q else np.ones(cfg.num_ceps)
    return reference_fbank(samples, cfg) @ dct.T * lifter


@pytest.fixture(scope="module")
def samples():
    """Half a second at 16 kHz, int16 scale: a rising tone in noise."""
    rng = np.random.default_rng(5)
    t = np.arange(8123) / 16000
    return (4000 * np.sin(2 * np.pi * (300 + 2000 * t) * t) + 300 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.mark.parametrize("change", [{}, {"high_freq": 5500.0}, {"high_freq": -400.0, "window": "hamming"},
                                    {"num_mel_bins": 23, "low_freq": 100.0, "preemphasis": 0.0},
                                    {"sample_rate": 8000}, {"sample_rate": 8000, "high_freq": -300.0},
                                    {"window": "hanning", "frame_length_ms": 32.0, "frame_shift_ms": 8.0}])
def test_fbank_follows_the_formula(samples, change):
    cfg = dataclasses.replace(FBANK, **change)
    expected = reference_fbank(samples, cfg)
    got = compute_features(samples, cfg)
    assert got.dtype == np.float32 and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-3)


@pytest.mark.parametrize("change", [{}, {"high_freq": 5500.0}, {"cepstral_lifter": 0.0, "num_ceps": 20}])
def test_mfcc_follows_the_formula(samples, change):
    cfg = dataclasses.replace(MFCC, **change)
    expected = reference_mfcc(samples, cfg)
    got = compute_features(samples, cfg)
    assert got.shape == expected.shape == (1 + (len(samples) - 400) // 160, cfg.num_ceps)
    np.testing.assert_allclose(got, expected, atol=1e-2)


def test_with_use_energy_the_log_energy_replaces_c0(samples):
    got = compute_features(samples, dataclasses.replace(MFCC, use_energy=True))
    frame = samples[:400].astype(np.float64)
    assert got[0, 0] == pytest.approx(np.log(((frame - frame.mean()) ** 2).sum()), abs=1e-3)
    np.testing.assert_array_equal(got[:, 1:], compute_features(samples, MFCC)[:, 1:])


def test_without_snip_edges_there_is_a_frame_for_each_shift(samples):
    assert len(compute_features(samples, dataclasses.replace(FBANK, snip_edges=False))) == round(len(samples) / 160)


def test_dither_is_seeded_by_the_id(samples):
    cfg = dataclasses.replace(FBANK, dither=1.0)
    one = compute_features(samples, cfg, "u1")
    np.testing.assert_array_equal(one, compute_features(samples, cfg, "u1"))
    assert not np.array_equal(one, compute_features(samples, cfg, "u2"))
    quiet = compute_features(np.zeros(8000, dtype=np.float32), cfg, "u1")
    noise = reference_fbank(np.random.default_rng(0).standard_normal(8000), cfg)
    np.testing.assert_allclose(quiet.mean(0), noise.mean(0), atol=0.7)  # as loud as white noise of variance 1


def test_too_short_audio_is_an_error():
    with pytest.raises(UserError, match="399 samples, too short"):
        compute_features(np.zeros(399, dtype=np.float32), MFCC)
    assert len(compute_features(np.zeros(400, dtype=np.float32), MFCC)) == 1


@pytest.mark.parametrize("key, value", [("high_freq", 9000), ("high_freq", 10), ("low_freq", -1), ("window", "black"),
                                        ("num_ceps", 24), ("dither", -1), ("frame_shift_ms", 0), ("max_bad", -1)])
def test_invalid_configuration_values_are_rejected(tmp_path, key, value):
    lines = (CONF / "mfcc.yaml").read_text().splitlines()
    changed = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in lines]
    (tmp_path / "mfcc.yaml").write_text("\n".join(changed))
    with pytest.raises(UserError, match=rf"mfcc\.yaml:\d+: `{key}` must be"):
        config.load(tmp_path / "mfcc.yaml", MfccConfig)


@pytest.mark.parametrize("nj", [1, 3])
def test_a_data_dir_gets_features_lengths_and_cmvn_statistics(data_dir, tmp_path, nj):
    extract(data_dir, data_dir, MFCC, nj)
    extract(data_dir, tmp_path / "data_fbank", FBANK, nj)
    for folder, dim in ((data_dir, 13), (tmp_path / "data_fbank", 40)):
        scp = ark.read_scp(folder / "feats.scp")
        assert list(scp) == ["s0-u0", "s0-u1", "s1-u2", "s1-u3"]
        mats = {u: ark.read_mat(rx) for u, rx in scp.items()}
        assert [m.shape for m in mats.values()] == [(28, dim), (48, dim), (68, dim), (88, dim)]
        assert (folder / "utt2num_frames").read_text() == "s0-u0 28\ns0-u1 48\ns1-u2 68\ns1-u3 88\n"
        stats = ark.read_mat(ark.read_scp(folder / "cmvn.scp")["s1"], dtype=np.float64)
        both = np.concatenate([mats["s1-u2"], mats["s1-u3"]]).astype(np.float64)
        np.testing.assert_allclose(stats, [[*both.sum(0), len(both)], [*(both**2).sum(0), 0]], rtol=1e-6)
        assert json.loads((folder / "feats.json").read_text())["frames"] == 232
    assert (tmp_path / "data_fbank" / "text").read_text() == (data_dir / "text").read_text()


def files_in(folder):
    """File name → (content, modification time in ns)."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_finished_work_is_skipped_and_results_are_reproducible(data_dir):
    extract(data_dir, data_dir, MFCC, 1)
    first = files_in(data_dir)
    extract(data_dir, data_dir, MFCC, 2)
    assert files_in(data_dir) == first
    (data_dir / "feats.ark").unlink()
    extract(data_dir, data_dir, MFCC, 2)
    again = files_in(data_dir)
    assert all(again[name][0] == first[name][0] for name in first if not name.startswith((".done", ".lock")))
    assert again["feats.ark"][1] != first["feats.ark"][1]
    extract(data_dir, data_dir, dataclasses.replace(MFCC, high_freq=5500.0), 1)
    assert files_in(data_dir)["feats.ark"][0] != first["feats.ark"][0]


def test_changed_audio_is_extracted_again(data_dir):
    extract(data_dir, data_dir, MFCC, 1)
    before = (data_dir / "feats.ark").read_bytes()
    wav = Path((data_dir / "wav.scp").read_text().split()[1])
    samples = bytearray(wav.read_bytes())
    samples[1000] ^= 0x3F
    wav.write_bytes(samples)
    os.utime(wav, ns=(1, 1))
    extract(data_dir, data_dir, MFCC, 1)
    assert (data_dir / "feats.ark").read_bytes() != before


@pytest.mark.parametrize("nj", [1, 2])
def test_bad_utterances_are_left_out_up_to_a_limit(data_dir, capsys, nj):
    lines = (data_dir / "wav.scp").read_text().splitlines()
    os.truncate(lines[1].split()[1], 1000)
    extract(data_dir, data_dir, MFCC, nj)  # one is allowed whatever the fraction max_bad
    assert list(ark.read_scp(data_dir / "feats.scp")) == ["s0-u0", "s1-u2", "s1-u3"]
    assert "left out s0-u1" in capsys.readouterr().err
    Path(lines[2].split()[1]).unlink()
    kept = files_in(data_dir)
    with pytest.raises(UserError, match="2 of 4 utterances are bad"):
        extract(data_dir, data_dir, MFCC, nj)
    after = files_in(data_dir)
    assert all(after[n] == kept[n] for n in kept if not n.startswith((".done", ".lock")))
    extract(data_dir, data_dir, dataclasses.replace(MFCC, max_bad=0.5), nj)
    assert list(ark.read_scp(data_dir / "feats.scp")) == ["s0-u0", "s1-u3"]


def test_kaldi_recordings_at_8_khz(tmp_path, capsys, monkeypatch):
    """A data dir with `segments`, a stereo recording and a command: its features equal those of files cut by hand."""
    rng, data, cut = np.random.default_rng(2), tmp_path / "kaldi", tmp_path / "cut"
    call = (0.1 * rng.standard_normal((16000, 2))).astype(np.float32)
    for folder in (data, cut):
        folder.mkdir()
        (folder / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\n")
    soundfile.write(data / "call.wav", call, 8000, subtype="FLOAT")
    (data / "wav.scp").write_text(f"call call.wav\ntape cat {data}/tape.wav |\n")
    soundfile.write(data / "tape.wav", call[:5000, 0], 8000, subtype="FLOAT")
    (data / "segments").write_text("a-1 call 0.25 1.5\na-2 call 1.5 -1 0\nb-1 tape 0 -1\n")
    (data / "reco2file_and_channel").write_text("call call B\ntape tape A\n")
    for utt, part in (("a-1", call[2000:12000, 1]), ("a-2", call[12000:, 0]), ("b-1", call[:5000, 0])):
        soundfile.write(cut / f"{utt}.wav", part, 8000, subtype="FLOAT")
    (cut / "wav.scp").write_text("".join(f"{u} {cut}/{u}.wav\n" for u in ("a-1", "a-2", "b-1")))
    narrow = dataclasses.replace(FBANK, sample_rate=8000)
    with pytest.raises(UserError, match="wav.scp:2: `tape` is the command"):
        extract(data, tmp_path / "out", narrow, 1)
    for cfg in (narrow, FBANK):
        extract(data, tmp_path / "out", cfg, 1, allow_commands=True)
        extract(cut, cut, cfg, 1)
        found, expected = (ark.read_scp(d / "feats.scp") for d in (tmp_path / "out", cut))
        assert list(found) == list(expected) == ["a-1", "a-2", "b-1"]
        for utt, frames in (("a-1", 123), ("a-2", 48), ("b-1", 61)):  # a frame every 10 ms, at both sampling rates
            assert np.array_equal(ark.read_mat(found[utt]), ark.read_mat(expected[utt]))
            assert len(ark.read_mat(found[utt])) == frames
        stderr = capsys.readouterr().err
        assert ("3 utterances at 8000 Hz were resampled" in stderr) == (cfg is FBANK)
    monkeypatch.chdir("/")
    assert (tmp_path / "out" / "wav.scp").read_text().startswith(f"call {data}/call.wav\n")  # an absolute path


def test_no_usable_audio_is_an_error(data_dir):
    for line in (data_dir / "wav.scp").read_text().splitlines():
        Path(line.split()[1]).unlink()
    with pytest.raises(UserError, match="no utterance has usable audio"):
        extract(data_dir, data_dir, dataclasses.replace(MFCC, max_bad=4), 1)


def test_the_command_reports_frames_and_one_line_errors(data_dir, tmp_path, capsys):
    fbank = str(CONF / "fbank.yaml")
    main(["--kind", "fbank", "--config", fbank, "--nj", "1", "--out", str(tmp_path / "f"), str(data_dir)])
    assert "232 frames of 40 values" in capsys.readouterr().out
    with pytest.raises(SystemExit) as e:
        main(["--kind", "mfcc", "--config", fbank, str(data_dir)])
    assert e.value.code == 1 and "key `num_ceps` is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit) as e:
        main(["--kind", "mfcc", "--config", str(CONF / "mfcc.yaml"), str(tmp_path / "nowhere")])
    assert e.value.code == 1 and len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error(data_dir, capsys):
    data_dir.chmod(0o500)
    try:
        with pytest.raises(SystemExit):
            main(["--kind", "mfcc", "--config", str(CONF / "mfcc.yaml"), str(data_dir)])
    finally:
        data_dir.chmod(0o700)
    assert "permission denied" in capsys.readouterr().err


def test_full_disk_is_reported_in_one_line(data_dir, tmp_path):
    conf = CONF / "fbank.yaml"
    step = [sys.executable, "-m", "lstmp.features.extract", "--kind", "fbank", "--config", str(conf),
            "--nj", "2", "--out", str(tmp_path / "out"), str(data_dir)]
    done = subprocess.run(["bash", "-c", 'ulimit -f 20; exec "$@"', "bash", *step], capture_output=True, text=True)
    errs = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip() and "utt" not in line]
    assert len(errs) == 1 and errs[0].startswith(f"error: {tmp_path}/out/feats.ark: the file grows larger"), done.stderr


def test_compressed_features_are_smaller_and_nearly_the_same(data_dir, tmp_path, capsys):
    extract(data_dir, tmp_path / "whole", FBANK, 1)
    out = tmp_path / "small"
    main(["--kind", "fbank", "--config", str(CONF / "fbank.yaml"), "--out", str(out), "--compressed", str(data_dir)])
    assert (out / "feats.ark").stat().st_size < 0.3 * (tmp_path / "whole/feats.ark").stat().st_size
    for utt, rx in ark.read_scp(out / "feats.scp").items():
        assert np.abs(ark.read_mat(rx) - ark.read_mat(ark.read_scp(tmp_path / "whole/feats.scp")[utt])).max() < 0.3
    capsys.readouterr()
    extract(data_dir, out, config.load(CONF / "fbank.yaml", FbankConfig), 1)
    assert "compressed" in capsys.readouterr().out  # the reason why they are made again
