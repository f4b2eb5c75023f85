"""Viterbi alignment with a beam, one utterance at a time, on the CPU: calls the compiled search in viterbi.cpp."""

import ctypes

import numpy as np
import torch

from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.training_graph import TrainingGraph
from lstmp.gmm.viterbi import reorder
from lstmp.native import library


def search() -> ctypes.CDLL | None:
    """The compiled search, or None if it cannot be compiled here. ``-ffast-math`` allows sums in any order."""
    return library("gmm/viterbi.cpp", "-ffast-math")


class BeamAligner:
    """Aligns utterances with one model.

    Args:
        gmms: mixtures of the model; None if calls pass the log-likelihoods of all pdfs instead of features.
        boost: float32 [pdfs], added to the log-likelihoods of the pdfs.
        acoustic_scale: factor on the boosted log-likelihoods.
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
        """Whether this device is the CPU and the search can be compiled."""
        return torch.device(device).type == "cpu" and search() is not None

    def __call__(self, graph: TrainingGraph, feats: torch.Tensor, beam: float):
        """Align one utterance.

        Args:
            feats: float32 [T, D]; without mixtures, log-likelihoods [T, pdfs].
            beam: at each frame, states that score this much less than the best state are pruned.

        Returns:
            (transition-ids int32 [T] in Kaldi's reordered form, score, acoustic part of the score); None if no path
            survives.
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
        failed = self._align(
            _int(frames), _int(x.shape[1]), _ptr(x), _int(len(offsets) - 1), _ptr(offsets), _ptr(a), _ptr(b),
            _ptr(boost), ctypes.c_float(self.scale), ctypes.c_double(beam), _int(len(pdf)), _ptr(pdf), _ptr(first),
            _ptr(to), _ptr(weight), _int(len(starts)), _ptr(starts), _ptr(start_weight), _int(len(finals)),
            _ptr(finals), _ptr(final), _ptr(path), _ptr(result))
        if failed:
            return None
        leaving = np.append(arcs.tid[path[1:]], graph.finals[int(result[2]), 1])
        moved = np.append(~arcs.loop[path[1:]], True)
        return reorder(leaving, moved), float(result[0]), float(result[1])


_int = ctypes.c_int64


def _array(x) -> np.ndarray:
    return np.ascontiguousarray(x.cpu().numpy() if isinstance(x, torch.Tensor) else x)


def _ptr(x: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.ctypes.data)
