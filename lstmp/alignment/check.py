"""Rank the utterances of a data dir by how ill their transcripts fit their audio, and say why.

Each utterance is searched three times: by its transcript alone (forced alignment), by a loop of all phones with no
transcript, and by the transcript with departures allowed (:mod:`lstmp.alignment.biased`). What these say, against the
speaker's other utterances and the data's durations, becomes a score and a reason (:mod:`lstmp.alignment.suspicion`).

The folder gets ``suspicious.txt`` (utterance, score and reason, worst first) and ``utterances.tsv`` (all measures of
all utterances).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config, distributed
from lstmp.alignment.biased import BiasedCompiler, departures, with_gap
from lstmp.alignment.phone_loop import PhoneLoop
from lstmp.alignment.suspicion import Heard, JudgeConfig, Verdict, judge, write_verdicts
from lstmp.config import check
from lstmp.corpus.datadir import read_table
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm import options
from lstmp.gmm.align import segments
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import AlignConfig, Shard
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


class Listener:
    """Compares this process's utterances with their transcripts: ``shard.feats`` with ``shard.words``."""

    def __init__(self, shard: Shard, model: AcousticModel, cfg: CheckConfig):
        self.shard, self.model, self.cfg = shard, model, cfg
        self.oov = shard.lang.oov
        self.compiler = BiasedCompiler(shard.lang, model.tree, model.transitions, cfg.gap_cost, cfg.skip_cost)
        self.loop = PhoneLoop(shard.lang, model, cfg.phone_cost)
        self.set_of_phone = self.loop.set_of_phone
        self.quiet = {self.set_of_phone[p] for p in shard.lang.silence if p in self.set_of_phone}
        self.boost = model.silence_boost(shard.lang, cfg.align.boost_silence, shard.device)
        self.log_prob = model.transitions.graph_log_probs(cfg.align.transition_scale,
                                                          cfg.align.self_loop_scale).numpy()

    def listen(self) -> dict[str, Heard]:
        """What is heard of every utterance."""
        shard, todo = self.shard, []
        shard.compile_graphs(self.model)
        heard = {u: Heard(failed=reason) for u, reason in shard.unusable.items()}
        for utt in sorted(shard.utts, key=lambda u: -len(shard.feats[u])):
            if (frames := len(shard.feats[utt])) < (least := shard.graphs[utt].min_frames):
                heard[utt] = Heard(failed=f"{frames} frames, but its transcript needs at least {least}")
            else:
                todo.append(utt)
        batches = shard.batches(todo)
        for batch in progress(batches, "checking", unit="batch") if distributed.rank() == 0 else batches:
            heard.update(zip(batch, self._hear(batch), strict=True))
        return heard

    def _hear(self, batch: list[str]) -> list[Heard]:
        raw = [self.model.mixtures.loglikes(self.shard.feats[u]) for u in batch]
        scaled = [(x + self.boost) * self.cfg.align.acoustic_scale for x in raw]
        words, graphs = [self.shard.words[u] for u in batch], [self.shard.graphs[u] for u in batch]
        forced = align_batch(graphs, [x[:, g.distinct_pdfs] for x, g in zip(scaled, graphs, strict=True)],
                             self.log_prob)
        free = self.loop.best_paths(scaled, self.log_prob)
        biased = self._depart(words, scaled, free)
        # an unknown word sounds like anything: what departing there gains is no fault of the transcript
        strange = [i for i, ws in enumerate(words) if self.oov in ws]
        allowed = self._depart([words[i] for i in strange], [scaled[i] for i in strange], [free[i] for i in strange],
                               only=self.oov)
        bound = list(forced)
        for i, path in zip(strange, allowed, strict=True):
            bound[i] = path
        return [self._read(*x) for x in zip(words, raw, forced, bound, free, biased, strict=True)]

    def _depart(self, words, scaled, free, only: int | None = None):
        """Alignments that may depart from the transcript; with ``only``, at that word."""
        if not words:
            return []
        graphs = [self.compiler.compile(ws, None if only is None else _borders_of(only, ws)) for ws in words]
        scores = [with_gap(x, g, path.score, self.cfg.frame_cost) for x, g, path in
                  zip(scaled, graphs, free, strict=True)]
        return align_batch(graphs, scores, self.compiler.extended(self.log_prob, max(map(len, words))))

    def _read(self, words, raw, forced, bound, free, biased) -> Heard:
        """``bound`` is ``forced``, or with unknown words the path that may depart at them."""
        tids, transitions, first_gap = forced[0], self.model.transitions, self.compiler.first_gap_tid
        pdfs = torch.from_numpy(transitions.tid_pdf.numpy()[tids]).to(raw.device)
        phones = [s for s in segments(tids, transitions) if self.set_of_phone[s.phone] not in self.quiet]
        speech = ~np.isin(free.phone, list(self.quiet))
        told = bound[0] < first_gap  # frames that words or silence explain
        cost = sum(self.cfg.gap_cost + self.cfg.skip_cost * d.skipped + self.cfg.frame_cost * d.length
                   for d in departures(bound[0], first_gap, speech))
        return Heard(
            frames=len(tids), words=len(words), loglike=float(raw.gather(1, pdfs[:, None]).mean()),
            ratio=(bound[1] + cost - float(free.score.sum())) / max(1, int(told.sum())), gain=biased[1] - bound[1],
            departures=[d for d in departures(biased[0], first_gap, speech)
                        if set(words[d.word:d.word + d.skipped]) != {self.oov}],
            phones=np.array([(self.set_of_phone[s.phone], s.start, s.length) for s in phones]).reshape(-1, 3),
            shortest=[fewest_states(transitions.topology.entries[s.phone]) for s in phones])


