"""Validation: valid directories pass, with statistics; what later stages cannot use is reported."""

import numpy as np
import pytest
import soundfile
from helpers.corpora import data_dir, tone

from lstmp.corpus.sound import MAX_UTTERANCES, measure, measured_subset, read_sound
from lstmp.corpus.validate import main


def check(*args):
    main([*map(str, args)])


@pytest.mark.parametrize(("options", "measured"), [([], "8.0 -16.9"), (["--quick"], "– –")])
def test_valid_directory(tmp_path, capsys, options, measured):
    path = data_dir(tmp_path / "d", audio=True)
    check(path, *options)
    out = capsys.readouterr().out
    assert out.strip().split("\n")[-1].split() == f"d 4 0.001 2 10 10 0.50 0.80 {measured} 0".split()
    check(path, *options)
    assert "is done" in capsys.readouterr().out


def silent(path):
    soundfile.write(str(path), np.zeros(9600), 16000)


UTT = "19-198-0001"
BAD = {
    "no such audio file": lambda d: (d / f"{UTT}.wav").unlink(),
    "0.900 s long, but utt2dur says 0.600": lambda d: tone(d / f"{UTT}.wav", seconds=0.9),
    "silent": lambda d: silent(d / f"{UTT}.wav"),
    "9 words in 0.60 s": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON A", "A A A A A A A A")),
    "U+200B ZERO WIDTH SPACE": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON", "O\u200bN")),
    "U+0007 control character": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON", "O\x07N")),
    "U+FFFD": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON", "O\ufffdN")),
}


@pytest.mark.parametrize("word", ["می\u200cخواهم", "क्\u200dष", "❤\ufe0f", "e\u0301", "A\u3000B"])
def test_invisible_characters_of_the_spelling_are_allowed(tmp_path, capsys, word):
    path = data_dir(tmp_path / "d", audio=True)
    (path / "text").write_text((path / "text").read_text().replace("ON", word))
    check(path, "--max-bad", 0)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("what", BAD)
def test_bad_utterance_is_reported(tmp_path, capsys, what):
    path = data_dir(tmp_path / "d", audio=True)
    check(path)
    BAD[what](path)
    check(path, "--max-bad", 1)
    assert what in capsys.readouterr().err
    with pytest.raises(SystemExit) as e:
        check(path, "--max-bad", 0)
    last = capsys.readouterr().err.replace("\r", "\n").strip().split("\n")[-1]
    assert e.value.code == 1 and what in last and "--max-bad" in last


def test_malformed_table_is_reported_in_one_line(tmp_path, capsys):
    path = data_dir(tmp_path / "d", audio=True)
    (path / "text").write_text("b X\na Y\n")
    with pytest.raises(SystemExit):
        check(path)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}/text:2: not sorted") and error.count("\n") == 1


def test_utterance_in_two_sets_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        check(data_dir(tmp_path / "a", audio=True), data_dir(tmp_path / "b", audio=True))
    assert "b/utt2spk: `19-198-0000` is also in" in capsys.readouterr().err


def test_order_of_speakers_is_warned_of(tmp_path, capsys):
    path = data_dir(tmp_path / "d", audio=True)
    (path / "utt2spk").write_text((path / "utt2spk").read_text().replace(" 26-495", " 01"))
    check(path)
    assert "begin with the speaker" in capsys.readouterr().err


def noise(path, edge, level=-20.0, rate=16000):
    """A set of four utterances of noise with bandwidth ``edge`` Hz and a level in dB of full scale."""
    data_dir(path)
    for i, name in enumerate(sorted(line.split()[0] for line in (path / "text").read_text().splitlines())):
        n = round((0.5 + i / 10) * rate)
        spectrum = np.fft.rfft(np.random.default_rng(i).normal(size=n))
        spectrum[np.fft.rfftfreq(n, 1 / rate) > edge] = 0
        samples = np.fft.irfft(spectrum, n)
        samples *= 10 ** (level / 20) / np.sqrt((samples ** 2).mean())
        soundfile.write(str(path / f"{name}.wav"), samples, rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize(("edge", "rate", "level"), [(5500, 16000, -20), (8000, 16000, -50), (3400, 44100, -30),
                                                     (3500, 8000, -20)])
def test_bandwidth_and_level(tmp_path, edge, rate, level):
    path = noise(tmp_path / "d", edge, level, rate)
    check(path)
    found = read_sound(path)
    assert abs(found.bandwidth - edge) <= 200 and abs(found.level - level) <= 0.5


def test_level_ignores_pauses_and_dc_offset():
    speech = np.random.default_rng(0).normal(0, 1000, 16000)
    samples = np.concatenate([speech, np.zeros(15000)]).astype(np.float32)
    expected = 20 * np.log10(1000 / 32768)
    assert abs(measure(samples + 3000, 16000).level - expected) < 0.5


@pytest.mark.parametrize("samples", [np.ones(1), np.full(16000, 7), np.eye(1, 400)[0], np.full(100, 1e6)])
@pytest.mark.parametrize("rate", [50, 8000, 192000])
def test_unusual_samples_are_measured(samples, rate):
    found = measure(samples.astype(np.float32), rate)
    assert 0 <= found.bandwidth <= rate / 2 and found.level >= -120


@pytest.mark.parametrize("utterances", [1, 199, 200, 201, 100_000])
def test_large_set_is_measured_in_part(utterances):
    found = measured_subset(utterances)
    assert len(found) == utterances and min(utterances, MAX_UTTERANCES / 2) <= sum(found) <= MAX_UTTERANCES


def test_differences_between_sets_are_warned_of(tmp_path, capsys):
    first = noise(tmp_path / "train", 8000)

    def other(name, *how):
        path = noise(tmp_path / name, *how)
        for table in ("wav.scp", "text", "utt2spk", "utt2dur"):
            lines = (path / table).read_text().splitlines()
            (path / table).write_text("".join(f"{name}-{line}\n" for line in lines))
        return path

    near, narrow, low = other("near", 7700, -28), other("narrow", 5800), other("low", 8000, -32)
    check(first, near)
    assert "warning" not in capsys.readouterr().err
    for _ in range(2):  # the second time, everything is done already
        check(first, near, narrow)
        stderr = capsys.readouterr().err
        assert stderr.count("warning") == 1 and "in kHz: 8.0 in train, 7.8 in near, 5.9 in narrow; there is" in stderr
        assert "Set `high_freq` to 5600 or less" in stderr
    check(narrow, first)  # the other way round
    assert "in kHz: 5.9 in narrow, 8.0 in train; there is" in capsys.readouterr().err
    check(first, low)
    stderr = capsys.readouterr().err
    assert stderr.count("warning") == 1 and "levels differ, in dB of full scale: -20 in train, -32 in low." in stderr


def test_changed_measurements_are_made_again(tmp_path, capsys):
    path = data_dir(tmp_path / "d", audio=True)
    check(path)
    measured = (path / "sound.json").read_bytes()
    (path / "sound.json").write_text("{}")
    check(path)
    assert "sound.json is missing or was changed" in capsys.readouterr().out
    assert (path / "sound.json").read_bytes() == measured
    check(path, "--quick")
    assert not (path / "sound.json").exists()
