"""Rank the utterances of a data dir by how ill their transcripts fit their audio, and say why.

Each utterance is searched three times: its transcript alone (forced alignment), a loop of all phones with no
transcript, and the transcript with departures allowed (:mod:`lstmp.gmm.biased`). What these say, against the
speaker's other utterances and the data's durations, becomes a score and a reason (:mod:`lstmp.gmm.suspicion`).

The folder gets ``suspicious.txt`` (utterance, score and reason, worst first) and ``utterances.tsv`` (all measures of
all utterances).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config, distributed
from lstmp.config import check
from lstmp.corpus.datadir import read_table
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError, command
from lstmp.gmm import options
from lstmp.gmm.align import segments
from lstmp.gmm.biased import BiasedCompiler, departures, with_gap
from lstmp.gmm.em import AlignConfig, Shard
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.phone_loop import PhoneLoop
from lstmp.gmm.suspicion import Heard, JudgeConfig, Verdict, judge, write_verdicts
from lstmp.gmm.training_graph import fewest_states
from lstmp.gmm.viterbi import align_batch
from lstmp.log import progress, say
from lstmp.stage import Stage


@dataclass(frozen=True)
class CheckConfig:
    """How transcripts are checked.

    Attributes:
        align: the search; its ``max_failed`` has no say here.
        phone_cost, gap_cost, skip_cost, frame_cost: log-probabilities, in the units of scaled scores, that cost a
            phone of the loop, the beginning of a departure, a word gone over, a frame of a departure.
        judge: when an utterance is suspicious.
    """

    align: AlignConfig
    phone_cost: float
    gap_cost: float
    skip_cost: float
    frame_cost: float
    judge: JudgeConfig

    def __post_init__(self):
        for name in ("phone_cost", "gap_cost", "skip_cost", "frame_cost"):
            check(getattr(self, name) >= 0, name, "0 or more")


def listen(shard: Shard, model: AcousticModel, cfg: CheckConfig) -> dict[str, Heard]:
    """Search this process's utterances; ``shard.words`` and ``shard.feats`` are what is compared."""
    lang, transitions = shard.lang, model.transitions
    shard.compile_graphs(model)
    compiler = BiasedCompiler(lang, model.tree, transitions, cfg.gap_cost, cfg.skip_cost)
    loop = PhoneLoop(lang, model, cfg.phone_cost)
    quiet = {loop.set_of_phone[p] for p in lang.silence if p in loop.set_of_phone}
    boost = model.silence_boost(lang, cfg.align.boost_silence, shard.device)
    log_prob = transitions.graph_log_probs(cfg.align.transition_scale, cfg.align.self_loop_scale).numpy()
    heard = {u: Heard(failed=reason) for u, reason in shard.unusable.items()}
    todo = []
    for utt in shard.utts:
        if (frames := len(shard.feats[utt])) < (least := shard.graphs[utt].min_frames):
            heard[utt] = Heard(failed=f"{frames} frames, but its transcript needs at least {least}")
        else:
            todo.append(utt)
    batches = shard.batches(sorted(todo, key=lambda u: -len(shard.feats[u])))
    for batch in progress(batches, "checking", unit="batch") if distributed.rank() == 0 else batches:
        raw = [model.gmms.loglikes(shard.feats[u]) for u in batch]
        scaled = [(x + boost) * cfg.align.acoustic_scale for x in raw]
        graphs = [shard.graphs[u] for u in batch]
        forced = align_batch(graphs, [x[:, g.distinct_pdfs] for x, g in zip(scaled, graphs, strict=True)], log_prob)
        free = loop.best_paths(scaled, log_prob)
        graphs = [compiler.compile(shard.words[u]) for u in batch]
        gapped = [with_gap(x, g, path.score, cfg.frame_cost) for x, g, path in zip(scaled, graphs, free, strict=True)]
        extended = compiler.extended(log_prob, max(len(shard.words[u]) for u in batch))
        biased = align_batch(graphs, gapped, extended)
        for utt, x, (tids, score), path, (ways, best) in zip(batch, raw, forced, free, biased, strict=True):
            speech = ~np.isin(path.phone, list(quiet))
            phones = [s for s in segments(tids, transitions) if loop.set_of_phone[s.phone] not in quiet]
            pdfs = transitions.tid_pdf.numpy()[tids]
            heard[utt] = Heard(
                frames=len(tids), loglike=float(x[torch.arange(len(tids)), torch.from_numpy(pdfs)].mean()),
                ratio=(score - float(path.score.sum())) / len(tids), gain=best - score,
                words=len(shard.words[utt]), departures=departures(ways, compiler.first_gap_tid, speech),
                phones=np.array([(loop.set_of_phone[s.phone], s.start, s.length) for s in phones]).reshape(-1, 3),
                shortest=[fewest_states(transitions.topology.entries[s.phone]) for s in phones])
    return heard


def check_shard(shard: Shard, model: AcousticModel, cfg: CheckConfig) -> dict[str, Verdict] | None:
    """Search and judge; on the first process the verdicts of all utterances, None on the others."""
    parts = distributed.gather((listen(shard, model, cfg), shard.words))
    if distributed.rank() != 0:
        return None
    heard = {u: h for part, _ in parts for u, h in part.items()}
    words = {u: [shard.lang.word_names[w] for w in ws] for _, part in parts for u, ws in part.items()}
    names = [shard.lang.phone_names[phones[0]].partition("_")[0] for phones in shard.lang.sets]
    return judge(heard, words, read_table(Path(shard.data_dir) / "utt2spk"), names, cfg.judge)


def load(data, lang, model_dir, device="cpu") -> tuple[Shard, AcousticModel]:
    """This process's utterances, and the GMM to check them with."""
    model = AcousticModel.load(model_dir, device)
    if model.gmms is None:
        raise UserError("no Gaussian mixtures in it", file=model_dir, mend="check with a GMM's folder")
    shard = Shard(data, Lang.load(lang), model.feature, device)
    if shard.dim != model.gmms.dim:
        raise UserError(f"features of {shard.dim} dimensions for a model of {model.gmms.dim}", file=data,
                        mend="make the features with the configuration that the model was trained with")
    return shard, model


def _check(data, lang, model_dir, out, cfg: CheckConfig, device):
    verdicts = check_shard(*load(data, lang, model_dir, device), cfg)
    if verdicts is not None:
        suspicious = write_verdicts(out, verdicts)
        say(f"{out}: {suspicious} of {len(verdicts)} utterances are suspicious, see {out / 'suspicious.txt'}")


@command
def main(argv=None):
    p = options.parser("steps/check_alignment.sh", __doc__.split("\n")[0], "check_alignment.yaml")
    p.add_argument("--model", type=Path, required=True, help="folder of the GMM to check with; monophones are best")
    args = p.parse_args(argv)
    cfg = config.load(args.config, CheckConfig)
    inputs = options.stage_inputs(args.data, args.lang) + [
        args.model / n for n in ("final.safetensors", "tree.json", "topo")]
    stage = Stage(args.out, "check_alignment", inputs, config.to_dict(cfg))
    if stage.is_done():
        return
    say(f"checking {args.data} with {args.model}")
    distributed.launch(_check, args.nj, args.data, args.lang, args.model, args.out, cfg, args.device)
    stage.mark([args.out / n for n in ("suspicious.txt", "utterances.tsv")])


if __name__ == "__main__":
    main()