def _borders_of(word: int, words: list[int]) -> set[int]:
    """The borders beside each ``word``: k is before the word with index k."""
    return {i + side for i, w in enumerate(words) if w == word for side in (0, 1)}


def check_shard(shard: Shard, model: AcousticModel, cfg: CheckConfig) -> dict[str, Verdict] | None:
    """Search and judge; on the first process the verdicts of all utterances, None on the others."""
    parts = distributed.gather((Listener(shard, model, cfg).listen(), shard.words))
    if distributed.rank() != 0:
        return None
    heard = {u: h for part, _ in parts for u, h in part.items()}
    words = {u: [shard.lang.word_names[w] for w in ws] for _, part in parts for u, ws in part.items()}
    names = [shard.lang.phone_names[phones[0]].partition("_")[0] for phones in shard.lang.sets]
    return judge(heard, words, read_table(Path(shard.data_dir) / "utt2spk"), names, cfg.judge,
                 frame_shift(shard.data_dir))


def load(data, lang, model_dir, device="cpu") -> tuple[Shard, AcousticModel]:
    """This process's utterances, and the GMM to check them with."""
    model = AcousticModel.load(model_dir, device).speaker_independent()
    if model.gmms is None:
        raise UserError("no Gaussian mixtures in it", file=model_dir, hint="check with a GMM's folder")
    shard = Shard(data, Lang.load(lang), model.input, device, model.transform)
    if shard.dim != model.gmms.dim:
        raise UserError(f"features of {shard.dim} dimensions for a model of {model.gmms.dim}", file=data,
                        hint="make the features with the configuration that the model was trained with")
    return shard, model


def _check(data, lang, model_dir, out, cfg: CheckConfig, device):
    verdicts = check_shard(*load(data, lang, model_dir, device), cfg)
    if verdicts is not None:
        suspicious = write_verdicts(out, verdicts)
        say(f"{out}: {suspicious} of {len(verdicts)} utterances are suspicious, see {out / 'suspicious.txt'}")


@command
def main(argv=None):
    p = options.parser("steps/check_alignment.sh", __doc__.split("\n")[0], "check_alignment.yaml")
    p.add_argument("--model", type=Path, required=True, help="folder of the GMM to check with; monophones will do")
    args = p.parse_args(argv)
    cfg = config.load(args.config, CheckConfig)
    inputs = options.stage_inputs(args.data, args.lang) + [
        args.model / n for n in ("final.safetensors", "tree.json", "topo")]
    stage = Stage(args.out, "check_alignment", inputs, config.to_dict(cfg))
    if distributed.on_first(stage.is_done):
        return
    say(f"checking {args.data} with {args.model}")
    distributed.launch(_check, args.nj, args.data, args.lang, args.model, args.out, cfg, args.device)
    stage.mark([args.out / n for n in ("suspicious.txt", "utterances.tsv")])


if __name__ == "__main__":
    main()
