"""Rank the utterances of a data dir by how poorly their transcripts fit their audio, with reasons.

Each utterance is searched three times: with its transcript (forced alignment), with a loop of all phones and no
transcript, and with its transcript but departures allowed (:mod:`lstmp.alignment.biased`). The results are compared
with the speaker's other utterances and the phone durations of the data, which gives a score and a reason
(:mod:`lstmp.alignment.suspicion`).

The output folder gets ``suspicious.txt`` (utterance, score and reason, worst first) and ``utterances.tsv`` (all
measurements of all utterances).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config, distributed
from lstmp.alignment.biased import BiasedCompiler, departures, with_gap
from lstmp.alignment.phone_loop import PhoneLoop
from lstmp.alignment.suspicion import JudgeConfig, Measurements, Verdict, judge, write_verdicts
from lstmp.config import check
from lstmp.corpus.datadir import read_table
from lstmp.corpus.lang import Lang
from lstmp.device import DEFAULT_MEMORY
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
        align: settings of the search; ``max_failed`` is ignored.
        phone_cost, gap_cost, skip_cost, frame_cost: costs of a phone of the loop, of beginning a departure, of skipping
            a word, and of a frame of a departure; negative log-probabilities in the units of scaled scores.
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


class TranscriptChecker:
    """Compares this process's utterances (``shard.feats``) with their transcripts (``shard.words``)."""

    def __init__(self, shard: Shard, model: AcousticModel, cfg: CheckConfig):
        self.shard, self.model, self.cfg = shard, model, cfg
        self.oov = shard.lang.oov
        self.compiler = BiasedCompiler(shard.lang, model.tree, model.transitions, cfg.gap_cost, cfg.skip_cost)
        self.loop = PhoneLoop(shard.lang, model, cfg.phone_cost)
        self.set_of_phone = self.loop.set_of_phone
        self.silence_sets = {self.set_of_phone[p] for p in shard.lang.silence if p in self.set_of_phone}
        self.boost = model.silence_boost(shard.lang, cfg.align.boost_silence, shard.device)
        self.log_prob = model.transitions.graph_log_probs(cfg.align.transition_scale,
                                                          cfg.align.self_loop_scale).numpy()

    def measure(self) -> dict[str, Measurements]:
        """Search all utterances and return their measurements."""
        shard, todo = self.shard, []
        shard.compile_graphs(self.model)
        results = {u: Measurements(failed=reason) for u, reason in shard.unusable.items()}
        for utt in sorted(shard.utts, key=lambda u: -shard.feats.lengths[u]):
            if (frames := shard.feats.lengths[utt]) < (minimum := shard.graphs.min_frames[utt]):
                results[utt] = Measurements(failed=f"{frames} frames, but its transcript needs at least {minimum}")
            else:
                todo.append(utt)
        batches = shard.batches(todo)
        for batch in progress(batches, "checking", unit="batch") if distributed.rank() == 0 else batches:
            results.update(zip(batch, self._measure_batch(batch), strict=True))
        return results

    def _measure_batch(self, batch: list[str]) -> list[Measurements]:
        raw = [self.model.mixtures.loglikes(self.shard.feats[u]) for u in batch]
        scaled = [(x + self.boost) * self.cfg.align.acoustic_scale for x in raw]
        words, graphs = [self.shard.words[u] for u in batch], [self.shard.graphs[u] for u in batch]
        forced = align_batch(graphs, [x[:, g.distinct_pdfs] for x, g in zip(scaled, graphs, strict=True)],
                             self.log_prob)
        free = self.loop.best_paths(scaled, self.log_prob)
        biased = self._align_biased(words, scaled, free)
        # An unknown word can have any pronunciation, so a departure there does not count against the transcript.
        # The reference path of these utterances may therefore depart at unknown words.
        with_oov = [i for i, ws in enumerate(words) if self.oov in ws]
        allowed = self._align_biased([words[i] for i in with_oov], [scaled[i] for i in with_oov],
                                     [free[i] for i in with_oov], only=self.oov)
        reference = list(forced)
        for i, path in zip(with_oov, allowed, strict=True):
            reference[i] = path
        return [self._measurements(*x) for x in zip(words, raw, forced, reference, free, biased, strict=True)]

    def _align_biased(self, words, scaled, free, only: int | None = None):
        """Align with departures allowed; with ``only``, they are allowed only at this word."""
        if not words:
            return []
        graphs = [self.compiler.compile(ws, None if only is None else _borders_of(only, ws)) for ws in words]
        scores = [with_gap(x, g, path.score, self.cfg.frame_cost) for x, g, path in
                  zip(scaled, graphs, free, strict=True)]
        return align_batch(graphs, scores, self.compiler.extended(self.log_prob, max(map(len, words))))

    def _measurements(self, words, raw, forced, reference, free, biased) -> Measurements:
        """Compute the measurements of an utterance.

        ``reference`` is ``forced``, or for a transcript with unknown words the path that may depart at these words.
        """
        tids, transitions, first_gap = forced[0], self.model.transitions, self.compiler.first_gap_tid
        pdfs = torch.from_numpy(transitions.tid_pdf.numpy()[tids]).to(raw.device)
        phones = [s for s in segments(tids, transitions) if self.set_of_phone[s.phone] not in self.silence_sets]
        speech = ~np.isin(free.phone, list(self.silence_sets))
        explained = int((reference[0] < first_gap).sum())  # number of frames of words or silence
        cost = sum(self.cfg.gap_cost + self.cfg.skip_cost * d.skipped + self.cfg.frame_cost * d.length
                   for d in departures(reference[0], first_gap, speech))
        return Measurements(
            frames=len(tids), words=len(words), loglike=float(raw.gather(1, pdfs[:, None]).mean()),
            ratio=(reference[1] + cost - float(free.score.sum())) / max(1, explained), gain=biased[1] - reference[1],
            departures=[d for d in departures(biased[0], first_gap, speech)
                        if set(words[d.word:d.word + d.skipped]) != {self.oov}],
            phones=np.array([(self.set_of_phone[s.phone], s.start, s.length) for s in phones]).reshape(-1, 3),
            shortest=[fewest_states(transitions.topology.entries[s.phone]) for s in phones])


