"""Alignment of one utterance after the other with a beam, by the compiled search (viterbi.cpp), on the CPU."""

import ctypes

import numpy as np
import torch

from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.training_graph import TrainingGraph
from lstmp.gmm.viterbi import reorder
from lstmp.native import library


def search() -> ctypes.CDLL | None:
    """The compiled search, or None where it cannot be had. Sums may be taken in any order."""
    return library("gmm/viterbi.cpp", "-ffast-math")


class BeamAligner:
    """Aligns with one model.

    Args:
        gmms: its mixtures; None: it is given the log-likelihoods of all pdfs in the place of features.
        boost: float32 [pdfs], added to their log-likelihoods.
        acoustic_scale: on the sum of both.
        log_prob: float32 [num_tids + 1], arc weights by transition-id (``TransitionModel.graph_log_probs``).
    """

    def __init__(self, gmms: DiagGmms | None, boost: torch.Tensor, acoustic_scale: float, log_prob: np.ndarray):
        lib = search()
        assert lib is not None
        self._align = lib.lstmp_align
        self.log_prob, self.scale = log_prob, acoustic_scale
        parts = (torch.zeros(len(boost) + 1, dtype=torch.int64), None, None) if gmms is None else (
            gmms.offsets, *gmms.linear())
        self._model = [None if x is None else _array(x) for x in (*parts, boost)]

    @staticmethod
    def available(device) -> bool:
        """Whether it can be made here."""
        return torch.device(device).type == "cpu" and search() is not None

    def __call__(self, graph: TrainingGraph, feats: torch.Tensor, beam: float):
        """(transition-ids int32 [T] in Kaldi's reordered form, score, acoustic part of it); None: no path survives.

        Args:
            feats: float32 [T, D], or without mixtures [T, pdfs].
            beam: states this much worse than the best one of their frame are dropped.
        """
        arcs, frames = graph.out_arcs, len(feats)
        weight = self.log_prob[arcs.tid] + arcs.extra
        final = self.log_prob[graph.finals[:, 1]] + graph.final_extra
        path, result = np.empty(frames, np.int32), np.empty(3)
        offsets, a, b, boost = self._model
        assert offsets is not None
        arrays = [_array(x) for x in (feats.float(), graph.pdf.astype(np.int64), arcs.first, arcs.to,
                                      weight.astype(np.float32), graph.starts.astype(np.int64), graph.start_extra,
                                      graph.finals[:, 0].astype(np.int64), final.astype(np.float32))]
        x, pdf, first, to, weight, starts, start_weight, finals, final = arrays
        lost = self._align(
            _int(frames), _int(x.shape[1]), _at(x), _int(len(offsets) - 1), _at(offsets), _at(a), _at(b), _at(boost),
            ctypes.c_float(self.scale), ctypes.c_double(beam), _int(len(pdf)), _at(pdf), _at(first), _at(to),
            _at(weight), _int(len(starts)), _at(starts), _at(start_weight), _int(len(finals)), _at(finals), _at(final),
            _at(path), _at(result))
        if lost:
            return None
        leaving = np.append(arcs.tid[path[1:]], graph.finals[int(result[2]), 1])
        moved = np.append(~arcs.loop[path[1:]], True)
        return reorder(leaving, moved), float(result[0]), float(result[1])


_int = ctypes.c_int64


def _array(x) -> np.ndarray:
    return np.ascontiguousarray(x.cpu().numpy() if isinstance(x, torch.Tensor) else x)


def _at(x: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.ctypes.data)
