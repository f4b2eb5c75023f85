"""Paired tests of all systems on all sets that they have in common."""

from itertools import combinations

from lstmp.aliases import Json
from lstmp.parallel import run_jobs
from lstmp.report.experiment import Decoding
from lstmp.report.options import ReportConfig
from lstmp.score.compare import System, difference


def comparison(decodings: list[Decoding], cfg: ReportConfig, nj: int) -> list[Json]:
    """Compare every two decodings of a set with the same language model, or of a system with two language models.

    ``difference`` is the second word error rate minus the first, ``ci`` its 95 % interval by the paired bootstrap, and
    ``p`` the p-value of the matched-pairs test.
    """
    pairs = [(a, b) for a, b in combinations(decodings, 2)
             if a.set == b.set and (a.lm == b.lm or a.system == b.system)]
    return run_jobs(lambda pair: _compared(*pair, cfg), pairs, nj, "comparisons", "pair")


def _compared(a: Decoding, b: Decoding, cfg: ReportConfig) -> Json:
    first, second = (System(x.system, x.hyps, x.errors) for x in (a, b))
    d = difference(first, second, a.test_set.refs, cfg.replicates, cfg.seed)
    return {"a": a.system, "b": b.system, "lm": a.lm, "lm_b": b.lm, "set": a.set, "wer_a": round(a.errors.wer, 2),
            "wer_b": round(b.errors.wer, 2), "difference": round(d.wer, 2), "ci": [round(x, 2) for x in d.ci],
            "p": float(f"{d.test.p:.3g}")}
