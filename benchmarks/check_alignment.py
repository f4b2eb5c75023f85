"""How many planted errors steps/check_alignment.sh finds, and at how many false alarms.

    python -m benchmarks.check_alignment --data DIR --lang DIR --model DIR --out DIR [--utts 400] [--part 0] [--seed 1]

Of the chosen utterances a share gets one error each, in equal numbers: ``swapped`` (the transcripts of two utterances
of like length, so that length does not give them away), ``removed``, ``added``, ``replaced`` (one word; new words are
drawn from the transcripts, so common ones are as likely as in speech) and ``cut`` (20 to 50 % of the audio is missing
at its end). The others stay as they are; those that are flagged are the false alarms, errors of the corpus itself
included. Prints a table, and the recall that the same score has at other numbers of false alarms.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.alignment.check import CheckConfig, check_shard, load
from lstmp.alignment.suspicion import write_verdicts
from lstmp.errors import command
from lstmp.log import say

KINDS = ("swapped", "cut", "removed", "added", "replaced")


def plant(words: dict[str, list], feats: dict[str, torch.Tensor], share: float, seed: int) -> dict[str, str]:
    """Change ``words`` and ``feats`` in place; returns utterance → kind, or "" where nothing was done."""
    rng = random.Random(seed)
    vocabulary = [w for utt in sorted(words) for w in words[utt]]
    order = rng.sample(sorted(words), len(words))
    each = max(2, int(share * len(order) / len(KINDS)) // 2 * 2)  # even, for the pairs
    planted = dict.fromkeys(order, "") | {u: KINDS[i // each] for i, u in enumerate(order[:each * len(KINDS)])}
    pairs = iter(sorted((u for u in order if planted[u] == "swapped"), key=lambda u: len(feats[u])))
    for first, second in zip(pairs, pairs, strict=True):
        words[first], words[second] = words[second], words[first]
    for utt in order:
        kind, said = planted[utt], list(words[utt])
        where = rng.randrange(len(said))
        new = rng.choice([w for w in vocabulary if w != said[where]])
        if kind == "cut":
            feats[utt] = feats[utt][:int(len(feats[utt]) * rng.uniform(0.5, 0.8))]
        elif kind == "removed" and len(said) > 1:
            del said[where]
        elif kind == "added":
            said.insert(where, new)
        elif kind == "replaced":
            said[where] = new
        words[utt] = said
    return planted


def table(planted: dict[str, str], verdicts) -> str:
    """Found of each kind at the limit, and at the scores that 1, 2 and 5 % of the clean ones reach."""
    def scores(kind):
        return np.array([verdicts[u].score for u, k in planted.items() if k == kind])

    clean = np.sort(scores(""))
    limits = [(1.0, "limit")] + [(clean[-1 - int(a * len(clean))], f"{a:.0%}") for a in (0.01, 0.02, 0.05)]
    lines = ["| utterances | of | " + " | ".join(f"found at the limit, {100 * (clean >= 1).mean():.1f} % false alarms"
                                              if n == "limit" else f"at {n}" for _, n in limits) + " |",
             "|---|---:|" + "---:|" * len(limits)]
    for kind in (*KINDS, "clean"):
        s = scores("" if kind == "clean" else kind)
        found = [s >= 1 if n == "limit" else s > at for at, n in limits]
        cells = [f"{int(f.sum())} ({100 * f.mean():.0f} %)" for f in found]
        lines.append(f"| {kind} | {len(s)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@command
def main(argv=None):
    """Plant errors, check, and print what was found."""
    p = argparse.ArgumentParser(description=main.__doc__)
    for name, what in (("--data", "data dir with features and text"), ("--lang", "lang folder"),
                       ("--model", "folder of a GMM"), ("--out", "folder to write")):
        p.add_argument(name, type=Path, required=True, help=what)
    p.add_argument("--config", default="conf/check_alignment.yaml", help="configuration (%(default)s)")
    p.add_argument("--utts", type=int, default=400, help="utterances, spread over the data dir (%(default)s)")
    p.add_argument("--part", type=int, default=0, help="which of the disjoint choices (%(default)s)")
    p.add_argument("--share", type=float, default=0.4, help="of the utterances to spoil (%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of the errors (%(default)s)")
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    shard, model = load(args.data, args.lang, args.model)
    utts = sorted(shard.utts)
    parts = max(1, len(utts) // args.utts)
    shard.utts = utts[args.part % parts::parts][:args.utts]
    shard.words, shard.feats = ({u: x[u] for u in shard.utts} for x in (shard.words, shard.feats))
    planted = plant(shard.words, shard.feats, args.share, args.seed)
    verdicts = check_shard(shard, model, config.load(args.config, CheckConfig))
    write_verdicts(args.out, verdicts)
    config.write_text(args.out / "planted.txt", "".join(f"{u} {k or 'clean'}\n" for u, k in sorted(planted.items())))
    text = table(planted, verdicts)
    config.write_text(args.out / "table.md", text)
    say(f"{len(utts)} utterances, {len(planted)} chosen; details in {args.out}\n{text}")


if __name__ == "__main__":
    main()
