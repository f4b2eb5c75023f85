"""Finds the phones and states of a decoder's best path, whose words and pdf-ids a lattice has.

Among the paths through the training graph of the words, it is the one with these pdf-ids. So it needs no acoustic
scores.
"""

import math

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.corpus.lang import Lang
from lstmp.gmm.beam_align import BeamAligner
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.viterbi import align_batch

_OTHER = -1000.0  # score of a frame in another state than that of the path; more than any path differs by otherwise
_MAX_OTHER = 15  # frames: a search that ends within a word leaves a path that no graph of whole words has


class PathAligner:
    """Aligns paths of one model and one lexicon."""

    def __init__(self, model: AcousticModel, lang: Lang):
        self._compiler = GraphCompiler(lang, model.tree, model.transitions)
        self._log_prob = model.transitions.graph_log_probs(1.0, 1.0).numpy()
        self._tid_pdf = model.transitions.tid_pdf.numpy()
        self._num_pdfs = model.transitions.num_pdfs
        no_boost = torch.zeros(self._num_pdfs)
        compiled = BeamAligner.available("cpu")
        self._aligner = BeamAligner(None, no_boost, 1.0, self._log_prob) if compiled else None

    def __call__(self, words: list[int], pdfs: Array) -> Array | None:
        """Find the path of an utterance.

        Args:
            words: word ids.
            pdfs: int64 [T], the pdf-id of each frame.

        Returns:
            transition-ids int32 [T]; None if the words have no path that is near to these pdf-ids.
        """
        graph = self._compiler.compile(words)
        if len(pdfs) < graph.min_frames or pdfs.max(initial=0) >= self._num_pdfs:
            return None
        scores = torch.full((len(pdfs), self._num_pdfs), _OTHER)
        scores[torch.arange(len(pdfs)), torch.from_numpy(pdfs)] = 0.0
        if self._aligner:
            path = self._aligner(graph, scores, math.inf)
        else:
            (path,) = align_batch([graph], [scores[:, torch.from_numpy(graph.distinct_pdfs)]], self._log_prob)
        if path is None or np.sum(self._tid_pdf[path[0]] != pdfs) > _MAX_OTHER:
            return None
        tids: Array = path[0]
        return tids
