"""Which parts of a recording count as sound, and how digital silence is replaced."""

import numpy as np
import pytest

from lstmp.transcribe.sound import (
    MAX_SILENCE,
    SoundOnlyRecognizer,
    WithoutDigitalSilence,
    digital_silence,
    floor,
    is_sound,
    levels,
    sound_parts,
    steady,
    why_no_sound,
)

NOISE = np.random.default_rng(0).normal(size=160000).astype(np.float32)
CLICK = np.zeros(160000, np.float32)
CLICK[50000] = 20000


@pytest.mark.parametrize("samples", [
    np.zeros(0), np.zeros(100), np.zeros(80000), np.full(80000, -8.0), 0.5 * NOISE, 10 * NOISE, 200 * NOISE, CLICK,
    NOISE + CLICK, 100 * np.sin(np.arange(160000) * 2 * np.pi * 50 / 16000) + NOISE,
    np.concatenate([np.zeros(80000), 50 * NOISE])])
def test_silence_and_quiet_noise_are_not_sound(samples):
    assert sound_parts(samples.astype(np.float32)) == []


def speech(seconds: float) -> np.ndarray:
    """Noise whose level rises and falls by 50 dB, four times per second."""
    time = np.arange(round(seconds * 16000)) / 16000
    return NOISE[:len(time)] * 10 ** (1 + 2.5 * np.square(np.sin(2 * np.pi * 2 * time)))


@pytest.mark.parametrize("db", [0, -20, -40])
def test_speech_is_found_at_any_volume_without_long_pauses(db):
    talk = np.concatenate([10 * NOISE[:80000], speech(5), 10 * NOISE[:80000], speech(5), 10 * NOISE[:16000], speech(2)])
    parts = sound_parts(np.rint(talk * 10 ** (db / 20)).astype(np.float32))
    assert len(parts) == 2
    assert np.abs(np.array(parts) - [(72000, 168000), (232000, 368000)]).max() < 3200


def test_a_level_describes_a_tenth_of_a_second():
    level = levels(np.concatenate([100 * NOISE[:16000], np.zeros(16000, np.float32)]))
    assert len(level) == 200 and np.allclose(level[:95], 20 * np.log10(100 / 32768), atol=1.0)
    assert (level[106:] < -120).all() and floor(level) == pytest.approx(-50, abs=1.5)
    assert not is_sound(np.array([-50.0, -81.0]), -52.0).any() and is_sound(np.array([-39.0, -45.0]), -52.0).all()


def test_digital_silence_becomes_a_short_pause_with_the_noise_of_the_recording(capsys):
    talk = np.concatenate([1000 * NOISE[:16000], 20 * np.convolve(NOISE[:8000], np.ones(8) / 8, "same")])
    samples = np.concatenate([talk, np.zeros(32000), talk]).astype(np.float32)
    assert digital_silence(samples).tolist() == [[24000, 56000]]
    replaced = WithoutDigitalSilence(samples)
    assert len(replaced.samples) == 48000 + MAX_SILENCE * 16000
    assert (replaced.samples[:24000] == samples[:24000]).all() and (replaced.samples[-24000:] == samples[-24000:]).all()
    pause, recorded = replaced.samples[24000:28800], samples[16000:24000]
    assert pause.std() == pytest.approx(recorded.std(), rel=0.3)
    high = [np.square(np.diff(x)).mean() / x.var() for x in (pause, recorded)]
    assert high[0] == pytest.approx(high[1], rel=0.5)  # the spectrum falls like that of the recording
    assert [replaced.seconds(x) for x in (0.5, 1.5, 1.9, 3.3)] == [0.5, 1.5, 3.6, 5.0]
    assert (WithoutDigitalSilence(samples).samples == replaced.samples).all()
    untouched = WithoutDigitalSilence(talk.astype(np.float32))
    assert untouched.samples is not None and untouched.seconds(1.25) == 1.25 and len(untouched.samples) == 24000


