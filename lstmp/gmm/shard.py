"""A process's share of the utterances, with their features, training graphs and alignment; realigns them.

A process keeps its utterances in memory for the whole training. Processes exchange only sums of statistics.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import distributed
from lstmp.config import check
from lstmp.corpus.coverage import check_known, describe_unknown
from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm.beam_align import BeamAligner
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.record import Clock
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.viterbi import align_batch
from lstmp.log import progress, warn

_BATCH_CELLS = 40_000_000  # frames × states of one alignment batch; each takes a score of four bytes


@dataclass(frozen=True)
class AlignConfig:
    """How utterances are aligned.

    Attributes:
        acoustic_scale: weight of the acoustic log-likelihood relative to the graph.
        transition_scale, self_loop_scale: weights of the transition probabilities.
        boost_silence: factor on the likelihood of silence phones.
        beam: at each frame, states that score this much less than the best state are pruned; 0: no pruning.
        retry_beam: beam of a second try, for an utterance where no path survived.
        max_failed: maximum share of utterances that may fail to align; with more, the run stops with an error. With 1
            all may fail and no warning is printed: the caller reports the failures.
    """

    acoustic_scale: float
    transition_scale: float
    self_loop_scale: float
    boost_silence: float
    beam: float
    retry_beam: float
    max_failed: float

    def __post_init__(self):
        check(self.acoustic_scale > 0, "acoustic_scale", "greater than 0")
        check(self.boost_silence > 0, "boost_silence", "greater than 0")
        check(self.beam >= 0, "beam", "0 or more")
        check(self.retry_beam >= 0, "retry_beam", "0 or more")
        check(0 <= self.max_failed <= 1, "max_failed", "between 0 and 1")


class Shard:
    """This process's utterances: features, transcripts, graphs and current alignment.

    Args:
        data_dir: Kaldi data dir with features.
        lang: lexicon and topology.
        feature: the features to load.
        device: where likelihoods are computed.
        linear, context: see :class:`lstmp.features.load.Features`.
    """

    def __init__(self, data_dir, lang: Lang, feature: FeatureConfig, device="cpu", linear: torch.Tensor | None = None,
                 context: int = 0):
        self.lang, self.device, self.data_dir, self.clock = lang, device, data_dir, Clock()
        features = Features(data_dir, feature, linear, context=context)
        transcripts = read_data_dir(data_dir).utts
        known = [u for u in features.utts if u in transcripts]
        if not known:
            raise UserError("no utterance has both features and a transcript", file=data_dir,
                            hint="make the features of this data dir")
        self.total_utts = len(known)
        self.utts = distributed.share(known, lambda utt: _length(features, utt))  # longest first
        self.words, oov = {}, 0
        for utt in self.utts:
            self.words[utt], n = lang.word_ids(transcripts[utt].words)
            oov += n
        oov, num_words = (sum(distributed.gather(n)) for n in (oov, sum(map(len, self.words.values()))))
        if oov and oov == num_words and lang.word_names.pieces:
            raise UserError("its entries are pieces of words, but the transcripts have words",
                            file=lang.dir / "words.txt", hint="give the lang folder of a dictionary of words")
        if oov:
            counts = Counter(word for utt in known for word in transcripts[utt].words)
            names = {lang.word_names[i] for i in lang.lexicon}
            check_known(counts, names, file=Path(data_dir) / "text", where=lang.dir / "words.txt")
            if distributed.rank() == 0:
                warn(f"{data_dir}: {oov} of {num_words} words ({100 * oov / num_words:.2f} %) are not in words.txt and "
                     "are replaced by the OOV word"
                     + (f"; {describe_unknown(counts, names)}" if oov > 0.05 * num_words else ""))
        self.feats: dict[str, torch.Tensor] = {}
        self.unusable: dict[str, str] = {}   # utterance → reason; these count as failed in every alignment
        with self.clock("reading features"):
            for utt in self.utts:
                try:
                    self.feats[utt] = features.load(utt).to(device)
                except UserError as e:
                    self.unusable[utt] = str(e)
        self.utts = [u for u in self.utts if u in self.feats]
        unusable = {u: r for part in distributed.gather(self.unusable) for u, r in part.items()}
        if len(unusable) == len(known):
            raise UserError(f"no utterance has usable features; {min(unusable)}: {unusable[min(unusable)]}",
                            file=data_dir, hint="make the features again")
        self.dim = features.dim
        self.speaker = {u: features.speaker(u) for u in self.utts}
        self.alignment: dict[str, np.ndarray] = {}
        self.score: dict[str, float] = {}    # acoustic log-likelihood per frame of the best path
        self.failed: dict[str, str] = {}

    @property
    def num_frames(self) -> int:
        return sum(len(f) for f in self.feats.values())

    def transform(self, matrix: torch.Tensor):
        """Apply a linear transform [D', D] to the features, in place."""
        matrix = matrix.to(self.device)
        for utt in self.utts:
            self.feats[utt] = self.feats[utt] @ matrix.t()
        self.dim = len(matrix)

    def compile_graphs(self, model: AcousticModel):
        """Compile the training graphs; must be called again when the tree changes."""
        with self.clock("graphs"):
            compiler = GraphCompiler(self.lang, model.tree, model.transitions)
            self.graphs = {u: compiler.compile(self.words[u]) for u in self.utts}

    def align(self, model: AcousticModel, cfg: AlignConfig, what: str = "aligning",
              scores: Callable[[torch.Tensor], torch.Tensor] | None = None):
        """Replace the alignment by the best paths under ``model``; ``self.failed`` gets failures with their reasons.

        ``scores`` computes log-likelihoods [T, pdfs] from an utterance's features [T, D]; without it the model's
        mixtures do.
        """
        log_prob = model.transitions.graph_log_probs(cfg.transition_scale, cfg.self_loop_scale).numpy()
        boost = model.silence_boost(self.lang, cfg.boost_silence, self.device)
        self.alignment, self.score, self.failed = {}, {}, dict(self.unusable)
        todo = []
        for utt in self.utts:
            if len(self.feats[utt]) < self.graphs[utt].min_frames:
                self.failed[utt] = (f"{len(self.feats[utt])} frames, but its transcript needs at least "
                                    f"{self.graphs[utt].min_frames}")
            else:
                todo.append(utt)
        if BeamAligner.available(self.device):
            self._align_with_beam(todo, model, boost, log_prob, cfg, what, scores)
        else:
            self._align_exactly(todo, model, boost, log_prob, cfg, what, scores)
        with self.clock("waiting"):
            self._check_failures(cfg)

    def _align_with_beam(self, todo, model: AcousticModel, boost, log_prob, cfg: AlignConfig, what, scores):
        aligner = BeamAligner(None if scores else model.gmms, boost, cfg.acoustic_scale, log_prob)
        for utt in progress(todo, what, unit="utt") if distributed.rank() == 0 else todo:
            with self.clock("alignment"):
                frames = scores(self.feats[utt]) if scores else self.feats[utt]
                for beam in (cfg.beam or math.inf, cfg.retry_beam or math.inf):
                    if path := aligner(self.graphs[utt], frames, beam):
                        break
            if path is None:
                self.failed[utt] = f"no path within the beam {cfg.retry_beam:g}"
                continue
            tids, _, acoustic = path
            path_boost = float(boost[model.transitions.tid_pdf[tids.astype(np.int64)]].sum())
            self.alignment[utt], self.score[utt] = tids, (acoustic / cfg.acoustic_scale - path_boost) / len(tids)

    def _align_exactly(self, todo, model: AcousticModel, boost, log_prob, cfg: AlignConfig, what, scores):
        """Align many utterances at once, without a beam: on a GPU, or where the compiled search is not available."""
        batches = self.batches(todo)
        for batch in progress(batches, what, unit="batch") if distributed.rank() == 0 else batches:
            with self.clock("alignment"):
                loglikes = []
                for utt in batch:
                    pdfs = torch.from_numpy(self.graphs[utt].distinct_pdfs).to(self.device)
                    unscaled = (scores(self.feats[utt])[:, pdfs] if scores else
                                model.mixtures.loglikes(self.feats[utt], pdfs))
                    loglikes.append((unscaled + boost[pdfs]) * cfg.acoustic_scale)
                results = align_batch([self.graphs[u] for u in batch], loglikes, log_prob)
            for utt, scaled, result in zip(batch, loglikes, results, strict=True):
                if result is None:
                    self.failed[utt] = "no path"
                    continue
                self.alignment[utt] = result[0]
                pdf = model.transitions.tid_pdf.numpy()[result[0]]
                column = np.searchsorted(self.graphs[utt].distinct_pdfs, pdf)
                path_loglikes = scaled[torch.arange(len(pdf)), torch.from_numpy(column)]
                self.score[utt] = float((path_loglikes.sum() / cfg.acoustic_scale - boost[pdf].sum()) / len(pdf))

    def batches(self, utts):
        """Split utterances, which must be sorted by decreasing length, into batches whose scores fit in memory."""
        batches: list[list[str]] = []
        states = 0
        for utt in utts:
            states += len(self.graphs[utt].pdf)
            if not batches or len(self.feats[batches[-1][0]]) * states > _BATCH_CELLS:
                batches.append([])
                states = len(self.graphs[utt].pdf)
            batches[-1].append(utt)
        return batches

    def _check_failures(self, cfg):
        failed = {u: r for part in distributed.gather(self.failed) for u, r in part.items()}
        if distributed.rank() == 0 and cfg.max_failed < 1:
            for utt in sorted(failed)[:5]:
                warn(f"{self.data_dir}: {utt} is not aligned: {failed[utt]}")
            if len(failed) > 5:
                warn(f"{self.data_dir}: {len(failed) - 5} more utterances are not aligned")
        if len(failed) > cfg.max_failed * self.total_utts:
            utt = min(failed)
            raise UserError(f"{len(failed)} of {self.total_utts} utterances cannot be aligned; {utt}: {failed[utt]}",
                            file=self.data_dir, hint="check transcripts against audio, or raise `max_failed`")

    def sort_by_pdf(self, transitions):
        """Sort this process's frames by their pdf in the current alignment, for :func:`lstmp.gmm.diag.accumulate`."""
        utts = [u for u in self.utts if u in self.alignment]
        tids = np.concatenate([self.alignment[u] for u in utts]) if utts else np.zeros(0, dtype=np.int64)
        pdfs = transitions.tid_pdf.numpy()[tids]
        self._order = torch.from_numpy(np.argsort(pdfs, kind="stable")).to(self.device)
        self.pdf_counts = torch.from_numpy(np.bincount(pdfs, minlength=transitions.num_pdfs)).to(self.device)
        self.sorted_feats = self.sorted(self.feats)
        self.tid_counts = torch.from_numpy(np.bincount(tids, minlength=transitions.num_tids + 1)).double()

    def sorted(self, feats: dict[str, torch.Tensor]) -> torch.Tensor:
        """Concatenate any features of the aligned utterances, in the order of :meth:`sort_by_pdf`."""
        parts = [feats[u] for u in self.utts if u in self.alignment]
        return torch.cat(parts)[self._order] if parts else torch.zeros(0, self.dim, device=self.device)


def _length(features: Features, utt: str) -> int:
    try:
        return features.num_frames(utt)
    except UserError:  # a damaged archive; the error is reported when the features are loaded
        return 0
