"""Writes the shards of a decoding: its errors, its utterances, their words, phones and states."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lstmp.aliases import Json
from lstmp.errors import UserError
from lstmp.report.calibration import calibration
from lstmp.report.experiment import Decoding, ScoredSet
from lstmp.report.lexicons import Lexicons
from lstmp.report.notes import failures, reason
from lstmp.report.options import ReportConfig
from lstmp.report.tallies import aligned, rate, tallies
from lstmp.report.words import Details, confidences, details, shown_words
from lstmp.shards import digest_of, read_shard, remove_others, shard_path, write_shard
from lstmp.stage import Stage


def chosen(d: Decoding, most: int) -> list[str]:
    """The utterances of a decoding that are shown: all, or ``most`` with the most errors."""
    order = sorted(zip(-d.errors.errors, d.errors.utts, strict=True))
    return [utt for _, utt in order[:most or None]]


def in_shards(utts: set[str], size: int) -> list[list[str]]:
    """Divide utterances among shards, in the order of their ids."""
    ordered = sorted(utts)
    return [ordered[i:i + size] for i in range(0, len(ordered), size)]


@dataclass(frozen=True)
class DecodingPages:
    """Writes the shards of decodings.

    Attributes:
        report: folder of the report.
        cfg: the configuration.
        lexicons: those of the decodings that are shown in detail.
        training: words of the training text, if it is known.
        sounds: set → utterance → its item of the shard ``sound``.
        shards: set → the utterances of each shard.
    """

    report: Path
    cfg: ReportConfig
    lexicons: Lexicons
    training: Counter[str] | None
    sounds: dict[str, dict[str, Json]]
    shards: dict[str, list[list[str]]]

    def write(self, d: Decoding, detailed: bool) -> list[str]:
        """Write all shards of a decoding; returns notes about what is missing."""
        folder = shard_path(self.report, f"words/{d.name}/0").parent
        sounds = self.sounds[d.set]
        stage = Stage(folder, "words", self._inputs(d), {
            **self.cfg.of_errors(), "detailed": detailed, "name": d.name, "sound": digest_of(sounds),
            "utterances": digest_of(self.shards[d.set]),
            "training text": digest_of(sorted((self.training or {}).items()))})
        if stage.is_done():
            noted: list[str] = read_shard(self.report, f"errors/{d.name}").get("notes", [])
            return noted
        notes: list[str] = []
        found: Details | None = None
        if detailed:
            try:
                found = details(d, self.lexicons)
            except (UserError, OSError, KeyError) as e:
                notes.append(f"{d.dir}: no times and confidences of words: {reason(e)}")
            if found and found.failed:
                notes.append(failures(f"{d.dir}: no times of words of utterances", found.failed))
        pairs = aligned(d)
        levels = {u: x["level"] for u, x in sounds.items() if x["level"] is not None}
        errors = tallies(d, pairs, self.training, levels, self.cfg)
        known = confidences(found, pairs) if found else ([], [])
        paths = [write_shard(self.report, f"errors/{d.name}",
                             {**errors, "calibration": calibration(*known) if known[0] else None, "notes": notes})]
        paths.append(write_shard(self.report, f"utterances/{d.name}", {"items": self._items(d)}))
        shown = set(chosen(d, self.cfg.max_utterances))
        for i, utts in enumerate(self.shards[d.set]):
            of_shard = [u for u in utts if u in shown]
            words = {u: shown_words(pairs[u], found.words.get(u) if found else None, found.shift if found else 0.0,
                                    seconds_of(d.test_set, sounds, u) or 0.0) for u in of_shard}
            paths.append(write_shard(self.report, f"words/{d.name}/{i}", words))
            if found:
                states = {u: found.states[u] for u in of_shard if u in found.states}
                paths.append(write_shard(self.report, f"states/{d.name}/{i}", states))
        for kind in ("words", "states"):
            remove_others(shard_path(self.report, f"{kind}/{d.name}/0").parent, paths)
        if found or not detailed:
            stage.mark(paths)
        return notes

    def _inputs(self, d: Decoding) -> list[Path]:
        data = Path(str(d.info["data"]))
        return [*(d.dir / name for name in ("decode.json", "score.json", "best.txt")),
                *(data / name for name in ("text", "utt2spk"))]

    def _items(self, d: Decoding) -> list[Json]:
        """The rows of the table of utterances, those with the most errors first."""
        counts = dict(zip(d.errors.utts, d.errors.counts.tolist(), strict=True))
        shard_of = {u: i for i, utts in enumerate(self.shards[d.set]) for u in utts}
        sounds = self.sounds[d.set]
        items = []
        for utt in chosen(d, self.cfg.max_utterances):
            ins, dels, subs, words = counts[utt]
            items.append({"utt": utt, "speaker": d.test_set.data.utts[utt].speaker,
                          "seconds": seconds_of(d.test_set, sounds, utt), "level": sounds.get(utt, {}).get("level"),
                          "words": words, "ins": ins, "del": dels, "sub": subs, "wer": rate(ins + dels + subs, words),
                          "shard": str(shard_of[utt])})
        return items


def seconds_of(test_set: ScoredSet, sounds: dict[str, Json], utt: str) -> float | None:
    """The length of an utterance: as measured, or from utt2dur."""
    measured: float | None = sounds.get(utt, {}).get("seconds")
    return measured if measured is not None else test_set.data.durations.get(utt)