def test_online_words_count_only_where_there_is_sound():
    class Words:
        def __init__(self):
            self.got = []

        def accept(self, samples):
            self.got.append(samples)
            return []

        def finish(self):
            from lstmp.decode.live import Segment
            return [Segment(a, a + 1.0, ("WORD",), True) for a in (0.0, 2.0, 5.0)]

    recognizer = SoundOnlyRecognizer(words := Words())
    samples = np.concatenate([20 * NOISE[:32000], 2000 * NOISE[:16000], np.zeros(48000)]).astype(np.float32)
    for piece in np.array_split(samples, 37):
        recognizer.accept(piece)
    got = np.concatenate(words.got)
    assert len(got) == len(samples) and (got[:48000] == samples[:48000]).all()
    assert 5 < got[52000:].std() < 40 and not len(digital_silence(got[52000:90000]))
    assert [s.begin for s in recognizer.finish()] == [2.0]


def coloured(exponent: float) -> np.ndarray:
    spectrum = np.fft.rfft(NOISE)
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 500) ** exponent)
    return noise / noise.std()


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum", "tone", "alternating"])
@pytest.mark.parametrize("db", [-35, -25, -10])
@pytest.mark.parametrize("seconds", [1.2, 10])
def test_steady_noise_is_not_sound_at_any_volume(kind, db, seconds):
    time = np.arange(160000) / 16000
    noise = {"white": NOISE, "pink": coloured(0.5), "brown": coloured(1), "tone": np.sin(2 * np.pi * 440 * time),
             "hum": np.sin(2 * np.pi * 50 * time) + 0.2 * np.sin(2 * np.pi * 150 * time),
             "alternating": np.where(np.arange(160000) % 2, 1.0, -1.0)}[kind][:round(16000 * seconds)]
    samples = (32768 * 10 ** (db / 20) * noise).clip(-32768, 32767).astype(np.float32)
    assert sound_parts(samples) == [] and (db < -30 or "steady noise or tones" in why_no_sound(samples))
    if seconds >= 2:
        quiet = np.zeros(32000)
        in_silence = np.concatenate([quiet, samples, quiet + 3 * NOISE[:32000]]).astype(np.float32)
        assert sound_parts(in_silence) == []


def test_speech_next_to_loud_steady_noise_is_found_completely():
    talk, noise = speech(4).astype(np.float32), 1000 * NOISE[:96000]
    parts = sound_parts(np.concatenate([talk, noise, talk]))
    assert len(parts) == 2 and parts[0][0] == 0 and parts[0][1] >= 64000 and parts[1][0] <= 160000
    assert parts[1][0] - parts[0][1] > 64000 and parts[1][1] == 224000
    word = np.concatenate([np.zeros(40000), speech(0.5), np.zeros(40000)])
    parts = sound_parts((noise[:len(word)] + word * 1000 / word[word != 0].std()).astype(np.float32))
    assert len(parts) == 1 and parts[0][0] <= 40000 and parts[0][1] >= 48000  # as loud as the noise
    assert steady(talk).sum() == 0 and steady(1000 * NOISE[:15000]).sum() == 0


def test_the_reason_is_given_when_there_is_no_sound():
    assert [why_no_sound(x.astype(np.float32)) for x in (np.zeros(80), np.zeros(16000), 100 * NOISE, NOISE)] == [
        "its 0.005 s are too short for a word", "digital silence",
        "its level is at most -50 dB of full scale, and hardly varies", "its level is at most -90 dB of full scale"]


def test_online_words_in_steady_noise_do_not_count():
    class Words:
        def accept(self, samples):
            return []

        def finish(self):
            from lstmp.decode.live import Segment
            return [Segment(a, a + 0.5, ("WORD",), True) for a in (1.0, 3.0, 6.5, 8.0)]

    recognizer = SoundOnlyRecognizer(Words())
    samples = np.concatenate([1000 * NOISE[:96000], speech(2), 1000 * NOISE[:48000]]).astype(np.float32)
    for piece in np.array_split(samples, 41):
        recognizer.accept(piece)
    assert [s.begin for s in recognizer.finish()] == [6.5]


def test_little_of_loud_steady_noise_next_to_speech_is_searched():
    talk, noise = speech(4).astype(np.float32), 1000 * NOISE[:96000]
    (_, end), (begin, _) = sound_parts(np.concatenate([talk, noise, talk]))
    assert end - 64000 <= 3200 and 160000 - begin <= 3200
    (_, end), (begin, _) = sound_parts(np.concatenate([talk, 0.002 * noise, talk]))  # a quiet pause
    assert end - 64000 == pytest.approx(8000, abs=1600) and 160000 - begin == pytest.approx(8000, abs=1600)
