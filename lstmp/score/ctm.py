"""Phone alignments as CTM files, and how far two of them agree.

Read are Kaldi's five columns ``utterance channel start duration phone`` and the same without the channel, plain or
gzipped; times in seconds.
"""

import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np

from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError

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

    Raises:
        UserError: no such file, not gzip data or cut off, a line that is not 4 or 5 columns, times that are not
            numbers, or a phone that begins before the one above it has ended.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such alignment", file=path, mend="run the stage that aligns, or check the path")
    rows: dict[str, list[tuple[str, int, int]]] = {}
    number = 0
    try:
        with io.TextIOWrapper(open_gzip(path) if path.suffix == ".gz" else open(path, "rb"), encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                utt, phone, start, end = _parse(line, path, number)
                phones = rows.setdefault(utt, [])
                if phones and start < phones[-1][2]:
                    raise UserError(f"{phone} of {utt} begins before the phone above it has ended", file=path,
                                    line=number, mend="sort the file by utterance and time")
                phones.append((phone, start, end))
    except (gzip.BadGzipFile, UnicodeDecodeError) as e:
        raise UserError(f"cut off or damaged: {e}", file=path, line=number + 1, mend="make or fetch it again") from None
    if not rows:
        raise UserError("it is empty", file=path, mend="run the stage that aligns again")
    result = {}
    for utt, triples in rows.items():
        phones, start, end = zip(*triples, strict=True)
        result[utt] = Alignment(list(phones), np.array(start), np.array(end))
    return result


def _parse(line: str, path, number: int) -> tuple[str, str, int, int]:
    fields = line.split()
    if len(fields) not in (4, 5):
        raise UserError(f"{len(fields)} columns, 4 or 5 expected", file=path, line=number,
                        mend="a line is `utterance [channel] start duration phone`")
    try:
        start, duration = float(fields[-3]), float(fields[-2])
        if not (0 <= start < 1e6 and 0 <= duration < 1e6):
            raise ValueError
    except ValueError:
        raise UserError(f"start {fields[-3]} and duration {fields[-2]} are not times in seconds", file=path,
                        line=number, mend="a line is `utterance [channel] start duration phone`") from None
    return fields[0], base_phone(fields[-1]), round(start / FRAME), round((start + duration) / FRAME)


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
        raise UserError("the two alignments have no utterance in common", mend="compare alignments of the same set")
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
