"""The sound of the utterances of a set: where the page finds the audio, the level, and a picture of the spectrum.

The page plays the files of ``wav.scp`` where they are. Only what a browser cannot play, such as the output of a
command, SPHERE or a WAV in an archive, is written to ``audio/`` in the folder of the report, as Opus.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile
from PIL import Image

from lstmp import files
from lstmp.aliases import Array, Json
from lstmp.corpus import sound
from lstmp.corpus.datadir import Utterance
from lstmp.corpus.ids import file_name
from lstmp.corpus.samples import FULL_SCALE
from lstmp.corpus.utterance_audio import at_rate, audio_stamps, is_command, read_original
from lstmp.errors import UserError
from lstmp.features.functions import fbank
from lstmp.parallel import run_jobs
from lstmp.report.experiment import ScoredSet
from lstmp.report.notes import Notes, reason
from lstmp.report.options import ReportConfig
from lstmp.shards import digest_of, read_shard, remove_others, shard_name, shard_path, write_shard
from lstmp.stage import Stage

RATE = 16000  # Hz, of the pictures and of audio that is written
_RANGE = 14.0  # nats from black to white in a picture: 61 dB
_MAX_COLUMNS = 16000  # WebP pictures are at most 16383 wide
_FIRST_BYTES = {".wav": b"RIFF", ".flac": b"fLaC", ".ogg": b"OggS", ".oga": b"OggS", ".opus": b"OggS"}
_WAV_CODECS = (1, 3, 0xFFFE)  # PCM, floats, extensible


def is_playable(utt: Utterance) -> bool:
    """Whether browsers play the file: by its name and its first bytes, because SPHERE files are often named .wav."""
    suffix = Path(utt.wav).suffix.lower()
    if is_command(utt) or not os.path.isfile(utt.wav):
        return False
    with open(utt.wav, "rb") as f:
        head = f.read(36)
    if suffix == ".mp3":
        return head[:3] == b"ID3" or head[:1] == b"\xff"
    if suffix not in _FIRST_BYTES or not head.startswith(_FIRST_BYTES[suffix]):
        return False
    return suffix != ".wav" or head[12:16] != b"fmt " or int.from_bytes(head[20:22], "little") in _WAV_CODECS


@dataclass(frozen=True)
class SetAudio:
    """Makes the sound shards of a set."""

    report: Path
    test_set: ScoredSet
    cfg: ReportConfig
    allow_commands: bool

    def write(self, shards: list[list[str]], nj: int, notes: Notes) -> dict[str, Json]:
        """Write ``sound/<set>/<n>`` for each list of utterances, and the pictures.

        Returns:
            utterance → its item; ``level`` is None for audio that could not be read.
        """
        name = self.test_set.name
        folder = shard_path(self.report, shard_name("sound", name, "0")).parent
        utts = [self.test_set.data.utts[u] for shard in shards for u in shard]
        stage = Stage(folder, "sound", [], {
            **self.cfg.of_pictures(), "audio": digest_of(audio_stamps(utts)), "report": os.path.abspath(self.report),
            "utterances": digest_of([repr(u) for u in utts]), "commands": self.allow_commands})
        if not stage.is_done():
            paths = run_jobs(lambda job: self._write_shard(*job), enumerate(shards), nj, f"sound of {name}", "job")
            remove_others(folder, paths)
            stage.mark(paths)
        items: dict[str, Json] = {}
        for i in range(len(shards)):
            items |= read_shard(self.report, shard_name("sound", name, str(i)))
        failed = {utt: item["error"] for utt, item in items.items() if "error" in item}
        notes.add_failures(f"no sound of utterances of {name}", failed)
        return items

    def _write_shard(self, number: int, utts: list[str]) -> Path:
        items = {utt: self._item(self.test_set.data.utts[utt]) for utt in utts}
        return write_shard(self.report, shard_name("sound", self.test_set.name, str(number)), items)

    def _item(self, utt: Utterance) -> Json:
        item: Json = {"audio": None, "offset": 0.0, "seconds": self.test_set.data.durations.get(utt.id), "level": None,
                      "spectrogram": None, "bins": [], "frame_seconds": self.cfg.frame_shift_ms / 1000}
        try:
            if linked := is_playable(utt):
                item |= {"audio": self._link(Path(utt.wav)), "offset": utt.segment.begin if utt.segment else 0.0}
            samples, rate = read_original(utt, self.allow_commands)
            item |= {"seconds": round(len(samples) / rate, 3),
                     "level": round(sound.measure(samples, rate).level, 1)}
            samples = at_rate(samples, rate, RATE)
            if not linked:
                item["audio"] = self._link(self._write_audio(utt.id, samples))
            if self.cfg.spectrograms:
                item |= self._write_picture(utt.id, samples)
        except (UserError, OSError, soundfile.LibsndfileError) as e:
            item["error"] = reason(e)
        return item

    def _link(self, path: Path) -> str:
        """The URL of a file, relative to the page."""
        return quote(os.path.relpath(os.path.abspath(path), os.path.abspath(self.report)))

    def _path(self, kind: str, utt: str, suffix: str) -> Path:
        return self.report / kind / shard_name(self.test_set.name) / f"{file_name(utt)}{suffix}"

    def _write_audio(self, utt: str, samples: Array) -> Path:
        path = self._path("audio", utt, ".ogg")
        with files.replacing(path) as tmp:
            soundfile.write(str(tmp), np.clip(samples / FULL_SCALE, -1, 1), RATE, format="OGG", subtype="OPUS")
        return path

    def _write_picture(self, utt: str, samples: Array) -> Json:
        """Write the spectrogram: columns are frames, the first row has the highest frequencies."""
        pixels, join = picture(samples, self.cfg)
        path = self._path("spectrograms", utt, ".webp")
        with files.replacing(path) as tmp:
            Image.fromarray(pixels).save(tmp, format="WEBP", quality=self.cfg.quality)
        return {"spectrogram": self._link(path), "bins": [round(f) for f in mel_centres(self.cfg.mel_bins)[::-1]],
                "frame_seconds": join * self.cfg.frame_shift_ms / 1000}


def picture(samples: Array, cfg: ReportConfig) -> tuple[Array, int]:
    """The spectrogram of an utterance.

    Args:
        samples: float32 [samples] at 16 kHz, ±32768.

    Returns:
        uint8 [mel bins, columns], light where there is energy; and the number of frames that a column stands for.
    """
    energies = fbank(samples / FULL_SCALE, RATE, dither=0.0, num_mel_bins=cfg.mel_bins, window="hanning",
                     frame_shift_ms=cfg.frame_shift_ms, snip_edges=False)
    join = -(-len(energies) // _MAX_COLUMNS)
    energies = np.stack([part.mean(0) for part in np.array_split(energies, -(-len(energies) // join))])
    top = np.percentile(energies, 99.5)
    return np.clip(255 * (1 + (energies.T[::-1] - top) / _RANGE), 0, 255).astype(np.uint8), join


def mel_centres(bins: int, low: float = 20.0) -> Array:
    """The centres of the filters in Hz, float64 [bins], from ``low`` to half of 16 kHz."""
    first, last = (1127 * float(np.log1p(f / 700)) for f in (low, RATE / 2))
    mel = np.linspace(first, last, bins + 2)[1:-1]
    return np.asarray(700 * np.expm1(mel / 1127))
