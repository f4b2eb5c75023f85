"""Phone alignments as CTM files, and how far two of them agree.

Read are Kaldi's five columns ``utterance channel start duration phone`` and the same without the channel, plain or
gzipped; times in seconds. More columns, the first of them a confidence, and ``;;`` comments are read over, as in NIST's
format.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np

from lstmp.corpus.textlines import columns, number, numbered_lines
from lstmp.errors import UserError
from lstmp.log import warn

FRAME = 0.01  # seconds
_VARIANT = re.compile(r"(?<=.)_[BEIS]$")


@dataclass(frozen=True)
class Alignment:
    """The phones of one utterance.

    Attributes:
        phones: base phones in time order, [n].
        start, end: int64 [n], in frames of 10 ms.
    """

    phones: list[str]
    start: np.ndarray
    end: np.ndarray

    def frames(self, symbols: dict[str, int]) -> np.ndarray:
        """The phone of each frame, int64 [last end]; −1 where there is none. Extends ``symbols`` by new phones."""
        labels = np.full(int(self.end.max(initial=0)), -1, dtype=np.int64)
        for phone, start, end in zip(self.phones, self.start, self.end, strict=True):
            labels[start:end] = symbols.setdefault(phone, len(symbols))
        return labels


def base_phone(phone: str) -> str:
    """Without position mark and stress: ``AH0_B`` → ``AH``."""
    return _VARIANT.sub("", phone).rstrip("0123456789") or phone


def read_ctm(path) -> dict[str, Alignment]:
    """Read a phone CTM: utterance → :class:`Alignment`.

    Phones that overlap, as those of some tools do by a rounded frame, are warned of: each ends where the next begins.

    Raises:
        UserError: no such file, not text, a line without the columns, times that are not numbers, or a phone that
            begins before the one above it has begun.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such alignment", file=path, hint="run the stage that aligns, or check the path")
    rows: dict[str, list[tuple[str, int, int]]] = {}
    overlaps, example = 0, 0
    for n, line in numbered_lines(path):
        if not line.strip() or line.lstrip().startswith(";;"):
            continue
        utt, phone, start, end = _parse(line, path, n)
        phones = rows.setdefault(utt, [])
        if phones and start < phones[-1][2]:
            before, begun, _ = phones[-1]
            if start < begun:
                raise UserError(f"{phone} of {utt} begins before the phone above it has begun", file=path,
                                line=n, hint="sort the file by utterance and time; each utterance is there once")
            phones[-1] = before, begun, start
            overlaps, example = overlaps + 1, example or n
        phones.append((phone, start, end))
    if not rows:
        raise UserError("it is empty", file=path, hint="run the stage that aligns again")
    if overlaps:
        warn(f"{path}:{example}: {overlaps} phones overlap with the one before them, which is taken to end where they "
             "begin")
    result = {}
    for utt, triples in rows.items():
        names, starts, ends = zip(*triples, strict=True)
        result[utt] = Alignment(list(names), np.array(starts), np.array(ends))
    return result


def _parse(line: str, path, n: int) -> tuple[str, str, int, int]:
    fields = columns(line)
    form = "a line is `utterance [channel] start duration phone [confidence …]`"
    if not 4 <= len(fields) <= 8:
        raise UserError(f"{len(fields)} columns, 4 to 8 expected", file=path, line=n, hint=form)
    at = 2 if len(fields) > 4 else 1
    if at == 2 and number(fields[4]) is not None and (number(fields[3]) is None or "." in fields[1]):
        at = 1  # no channel, but a confidence
    start, duration = number(fields[at]), number(fields[at + 1])
    if start is None or duration is None or not (0 <= start < 1e6 and 0 <= duration < 1e6):
        raise UserError(f"start {fields[at]} and duration {fields[at + 1]} are not times in seconds", file=path,
                        line=n, hint=form)
    return fields[0], base_phone(fields[at + 2]), round(start / FRAME), round((start + duration) / FRAME)


def compare(ref: dict[str, Alignment], hyp: dict[str, Alignment], silence: frozenset[str] = frozenset({"SIL"})) -> dict:
    """Agreement of two alignments over the utterances of both.

    A frame agrees where both have the same base phone; frames that only one alignment reaches do not agree. For the
    boundaries, the two phone sequences of an utterance are matched by Levenshtein alignment; the starts of phones
    matched with themselves are compared, except an utterance's first, which is 0 in both.

    Returns:
        A dictionary, rounded for JSON: ``frame_agreement`` (0 to 1), ``frame_agreement_speech`` (over frames that are
        not silence in ``ref``), ``boundary_median_ms``, ``boundary_mean_ms``, ``boundary_within_20ms`` (0 to 1), and
        the numbers behind them.

    Raises:
        UserError: no utterance in common.
    """
    common = sorted(ref.keys() & hyp.keys())
    if not common:
        raise UserError("the two alignments have no utterance in common", hint="compare alignments of the same set")
    symbols: dict[str, int] = {}
    frames = agree = speech = speech_agree = one_sided = 0
    differences = []
    for utt in common:
        r, h = ref[utt], hyp[utt]
        a, b = r.frames(symbols), h.frames(symbols)
        n = min(len(a), len(b))
        same = (a[:n] == b[:n]) & (a[:n] >= 0)
        is_speech = ~np.isin(a, [symbols[s] for s in silence if s in symbols]) & (a >= 0)
        frames += max(len(a), len(b))
        one_sided += max(len(a), len(b)) - n
        agree += int(same.sum())
        speech += int(is_speech.sum())
        speech_agree += int((same & is_speech[:n]).sum())
        differences.append(_boundary_differences(r, h))
    d = np.concatenate(differences)
    ms = 1000 * FRAME * d
    return {
        "utterances": len(common), "only_in_reference": len(ref.keys() - hyp.keys()),
        "only_in_hypothesis": len(hyp.keys() - ref.keys()),
        "frames": frames, "frames_in_one_only": one_sided,
        "frame_agreement": round(agree / frames, 5),
        "frame_agreement_speech": round(speech_agree / speech, 5) if speech else None,
        "boundaries": len(d),
        "boundary_median_ms": float(np.median(ms)) if len(d) else None,
        "boundary_mean_ms": round(float(ms.mean()), 3) if len(d) else None,
        "boundary_within_20ms": round(float((d <= 2).mean()), 5) if len(d) else None,
    }


def _boundary_differences(r: Alignment, h: Alignment) -> np.ndarray:
    """|start difference| in frames, int64 [matched phones]."""
    i = j = 0
    pairs = []
    for p, q in kaldialign.align(r.phones, h.phones, ""):
        if p == q and (i or j):
            pairs.append((i, j))
        i, j = i + (p != ""), j + (q != "")
    if not pairs:
        return np.zeros(0, dtype=np.int64)
    ri, hj = np.array(pairs).T
    return np.abs(r.start[ri] - h.start[hj])
