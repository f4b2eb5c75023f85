"""Audio of utterances: segments, channels, sampling rates and commands; errors are one line."""

import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from lstmp.corpus import utterance_audio
from lstmp.corpus.datadir import Utterance, read_data_dir, write_data_dir
from lstmp.corpus.segments import Segment
from lstmp.corpus.take_data_dirs import main as take
from lstmp.corpus.utterance_audio import (
    audio_stamps,
    check_commands,
    log_resampling,
    read_original,
    read_utterance,
    seconds_of,
)
from lstmp.corpus.validate import main as validate
from lstmp.errors import UserError

RATE = 8000


def wave(hertz, seconds=2.0, rate=RATE):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


@pytest.fixture
def stereo(tmp_path):
    """Two seconds at 8000 Hz: a tone of 440 Hz in the left channel and of 1000 Hz in the right channel."""
    path = tmp_path / "a b.wav"
    soundfile.write(path, np.stack([wave(440), wave(1000)], 1), RATE)
    return str(path)


def utterance(wav, begin=None, end=None, channel=None):
    return Utterance("u", "s", wav, ("A",), None if begin is None else Segment("r", begin, end, None), channel)


def pitch(samples, rate):
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


@pytest.mark.parametrize("channel,hertz", [(0, 440), (1, 1000)])
@pytest.mark.parametrize("rate", [8000, 16000, 11025])
def test_segment_of_a_channel_at_any_rate(stereo, channel, hertz, rate):
    utt = utterance(stereo, 0.5, 1.25, channel)
    samples = read_utterance(utt, rate)
    assert samples.dtype == np.float32 and len(samples) == pytest.approx(0.75 * rate, abs=1)
    assert pitch(samples, rate) == pytest.approx(hertz, abs=2)
    assert np.abs(samples[100:-100]).max() == pytest.approx(0.3 * 32768, rel=0.01)
    assert seconds_of(utt) == 0.75
    own, own_rate = read_original(utt)
    assert own_rate == RATE and np.allclose(own, 32768 * wave(hertz)[4000:10000], atol=1)


def test_segment_may_end_slightly_after_the_recording(stereo):
    late = utterance(stereo, 1.5, 2.4, 0)
    assert seconds_of(late) == len(read_original(late)[0]) / RATE == 0.5
    assert seconds_of(utterance(stereo, 0.25, None, 0)) == 1.75


@pytest.mark.parametrize("utt,what", [
    ((0.0, 2.6, 0), "`u` is from 0 to 2.6 s of a recording of 2.00 s"), ((2.0, 2.2, 0), "from 2 to 2.2 s"),
    ((1.0, 1.0, 0), "from 1 to 1 s"), ((-0.5, 1.0, 0), "from -0.5 to 1 s"), ((1.99, 2.3, 0), "too short: 0.0100 s"),
    ((0.0, 1.0, 2), "2 channels, but channel 3 is asked for"),
    ((0.0, 1.0, None), "2 channels, and none is named; write `r file A` .or B. to reco2file_and_channel"),
    ((None, None, None), "2 channels, and none is named; write `u file A`")])
def test_invalid_utterance_is_reported_in_one_line(stereo, utt, what):
    for read in (read_original, seconds_of):
        with pytest.raises(UserError, match=f"a b.wav: .*{what}"):
            read(utterance(stereo, *utt))


@pytest.fixture
def mono(tmp_path):
    path = tmp_path / "mono.wav"
    soundfile.write(path, wave(440), RATE)
    return path


@pytest.mark.parametrize("command", ["cat 'MONO' |", "cat MONO|", "cat < MONO | cat |", "( cat MONO ) 2>/dev/null |",
                                     "X=MONO; cat $X |"])
def test_commands_with_and_without_a_shell(mono, command):
    utt = utterance(command.replace("MONO", str(mono)), channel=1)  # the only channel, as after sph2pipe
    with pytest.raises(UserError, match="the command `.*cat.* is not run unless allowed; give --allow-commands"):
        read_original(utt)
    samples, rate = read_original(utt, allow_commands=True)
    assert rate == RATE and np.array_equal(samples, read_original(utterance(str(mono)))[0])
    assert seconds_of(utt, allow_commands=True) == 2.0 and audio_stamps([utt]) == [None]


def test_simple_command_runs_without_a_shell(mono, monkeypatch):
    seen, run = [], utterance_audio.subprocess.run
    monkeypatch.setattr(utterance_audio.subprocess, "run", lambda words, **kw: seen.append(words) or run(words, **kw))
    read_original(utterance(f'cat "{mono}" |'), allow_commands=True)
    read_original(utterance(f"cat {mono} | cat |"), allow_commands=True)
    assert seen == [["cat", str(mono)], ["bash", "-c", f"cat {mono} | cat"]]


