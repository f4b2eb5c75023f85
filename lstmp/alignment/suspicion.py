"""Turn the measurements of each utterance into a score and a reason.

The score is the maximum of five ratios: each is a measurement divided by its limit in conf/check_alignment.yaml. An
utterance with a score of 1 or more is suspicious. The score is a maximum and not a sum so that a single reason explains
it: "2.4, DOGS not heard at 8.14 s" tells where to listen.
"""

from collections import defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from lstmp import config
from lstmp.alignment.biased import Departure
from lstmp.config import check

_MIN_UTTS = 5    # a speaker with fewer utterances is compared with the median of all speakers
_MIN_SD = {"ratio": 0.005, "short": 0.02}  # floors of the standard deviations, for data without variation
_TO_SD = 1.4826  # median absolute deviation → standard deviation, for a normal distribution


@dataclass(frozen=True)
class JudgeConfig:
    """The limits from which an utterance is suspicious.

    Attributes:
        max_gain: gain of departing from the transcript, in nats of scaled scores.
        max_unlike: robust standard deviations of the likelihood ratio below the speaker's median.
        max_short: robust standard deviations of the share of phones of minimum length above the speaker's median.
        max_long: standard deviations of the longest phone's log-duration above the median of that base phone.
        max_rate: factor between the number of phones per second of speech and the speaker's median.
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
class Measurements:
    """Results of the searches of an utterance.

    Attributes:
        failed: why it could not be searched (then nothing else is set), else empty.
        frames, words: number of frames and words.
        loglike: acoustic log-likelihood per frame of the forced alignment, unscaled.
        ratio: score per frame of the forced alignment minus that of the phone loop, scaled.
        gain: score of the path that may depart from the transcript minus that of the forced alignment, scaled.
        departures: departures of that path, without those that skip only unknown words. For ``ratio`` and ``gain``
            the forced alignment may depart from the transcript at unknown words.
        phones: int [n, 3], the phones of the forced alignment without silence: base phone, first frame, length.
        shortest: minimum length of each of these phones in frames.
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
    """Score and reason of an utterance, and the measurements behind them: the columns of ``utterances.tsv``.

    Attributes:
        score: 1 or more if it is suspicious, infinite if it could not be aligned.
        speaker: its speaker.
        frames, loglike, ratio, gain: see :class:`Measurements`.
        skipped: number of words that the departing path skips.
        beside: seconds of speech in departures.
        unlike: standard deviations of ``ratio`` below the speaker's median.
        short: share of phones of minimum length; ``short_dev``: its standard deviations above the speaker's median.
        long: standard deviations of the longest phone.
        rate: phones per second of speech divided by the speaker's median.
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


def judge(measured: dict[str, Measurements], words: dict[str, list[str]], speaker: dict[str, str],
          phone_names: list[str], cfg: JudgeConfig, shift: float) -> dict[str, Verdict]:
    """Compute the verdict of each utterance, worst first.

    Args:
        measured: utterance → measurements.
        words: utterance → transcript.
        speaker: utterance → speaker.
        phone_names: names of the base phones.
        shift: frame shift in seconds.
    """
    aligned = {u: m for u, m in measured.items() if not m.failed}
    speaker = {u: speaker.get(u, u) for u in measured}
    ratio = {u: m.ratio for u, m in aligned.items()}
    short = {u: float((m.phones[:, 2] <= m.shortest).mean()) if len(m.phones) else 0.0 for u, m in aligned.items()}
    log_rate = {u: np.log(len(m.phones) / (shift * m.phones[:, 2].sum())) for u, m in aligned.items()
                if len(m.phones)}
    unlike, short_dev = _deviations(ratio, speaker, _MIN_SD["ratio"]), _deviations(short, speaker, _MIN_SD["short"])
    rates, long = _less_median(log_rate, speaker), _longest(aligned)
    out = {}
    for utt, m in measured.items():
        if m.failed:
            out[utt] = Verdict(np.inf, speaker[utt], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, f"cannot be aligned: {m.failed}")
            continue
        factor = float(np.exp(rates.get(utt, 0.0)))
        deviations, which = long[utt]
        parts: list[tuple[float, Any]] = [
                 (m.gain / cfg.max_gain, lambda m=m, utt=utt: _describe_departures(m, words[utt], shift)),
                 (-unlike[utt] / cfg.max_unlike,
                  lambda utt=utt: f"fits {-unlike[utt]:.1f} deviations worse than the speaker's other utterances"),
                 (short_dev[utt] / cfg.max_short, lambda utt=utt: f"{short[utt]:.0%} of its phones are of the shortest "
                                                                  "length"),
                 (deviations / cfg.max_long, lambda m=m, which=which: _too_long(m, which, phone_names, shift)),
                 (abs(rates.get(utt, 0.0)) / np.log(cfg.max_rate),
                  lambda factor=factor: f"spoken {factor:.2f} times as fast as the speaker's other utterances")]
        parts.sort(key=lambda p: -p[0])
        reasons = [describe() for value, describe in parts if value >= 1] or [parts[0][1]()]
        out[utt] = Verdict(
            float(max(0.0, parts[0][0])), speaker[utt], m.frames, m.loglike, m.ratio, m.gain,
            sum(d.skipped for d in m.departures), sum(d.spoken for d in m.departures) * shift,
            -unlike[utt], short[utt], short_dev[utt], deviations, factor, "; ".join(r for r in reasons if r))
    return {u: out[u] for u in sorted(out, key=lambda u: (-out[u].score, u))}


def write_verdicts(directory, verdicts: dict[str, Verdict]) -> int:
    """Write ``suspicious.txt`` and ``utterances.tsv``; returns the number of suspicious utterances."""
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
    """Each value minus its speaker's median, or minus the median of all values if the speaker has few utterances."""
    by_speaker = defaultdict(list)
    for utt, value in values.items():
        by_speaker[speaker[utt]].append(value)
    overall = np.median(list(values.values())) if values else 0.0
    centre = {s: np.median(v) if len(v) >= _MIN_UTTS else overall for s, v in by_speaker.items()}
    return {u: float(v - centre[speaker[u]]) for u, v in values.items()}


