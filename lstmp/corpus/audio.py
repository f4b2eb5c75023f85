"""Audio files to samples: WAV, FLAC, MP3, Opus and whatever else libsndfile reads, checked before anyone trusts it.

Samples are float32 on the scale of 16-bit integers (±32768), which is what Kaldi's features, and so ours, expect.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from lstmp import files
from lstmp.corpus.recording import Recording, reason
from lstmp.corpus.samples import FULL_SCALE
from lstmp.errors import UserError

RATE = 16000
MIN_SECONDS = 0.025  # one analysis window; anything shorter has no frame at all
MP3_KBPS = (8, 160)  # least and greatest bit rate at 16 kHz
EXTENSIONS = (".flac", ".wav", ".opus", ".mp3", ".ogg")


@dataclass(frozen=True)
class AudioInfo:
    """Samples per second, number of samples of a channel, seconds, channels."""

    rate: int
    samples: int
    seconds: float
    channels: int


def audio_info(path, rate: int | None = RATE) -> AudioInfo:
    """Check a file, and find how long it is, without decoding more of it than must be.

    Args:
        rate: what it must have, being mono; None: any rate and number of channels.

    Raises:
        UserError: missing, empty, not audio, cut off, of another rate than ``rate``, not mono, too short.
    """
    with Recording(path) as f:
        _must_fit(f, rate)
        samples = f.samples()
    return AudioInfo(f.rate, _long_enough(samples, path, f.rate), samples / f.rate, f.channels)


def read_audio(path, rate: int = RATE) -> np.ndarray:
    """Decode a file: float32 ``[samples]``, mono, ±32768.

    Raises:
        UserError: as :func:`audio_info`, and for values that are not finite or far beyond full scale.
    """
    return _decode(path, rate)[0][:, 0]


def read_channels(path) -> tuple[np.ndarray, int]:
    """Decode a file as it is: float32 ``[samples, channels]``, ±32768, and its samples per second.

    Raises:
        UserError: as :func:`read_audio`, but for rate and channels.
    """
    return _decode(path, None)


def _decode(path, rate: int | None) -> tuple[np.ndarray, int]:
    with Recording(path) as f:
        _must_fit(f, rate)
        try:
            samples = np.concatenate(list(f.blocks()))
        except MemoryError:
            raise UserError("does not fit into memory", file=path, hint="cut it into utterances") from None
    _long_enough(len(samples), path, f.rate)
    return samples * FULL_SCALE, f.rate


def _must_fit(f: Recording, rate: int | None):
    if rate is None:
        return
    if f.rate != rate:
        raise UserError(f"sampled at {f.rate} Hz, not {rate}", file=f.path,
                        hint=f"convert it: `sox {f.path.name} -r {rate} out.wav`")
    if f.channels != 1:
        raise UserError(f"{f.channels} channels, not one", file=f.path,
                        hint=f"keep one: `sox {f.path.name} out.wav remix 1`")


def _long_enough(samples: int, path, rate: int) -> int:
    if samples < MIN_SECONDS * rate:
        raise UserError(f"too short: {samples / rate:.4f} s, less than one window of {MIN_SECONDS} s", file=path,
                        hint="leave the utterance out")
    return samples


def write_wav(path, samples: np.ndarray, rate: int = RATE):
    """Write samples of ±32768 as 16-bit WAV, by a temporary name and a rename; values are rounded, then clipped."""
    _write(path, samples, rate, format="WAV", subtype="PCM_16")


def write_mp3(path, samples: np.ndarray, kbps: int, rate: int = RATE):
    """Write samples of ±32768 as MP3 of a constant bit rate; 8 to 160 kbit/s, of which the encoder takes the nearest.

    What is read back may be some hundredths of a second longer.
    """
    _write(path, samples, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT",
           compression_level=(MP3_KBPS[1] - kbps) / (MP3_KBPS[1] - MP3_KBPS[0]))


def _write(path, samples: np.ndarray, rate: int, **how):
    path = Path(path)
    try:
        with files.replacing(path) as tmp:
            soundfile.write(str(tmp), np.clip(np.rint(samples), -32768, 32767).astype(np.int16), rate, **how)
    except soundfile.LibsndfileError as e:
        raise UserError(f"cannot be written: {reason(e)}", file=path,
                        hint="free some disk space, or check that the folder can be written to") from None
