"""Reads, checks and writes audio files: WAV, FLAC, MP3, Opus and every other format that libsndfile reads.

Samples are float32 on the scale of 16-bit integers (±32768), which Kaldi's feature extraction, and ours, expects.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from lstmp import files
from lstmp.corpus.recording import Recording, libsndfile_reason
from lstmp.corpus.samples import FULL_SCALE
from lstmp.errors import UserError

RATE = 16000
MIN_SECONDS = 0.025  # one analysis window; a shorter file yields no frame
MP3_KBPS = (8, 160)  # minimum and maximum bit rate at 16 kHz
EXTENSIONS = (".flac", ".wav", ".opus", ".mp3", ".ogg")


@dataclass(frozen=True)
class AudioInfo:
    """Format and length of an audio file: sampling rate in Hz, samples per channel, seconds, number of channels."""

    rate: int
    samples: int
    seconds: float
    channels: int


def audio_info(path, rate: int | None = RATE) -> AudioInfo:
    """Check an audio file and determine its length, decoding no more of it than necessary.

    Args:
        rate: sampling rate in Hz that the file must have; it must then be mono, too. None: accept any rate and number
            of channels.

    Raises:
        UserError: the file is missing, empty, not audio, truncated, too short, not sampled at ``rate``, or not mono.
    """
    with Recording(path) as f:
        _check_format(f, rate)
        samples = f.samples()
    return AudioInfo(f.rate, _check_length(samples, path, f.rate), samples / f.rate, f.channels)


def read_audio(path, rate: int = RATE) -> np.ndarray:
    """Decode a mono file: float32 ``[samples]``, ±32768.

    Raises:
        UserError: as for :func:`audio_info`; or samples are not finite or far beyond full scale.
    """
    return _decode(path, rate)[0][:, 0]


def read_channels(path) -> tuple[np.ndarray, int]:
    """Decode a file with any rate and number of channels.

    Returns:
        float32 ``[samples, channels]``, ±32768, and the sampling rate in Hz.

    Raises:
        UserError: as for :func:`read_audio`, except that every rate and number of channels is accepted.
    """
    return _decode(path, None)


def _decode(path, rate: int | None) -> tuple[np.ndarray, int]:
    with Recording(path) as f:
        _check_format(f, rate)
        try:
            samples = np.concatenate(list(f.blocks()))
        except MemoryError:
            raise UserError("does not fit into memory", file=path, hint="cut it into utterances") from None
    _check_length(len(samples), path, f.rate)
    return samples * FULL_SCALE, f.rate


def _check_format(f: Recording, rate: int | None):
    if rate is None:
        return
    if f.rate != rate:
        raise UserError(f"sampled at {f.rate} Hz, not {rate}", file=f.path,
                        hint=f"convert it: `sox {f.path.name} -r {rate} out.wav`")
    if f.channels != 1:
        raise UserError(f"{f.channels} channels, not one", file=f.path,
                        hint=f"keep one: `sox {f.path.name} out.wav remix 1`")


def _check_length(samples: int, path, rate: int) -> int:
    if samples < MIN_SECONDS * rate:
        raise UserError(f"too short: {samples / rate:.4f} s, less than one window of {MIN_SECONDS} s", file=path,
                        hint="leave the utterance out")
    return samples


def write_wav(path, samples: np.ndarray, rate: int = RATE):
    """Write samples of ±32768 as 16-bit WAV, rounded, then clipped. The file is replaced atomically."""
    _write(path, samples, rate, format="WAV", subtype="PCM_16")


def write_mp3(path, samples: np.ndarray, kbps: int, rate: int = RATE):
    """Write samples of ±32768 as MP3 with a constant bit rate: the nearest one that MP3 has from 8 to 160 kbit/s.

    The file may decode to a signal that is a few hundredths of a second longer.
    """
    _write(path, samples, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT",
           compression_level=(MP3_KBPS[1] - kbps) / (MP3_KBPS[1] - MP3_KBPS[0]))


def _write(path, samples: np.ndarray, rate: int, **options):
    path = Path(path)
    try:
        with files.replacing(path) as tmp:
            soundfile.write(str(tmp), np.clip(np.rint(samples), -32768, 32767).astype(np.int16), rate, **options)
    except soundfile.LibsndfileError as e:
        raise UserError(f"cannot be written: {libsndfile_reason(e)}", file=path,
                        hint="free some disk space, or check that the folder can be written to") from None
