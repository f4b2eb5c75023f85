"""Reading of phone alignments from CTM files, and their agreement.

The format has Kaldi's five columns ``utterance channel start duration phone``, or the same without the channel, plain
or gzipped; times are in seconds. Further columns, of which the first is a confidence, and ``;;`` comments are ignored,
as in NIST's format. If an utterance has several channels, each is read as an utterance.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np

from lstmp.corpus.coverage import difference, other_spellings
from lstmp.corpus.textlines import columns, number, numbered_lines
from lstmp.errors import UserError
from lstmp.log import warn

FRAME = 0.01  # seconds
_TIMES_LONGER = 5  # than the other alignment of the same utterances: then its times are none in seconds
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
        """The phone of each frame, int64 [last end]; −1 for frames without a phone. Adds new phones to ``symbols``."""
        labels = np.full(int(self.end.max(initial=0)), -1, dtype=np.int64)
        for phone, start, end in zip(self.phones, self.start, self.end, strict=True):
            labels[start:end] = symbols.setdefault(phone, len(symbols))
        return labels


def base_phone(phone: str) -> str:
    """Remove word position and stress from a phone: ``AH0_B`` → ``AH``."""
    return _VARIANT.sub("", phone).rstrip("0123456789") or phone


def read_ctm(path) -> dict[str, Alignment]:
    """Read a phone CTM: utterance → :class:`Alignment`. Of several channels, each is added to the id: ``utt 2``.

    Some tools write phones that overlap by a frame because of rounding. The earlier phone is then cut off where the
    next one starts, with a warning.

    Raises:
        UserError: no such file, not text, a line with missing columns, times that are not numbers, or a phone that
            starts before the phone in the line above.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such alignment", file=path, hint="run the stage that aligns, or check the path")
    rows: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    overlaps = example = total = 0
    for n, line in numbered_lines(path):
        if not line.strip() or line.lstrip().startswith(";;"):
            continue
        utt, channel, phone, start, end = _parse(line, path, n)
        phones = rows.setdefault((utt, channel), [])
        total += 1
        if phones and start < phones[-1][2]:
            previous, previous_start, _ = phones[-1]
            if start < previous_start:
                raise UserError(f"{phone} of {utt} starts before the phone in the line above", file=path,
                                line=n, hint="sort the file by utterance and time; each utterance must be there once")
            phones[-1] = previous, previous_start, start
            overlaps, example = overlaps + 1, example or n
        phones.append((phone, start, end))
    if not rows:
        raise UserError("it is empty", file=path, hint="run the stage that aligns again")
    if overlaps:
        warn(f"{path}:{example}: {overlaps} phones overlap with the previous phone, which is cut off where they start"
             + ("; are these ends of phones, where durations should be?" if overlaps > total / 2 else ""))
    result = {}
    channels = Counter(utt for utt, _ in rows)
    for (utt, channel), triples in rows.items():
        names, starts, ends = zip(*triples, strict=True)
        name = utt if channels[utt] == 1 else f"{utt} {channel}"
        result[name] = Alignment(list(names), np.array(starts), np.array(ends))
    return result


def _parse(line: str, path, n: int) -> tuple[str, str, str, int, int]:
    """Utterance, channel (1, 2 … where it is A, B …), phone, and its start and end in frames."""
    fields = columns(line)
    hint = "a line is `utterance [channel] start duration phone [confidence …]`"
    if not 4 <= len(fields) <= 8:
        raise UserError(f"{len(fields)} columns, 4 to 8 expected", file=path, line=n, hint=hint)
    first = 2 if len(fields) > 4 else 1  # column of the start time
    if first == 2 and number(fields[4]) is not None and (number(fields[3]) is None or "." in fields[1]):
        first = 1  # no channel, but a confidence
    start, duration = number(fields[first]), number(fields[first + 1])
    if start is None or duration is None or not (0 <= start < 1e6 and 0 <= duration < 1e6):
        raise UserError(f"start {fields[first]} and duration {fields[first + 1]} are not times in seconds", file=path,
                        line=n, hint=hint)
    channel = fields[1] if first == 2 else "1"
    channel = str("ABCDEFGH".index(channel) + 1) if len(channel) == 1 and channel in "ABCDEFGH" else channel
    return (fields[0], channel, base_phone(fields[first + 2]), round(start / FRAME),
            round((start + duration) / FRAME))


def compare(ref: dict[str, Alignment], hyp: dict[str, Alignment], silence: frozenset[str] = frozenset({"SIL"})) -> dict:
    """The agreement of two alignments over the utterances that both have.

    A frame agrees if both alignments have the same base phone; a frame that only one alignment has does not agree. For
    the boundaries, the two phone sequences of an utterance are matched by Levenshtein alignment. The start times of
    equal phones are compared, except for the first phone of an utterance, which starts at 0 in both.

    Returns:
        a dictionary, rounded for JSON: ``frame_agreement`` (0 to 1), ``frame_agreement_speech`` (over frames that are
        not silence in ``ref``), ``boundary_median_ms``, ``boundary_mean_ms``, ``boundary_within_20ms`` (0 to 1), and
        the counts that they are computed from.

    Phones in another letter case and times in another unit are warned of.

    Raises:
        UserError: the alignments have no utterance, or no phone, in common.
    """
    common = sorted(ref.keys() & hyp.keys())
    if not common:
        raise UserError(f"the two alignments have no utterance in common: {min(ref)} … and {min(hyp)} …",
                        hint="compare alignments of the same set, whose ids are written alike")
    _check_alike([ref[utt] for utt in common], [hyp[utt] for utt in common])
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


def _check_alike(ref: list[Alignment], hyp: list[Alignment]):
    ours, theirs = ({phone for a in side for phone in a.phones} for side in (hyp, ref))
    strange = sorted(ours - theirs)
    otherwise = other_spellings(strange, theirs)
    example = next(iter(otherwise), None)
    why = f"{example} is {otherwise[example]} there but for {difference(example, otherwise[example])}" if example else (
        f"{strange[0]} … and {min(theirs)} …" if strange else "")
    if not ours & theirs:
        raise UserError(f"the two alignments have no phone in common: {why}", hint="write the phones of both alike")
    if otherwise:
        warn(f"{len(otherwise)} of the {len(ours)} phones of the second alignment are in the first in another spelling "
             f"alone, and do not agree with it: {why}")
    ends = [sum(int(a.end[-1]) for a in side) for side in (ref, hyp)]
    if max(ends) > _TIMES_LONGER * min(ends):
        warn(f"the same utterances end after {FRAME * ends[0]:.2f} and {FRAME * ends[1]:.2f} s, together: the times of "
             "one of the two are perhaps not in seconds")


def _boundary_differences(r: Alignment, h: Alignment) -> np.ndarray:
    """Absolute differences of start times in frames, int64 [matched phones]."""
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
