"""Word error rates of decoded sets. LM weight and insertion penalty are chosen on dev and applied to all sets.

Writes to every decode dir ``score.json`` (the figures), ``best.txt`` (the hypotheses of the chosen cell) and
``align.txt`` (the alignment of every utterance, the error rate of each speaker). The data dir of a decode dir is named
by "data" in its ``decode.json``.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.config import check
from lstmp.corpus.coverage import difference
from lstmp.corpus.datadir import read_table
from lstmp.errors import UserError, command
from lstmp.log import progress, say, warn
from lstmp.program import program_name
from lstmp.score.align_text import write_alignment
from lstmp.score.bootstrap import interval
from lstmp.score.grid import Cell, choose, read_grid
from lstmp.score.wer import count_errors, read_hyps, read_refs, spelling_errors
from lstmp.stage import Stage

OUTPUTS = ("score.json", "best.txt", "align.txt")


@dataclass(frozen=True)
class ScoreConfig:
    """The values of conf/score.yaml, explained there."""

    replicates: int
    confidence: float
    seed: int
    max_missing: float

    def __post_init__(self):
        check(self.replicates >= 100, "replicates", "100 or more")
        check(0 < self.confidence < 1, "confidence", "between 0 and 1")
        check(self.seed >= 0, "seed", "0 or more")
        check(0 <= self.max_missing <= 1, "max_missing", "a fraction from 0 to 1")


@dataclass(frozen=True)
class DecodedSet:
    """A decode dir and the data dir with the reference, ``text``."""

    dir: Path
    data: Path

    @classmethod
    def parse(cls, text: str) -> "DecodedSet":
        """Parse ``DECODE_DIR`` or ``DECODE_DIR=DATA_DIR``."""
        decode_dir, _, data = text.partition("=")
        path = Path(decode_dir) / "decode.json"
        if not data:
            noted = config.read_json(path, "decode this set first (stage 10)").get("data")
            if not isinstance(noted, str):
                raise UserError("it does not name its data dir", file=path, hint="give DECODE_DIR=DATA_DIR")
            data = noted
        return cls(Path(decode_dir), Path(data))


def score(dev: DecodedSet, tests: list[DecodedSet], cfg: ScoreConfig):
    """Choose the cell on ``dev`` and score all sets with it.

    Raises:
        UserError: a set is not decoded, has another grid than dev, or too many of its hypotheses are missing.
    """
    sets = [dev, *tests]
    stage = Stage(dev.dir, "score", settings=config.to_dict(cfg),
                  inputs=[p for s in sets for p in (s.dir / "scoring", s.data / "text", s.data / "utt2spk")])
    if stage.is_done():
        return
    best = None
    for s in sets:
        wers = _grid_wers(s)
        best = best or choose(wers)
        if best not in wers:
            raise UserError(f"no hypotheses for {best}, which was chosen on {dev.dir}", file=s.dir / "scoring",
                            hint="decode all sets with the same grid")
        _score_set(s, best, wers, dev, cfg)
    stage.mark(outputs=[s.dir / name for s in sets for name in OUTPUTS])


def _grid_wers(s: DecodedSet) -> dict[Cell, float]:
    refs = read_refs(s.data)
    cells = read_grid(s.dir)
    return {cell: count_errors(refs, read_hyps(path), path).wer
            for cell, path in progress(cells.items(), f"score {s.dir.name}", unit="cell")}


def _score_set(s: DecodedSet, cell: Cell, wers: dict[Cell, float], dev: DecodedSet, cfg: ScoreConfig):
    refs, path = read_refs(s.data), read_grid(s.dir)[cell]
    hyps = read_hyps(path)
    errors = count_errors(refs, hyps, path)
    if errors.missing:
        warn(f"{path}: {len(errors.missing)} of {len(refs)} utterances have no hypothesis, all their words count as "
             f"deleted: {', '.join(errors.missing[:5])}{' …' if len(errors.missing) > 5 else ''}")
        if len(errors.missing) > cfg.max_missing * len(refs):
            raise UserError(f"{len(errors.missing)} of {len(refs)} utterances have no hypothesis", file=path,
                            hint="see the warnings of decoding, or raise max_missing in conf/score.yaml")
    ins, dels, subs, words = errors.counts.sum(axis=0).tolist()
    if spelling := spelling_errors(refs, hyps):
        (ref_word, hyp_word), _ = max(spelling.items(), key=lambda item: (item[1], item[0]))
        warn(f"{path}: {spelling.total():,} of {subs:,} substitutions differ only in spelling ("
             f"{difference(ref_word, hyp_word)}), such as {hyp_word} for {ref_word}. They count as errors; use the "
             "spelling of the lexicon in text")
    low, high = interval(errors.errors, errors.words, replicates=cfg.replicates, seed=cfg.seed,
                         confidence=cfg.confidence)
    best = choose(wers)
    result = {
        "wer": round(errors.wer, 4), "ci": [round(low, 4), round(high, 4)], "confidence": cfg.confidence,
        "ins": ins, "del": dels, "sub": subs, "words": words, "utterances": len(refs), "missing": len(errors.missing),
        "lmwt": cell.lmwt, "wip": cell.wip, "chosen_on": str(dev.dir), "chosen_here": s == dev,
        "best_of_this_set": {"wer": round(wers[best], 4), "lmwt": best.lmwt, "wip": best.wip},
        "grid": {f"{c.lmwt:g}_{c.wip:g}": round(wer, 4) for c, wer in wers.items()},
    }
    speakers = read_table(s.data / "utt2spk")
    for utt in refs:
        if utt not in speakers:
            raise UserError(f"utterance {utt} has no speaker", file=s.data / "utt2spk", hint="add its line")
    config.write_text(s.dir / "best.txt", "".join(" ".join((u, *hyps[u])) + "\n" for u in sorted(hyps)))
    write_alignment(s.dir / "align.txt", refs, hyps, errors, speakers)
    config.write_text(s.dir / "score.json", json.dumps(result, indent=1) + "\n")
    say(f"{s.dir}: WER {errors.wer:.2f} % [{low:.2f}, {high:.2f}], {ins} ins, {dels} del, {subs} sub of {words} words, "
        f"{cell}")


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog=program_name("steps/score.sh"), description=__doc__.split("\n")[0])
    parser.add_argument("--dev", required=True, metavar="DIR[=DATA]",
                        help="decode dir on which LM weight and insertion penalty are chosen; =DATA gives its data dir "
                             "if decode.json does not name it")
    parser.add_argument("--test", nargs="*", action="extend", default=[], metavar="DIR[=DATA]",
                        help="decode dirs of other sets, scored with the same weight and penalty")
    parser.add_argument("--config", required=True, help="conf/score.yaml or a copy of it")
    args = parser.parse_args(argv)
    score(DecodedSet.parse(args.dev), [DecodedSet.parse(t) for t in args.test], config.load(args.config, ScoreConfig))


if __name__ == "__main__":
    main()
