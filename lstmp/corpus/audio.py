"""Audio files to samples: WAV, FLAC, MP3, Opus and whatever else libsndfile reads, checked before anyone trusts it.

Samples are float32 on the scale of 16-bit integers (±32768), which is what Kaldi's features, and so ours, expect.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from lstmp import temporary
from lstmp.errors import UserError

RATE = 16000
MIN_SECONDS = 0.025  # one analysis window; anything shorter has no frame at all
REFETCH = "fetch or make it again"
MP3_KBPS = (8, 160)  # least and greatest bit rate at 16 kHz
EXTENSIONS = (".flac", ".wav", ".opus", ".mp3", ".ogg")


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: samples per second, number of samples, seconds."""

    rate: int
    samples: int
    seconds: float


def audio_info(path, rate: int = RATE) -> AudioInfo:
    """Check a file by its header and its last samples, without decoding the rest.

    Raises:
        UserError: missing, empty, not audio, cut off, of another rate than ``rate``, not mono, too short.
    """
    path = Path(path)
    with _open(path, rate) as f:
        frames = f.frames
        # MP3 is decoded from its beginning: cheap, and after a jump the decoder complains of bits it did not see
        tail = frames if f.format == "MP3" else min(frames, rate // 10)
        try:
            if tail < frames:
                f.seek(frames - tail)
            whole = len(f.read(tail)) == tail
        except soundfile.LibsndfileError:
            whole = False
    if not whole:
        raise UserError(f"cut off or damaged: its last samples of {frames} cannot be decoded", file=path, mend=REFETCH)
    return AudioInfo(rate, frames, frames / rate)


def read_audio(path, rate: int = RATE) -> np.ndarray:
    """Decode a file: float32 ``[samples]``, mono, ±32768.

    Raises:
        UserError: as :func:`audio_info`, and for a file that decodes to less than its header promises or to values
            that are not finite.
    """
    path = Path(path)
    with _open(path, rate) as f:
        frames = f.frames
        try:
            samples = f.read(dtype="float32")
        except soundfile.LibsndfileError as e:
            raise _unreadable(path, e) from None
    if len(samples) < frames:
        raise UserError(f"cut off: {len(samples)} of {frames} samples can be decoded", file=path, mend=REFETCH)
    if not np.isfinite(samples).all():
        raise UserError("holds samples that are not numbers (NaN or infinite)", file=path, mend=REFETCH)
    return samples * np.float32(32768)


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
        with temporary.replacing(path) as tmp:
            soundfile.write(str(tmp), np.clip(np.rint(samples), -32768, 32767).astype(np.int16), rate, **how)
    except soundfile.LibsndfileError as e:
        raise UserError(f"cannot be written: {_reason(e)}", file=path,
                        mend="free some disk space, or check that the folder can be written to") from None


def _open(path: Path, rate: int) -> soundfile.SoundFile:
    """Open a file whose header and frame pass every check."""
    if not path.is_file():
        raise UserError("no such audio file", file=path, mend="restore it, or correct its path in wav.scp")
    if path.stat().st_size == 0:
        raise UserError("the audio file is empty", file=path, mend=REFETCH)
    try:
        f = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError as e:
        raise _unreadable(path, e) from None
    try:
        if f.samplerate != rate:
            raise UserError(f"sampled at {f.samplerate} Hz, not {rate}", file=path,
                            mend=f"convert it: `sox {path.name} -r {rate} out.wav`")
        if f.channels != 1:
            raise UserError(f"{f.channels} channels, not one", file=path,
                            mend=f"keep one: `sox {path.name} out.wav remix 1`")
        _must_be_whole(path, f.format)
        if f.frames == 0:
            raise UserError("the audio file holds no samples", file=path, mend=REFETCH)
        if f.frames < MIN_SECONDS * rate:
            raise UserError(f"too short: {f.frames / rate:.4f} s, less than one window of {MIN_SECONDS} s", file=path,
                            mend="leave the utterance out")
    except UserError:
        f.close()
        raise
    return f


def _must_be_whole(path: Path, kind: str):
    """A cut WAV or Ogg decodes without complaint to what is left of it, so look at its frame instead."""
    with open(path, "rb") as f:
        if kind in ("WAV", "WAVEX"):
            promised, there = _wav_data_bytes(f, path.stat().st_size)
            if promised is None:
                raise UserError("a WAV file without a data chunk", file=path, mend=REFETCH)
            if there < promised:
                raise UserError(f"cut off: {there} of {promised} bytes of samples", file=path, mend=REFETCH)
        elif kind == "OGG":
            f.seek(max(0, path.stat().st_size - 65536))  # a page is at most 65,307 bytes
            tail = f.read()
            page = tail.rfind(b"OggS")
            if page < 0 or len(tail) < page + 27 or not _whole_last_page(tail[page:]):
                raise UserError("cut off: its last Ogg page is not there", file=path, mend=REFETCH)


def _wav_data_bytes(f, size: int) -> tuple[int | None, int]:
    """Bytes of samples that the header promises, and that the file has. A stream's length of all ones passes."""
    f.seek(12)
    while len(head := f.read(8)) == 8:
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            there = size - f.tell()
            return (there if length == 0xFFFFFFFF else length), there
        f.seek(length + length % 2, 1)
    return None, 0


def _whole_last_page(page: bytes) -> bool:
    """RFC 3533: the end-of-stream flag is set, and all segments of the page are there."""
    end_of_stream, segments = page[5] & 4, page[26]
    return bool(end_of_stream) and len(page) >= 27 + segments + sum(page[27:27 + segments])


def _unreadable(path: Path, error) -> UserError:
    return UserError(f"cannot be read as audio: {_reason(error)}", file=path,
                     mend=f"{REFETCH}; WAV, FLAC, MP3 and Opus are read")


def _reason(error) -> str:
    return str(getattr(error, "error_string", error)).rstrip(". \n") or "damaged"
