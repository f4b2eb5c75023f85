"""Decoding with a model of speaker-adapted features: speakers' fMLLR transforms from lattices, in several passes.

1. Search with the speaker-independent mixtures and a narrow beam (``si/``); a first transform for each speaker.
2. Search with the adapted features (``adapted2/``); a second transform from these lattices. Then the same again with
   that one (``adapted3/``), as often as ``passes`` says. Kaldi makes two passes.
3. The lattices of the last pass with the acoustic scores of the features under the last transform (``trans.ark``): the
   result.

Frames count by the posterior probabilities of the states in the lattice, silence with less weight. As everywhere, all
utterances of a speaker in the data dir are taken together, and no transcript is looked at.
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
from lstmp.parallel import run_jobs


def state_frames(lattice: Lattice) -> Array:
    """int64 [num_states]: the frame that the arcs out of each state emit; T for the last states."""
    frames = np.zeros(lattice.num_states, dtype=np.int64)
    for t, part in enumerate(frame_slices(lattice.arcs)):
        frames[lattice.arcs[part, 1]] = t + 1
    return frames


def pdf_posteriors(lattice: Lattice, acoustic_scale: float, least: float = 0.01) -> tuple[Array, Array, Array]:
    """(frames, pdfs, weights): the states with a posterior of at least ``least``, frame by frame."""
    label = lattice.arcs[:, 2].astype(np.int64)
    emitting = label > 0
    frame = state_frames(lattice)[lattice.arcs[:, 0]]
    radix = int(label.max()) + 1
    code, index = np.unique(frame[emitting] * radix + label[emitting], return_inverse=True)
    weight = np.bincount(index, arc_posteriors(lattice, acoustic_scale)[emitting], minlength=len(code))
    kept = weight >= least
    return code[kept] // radix, code[kept] % radix - 1, weight[kept]


@dataclass(frozen=True)
class SpeakerAdapter:
    """Estimates the transforms of the speakers of a data dir.

    Attributes:
        model: with ``gmms`` and ``si_gmms``.
        plain: the features before adaptation.
        silence: ids of the silence phones.
    """

    model: AcousticModel
    plain: Features
    silence: list[int]
    cfg: DecodeConfig
    nj: int

    def transforms(self, jobs: list[Path], now: Features | None, what: str) -> dict[str, torch.Tensor]:
        """Speaker → transform.

        Args:
            jobs: lattice files.
            now: the adapted features that they were made with; None: they were made with the plain ones.
            what: for the line that is printed.
        """
        silent = self.model.silent_pdfs(self.silence)
        total: dict[str, fmllr.SpeakerStats] = {}
        for part in run_jobs(lambda job: self._job_stats(job, now, silent), jobs, self.nj, f"fMLLR, {what}", "job"):
            for speaker, stats in part.items():
                mine = total.setdefault(speaker, fmllr.SpeakerStats.zeros(self.plain.dim))
                for a, b in zip(mine.tensors(), stats.tensors(), strict=True):
                    a += b
        speakers = sorted(total)
        found = run_jobs(lambda s: fmllr.estimate(total[s], self.cfg.fmllr.min_count, self.cfg.fmllr.iterations),
                         speakers, self.nj, f"transforms, {what}", "speaker")
        gain = fmllr.mean_gain((total[s], g) for s, (_, g) in zip(speakers, found, strict=True))
        say(f"{self.plain.dir}: fMLLR of {len(speakers)} speakers, {what}, gains {gain:.3f} log-likelihood per frame")
        return {s: w for s, (w, _) in zip(speakers, found, strict=True)}

    def _job_stats(self, job: Path, now: Features | None, silent: torch.Tensor) -> dict[str, fmllr.SpeakerStats]:
        """Statistics of the speakers of one lattice file."""
        by_speaker: dict[str, list[tuple[torch.Tensor, ...]]] = {}
        for utt, lattice in read_lattices(job).items():
            if not lattice.num_arcs:
                continue
            frames, pdfs, weight = (torch.from_numpy(x) for x in pdf_posteriors(lattice, self.cfg.acoustic_scale))
            weight = (weight * torch.where(silent[pdfs], self.cfg.fmllr.silence_weight, 1.0)).float()
            plain = self.plain.load(utt)[frames]
            seen = plain if now is None else now.load(utt)[frames]
            by_speaker.setdefault(self.plain.speaker(utt), []).append((plain, seen, pdfs, weight))
        out = {}
        for speaker, parts in by_speaker.items():
            plain, seen, pdfs, weight = (torch.cat(x) for x in zip(*parts, strict=True))
            like = (self.model.speaker_independent().mixtures, plain) if now is None else None
            stats = out[speaker] = fmllr.SpeakerStats.zeros(self.plain.dim)
            stats.add(plain, *fmllr.frame_terms(self.model.mixtures, seen, pdfs, weight, like), weight)
        return out


def rescored(lattice: Lattice, loglikes: torch.Tensor) -> Lattice:
    """The lattice with acoustic scores from ``loglikes`` [T, P]; the rest stays."""
    label = lattice.arcs[:, 2].astype(np.int64)
    emitting = label > 0
    acoustic = np.zeros_like(lattice.acoustic)
    frame = state_frames(lattice)[lattice.arcs[:, 0]]
    acoustic[emitting] = loglikes.numpy()[frame[emitting], label[emitting] - 1]
    return Lattice(lattice.arcs, acoustic, lattice.graph, lattice.num_words, lattice.words)


def rescore_jobs(jobs: list[Path], out: Path, features: Features, model: AcousticModel, nj: int) -> None:
    """Write the lattices of ``jobs``, rescored with ``features``, to ``out`` under the same names."""
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
