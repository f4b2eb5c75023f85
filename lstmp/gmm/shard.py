"""A process's share of the utterances, with their features, training graphs and alignment; realigns them.

Processes exchange only sums of statistics. What a process does not have room for is read again in each pass
(:mod:`lstmp.gmm.frames`).
"""

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import distributed
from lstmp.config import check
from lstmp.corpus.coverage import check_known, describe_unknown
from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.lang import Lang
from lstmp.device import DEFAULT_MEMORY
from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm.beam_align import BeamAligner
from lstmp.gmm.frames import Frames, Graphs
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.record import Clock
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.viterbi import align_batch
from lstmp.log import progress, warn

_BATCH_CELLS = 40_000_000  # frames × states of one alignment batch; each takes a score of four bytes
# Shares of the memory. Besides features and graphs it has one block of features and often a second one, unadapted, or
# up to four arrays of the size of a smaller block; and alignments, the model, Python and torch.
_FOR_FEATURES, _FOR_GRAPHS, _FOR_BLOCK, _FOR_SMALLER_BLOCK = 0.45, 0.2, 0.2, 0.15


@dataclass(frozen=True)
class AlignConfig:
    """How utterances are aligned.

    Attributes:
        acoustic_scale: weight of the acoustic log-likelihood relative to the graph.
        transition_scale, self_loop_scale: weights of the transition probabilities; see also
            :meth:`lstmp.corpus.topology.Topology.self_loop_scale`.
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
        memory: GiB for features and graphs, see :mod:`lstmp.gmm.frames`; a process needs up to 1.5 times as much
            and 0.3 GiB in all. If the features need more than 15 % of it, statistics are summed over several blocks of
            utterances, which may change their last bits.
    """

    def __init__(self, data_dir, lang: Lang, feature: FeatureConfig, device="cpu", linear: torch.Tensor | None = None,
                 context: int = 0, memory: float = DEFAULT_MEMORY):
        self.lang, self.device, self.data_dir, self.clock = lang, device, data_dir, Clock()
        self._memory = int(memory * 2 ** 30)
        features = Features(data_dir, feature, linear, context=context)
        transcripts = read_data_dir(data_dir).utts
        known = [u for u in features.utts if u in transcripts]
        if not known:
            raise UserError("no utterance has both features and a transcript", file=data_dir,
                            hint="make the features of this data dir")
        self.total_utts = len(known)
        self.utts = distributed.share(known, features.num_frames_or_0)  # longest first
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
        del transcripts  # those of all processes
        with self.clock("reading features"):
            self.feats = Frames(features, self.utts, device, int(_FOR_FEATURES * self._memory))
        self.unusable = self.feats.unusable  # these count as failed in every alignment
        self.utts = list(self.feats.lengths)
        unusable = {u: r for part in distributed.gather(self.unusable) for u, r in part.items()}
        if len(unusable) == len(known):
            raise UserError(f"no utterance has usable features; {min(unusable)}: {unusable[min(unusable)]}",
                            file=data_dir, hint="make the features again")
        self.speaker = {u: features.speaker(u) for u in self.utts}
        self.alignment: dict[str, np.ndarray] = {}
        self.score: dict[str, float] = {}    # acoustic log-likelihood per frame of the best path
        self.failed: dict[str, str] = {}
        self._sorted: tuple[torch.Tensor, ...] | None = None

    @property
    def dim(self) -> int:
        return self.feats.dim

    def blocks(self, smaller: bool = False, speakers: Container[str] | None = None) -> list[list[str]]:
        """The aligned utterances, or those of some speakers, in blocks.

        The features of a block fit in memory in addition to what is kept there. Smaller blocks are for computations
        with several arrays of the size of the features. What :meth:`sort_by_pdf` has kept makes room for them.
        """
        if smaller:
            self._sorted = None
        share = _FOR_SMALLER_BLOCK if smaller else _FOR_BLOCK
        utts = [u for u in self.utts if u in self.alignment and (speakers is None or self.speaker[u] in speakers)]
        return self.feats.blocks(utts, int(share * self._memory))

    def compile_graphs(self, model: AcousticModel):
        """Compile the training graphs; must be called again when the tree changes."""
        with self.clock("graphs"):
            compiler = GraphCompiler(self.lang, model.tree, model.transitions)
            self.graphs = Graphs(compiler, {u: self.words[u] for u in self.utts}, int(_FOR_GRAPHS * self._memory))

    def align(self, model: AcousticModel, cfg: AlignConfig, what: str = "aligning",
              scores: Callable[[torch.Tensor], torch.Tensor] | None = None, frames_per_row: int = 1):
        """Replace the alignment by the best paths under ``model``; ``self.failed`` gets failures with their reasons.

        ``scores`` computes log-likelihoods [⌈T / frames_per_row⌉, pdfs] from an utterance's features [T, D]; without it
        the model's mixtures do.
        """
        loop_scale = model.transitions.topology.self_loop_scale(cfg.self_loop_scale)
        log_prob = model.transitions.graph_log_probs(cfg.transition_scale, loop_scale).numpy()
        boost = model.silence_boost(self.lang, cfg.boost_silence, self.device)
        self.alignment, self.score, self.failed = {}, {}, dict(self.unusable)
        todo = []
        for utt in self.utts:
            frames, minimum = self.feats.lengths[utt], self.graphs.min_frames[utt]
            if frames <= frames_per_row * (minimum - 1):  # the last row may stand for fewer frames
                self.failed[utt] = f"{frames} frames, but its transcript needs at least " \
                    f"{frames_per_row * (minimum - 1) + 1}"
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
        here = distributed.rank() == 0
        for utt, feats in progress(self.feats.read(todo), what, total=len(todo), here=here):
            with self.clock("alignment"):
                frames, graph = scores(feats) if scores else feats, self.graphs[utt]
                for beam in (cfg.beam or math.inf, cfg.retry_beam or math.inf):
                    if path := aligner(graph, frames, beam):
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
                loglikes, graphs = [], [self.graphs[utt] for utt in batch]
                for utt, graph in zip(batch, graphs, strict=True):
                    pdfs, feats = torch.from_numpy(graph.distinct_pdfs).to(self.device), self.feats[utt]
                    unscaled = scores(feats)[:, pdfs] if scores else model.mixtures.loglikes(feats, pdfs)
                    loglikes.append((unscaled + boost[pdfs]) * cfg.acoustic_scale)
                results = align_batch(graphs, loglikes, log_prob)
            for utt, graph, scaled, result in zip(batch, graphs, loglikes, results, strict=True):
                if result is None:
                    self.failed[utt] = "no path"
                    continue
                self.alignment[utt] = result[0]
                pdf = model.transitions.tid_pdf.numpy()[result[0]]
                column = np.searchsorted(graph.distinct_pdfs, pdf)
                path_loglikes = scaled[torch.arange(len(pdf)), torch.from_numpy(column)]
                self.score[utt] = float((path_loglikes.sum() / cfg.acoustic_scale - boost[pdf].sum()) / len(pdf))

    def batches(self, utts):
        """Split utterances, which must be sorted by decreasing length, into batches whose scores fit in memory."""
        batches: list[list[str]] = []
        states = 0
        for utt in utts:
            states += self.graphs.states[utt]
            if not batches or self.feats.lengths[batches[-1][0]] * states > _BATCH_CELLS:
                batches.append([])
                states = self.graphs.states[utt]
            batches[-1].append(utt)
        return batches

    def free(self):
        """Give up the features and graphs. Alignment, scores and failures stay."""
        del self.feats, self.graphs
        self._sorted = None

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
        """Prepare :meth:`frames_by_pdf` and count the pdfs and transition-ids of the current alignment."""
        self._tid_pdf, self._blocks = transitions.tid_pdf.numpy(), self.blocks()
        self.tid_counts = torch.zeros(transitions.num_tids + 1, dtype=torch.float64)
        self.pdf_counts = torch.zeros(transitions.num_pdfs, dtype=torch.int64, device=self.device)
        self._sorted = None
        for block in self._blocks:
            tids = self._tids(block)
            self.tid_counts += torch.from_numpy(np.bincount(tids, minlength=len(self.tid_counts)))
            self.pdf_counts += torch.from_numpy(np.bincount(self._tid_pdf[tids], minlength=len(self.pdf_counts))).to(
                self.device)
        if len(self._blocks) == 1:
            self._sorted = self._sort(self._blocks[0])

    def frames_by_pdf(self, also_unadapted: bool = False) -> Iterator[tuple[torch.Tensor, ...]]:
        """Iterate over the blocks of aligned frames, for :func:`lstmp.gmm.diag.accumulate`.

        Yields:
            features float32 [N, D] sorted by pdf; the number of frames of each pdf, int64 [num_pdfs]; and with
            ``also_unadapted`` the features of the same frames without the speakers' transforms. The caller should
            ``del`` the features before it asks for the next block, so that there is one block in memory.
        """
        if also_unadapted:
            self._sorted = None  # they are sorted once more, together with the others
        for block in self._blocks:
            yield self._sorted or self._sort(block, also_unadapted)

    def _sort(self, block: list[str], also_unadapted: bool = False) -> tuple[torch.Tensor, ...]:
        pdfs = self._tid_pdf[self._tids(block)]
        row = np.empty(len(pdfs), dtype=np.int64)  # of each frame
        row[np.argsort(pdfs, kind="stable")] = np.arange(len(pdfs))
        rows = torch.from_numpy(row).to(self.device)
        counts = torch.from_numpy(np.bincount(pdfs, minlength=len(self.pdf_counts))).to(self.device)
        current, unadapted = (torch.empty(len(pdfs) if used else 0, self.dim, device=self.device)
                              for used in (True, also_unadapted))
        start = 0
        for _, before, after in self.feats.read_both(block):  # into their places at once: they are not twice in memory
            places = rows[start:start + len(after)]
            current.index_copy_(0, places, after)
            if also_unadapted:
                unadapted.index_copy_(0, places, before)
            start += len(after)
        return (current, counts, unadapted) if also_unadapted else (current, counts)

    def _tids(self, block: list[str]) -> np.ndarray:
        return np.concatenate([self.alignment[u] for u in block]) if block else np.zeros(0, dtype=np.int64)
