"""Counts of errors: confusions, and errors by speaker, by frequency of the word, by length and by signal level."""

from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import TypeVar

import kaldialign
import numpy as np

from lstmp.aliases import Json
from lstmp.corpus.datadir import read_table
from lstmp.report.experiment import Decoding
from lstmp.report.options import ReportConfig
from lstmp.score.bootstrap import interval

FREQUENCIES = (0, 1, 3, 10, 30, 100, 300, 1000, 10_000)  # lower edges of the groups
LENGTHS = (1, 3, 6, 11, 16, 21, 31, 41)  # words
LEVEL_STEP = 5  # dB
Key = TypeVar("Key", str, int)
Pairs = dict[str, list[tuple[str, str]]]  # utterance → (reference word, hypothesis word), "" for none


def aligned(d: Decoding) -> Pairs:
    """Align all hypotheses with their references."""
    return {utt: kaldialign.align(ref, d.hyps.get(utt, ()), "") for utt, ref in d.test_set.refs.items()}


def word_counts(text: Path) -> Counter[str]:
    """How often each word occurs in the file ``text`` of a data dir."""
    return Counter(word for line in read_table(text).values() for word in line.split())


def tallies(d: Decoding, pairs: Pairs, training: Counter[str] | None, levels: dict[str, float],
            cfg: ReportConfig) -> Json:
    """The shard ``errors/…`` of a decoding, without the calibration.

    Args:
        pairs: the result of :func:`aligned`.
        training: words of the training text; None if it is not known.
        levels: utterance → level in dB.
    """
    counts = Counter(pair for of_utt in pairs.values() for pair in of_utt if pair[0] != pair[1])
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    speaker_of = {utt: d.test_set.data.utts[utt].speaker for utt in d.errors.utts}
    lengths = {utt: group_of(len(d.test_set.refs[utt]), LENGTHS) for utt in d.errors.utts}
    by_level = {utt: int(level // LEVEL_STEP * LEVEL_STEP) for utt, level in levels.items()}
    return {
        "substitutions": [[r, h, n] for (r, h), n in most if r and h][:cfg.max_confusions],
        "insertions": [[h, n] for (r, h), n in most if not r][:cfg.max_confusions],
        "deletions": [[r, n] for (r, h), n in most if not h][:cfg.max_confusions],
        "by_speaker": [{"label": s, **x} for s, x in _by(d, speaker_of, cfg).items()],
        "by_frequency": [] if training is None else _by_frequency(pairs, training),
        "by_length": [{"label": label(i, LENGTHS), **x} for i, x in _by(d, lengths, cfg).items()],
        "by_level": [{"label": f"{low} to {low + LEVEL_STEP}".replace("-", "−"), **x}
                     for low, x in _by(d, by_level, cfg).items()]}


def group_of(value: int, edges: tuple[int, ...]) -> int:
    """The index of the group that a value belongs to; values below the first edge belong to the first group."""
    return max(0, bisect_right(edges, value) - 1)


def label(group: int, edges: tuple[int, ...]) -> str:
    """The values of a group, as text."""
    low, high = edges[group], edges[group + 1] - 1 if group + 1 < len(edges) else None
    return f"{low:,} or more" if high is None else f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _by(d: Decoding, group: dict[str, Key], cfg: ReportConfig) -> dict[Key, Json]:
    """Errors by groups of utterances; utterances without a group are left out."""
    keys = [group.get(utt) for utt in d.errors.utts]
    out: dict[Key, Json] = {}
    for key in sorted({k for k in keys if k is not None}):
        counts = d.errors.counts[np.array([k == key for k in keys])]
        ins, dels, subs, words = counts.sum(0).tolist()
        low, high = interval(counts[:, :3].sum(1), counts[:, 3], replicates=cfg.replicates, seed=cfg.seed)
        out[key] = {"utterances": len(counts), "words": words, "ins": ins, "del": dels, "sub": subs,
                    "wer": rate(ins + dels + subs, words), "ci": [round(low, 2), round(high, 2)]}
    return out


def _by_frequency(pairs: Pairs, training: Counter[str]) -> list[Json]:
    """Deletions and substitutions of reference words, by how often the words occur in the training text."""
    totals, wrong = Counter[int](), Counter[int]()
    for r, h in (pair for of_utt in pairs.values() for pair in of_utt if pair[0]):
        group = group_of(training[r], FREQUENCIES)
        totals[group] += 1
        wrong[group] += r != h
    return [{"label": label(g, FREQUENCIES), "words": totals[g], "errors": wrong[g], "wer": rate(wrong[g], totals[g])}
            for g in sorted(totals)]


def rate(errors: int, words: int) -> float | None:
    """Errors per 100 words; None without words."""
    return round(100 * errors / words, 2) if words else None
