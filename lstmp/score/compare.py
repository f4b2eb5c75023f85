"""Compare two systems on one set: word error rates, significance of the difference, speakers, and confusions.

    steps/compare.sh exp/mini_librispeech/tri3b/decode_tgsmall_test exp/mini_librispeech/lstmp/decode_tgsmall_test

Both decode dirs must have been scored (stage 11). The report is Markdown, printed or written to --out. It has the word
error rates and their difference, with the interval of the paired bootstrap (M. Bisani and H. Ney, ICASSP 2004) and the
p-value of the matched-pairs test (lstmp.score.segments); both systems by speaker; the most frequent confusions; and the
utterances on which the systems differ most.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np

from lstmp import config
from lstmp.corpus.datadir import read_table
from lstmp.errors import UserError, command
from lstmp.score.bootstrap import replicate_wers
from lstmp.score.report import table
from lstmp.score.score import DecodedSet
from lstmp.score.segments import MatchedPairs, errors_at, matched_pairs, segments
from lstmp.score.wer import Errors, Words, count_errors, read_hyps, read_refs


@dataclass(frozen=True)
class System:
    """A scored decode dir: the system's name, the hypotheses at the weights chosen on dev, and their errors."""

    name: str
    hyps: Words
    errors: Errors

    @classmethod
    def load(cls, decode_dir, refs: Words) -> "System":
        path = Path(decode_dir) / "best.txt"
        if not path.is_file():
            raise UserError("no such file", file=path, hint="score this set first (stage 11)")
        hyps = read_hyps(path)
        return cls(str(Path(decode_dir).parent.name), hyps, count_errors(refs, hyps, path))


@dataclass(frozen=True)
class Difference:
    """The difference of the word error rates of two systems on a set.

    Attributes:
        wer: that of the second minus that of the first, in per cent.
        ci: its 95 % interval by the paired bootstrap.
        better: share of the bootstrap samples in which the second system has fewer errors.
        test: the matched-pairs test of the first against the second.
    """

    wer: float
    ci: tuple[float, float]
    better: float
    test: MatchedPairs


def difference(a: System, b: System, refs: Words, replicates: int, seed: int) -> Difference:
    """Compare the word error rates of two systems."""
    differences = (replicate_wers(b.errors.errors, b.errors.words, replicates, seed)
                   - replicate_wers(a.errors.errors, a.errors.words, replicates, seed))
    low, high = np.percentile(differences, [2.5, 97.5])
    test = matched_pairs([pair for utt in sorted(refs) for pair in segments(
        errors_at(refs[utt], a.hyps.get(utt, ())), errors_at(refs[utt], b.hyps.get(utt, ())))])
    return Difference(b.errors.wer - a.errors.wer, (float(low), float(high)), float(np.mean(differences < 0)), test)


def difference_part(a: System, b: System, refs: Words, replicates: int, seed: int) -> str:
    """Word error rates, their difference, and its significance."""
    lines = [[s.name, f"{s.errors.wer:.2f}", *(f"{n:,}" for n in s.errors.counts[:, :3].sum(0))] for s in (a, b)]
    d = difference(a, b, refs, replicates, seed)
    return "\n\n".join([
        table(["system", "WER %", "ins", "del", "sub"], lines),
        f"{b.name} minus {a.name}: **{d.wer:+.2f}** [{d.ci[0]:+.2f}, {d.ci[1]:+.2f}] (paired bootstrap, 95 %); "
        f"{b.name} has fewer errors in {100 * d.better:.1f} % of {replicates:,} bootstrap samples.  \n"
        f"Matched-pairs test: {d.test.segments:,} segments, mean difference {-d.test.mean:+.3f} errors, "
        f"z {-d.test.z:+.2f}, p {d.test.p:.2g}."])


def speakers_part(a: System, b: System, speakers: dict[str, str]) -> str:
    """Both systems by speaker, sorted by how much the second one is better."""
    speaker_of = np.array([speakers[utt] for utt in a.errors.utts])
    rows = []
    for speaker in sorted(set(speaker_of)):
        selected = speaker_of == speaker
        words = max(int(a.errors.words[selected].sum()), 1)
        wers = [100 * int(s.errors.errors[selected].sum()) / words for s in (a, b)]
        rows.append((wers[1] - wers[0], [speaker, f"{selected.sum():,}", f"{words:,}", *(f"{w:.2f}" for w in wers),
                                         f"{wers[1] - wers[0]:+.2f}"]))
    return table(["speaker", "utterances", "words", f"{a.name}, WER %", f"{b.name}, WER %", "difference"],
                 [row for _, row in sorted(rows, key=lambda r: r[0])])


