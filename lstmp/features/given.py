"""Uses features provided by the user ("given" features), ``feats.scp`` and ``cmvn.scp``, if they fit the configuration.

Given features are those of the data dir itself, if it has no audio and its features were not computed by this package;
or those of the data dirs listed in ``given.txt``, one path per line, which ``local/take_data_dirs.sh`` writes. How they
were made is not recorded, so their dimension and number of frames are checked. If there is audio, some are compared
with features computed from it. If there is none, log-mel energies must correlate between neighbouring bands, which
cepstral coefficients do not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstmp import config, distributed
from lstmp.aliases import Array
from lstmp.corpus.bad import BadUtterances
from lstmp.corpus.datadir import DataDir, Utterance, read_lines, write_table
from lstmp.errors import UserError
from lstmp.features.about import write_about
from lstmp.features.ark import archives_of, read_mat, read_scp
from lstmp.features.cmvn import compute_cmvn
from lstmp.log import say, warn
from lstmp.parallel import run_jobs

if TYPE_CHECKING:
    from lstmp.features.extract import FbankConfig  # which imports this module

Compute = Callable[[Utterance], Array]

NAME = "given.txt"
_CHECKED = 10  # utterances checked before all are read
_COMPARED = 3  # number of these that are compared with features computed from audio
_MAX_FRAME_DIFFERENCE = 3  # tolerance, since other tools may treat the edges of an utterance differently
_MIN_CORRELATION = 0.8  # minimum correlation with features computed from the audio
_MIN_BAND_CORRELATION = 0.4  # between neighbouring bands: about 0.8 in speech, 0 for cepstral coefficients


@dataclass(frozen=True)
class Given:
    """Given features of a data dir.

    Attributes:
        folder: the data dir that contains them.
        feats: utterance → ``path:offset``.
        cmvn: speaker → ``path:offset`` of its CMVN statistics; empty if they are absent or do not fit.
        dim: D.
    """

    folder: Path
    feats: dict[str, str]
    cmvn: dict[str, str]
    dim: int

    def inputs(self) -> list[Path]:
        """The files that contain the features and statistics."""
        tables = [self.folder / "feats.scp"] + [self.folder / "cmvn.scp"] * bool(self.cmvn)
        return tables + archives_of([*self.feats.values(), *self.cmvn.values()])


def find_given(data: DataDir, feature_type: str, cfg: "FbankConfig", compute: Compute | None,
               quiet: bool = False) -> Given | None:
    """Find the first given features that fit the configuration; None, with a warning that says why, if none fit.

    Args:
        data: the data dir.
        feature_type: mfcc or fbank.
        cfg: the configuration of these features.
        compute: computes the features [T, D] of an utterance from its audio; None: there is no audio.
        quiet: log no warnings.
    """
    folders = [Path(line) for line in read_lines(data.path / NAME)] if (data.path / NAME).is_file() else []
    if not folders and not (data.path / "wav.scp").exists() and _has_given_features(data.path):
        folders = [data.path]
    reasons = []
    for folder in folders:
        feats = {utt: rx for utt, rx in read_scp(folder / "feats.scp").items() if utt in data.utts}
        why = _mismatch(folder, feats, data, feature_type, cfg, compute)
        if not why:
            return Given(folder, feats, _cmvn(folder, data, feats, cfg.dim, quiet), cfg.dim)
        reasons.append(f"{folder / 'feats.scp'}: not used, {why}")
    for reason in reasons if not quiet else ():
        warn(reason)
    return None


def _has_given_features(folder: Path) -> bool:
    """Whether a data dir has features that were not computed by this package."""
    about = folder / "feats.json"
    try:
        return (folder / "feats.scp").is_file() and (
            not about.is_file() or "given" in config.read_json(about, "make the features again"))
    except UserError:
        return False


def _mismatch(folder: Path, feats: dict[str, str], data: DataDir, feature_type: str, cfg: "FbankConfig",
              compute: Compute | None) -> str | None:
    if not feats:
        return f"none of its utterances is in {data.path}"
    shift = _seconds(folder / "frame_shift")  # Kaldi's
    if shift is not None and abs(1000 * shift - cfg.frame_shift_ms) > 1e-3:
        return f"its frame shift is {1000 * shift:g} ms, that of the configuration {cfg.frame_shift_ms:g} ms"
    checked: list[Array] = []
    for utt in list(feats)[:_CHECKED]:
        try:
            mat = read_mat(feats[utt])
        except UserError:  # it is left out later
            continue
        if mat.shape[1] != cfg.dim:
            return f"its features have {mat.shape[1]} dimensions, those of the configuration {cfg.dim}"
        expected = 1000 * data.durations[utt] / cfg.frame_shift_ms if utt in data.durations else len(mat)
        if abs(len(mat) - expected) > _MAX_FRAME_DIFFERENCE:
            return (f"{utt} has {len(mat)} frames, but {data.durations[utt]:g} s are about {expected:.0f} frames "
                    f"of {cfg.frame_shift_ms:g} ms")
        if compute and len(checked) < _COMPARED and (why := _mismatch_with_audio(mat, compute, data.utts[utt])):
            return f"{utt} {why}"
        checked.append(mat)
    if feature_type == "fbank" and not compute and checked:
        frames = np.concatenate(checked)
        correlation = float(np.median([_correlation(frames[:, d], frames[:, d + 1]) for d in range(cfg.dim - 1)]))
        if correlation < _MIN_BAND_CORRELATION:
            return (f"neighbouring values hardly correlate ({correlation:.2f}), unlike log-mel energies; perhaps they "
                    "are cepstral coefficients")
    return None


def _mismatch_with_audio(mat: Array, compute: Compute, utt: Utterance) -> str | None:
    try:
        computed = compute(utt)
    except UserError:  # reported later, with all utterances
        return None
    if abs(len(computed) - len(mat)) > _MAX_FRAME_DIFFERENCE:
        return f"has {len(mat)} frames, but its audio has {len(computed)}"
    n = min(len(computed), len(mat))
    computed, mat = computed[:n], mat[:n]
    correlation = float(np.median([_correlation(computed[:, d], mat[:, d]) for d in range(computed.shape[1])]))
    if correlation < _MIN_CORRELATION:
        return f"has features that differ from those of its audio (correlation {correlation:.2f})"
    distance = float(np.median(np.abs(computed.mean(0) - mat.mean(0)) / computed.std(0).clip(1e-3)))
    if distance > 1:
        return f"has features that differ from those of its audio: means are {distance:.1f} standard deviations apart"
    return None


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-10))


def _seconds(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _cmvn(folder: Path, data: DataDir, feats: dict[str, str], dim: int, quiet: bool) -> dict[str, str]:
    path = folder / "cmvn.scp"
    if not path.is_file():
        return {}
    stats, speakers = read_scp(path), sorted({data.utts[utt].speaker for utt in feats})
    missing = [s for s in speakers if s not in stats]
    why = f"it lacks speaker {missing[0]}" if missing else None
    if not why and (shape := read_mat(stats[speakers[0]]).shape) != (2, dim + 1):
        why = f"its statistics are {shape[0]} × {shape[1]}, not 2 × {dim + 1}"
    if why and not quiet:
        warn(f"{path}: not used, {why}; computing statistics instead")
    return {} if why else {s: stats[s] for s in speakers}


def take_given(given: Given, data: DataDir, out: Path, feature_type: str, cfg: "FbankConfig", nj: int) -> list[Path]:
    """Check all given features and write ``out`` as if they had been computed there. Returns the written files.

    Raises:
        UserError: more utterances have damaged or no features than ``cfg.max_bad`` allows.
    """
    bad = BadUtterances(given.folder, cfg.max_bad)
    num_frames: dict[str, int] = {}

    def frames_or_error(utt: str) -> int | UserError:
        if utt not in given.feats:
            return UserError("it has no features", file=given.folder / "feats.scp", hint="leave the utterance out")
        try:
            return len(read_mat(given.feats[utt], dim=given.dim))
        except UserError as e:
            return e

    results = run_jobs(frames_or_error, data.utts, nj, f"given {feature_type} {out.name}")
    for utt, result in zip(data.utts, results, strict=True):
        if isinstance(result, UserError):
            bad.add(utt, result)
        elif result:
            num_frames[utt] = result
    bad.check(len(data.utts))
    if distributed.rank():
        return []
    if not num_frames:
        raise UserError("no utterance has usable features", file=given.folder / "feats.scp", hint="make them again")
    if given.folder.resolve() != out.resolve() and (out / "feats.ark").exists():
        (out / "feats.ark").unlink()
    write_table(out / "feats.scp", {utt: given.feats[utt] for utt in num_frames})
    if not data.durations:
        ends = cfg.frame_length_ms - cfg.frame_shift_ms if cfg.snip_edges else 0
        write_table(out / "utt2dur", {utt: f"{(num_frames.get(utt, 1) * cfg.frame_shift_ms + ends) / 1000:.3f}"
                                      for utt in data.utts})
    frames = write_about(out, feature_type, given.dim, num_frames, len(bad), cfg.frame_shift_ms / 1000,
                         config=config.to_dict(cfg), given=str(given.folder))
    if given.cmvn:
        write_table(out / "cmvn.scp", given.cmvn)
    else:
        compute_cmvn(out)
    say(f"{out}: {frames} frames of {given.dim} values, given in {given.folder}; it is not checked whether they are "
        f"{feature_type} features made with the sampling rate ({cfg.sample_rate} Hz), windows and bands of the "
        "configuration")
    return [p for name in ("feats.scp", "utt2num_frames", "utt2dur", "feats.json", "cmvn.scp")
            if (p := out / name).exists()]