@pytest.mark.parametrize("command,what", [
    ("no-such-program x |", "No such file"), ("cat 'x |", "No closing quotation"), ("echo hello |", "cannot be read"),
    ("true |", "empty"), ("echo 'cannot open: reel 7' >&2; exit 3 |", "ended with status 3: cannot open: reel 7"),
    ("cat /no/such/file |", "ended with status 1: .*No such file")])
def test_failing_command_is_named(command, what):
    with pytest.raises(UserError, match=f"the command `.*: .*{what}.*; run it by hand"):
        read_original(utterance(command), allow_commands=True)


def test_wav_in_an_archive(tmp_path, mono, stereo):
    """As Kaldi's wav-copy writes them: an id, a space, the WAV."""
    parts = [b"a " + mono.read_bytes(), b"b " + open(stereo, "rb").read()]
    (tmp_path / "wav.ark").write_bytes(b"".join(parts))
    first, second = f"{tmp_path}/wav.ark:2", f"wav.ark:{len(parts[0]) + 2}"
    (tmp_path / "wav.scp").write_text(f"a {first}\nb {second}\n")  # the second one is next to the table
    (tmp_path / "reco2file_and_channel").write_text("b b B\n")
    a, b = read_data_dir(tmp_path, need=("wav.scp",)).utts.values()
    assert np.array_equal(read_original(a)[0], read_original(utterance(str(mono)))[0])
    assert np.array_equal(read_original(b)[0], read_original(utterance(stereo, channel=1))[0])
    assert seconds_of(a) == seconds_of(b) == 2.0 and audio_stamps([a, b])[0] is not None
    with pytest.raises(UserError, match="wav.ark: no WAV at byte 3; correct the offset"):
        read_original(utterance(f"{tmp_path}/wav.ark:3"))


def test_command_of_a_recording_runs_once_for_all_segments(tmp_path, mono):
    count = tmp_path / "count"
    wav = f"echo x >> {count}; cat {mono} |"
    for n in range(4):
        assert len(read_original(utterance(wav, 0.1 * n, 1.0), allow_commands=True)[0]) == round((1 - 0.1 * n) * RATE)
    assert count.read_text() == "x\n"


def test_kaldi_data_dir_through_stage_1(tmp_path, stereo, mono, capsys):
    source = tmp_path / "src" / "dev"
    utts = [Utterance("a-1", "a", stereo, ("ONE",), Segment("call", 0.0, 0.5, None), 0),
            Utterance("a-2", "a", stereo, ("TWO",), Segment("call", 0.5, 1.5, None), 1),
            Utterance("b-1", "b", f"{sys.executable} -c 'print()' > /dev/null; cat {mono} |", ("SIX",))]
    write_data_dir(source, utts)
    how = ["--corpus", str(tmp_path / "src"), "--out", str(tmp_path / "data"), "--splits", "dev", "--nj", "1"]
    with pytest.raises(SystemExit):
        take(how)
    assert "wav.scp:1: `b-1` is the command `" in capsys.readouterr().err
    take([*how, "--allow-commands"])
    out = tmp_path / "data" / "dev"
    taken = read_data_dir(out)
    assert taken.durations == {"a-1": 0.5, "a-2": 1.0, "b-1": 2.0}
    assert [pitch(*read_original(u, True)) for u in taken.utts.values()] == pytest.approx([440, 1000, 440], abs=2)
    with pytest.raises(SystemExit):
        validate([str(out), "--nj", "1"])
    for options in ([], ["--quick"]):
        validate([str(out), "--nj", "1", "--allow-commands", *options])
        assert capsys.readouterr().out.strip().splitlines()[-1].split()[:3] == ["dev", "3", "0.001"]


def test_commands_are_refused_before_any_work(tmp_path, stereo):
    write_data_dir(tmp_path / "d", [utterance(stereo), Utterance("v", "s", "cat x |", ("A",))])
    data = read_data_dir(tmp_path / "d")
    with pytest.raises(UserError, match=r"wav.scp:2: `v` is the command `cat x \|`, and commands are not run unless"):
        check_commands(data, False)
    check_commands(data, True)


def test_resampled_utterances_are_counted_in_the_log(capsys):
    log_resampling("d", Counter({8000: 3, 16000: 5, 44100: 2}), 16000)
    output = capsys.readouterr()
    assert "d: 3 utterances at 8000 Hz were resampled" in output.err and "above 4000 Hz" in output.err
    assert "d: 2 utterances were resampled from 44100 to 16000" in output.out and "5 utt" not in output.err + output.out
