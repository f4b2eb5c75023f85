"""Train what online fMLLR needs, from an alignment with the transforms of its speakers.

Each state of the alignment gets one Gaussian, of frames under the transforms of their speakers; the frames without
transforms give the statistics of an average speaker, and how speakers differ from him. :mod:`lstmp.gmm.online_fmllr`
explains what they are for.

A transform of a training speaker is too well known to a prior that has been learnt from himself. So the speakers are
divided into parts, and the training data of the network are adapted with priors that were each learnt without the
speakers of one part (``priors.safetensors``).
"""

import argparse
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.corpus.bad import LeftOut
from lstmp.corpus.datadir import read_table
from lstmp.corpus.lang import Lang
from lstmp.corpus.perturb import original_speaker
from lstmp.errors import UserError, command
from lstmp.features.ark import read_int_vector, vector_index
from lstmp.features.load import RAW_MFCC, Features, data_inputs, splice
from lstmp.gmm.adapt import read_transforms
from lstmp.gmm.align import alignment_file, states_inputs
from lstmp.gmm.fmllr import SpeakerStats
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.online_fmllr import IMPOSSIBLE, NAME, Adapter, OnlineFmllrConfig
from lstmp.gmm.transform_prior import CoordinateEstimator, is_prior, principal_axes
from lstmp.log import progress, say, warn
from lstmp.stage import Stage
from lstmp.tensors import opened, write_tensors

PRIORS = "priors.safetensors"
_PARTS = 5  # of the training speakers
_LEAST_SPEECH = 100.0  # frames of a speaker from whom the prior is learnt
_LEAST_PRIOR = 1e-5
_OF_AVERAGE = 8  # every so many utterances of them show the average speaker
_MEAN_FRAMES, _VARIANCE_FRAMES = 5.0, 20.0  # of all states together, which smooth the Gaussian of a state


def train_online_fmllr(data: Path, ali: Path, transforms: Path, model_dir: Path, lang_dir: Path, out: Path,
                       cfg: OnlineFmllrConfig) -> None:
    """Write ``out/online_fmllr.safetensors`` and ``out/priors.safetensors``, unless this was done.

    Args:
        data: data dir with MFCC features.
        ali: its alignment to the states of the network.
        transforms: folder with trans.ark of its speakers.
        model_dir: the speaker-adapted GMM, with LDA+MLLT, of these transforms.
        lang_dir: lang folder with the phones of the states.
        cfg: configuration.

    Raises:
        UserError: bad input, or the model has no transforms of speakers.
    """
    index = vector_index(alignment_file(ali))
    inputs = [*data_inputs(data), *states_inputs(ali), ali / "tree.json", transforms / "trans.ark",
              model_dir / "final.safetensors", lang_dir / "phones.txt"]
    stage = Stage(out, "online_fmllr", inputs, config.to_dict(cfg), version=2)
    if stage.is_done():
        return
    model, states = AcousticModel.load(model_dir), AcousticModel.load(ali)
    if model.si_gmms is None or model.transform is None:
        raise UserError("this model has no LDA, or no speaker adaptation", file=model_dir,
                        hint="give a model such as tri3b, trained with conf/tri3b.yaml")
    silent = states.silent_pdfs(Lang.load(lang_dir, pronunciations=False).silence)
    weight = torch.where(silent, cfg.silence_weight, 1.0)
    adapted = Features(data, model.input, model.transform, read_transforms(transforms))
    chosen = _chosen(adapted, index, cfg.frames)
    precision, target, log_priors, usable = _gaussians(adapted, chosen, index, weight)
    raw = Features(data, RAW_MFCC)
    mean, variance = (torch.from_numpy(x.astype(np.float32)) for x in raw.training_moments())
    normalization = cfg.normalization(mean.numpy(), variance.numpy())
    transform, context = model.transform, model.transform.shape[1] // raw.dim // 2

    def stats_of(utts: Iterable[str]) -> SpeakerStats:
        """The statistics of the frames of utterances without a transform."""
        stats = SpeakerStats.zeros(adapted.dim)
        for utt in utts:
            feats, pdfs = with_states(raw, index, utt, len(weight))
            cepstra = torch.from_numpy(normalization.start().accept(feats.numpy()))
            stats.add(splice(cepstra, context) @ transform.t(), precision[pdfs], target[pdfs], weight[pdfs])
        return stats

    average = stats_of(progress(usable[::_OF_AVERAGE], "frames without transforms"))
    if not average.beta > 0:
        raise UserError("none of its frames counts", file=data, hint="give data with speech, or raise `silence_weight`")
    second, linear = average.second / average.beta, average.linear / average.beta
    speaker_of = read_table(data / "utt2spk")
    in_order = sorted(usable, key=lambda utt: (speaker_of[utt], utt))
    coordinates = _coordinates(second, linear, (
        (speaker, stats_of(utts))
        for speaker, utts in itertools.groupby(progress(in_order, "transforms of speakers"), speaker_of.__getitem__)))
    axes, variances = _axes(coordinates.values(), linear.numel(), cfg.axes)
    Adapter(cfg, model.transform, precision, target, weight, log_priors, second, linear, mean, variance, axes,
            variances).write(out / NAME)
    _write_priors(coordinates, linear.numel(), _parts(speaker_of.values()), cfg.axes, out / PRIORS)
    say(f"{out}: online fMLLR for {len(weight):,} states, from {len(usable)} utterances, with a prior from "
        f"{len(coordinates)} speakers")
    stage.mark([out / NAME, out / PRIORS])