def _deviations(values: dict[str, float], speaker: dict[str, str], min_sd: float) -> dict[str, float]:
    """:func:`_less_median` in standard deviations, robustly estimated: 20 % of bad utterances hardly change them.

    One standard deviation is estimated over all speakers, since most speakers have too few utterances for their own.
    """
    centred = _less_median(values, speaker)
    sd = _TO_SD * np.median(np.abs(list(centred.values()))) if centred else 1.0
    return {u: v / max(sd, min_sd) for u, v in centred.items()}


def _longest(measured: dict[str, Measurements]) -> dict[str, tuple[float, int]]:
    """For each utterance, the phone that is longest relative to its base phone: (standard deviations, index)."""
    table = np.concatenate([m.phones for m in measured.values()]) if measured else np.zeros((0, 3), dtype=np.int64)
    centre, sd = {}, {}
    for phone in np.unique(table[:, 0]):
        logs = np.log(table[table[:, 0] == phone, 2])
        centre[phone], sd[phone] = np.median(logs), max(0.2, logs.std())  # the floor is for phones that are rare
    out = {}
    for utt, m in measured.items():
        z = [(np.log(n) - centre[p]) / sd[p] for p, _, n in m.phones.tolist()]
        out[utt] = (float(max(z)), int(np.argmax(z))) if z else (0.0, -1)
    return out


def _too_long(m: Measurements, which: int, names: list[str], shift: float) -> str:
    if which < 0:
        return "no phone in it"
    phone, start, length = m.phones[which].tolist()
    return f"{names[phone]} at {start * shift:.2f} s lasts {length * shift:.2f} s"


def _describe_departures(m: Measurements, words: list[str], shift: float, max_shown: int = 3) -> str:
    """Describe the departures; if most words are skipped, only give the number of words."""
    skipped = sum(d.skipped for d in m.departures)
    if skipped > len(words) / 2:
        return f"{skipped} of {len(words)} words not heard"

    def weight(d):
        return max(d.spoken, 10 * d.skipped)

    worst = sorted(m.departures, key=lambda d: -weight(d))
    worst = [d for d in worst if 3 * weight(d) >= weight(worst[0])]  # leaves out what is short compared to the worst
    shown = []
    for d in sorted(worst[:max_shown], key=lambda d: d.start):
        when = f"at {d.start * shift:.2f} s"
        if d.skipped:
            shown.append(f"{' '.join(words[d.word:d.word + d.skipped])} not heard {when}")
        else:
            shown.append(f"{d.spoken * shift:.2f} s of speech {when} not in the transcript")
    more = len(worst) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "") if shown else "fits"