def confusions(system: System, refs: Words) -> Counter:
    """(reference word, hypothesis word) → count. The word is empty for insertions and deletions."""
    return Counter((r, h) for utt in refs for r, h in kaldialign.align(refs[utt], system.hyps.get(utt, ()), "")
                   if r != h)


def confusions_part(a: System, b: System, refs: Words, most: int) -> str:
    """The ``most`` most frequent confusions of both systems."""
    counts = confusions(a, refs), confusions(b, refs)
    pairs = sorted(set(counts[0]) | set(counts[1]), key=lambda p: (-counts[0][p] - counts[1][p], p))[:most]
    return table(["reference", "hypothesis", a.name, b.name],
                 [[p[0] or "–", p[1] or "–", *(str(c[p]) for c in counts)] for p in pairs], left=2)


def utterances_part(a: System, b: System, refs: Words, most: int) -> str:
    """The ``most`` utterances on which the numbers of errors differ most."""
    difference = b.errors.errors - a.errors.errors
    parts = []
    for i in sorted(np.flatnonzero(difference), key=lambda i: (-abs(difference[i]), a.errors.utts[i]))[:most]:
        utt = a.errors.utts[i]
        hyps = [f"{s.name}, {s.errors.errors[i]}: {' '.join(s.hyps.get(utt, ()))}" for s in (a, b)]
        parts.append("\n".join([f"    {utt}", f"    reference: {' '.join(refs[utt])}", *(f"    {h}" for h in hyps)]))
    return "\n\n".join(parts)


def compare(first, second, *, most: int = 20, replicates: int = 10_000, seed: int = 1) -> str:
    """Compare two decode dirs; returns the report in Markdown.

    Args:
        first, second: DECODE_DIR or DECODE_DIR=DATA_DIR.
        most: maximum number of confusions and of utterances to show.
        replicates, seed: of the bootstrap.

    Raises:
        UserError: a decode dir is not scored, or they are of different sets.
    """
    sets = [DecodedSet.parse(str(d)) for d in (first, second)]
    refs = read_refs(sets[0].data)
    if read_refs(sets[1].data) != refs:
        raise UserError(f"it is of another set than {sets[0].dir}", file=sets[1].dir,
                        hint="compare decodings of the same set")
    a, b = (System.load(s.dir, refs) for s in sets)
    if a.name == b.name:
        a, b = (System(str(s.dir), x.hyps, x.errors) for s, x in zip(sets, (a, b), strict=True))
    speakers = read_table(sets[0].data / "utt2spk")
    scores = [config.read_json(s.dir / "score.json", "score this set first (stage 11)")
              if (s.dir / "score.json").exists() else None for s in sets]  # n-best lists have none
    chosen = [f"{x.name}: {s['lmwt']:g}, {s['wip']:g}" for x, s in zip((a, b), scores, strict=True) if s]
    size = f"{len(refs):,} utterances, {int(a.errors.words.sum()):,} words."
    return "\n\n".join([
        f"# {a.name} and {b.name} on {sets[0].data.name}",
        size + (f" LM weight and penalty: {'; '.join(chosen)}." if chosen else ""),
        difference_part(a, b, refs, replicates, seed), "## Speakers", speakers_part(a, b, speakers),
        "## Confusions", confusions_part(a, b, refs, most), "## Utterances", utterances_part(a, b, refs, most)]) + "\n"


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/compare.sh", description=__doc__.split("\n")[0])
    p.add_argument("first", help="a scored decode dir; or DIR=DATA to give its data dir, if decode.json does not name "
                   "it, and for n-best lists")
    p.add_argument("second", help="another scored decode dir of the same set")
    p.add_argument("--most", type=int, default=20, help="maximum number of confusions and of utterances to show "
                   "(default: %(default)s)")
    p.add_argument("--out", type=Path, help="Markdown file to write (default: print the report)")
    a = p.parse_args(argv)
    if a.most < 1:
        raise UserError("--most must be 1 or more", hint="correct the value")
    text = compare(a.first, a.second, most=a.most)
    config.write_text(a.out, text) if a.out else print(text, end="")


if __name__ == "__main__":
    main()
