"""From what was heard of each utterance to a score and a reason.

The score is the largest of five ratios, each a measure over the limit that conf/check_alignment.yaml gives it; from 1
an utterance is suspicious. A maximum, and not a sum, so that the reason is the number: whoever reads "2.4,
DOGS not heard at 8.14 s" knows where to listen.
"""

from collections import defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from lstmp import config
from lstmp.alignment.biased import Departure
from lstmp.config import check

_FEW = 5         # utterances below which a speaker has no median of their own
_LEAST = {"ratio": 0.005, "short": 0.02}  # floors of the deviations, for data all alike
_TO_SD = 1.4826  # median absolute deviation → standard deviation, for a normal distribution


@dataclass(frozen=True)
class JudgeConfig:
    """From where on an utterance is suspicious.

    Attributes:
        max_gain: nats, in scaled scores, that departing from the transcript gains.
        max_unlike: robust standard deviations by which its likelihood ratio lies below its speaker's median.
        max_short: the same by which its share of phones of the shortest length lies above its speaker's.
        max_long: standard deviations of its base phone's log-duration by which the longest phone is too long.
        max_rate: factor by which phones a second of speech may differ from the speaker's median.
    """

    max_gain: float
    max_unlike: float
    max_short: float
    max_long: float
    max_rate: float

    def __post_init__(self):
        for name in ("max_gain", "max_unlike", "max_short", "max_long"):
            check(getattr(self, name) > 0, name, "greater than 0")
        check(self.max_rate > 1, "max_rate", "greater than 1")


@dataclass(frozen=True)
class Heard:
    """What the searches say of an utterance.

    Attributes:
        failed: why it could not be searched; then nothing else is set.
        frames, words: how many.
        loglike: acoustic log-likelihood per frame of the forced alignment, unscaled.
        ratio: score per frame of the forced alignment less that of the phone loop, scaled.
        gain: score of the path that may depart from the transcript less that of the forced alignment, scaled.
        departures: where that path departs. Those that go over unknown words alone are not among them, and ``ratio``
            and ``gain`` are of a forced alignment that may depart there.
        phones: int [n, 3], the forced alignment's phones without silence: base phone, first frame, length.
        shortest: the fewest frames that each can have.
    """

    failed: str = ""
    frames: int = 0
    words: int = 0
    loglike: float = 0.0
    ratio: float = 0.0
    gain: float = 0.0
    departures: list[Departure] = field(default_factory=list)
    phones: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int64))
    shortest: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """Score and reason of an utterance, and the measures behind them: the columns of ``utterances.tsv``.

    Attributes:
        score: from 1 on it is suspicious; infinite where it could not be aligned.
        speaker, frames, loglike, ratio, gain: see :class:`Heard`.
        skipped: words that the departing path goes over.
        beside: seconds of speech in departures.
        unlike: deviations of ``ratio`` below the speaker's median.
        short: share of phones at their shortest; ``short_dev``: deviations of it above the speaker's median.
        long: deviations of the longest phone.
        rate: phones a second of speech over the speaker's median.
        reason: in words.
    """

    score: float
    speaker: str
    frames: int
    loglike: float
    ratio: float
    gain: float
    skipped: int
    beside: float
    unlike: float
    short: float
    short_dev: float
    long: float
    rate: float
    reason: str


def judge(heard: dict[str, Heard], words: dict[str, list[str]], speaker: dict[str, str], phone_names: list[str],
          cfg: JudgeConfig, shift: float) -> dict[str, Verdict]:
    """Verdicts by utterance, worst first.

    Args:
        heard, words: by utterance.
        speaker: utterance → speaker.
        phone_names: of the base phones.
        shift: seconds from frame to frame.
    """
    fine = {u: h for u, h in heard.items() if not h.failed}
    own = {u: speaker.get(u, u) for u in heard}
    ratio = {u: h.ratio for u, h in fine.items()}
    short = {u: float((h.phones[:, 2] <= h.shortest).mean()) if len(h.phones) else 0.0 for u, h in fine.items()}
    rate = {u: np.log(len(h.phones) / (shift * h.phones[:, 2].sum())) for u, h in fine.items()
            if len(h.phones)}
    unlike, short_dev = _deviations(ratio, own, _LEAST["ratio"]), _deviations(short, own, _LEAST["short"])
    rates, long = _less_median(rate, own), _longest(fine)
    out = {}
    for utt, h in heard.items():
        if h.failed:
            out[utt] = Verdict(np.inf, own[utt], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, f"cannot be aligned: {h.failed}")
            continue
        factor = float(np.exp(rates.get(utt, 0.0)))
        deviations, which = long[utt]
        parts: list[tuple[float, Any]] = [
                 (h.gain / cfg.max_gain, lambda h=h, utt=utt: _departed(h, words[utt], shift)),
                 (-unlike[utt] / cfg.max_unlike,
                  lambda utt=utt: f"fits {-unlike[utt]:.1f} deviations worse than the speaker's others"),
                 (short_dev[utt] / cfg.max_short, lambda utt=utt: f"{short[utt]:.0%} of its phones are of the shortest "
                                                                  "length"),
                 (deviations / cfg.max_long, lambda h=h, which=which: _too_long(h, which, phone_names, shift)),
                 (abs(rates.get(utt, 0.0)) / np.log(cfg.max_rate),
                  lambda factor=factor: f"spoken {factor:.2f} times as fast as the speaker's others")]
        parts.sort(key=lambda p: -p[0])
        reasons = [say() for value, say in parts if value >= 1] or [parts[0][1]()]
        out[utt] = Verdict(
            float(max(0.0, parts[0][0])), own[utt], h.frames, h.loglike, h.ratio, h.gain,
            sum(d.skipped for d in h.departures), sum(d.spoken for d in h.departures) * shift,
            -unlike[utt], short[utt], short_dev[utt], deviations, factor, "; ".join(r for r in reasons if r))
    return {u: out[u] for u in sorted(out, key=lambda u: (-out[u].score, u))}


