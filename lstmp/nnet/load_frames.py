"""Loads features and their aligned states, and leaves out utterances that cannot be used."""

from collections.abc import Set
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.corpus.bad import LeftOut
from lstmp.device import DEFAULT_MEMORY
from lstmp.errors import UserError
from lstmp.features.ark import read_int_vector, vector_index
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm.align import alignment_file
from lstmp.log import progress, say
from lstmp.nnet.data import FrameSet, Moments, offsets_of
from lstmp.nnet.frame_files import FrameFiles
from lstmp.nnet.front import Front


def load_frames(data_dir, ali_dir, cfg: FeatureConfig, num_pdfs: int, max_left_out: float, what: str,
                only: set[str] | None = None, without: Set[str] = frozenset(),
                memory: float = DEFAULT_MEMORY,
                front: Front | None = None) -> FrameSet | FrameFiles:
    """Load the utterances of ``data_dir`` that have an alignment.

    Args:
        data_dir: data dir with features.
        ali_dir: folder with pdf.scp or pdf.ark, Kaldi integer vectors of pdf-ids.
        num_pdfs: pdf-ids must be below this number.
        max_left_out: the largest fraction of utterances that may be left out because they have no usable alignment or
            no usable features; more are an error.
        what: name of the set in messages.
        only: load only these utterances.
        without: do not load these utterances (they are not counted as left out).
        memory: GiB that the frames may take; if they need more, they are read once here, to find those that cannot be
            used, and again when they are needed.
        front: the part of the input that depends on earlier frames, if any.

    Raises:
        UserError: no utterance is usable, or more than ``max_left_out`` had to be left out.
    """
    source = Features(data_dir, cfg, front=front)
    names = [u for u in source.utts if u not in without and (only is None or u in only)]
    index = vector_index(alignment_file(ali_dir))
    expected = sum(source.num_frames_or_0(utt) for utt in names)
    fits = expected * (4 * source.dim + 8) <= memory * 2 ** 30
    loaded = _InMemory(source, expected) if fits else _OnDisk(source, num_pdfs, index, front)
    left_out = LeftOut(data_dir)
    for utt in progress(names, f"load {what}"):
        try:
            feats = source.load(utt)
            pdfs = read_int_vector(index[utt]) if utt in index else None
            _check(utt, feats, pdfs, num_pdfs, ali_dir)
        except UserError as e:
            left_out.add(utt, e)
            continue
        assert pdfs is not None
        loaded.add(utt, feats, torch.from_numpy(pdfs.astype(np.int64)))
    left_out.done()
    if len(left_out) > max_left_out * len(names):
        raise UserError(f"{len(left_out)} of {len(names)} utterances have no usable features or alignment (first "
                        f"{left_out.first})", file=data_dir,
                        hint=f"make features and alignment again ({ali_dir}), or raise `max_left_out`")
    if not loaded.utts:
        raise UserError(f"no utterance for {what} has both features and an alignment", file=data_dir,
                        hint=f"check that {ali_dir} was made from the same utterances")
    frames = loaded.frames()
    say(f"{what}: {len(frames.utts)} utterances, {frames.num_frames:,} frames"
        + (f", {len(left_out)} utterances left out" if left_out else "")
        + ("" if fits else f", read from {data_dir} in each epoch"))
    return frames


class _InMemory:
    """Collects frames in tensors for ``expected`` frames; what is not used of them takes no memory."""

    def __init__(self, source: Features, expected: int):
        self.utts: list[str] = []
        self._lengths: list[int] = []
        self._shift, self._end = source.frame_shift, 0
        self._features, self._pdfs = torch.empty(expected, source.dim), torch.empty(expected, dtype=torch.int64)

    def add(self, utt: str, feats: torch.Tensor, pdfs: torch.Tensor):
        begin, self._end = self._end, self._end + len(feats)
        if self._end > len(self._features):  # utt2num_frames, from which their number was known, is wrong
            extra = max(len(feats), self._end // 2)
            self._features = torch.cat([self._features, torch.empty(extra, self._features.shape[1])])
            self._pdfs = torch.cat([self._pdfs, torch.empty(extra, dtype=torch.int64)])
        self._features[begin:self._end], self._pdfs[begin:self._end] = feats, pdfs
        self.utts.append(utt)
        self._lengths.append(len(feats))

    def frames(self) -> FrameSet:
        return FrameSet(self.utts, offsets_of(torch.tensor(self._lengths)), self._features[:self._end],
                        self._pdfs[:self._end], self._shift)


class _OnDisk:
    """Collects what must be known of frames that are not kept."""

    def __init__(self, source: Features, num_pdfs: int, index: dict[str, str], front: Front | None):
        self.utts: list[str] = []
        self._lengths: list[int] = []
        self._source, self._index, self._front = source, index, front
        self._moments, self._counts = Moments(source.dim), torch.zeros(num_pdfs, dtype=torch.float64)

    def add(self, utt: str, feats: torch.Tensor, pdfs: torch.Tensor):
        self._moments.add(feats)
        self._counts += torch.bincount(pdfs, minlength=len(self._counts))
        self.utts.append(utt)
        self._lengths.append(len(feats))

    def frames(self) -> FrameFiles:
        return FrameFiles(str(self._source.dir), self._source.cfg, self.utts, [self._index[u] for u in self.utts],
                          offsets_of(torch.tensor(self._lengths)), *self._moments.mean_and_std(), self._counts,
                          self._source.frame_shift, self._front)


def _check(utt: str, feats: torch.Tensor, pdfs: np.ndarray | None, num_pdfs: int, ali_dir):
    if pdfs is None:
        raise UserError("it has no alignment", file=ali_dir)
    if len(pdfs) != len(feats) or not len(pdfs):
        raise UserError(f"{len(feats)} frames of features, {len(pdfs)} of alignment", file=ali_dir,
                        hint="align with features of the same frame shift")
    if pdfs.min() < 0 or pdfs.max() >= num_pdfs:
        raise UserError(f"pdf-id {pdfs.max() if pdfs.max() >= num_pdfs else pdfs.min()} is not below {num_pdfs}",
                        file=ali_dir, hint="align with the model whose tree is used")
    if not torch.isfinite(feats).all():
        raise UserError("NaN or infinity in its features", hint="check its audio and make the features again")


def read_num_pdfs(ali_dir) -> int:
    """Number of tied states of the model that made an alignment, from the file ``num_pdfs`` in the alignment's folder.

    Raises:
        UserError: no such file, or it contains no number above 0.
    """
    path = Path(ali_dir) / "num_pdfs"
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        raise UserError("no such file", file=path, hint="run the alignment stage, or give --ali") from None
    if not config.is_count(text) or int(text) == 0:
        raise UserError(f"{text[:40]!r} is not a number of states", file=path, line=1, hint="align again")
    return int(text)
