"""Speed and volume perturbation: pitch and duration change together; held-out speech is unchanged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.corpora import TEXT, data_dir

from lstmp.corpus.audio import RATE, read_audio, write_wav
from lstmp.corpus.datadir import Utterance, read_data_dir, write_data_dir
from lstmp.corpus.perturb import at_speed, divide_speakers, gain, main
from lstmp.corpus.utterance_audio import read_original
from lstmp.errors import UserError

TONE = 1000.0  # Hz


def tone(samples: int) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * TONE / RATE * np.arange(samples))).astype(np.float32)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_faster_tone_is_shorter_and_higher(speed):
    samples = at_speed(tone(RATE), speed)
    assert abs(len(samples) - RATE / speed) <= 1
    middle = samples[2000:-2000]
    t = np.arange(2000, len(samples) - 2000)
    expected = np.exp(2j * np.pi * TONE * speed / RATE * t)
    assert abs(2 * np.vdot(expected, middle) / len(middle)) == pytest.approx(8000, rel=0.01)  # all its power is there


def test_frequencies_above_the_band_are_filtered_out():
    high = (8000 * np.sin(2 * np.pi * 7800 / RATE * np.arange(RATE))).astype(np.float32)  # 8,580 Hz at speed 1.1
    assert np.abs(at_speed(high, 1.1)[500:-500]).max() < 80


def run(data, out, *options):
    main([str(data), str(out), "--nj", "1", *options])
    return read_data_dir(out)


def test_copies_of_a_data_dir(tmp_path):
    data = data_dir(tmp_path / "data", audio=True)
    held_out = tmp_path / "held_out"
    held_out.write_text("19-198-0001 19-198\n")
    got = run(data, tmp_path / "sp", "--once", str(held_out))
    plain = read_data_dir(data)
    others = [u for u in plain.utts if u != "19-198-0001"]
    assert set(got.utts) == {*plain.utts, *(f"sp{s}-{u}" for s in ("0.9", "1.1") for u in others)}
    for utt in others:
        slow, same, fast = (got.utts[p + utt] for p in ("sp0.9-", "", "sp1.1-"))
        assert same == plain.utts[utt]
        assert slow.words == fast.words == same.words
        assert (slow.speaker, fast.speaker) == (f"sp0.9-{same.speaker}", f"sp1.1-{same.speaker}")
        for copy, speed in ((slow, 0.9), (fast, 1.1)):
            samples = read_audio(copy.wav)
            assert got.durations[copy.id] == pytest.approx(len(samples) / RATE, abs=1e-3)
            assert abs(len(samples) - len(read_audio(same.wav)) / speed) <= 1


def test_files_of_special_ids_stay_in_the_folder(tmp_path):
    data = data_dir(tmp_path / "data", audio=True)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    ids = {"19-198-0000": f"{tmp_path}/data/19-198-0001", "19-198-0001": "../../data/26-495-0000", "26-495-0000": "."}
    utts = [replace(u, id=ids.get(u.id, u.id), speaker="/s") for u in read_data_dir(data).utts.values()]
    write_data_dir(tmp_path / "evil", utts)
    got = run(tmp_path / "evil", tmp_path / "out", "--speeds", "1", "--volume", "0.5", "1")
    assert set(got.utts) == {u.id for u in utts}
    assert {Path(u.wav).parent for u in got.utts.values()} == {tmp_path / "out" / "wav"}
    assert len({u.wav for u in got.utts.values()}) == 4 and all(Path(u.wav).is_file() for u in got.utts.values())
    assert {p: p.read_bytes() for p in before} == before
    assert {p.name for p in tmp_path.iterdir()} == {"data", "evil", "out"}


def test_volumes_depend_on_the_id_and_never_clip(tmp_path):
    drawn = [gain(f"u{i}", (0.5, 2.0), 1) for i in range(2000)]
    assert 0.5 <= min(drawn) < 0.51 and 1.99 < max(drawn) <= 2.0 and np.mean(drawn) == pytest.approx(1.25, abs=0.03)
    assert drawn[0] == gain("u0", (0.5, 2.0), 1) != gain("u0", (0.5, 2.0), 2)
    data = data_dir(tmp_path / "data", audio=True)
    loud = read_audio(data / "19-198-0000.wav")
    write_wav(data / "19-198-0000.wav", loud * (30000 / np.abs(loud).max()))
    got = run(data, tmp_path / "out", "--speeds", "1", "--volume", "1.5", "2.0")
    for utt, copy in got.utts.items():
        before, after = read_audio(data / f"{utt}.wav"), read_audio(copy.wav)
        factor = np.abs(after).max() / np.abs(before).max()
        expected = min(gain(utt, (1.5, 2.0), 1), 32767 / np.abs(before).max())
        assert factor == pytest.approx(expected, rel=1e-3)
        assert np.allclose(after, before * expected, atol=1)


def test_speakers_are_divided_into_parts_of_equal_duration():
    rng = np.random.default_rng(1)
    copies = [(Utterance(f"{s}-{i:03}", s, ("A",), "a.wav"), rng.uniform(2, 20)) for s in ("long", "short") for i in
              range(120 if s == "long" else 6)]
    total = sum(seconds for utt, seconds in copies if utt.speaker == "long")
    got = divide_speakers(copies, 3.0, 1)
    assert sorted((utt.id.split("-", 1)[1], seconds) for utt, seconds in got) == sorted((u.id, s) for u, s in copies)
    assert all(utt.id.split("-")[:2] == utt.speaker.split("-") for utt, _ in got)
    parts = {}
    for utt, seconds in got:
        parts.setdefault(utt.speaker, []).append((utt.id, seconds))
    long = sorted(s for s in parts if s.endswith("long"))
    assert len(parts) == len(long) + 1 and len(parts["p1-short"]) == 6  # less than 1.5 times three minutes
    assert len(long) == round(total / 180) and set(long) == {f"p{i + 1}-long" for i in range(len(long))}
    for name in long:
        assert sum(seconds for _, seconds in parts[name]) == pytest.approx(total / len(long), abs=20)
        numbers = [int(utt.rsplit("-", 1)[1]) for utt, _ in parts[name]]
        assert max(numbers) - min(numbers) > 60  # not neighbours
    assert divide_speakers(copies[::-1], 3.0, 1) == got  # in whatever order they come
    assert sorted(divide_speakers(copies, 3.0, 2), key=str) != sorted(got, key=str)


def test_copies_of_divided_speakers(tmp_path):
    data = data_dir(tmp_path / "data", audio=True)
    held_out = tmp_path / "held_out"
    held_out.write_text("19-198-0001 19-198\n")
    plain = read_data_dir(data)
    seconds = sum(plain.durations[u] for u, utt in plain.utts.items() if utt.speaker == "26-495")
    got = run(data, tmp_path / "sp", "--once", str(held_out), "--speaker-minutes", f"{seconds / 60 / 2}",
              "--speeds", "1", "0.9")
    assert got.utts["19-198-0001"].speaker == "19-198"  # held out: as it was
    whole = {u.split("-", 1)[1] for u in got.utts if u != "19-198-0001"}
    assert whole == {p + u for p in ("", "sp0.9-") for u in plain.utts if u != "19-198-0001"}
    of = {utt.speaker for utt in got.utts.values() if utt.speaker.endswith("-26-495")}
    assert of == {"p1-26-495", "p2-26-495", "p1-sp0.9-26-495", "p2-sp0.9-26-495"}
    with pytest.raises(SystemExit):
        run(data, tmp_path / "no", "--speaker-minutes", "-1")


def test_mp3_copies_have_a_lower_bandwidth(tmp_path):
    data = data_dir(tmp_path / "data", audio=True)
    noise = 3000 * np.random.default_rng(1).standard_normal(4 * RATE)
    write_wav(data / "19-198-0000.wav", noise)
    got = run(data, tmp_path / "out", "--mp3", "24")
    for speed, utt in ((1, "19-198-0000"), (0.9, "sp0.9-19-198-0000")):  # recordings too
        copy = got.utts[utt]
        assert copy.wav.endswith(f"out/wav/{utt}.mp3")
        samples = read_audio(copy.wav)
        assert got.durations[copy.id] == pytest.approx(len(samples) / RATE, abs=1e-3)
        assert 0 <= len(samples) / RATE - 4 / speed < 0.15
        power = np.abs(np.fft.rfft(samples)) ** 2
        high = np.fft.rfftfreq(len(samples), 1 / RATE) > 6000
        assert power[high].sum() < 0.01 * power.sum()  # a quarter of the power of white noise was there


def test_copies_of_segments_keep_the_sampling_rate(tmp_path):
    data = data_dir(tmp_path / "data", audio=True)
    call = np.stack([np.zeros(3 * 8000), 0.2 * np.sin(2 * np.pi * 500 / 8000 * np.arange(3 * 8000))], 1)
    soundfile.write(data / "call.wav", call, 8000)
    (data / "wav.scp").write_text(f"call {data}/call.wav\n")
    (data / "segments").write_text("".join(f"{u} call {0.5 * i} {0.5 * i + 0.5} 1\n" for i, u in enumerate(TEXT)))
    (data / "utt2dur").unlink()
    got = run(data, tmp_path / "out", "--speeds", "1.25", "1")
    assert [u.recording == u.id for u in got.utts.values()] == [False] * 4 + [True] * 4
    copy = got.utts["sp1.25-19-198-0000"]
    samples, rate = read_original(copy)
    assert rate == 8000 and len(samples) == 3200 and got.durations[copy.id] == 0.4
    assert np.abs(np.fft.rfft(samples)).argmax() / 0.4 == pytest.approx(625)
    assert np.array_equal(*(read_original(d.utts["19-198-0001"])[0] for d in (got, read_data_dir(data))))


def test_utterances_included_once_are_encoded_as_mp3_too(tmp_path):
    data = data_dir(tmp_path / "data", audio=True)
    (tmp_path / "list").write_text("19-198-0000\n")
    got = run(data, tmp_path / "out", "--mp3", "24", "--once", str(tmp_path / "list"))
    assert got.utts["19-198-0000"].wav.endswith(".mp3") and "sp0.9-19-198-0000" not in got.utts


def test_result_does_not_depend_on_the_number_of_processes(tmp_path, capsys):
    data = data_dir(tmp_path / "data", audio=True)
    run(data, tmp_path / "one", "--volume", "0.5", "1")
    main([str(data), str(tmp_path / "two"), "--nj", "2", "--volume", "0.5", "1"])
    one, two = (sorted((tmp_path / n / "wav").iterdir()) for n in ("one", "two"))
    assert [p.name for p in one] == [p.name for p in two] and len(one) == 12
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))
    capsys.readouterr()
    run(data, tmp_path / "one", "--volume", "0.5", "1")
    assert "perturb is done" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "words"), [
    (["--speeds", "0.9", "0.9"], "different"),
    (["--speeds", "3"], "between 0.5 and 2.0"),
    (["--volume", "2", "1"], "lower one first"),
    (["--mp3", "4"], "from 8 to 160"),
    (["--once", "LIST"], "`nobody` is not in"),
])
def test_invalid_options_are_rejected(tmp_path, options, words, capsys):
    data = data_dir(tmp_path / "data", audio=True)
    (tmp_path / "list").write_text("nobody\n")
    with pytest.raises((UserError, SystemExit)) as e:
        main([str(data), str(tmp_path / "out"), *[str(tmp_path / "list") if o == "LIST" else o for o in options]])
    assert words in str(e.value) + capsys.readouterr().err


def test_missing_recording_is_named(tmp_path, capsys):
    data = data_dir(tmp_path / "data", audio=True)
    (data / "19-198-0000.wav").unlink()
    with pytest.raises((UserError, SystemExit)) as e:
        main([str(data), str(tmp_path / "out"), "--nj", "2"])
    assert "19-198-0000.wav" in str(e.value) + capsys.readouterr().err
    assert not (tmp_path / "out" / "utt2spk").exists()
