"""Decoding with a speaker-adapted GMM: estimates an fMLLR transform for each speaker from lattices, in several passes.

1. Search with the speaker-independent mixtures and a narrow beam; the lattices are written to the subfolder ``si/`` of
   the decode dir. Estimate a first transform for each speaker from them.
2. Search with the adapted features (subfolder ``adapted2/``) and estimate a second transform from these lattices.
   Further passes (``adapted3/`` …) repeat this step with the latest transform, up to ``passes`` of conf/decode.yaml.
   Kaldi's ``steps/decode_fmllr.sh`` makes two passes.
3. Rescore the lattices of the last pass with the features under the last transform (``trans.ark``). This is the result.

Each frame is weighted by the posterior probabilities of the states in the lattice, and frames of silence are also
multiplied by ``silence_weight``. One transform is estimated from all utterances of a speaker in
the data dir. Transcripts are not used.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.config import DecodeConfig
from lstmp.decode.lattice import Lattice, read_info, read_lattices, write_lattices
from lstmp.decode.lattice_paths import arc_posteriors, frame_slices
from lstmp.features.load import Features
from lstmp.gmm import fmllr
from lstmp.gmm.model import AcousticModel
from lstmp.log import say
from lstmp.parallel import iter_jobs, run_jobs


def state_frames(lattice: Lattice) -> Array:
    """Frame index of each state of the lattice, int64 [num_states]: its arcs emit this frame. T for the last states."""
    frames = np.zeros(lattice.num_states, dtype=np.int64)
    for t, part in enumerate(frame_slices(lattice.arcs)):
        frames[lattice.arcs[part, 1]] = t + 1
    return frames


def pdf_posteriors(lattice: Lattice, acoustic_scale: float, minimum: float = 0.01) -> tuple[Array, Array, Array]:
    """Posterior probabilities of the pdfs in each frame; those below ``minimum`` are left out.

    Args:
        lattice: K pairs of frame and pdf have a posterior of at least ``minimum``.
        acoustic_scale: factor on the acoustic scores of the lattice.
        minimum: the lowest posterior that is returned.

    Returns:
        int64 [K] frames, in ascending order; int64 [K] pdf-ids; float64 [K] posteriors.
    """
    label = lattice.arcs[:, 2].astype(np.int64)  # pdf-id + 1; -1 on the arcs into the last state, which emit no frame
    emitting = label > 0
    frame = state_frames(lattice)[lattice.arcs[:, 0]]
    num_labels = int(label.max()) + 1
    key, index = np.unique(frame[emitting] * num_labels + label[emitting], return_inverse=True)
    weight = np.bincount(index, arc_posteriors(lattice, acoustic_scale)[emitting], minlength=len(key))
    kept = weight >= minimum
    return key[kept] // num_labels, key[kept] % num_labels - 1, weight[kept]


@dataclass(frozen=True)
class SpeakerAdapter:
    """Estimates the transforms of the speakers of a data dir.

    Attributes:
        model: a GMM with mixtures for adapted features (``gmms``) and speaker-independent ones (``si_gmms``).
        unadapted: the features before any fMLLR transform.
        silence: phone ids of the silence phones.
        cfg: the configuration conf/decode.yaml.
        nj: number of processes.
    """

    model: AcousticModel
    unadapted: Features
    silence: list[int]
    cfg: DecodeConfig
    nj: int

    def transforms(self, jobs: list[Path], adapted: Features | None, what: str) -> dict[str, torch.Tensor]:
        """Estimate a transform for each speaker: speaker → float32 [D, D + 1], as in ``trans.ark``.

        Args:
            jobs: lattice files.
            adapted: the adapted features that the lattices were made with; None if they were made with ``unadapted``.
            what: name of the pass, for progress messages.
        """
        silent = self.model.silent_pdfs(self.silence)
        total: dict[str, fmllr.SpeakerStats] = {}
        parts = iter_jobs(lambda job: self._job_stats(job, adapted, silent), jobs, self.nj, f"fMLLR, {what}", "job")
        for part in parts:
            for speaker, stats in part.items():
                speaker_total = total.setdefault(speaker, fmllr.SpeakerStats.zeros(self.unadapted.dim))
                for a, b in zip(speaker_total.tensors(), stats.tensors(), strict=True):
                    a += b
        speakers = sorted(total)
        estimates = run_jobs(lambda s: fmllr.estimate(total[s], self.cfg.fmllr.min_count, self.cfg.fmllr.iterations),
                             speakers, self.nj, f"transforms, {what}", "speaker")
        gain = fmllr.mean_gain([(float(total[s].beta), g) for s, (_, g) in zip(speakers, estimates, strict=True)])
        say(f"{self.unadapted.dir}: fMLLR of {len(speakers)} speakers, {what}, "
            f"gains {gain:.3f} log-likelihood per frame")
        return {s: w for s, (w, _) in zip(speakers, estimates, strict=True)}

    def _job_stats(self, job: Path, adapted: Features | None, silent: torch.Tensor) -> dict[str, fmllr.SpeakerStats]:
        """Accumulate the fMLLR statistics of one lattice file: speaker → statistics."""
        by_speaker: dict[str, list[tuple[torch.Tensor, ...]]] = {}
        for utt, lattice in read_lattices(job).items():
            if not lattice.num_arcs:
                continue
            frames, pdfs, weight = (torch.from_numpy(x) for x in pdf_posteriors(lattice, self.cfg.acoustic_scale))
            weight = (weight * torch.where(silent[pdfs], self.cfg.fmllr.silence_weight, 1.0)).float()
            unadapted = self.unadapted.load(utt)[frames]
            searched = unadapted if adapted is None else adapted.load(utt)[frames]  # the features of the search
            by_speaker.setdefault(self.unadapted.speaker(utt), []).append((unadapted, searched, pdfs, weight))
        out = {}
        for speaker, parts in by_speaker.items():
            unadapted, searched, pdfs, weight = (torch.cat(x) for x in zip(*parts, strict=True))
            si = (self.model.speaker_independent().mixtures, unadapted) if adapted is None else None
            stats = out[speaker] = fmllr.SpeakerStats.zeros(self.unadapted.dim)
            stats.add(unadapted, *fmllr.frame_terms(self.model.mixtures, searched, pdfs, weight, si), weight)
        return out


def rescored(lattice: Lattice, loglikes: torch.Tensor) -> Lattice:
    """The same lattice with its acoustic scores replaced by ``loglikes``, float32 [T, num_pdfs], unscaled."""
    label = lattice.arcs[:, 2].astype(np.int64)
    emitting = label > 0
    acoustic = np.zeros_like(lattice.acoustic)
    frame = state_frames(lattice)[lattice.arcs[:, 0]]
    acoustic[emitting] = loglikes.numpy()[frame[emitting], label[emitting] - 1]
    return Lattice(lattice.arcs, acoustic, lattice.graph, lattice.num_words, lattice.words)


def rescore_jobs(jobs: list[Path], out: Path, features: Features, model: AcousticModel, nj: int) -> None:
    """Rescore the lattice files ``jobs`` with ``features``; write them to the folder ``out`` under the same names."""
    def work(job: Path) -> None:
        lattices = read_lattices(job)
        for utt, lattice in lattices.items():
            if lattice.num_arcs:
                pdfs = np.unique(lattice.arcs[:, 2][lattice.arcs[:, 2] > 0]) - 1
                scores = torch.zeros(features.num_frames(utt), model.mixtures.num_pdfs)
                scores[:, pdfs] = model.mixtures.loglikes(features.load(utt), torch.from_numpy(pdfs).long())
                lattices[utt] = rescored(lattice, scores)
        write_lattices(out / job.name, lattices, read_info(job))

    run_jobs(work, jobs, nj, "rescoring", "job")