def _borders_of(word: int, words: list[int]) -> set[int]:
    """The borders before and after each occurrence of ``word``; border k is before the word with index k."""
    return {i + side for i, w in enumerate(words) if w == word for side in (0, 1)}


def check_shard(shard: Shard, model: AcousticModel, cfg: CheckConfig) -> dict[str, Verdict] | None:
    """Check all utterances. Returns the verdicts of all processes on the first process, None on the others."""
    own = TranscriptChecker(shard, model, cfg).measure(), shard.words
    shard.free()
    measured: dict[str, Measurements] = {}
    word_ids: dict[str, list[int]] = {}
    for source in range(distributed.world_size()):  # one after another, as lstmp.gmm.align.collect
        if part := distributed.hand_in(own if source == distributed.rank() else None, source):
            measured.update(part[0])
            word_ids.update(part[1])
    if distributed.rank() != 0:
        return None
    words = {u: [shard.lang.word_names[w] for w in ws] for u, ws in word_ids.items()}
    names = [shard.lang.phone_names[phones[0]].partition("_")[0] for phones in shard.lang.sets]
    return judge(measured, words, read_table(Path(shard.data_dir) / "utt2spk"), names, cfg.judge,
                 frame_shift(shard.data_dir))


def load(data, lang, model_dir, device="cpu", memory: float = DEFAULT_MEMORY) -> tuple[Shard, AcousticModel]:
    """Load this process's utterances, and the GMM to check them with."""
    model = AcousticModel.load(model_dir, device).speaker_independent()
    if model.gmms is None:
        raise UserError("no Gaussian mixtures in it", file=model_dir, hint="give the folder of a GMM")
    shard = Shard(data, Lang.load(lang), model.input, device, model.transform, memory=memory)
    if shard.dim != model.gmms.dim:
        raise UserError(f"features of {shard.dim} dimensions for a model of {model.gmms.dim}", file=data,
                        hint="make the features with the configuration that the model was trained with")
    return shard, model


def _check(data, lang, model_dir, out, cfg: CheckConfig, device, memory: float):
    verdicts = check_shard(*load(data, lang, model_dir, device, memory), cfg)
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
    distributed.launch(_check, args.nj, args.data, args.lang, args.model, args.out, cfg, args.device, args.memory)
    stage.mark([args.out / n for n in ("suspicious.txt", "utterances.tsv")])


if __name__ == "__main__":
    main()