def write_verdicts(directory, verdicts: dict[str, Verdict]) -> int:
    """Write ``suspicious.txt`` and ``utterances.tsv``; returns how many are suspicious."""
    directory = Path(directory)
    bad = {u: v for u, v in verdicts.items() if v.score >= 1}
    config.write_text(directory / "suspicious.txt", "".join(f"{u} {v.score:.2f} {v.reason}\n" for u, v in bad.items()))
    names = [f.name for f in fields(Verdict)]
    rows = ["\t".join(["utterance", *names])]
    for utt, v in verdicts.items():
        values = (getattr(v, n) for n in names)
        rows.append("\t".join([utt, *(f"{x:.3f}" if isinstance(x, float) else str(x) for x in values)]))
    config.write_text(directory / "utterances.tsv", "\n".join(rows) + "\n")
    return len(bad)


def _less_median(values: dict[str, float], speaker: dict[str, str]) -> dict[str, float]:
    """Each value less its speaker's median; the median of all where the speaker has few utterances."""
    of = defaultdict(list)
    for utt, value in values.items():
        of[speaker[utt]].append(value)
    overall = np.median(list(values.values())) if values else 0.0
    centre = {s: np.median(v) if len(v) >= _FEW else overall for s, v in of.items()}
    return {u: float(v - centre[speaker[u]]) for u, v in values.items()}


def _deviations(values: dict[str, float], speaker: dict[str, str], least: float) -> dict[str, float]:
    """:func:`_less_median` in standard deviations, which are estimated so that a bad fifth does not move them.

    The deviation is that of all speakers together: few have utterances enough for one of their own.
    """
    centred = _less_median(values, speaker)
    spread = _TO_SD * np.median(np.abs(list(centred.values()))) if centred else 1.0
    return {u: v / max(spread, least) for u, v in centred.items()}


def _longest(heard: dict[str, Heard]) -> dict[str, tuple[float, int]]:
    """Of each utterance's phones the one that is longest for what it is: (deviations, index)."""
    table = np.concatenate([h.phones for h in heard.values()]) if heard else np.zeros((0, 3), dtype=np.int64)
    centre, spread = {}, {}
    for phone in np.unique(table[:, 0]):
        logs = np.log(table[table[:, 0] == phone, 2])
        centre[phone], spread[phone] = np.median(logs), max(0.2, logs.std())  # 0.2: a phone seen a few times
    out = {}
    for utt, h in heard.items():
        z = [(np.log(n) - centre[p]) / spread[p] for p, _, n in h.phones.tolist()]
        out[utt] = (float(max(z)), int(np.argmax(z))) if z else (0.0, -1)
    return out


def _too_long(h: Heard, which: int, names: list[str], shift: float) -> str:
    if which < 0:
        return "no phone in it"
    phone, start, length = h.phones[which].tolist()
    return f"{names[phone]} at {start * shift:.2f} s lasts {length * shift:.2f} s"


def _departed(h: Heard, words: list[str], shift: float, most: int = 3) -> str:
    """The departures in words; only the number of words where they are most of the transcript."""
    skipped = sum(d.skipped for d in h.departures)
    if skipped > len(words) / 2:
        return f"{skipped} of {len(words)} words not heard"
    def weight(d):
        return max(d.spoken, 10 * d.skipped)

    worst = sorted(h.departures, key=lambda d: -weight(d))
    worst = [d for d in worst if 3 * weight(d) >= weight(worst[0])]  # beside half a second a stray frame is no news
    told = []
    for d in sorted(worst[:most], key=lambda d: d.start):
        at = f"at {d.start * shift:.2f} s"
        if d.skipped:
            told.append(f"{' '.join(words[d.word:d.word + d.skipped])} not heard {at}")
        else:
            told.append(f"{d.spoken * shift:.2f} s of speech {at} not in the transcript")
    more = len(worst) - len(told)
    return ", ".join(told) + (f", and {more} more" if more > 0 else "") if told else "fits"