def _axes(coordinates: Iterable[Array], size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`.principal_axes` of any number of speakers, also of none; ``size``: of their coordinates."""
    return principal_axes(np.reshape([*coordinates], (-1, size)), count)


def _write_priors(coordinates: dict[str, Array], size: int, part: dict[str, int], count: int, path: Path) -> None:
    """Write a prior for each part of the speakers, learnt from the coordinates, of ``size`` numbers, of all others."""
    tensors = {}
    for n in range(max(part.values()) + 1):
        others = [x for speaker, x in coordinates.items() if part[speaker] != n]
        tensors[f"axes_{n}"], tensors[f"variances_{n}"] = _axes(others, size, count)
    write_tensors(path, tensors, {"speakers": json.dumps(part)})


def read_priors(path: Path, size: int) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], dict[str, int]]:
    """(axes, variances) of the priors for the parts of the training speakers, and speaker → number of his part.

    Args:
        path: what :func:`train_online_fmllr` wrote beside an adapter.
        size: of the coordinates of a transform, D (D + 1).

    Raises:
        UserError: the file is missing or damaged, or of another adapter.
    """
    hint, what = "train it again (steps/train_online_fmllr.sh)", "no priors of transforms, or cut off"
    with opened(path, what, hint, ("no such file", hint)) as f:
        part = config.json_value(f.metadata()["speakers"])
        priors = [(f.get_tensor(f"axes_{n}"), f.get_tensor(f"variances_{n}")) for n in range(max(part.values()) + 1)]
    if not all(is_prior(*prior, size) for prior in priors) or not set(part.values()) <= set(range(len(priors))):
        raise UserError(what, file=path, hint=hint)
    return priors, part


def _parts(speakers: Iterable[str]) -> dict[str, int]:
    """Speaker → number of his part. Copies of a speaker are in his part, and so are, as far as possible, speakers whose
    ids begin alike."""
    originals = sorted({original_speaker(speaker) for speaker in speakers})
    parts = min(_PARTS, len(originals))
    number = {speaker: n * parts // len(originals) for n, speaker in enumerate(originals)}
    return {speaker: number[original_speaker(speaker)] for speaker in sorted(set(speakers))}


def _coordinates(second: torch.Tensor, linear: torch.Tensor,
                 stats: Iterable[tuple[str, SpeakerStats]]) -> dict[str, Array]:
    """The coordinates of the transform of each speaker with enough speech."""
    estimator, found = CoordinateEstimator(second, linear), {}
    for speaker, total in stats:
        if total.beta < _LEAST_SPEECH:
            continue
        try:
            found[speaker] = estimator(total)
        except IMPOSSIBLE:
            warn(f"{speaker} is left out of the prior: there is no transform for his statistics")
    return found


def _chosen(features: Features, index: dict[str, str], frames: int) -> list[str]:
    """Utterances with an alignment, spread over the data, with some ``frames`` frames."""
    utts = [utt for utt in features.utts if utt in index]
    if not utts:
        raise UserError("no utterance with features has an alignment", file=features.dir,
                        hint="give the alignment of this data dir")
    total = sum(features.num_frames_or_0(utt) for utt in utts)
    return utts[::max(1, round(total / frames))]


def with_states(features: Features, index: dict[str, str], utt: str,
                num_pdfs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The features [T, D] of an utterance and its aligned states, int64 [T].

    Args:
        index: where the states of each utterance are, from :func:`.vector_index`.

    Raises:
        UserError: it has no usable features, or no alignment of the same length to ``num_pdfs`` states.
    """
    feats = features.load(utt)
    if utt not in index:
        raise UserError("it has no alignment", hint="see the log of the alignment")
    pdfs = torch.from_numpy(read_int_vector(index[utt]).astype(np.int64))
    if len(pdfs) != len(feats) or int(pdfs.max()) >= num_pdfs:
        raise UserError("its alignment is of other features, or of other states", hint="align again")
    return feats, pdfs


def _gaussians(features: Features, utts: list[str], index: dict[str, str], weight: torch.Tensor
               ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
    """w/σ² and w·μ/σ² of each state, float32 [P, D] each, the logarithms of their priors, [P], and those utterances
    that have usable features and as many states as frames."""
    count = torch.zeros(len(weight), 1, dtype=torch.float64)
    sums, squares = (torch.zeros(len(weight), features.dim, dtype=torch.float64) for _ in range(2))
    usable, left_out = [], LeftOut(features.dir)
    for utt in progress(utts, "Gaussians of the states"):
        try:
            feats, pdfs = with_states(features, index, utt, len(weight))
        except UserError as e:
            left_out.add(utt, e)
            continue
        usable.append(utt)
        x = feats.double()
        count[:, 0] += torch.bincount(pdfs, minlength=len(weight))
        sums.index_add_(0, pdfs, x)
        squares.index_add_(0, pdfs, x * x)
    left_out.done()
    if not usable:
        raise UserError("no utterance has usable features", file=features.dir, hint="make the features again")
    mean = (sums + _MEAN_FRAMES * sums.sum(0) / count.sum()) / (count + _MEAN_FRAMES)
    within = squares - 2 * mean * sums + count * mean ** 2
    variance = (within + _VARIANCE_FRAMES * within.sum(0) / count.sum()) / (count + _VARIANCE_FRAMES)
    precision = weight.double()[:, None] / variance.clamp(min=1e-10)
    log_priors = (count[:, 0] / count.sum()).clamp(min=_LEAST_PRIOR).log()
    return precision.float(), (precision * mean).float(), log_priors.float(), usable


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/train_online_fmllr.sh", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="data dir with MFCC features")
    p.add_argument("--ali", type=Path, required=True, help="its alignment to the states of the network")
    p.add_argument("--transforms", type=Path, required=True, help="folder with trans.ark of its speakers, such as an "
                   "alignment by the GMM")
    p.add_argument("--model", type=Path, required=True, help="folder of that speaker-adapted GMM, such as "
                   "exp/<recipe>/tri3b")
    p.add_argument("--lang", type=Path, required=True, help="lang folder of the model")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--config", type=Path, default=Path("conf/online_fmllr.yaml"), help="default: %(default)s")
    a = p.parse_args(argv)
    train_online_fmllr(a.data, a.ali, a.transforms, a.model, a.lang, a.out, config.load(a.config, OnlineFmllrConfig))


if __name__ == "__main__":
    main()
