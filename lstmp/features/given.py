"""Features that came with the data: the user's ``feats.scp`` and ``cmvn.scp``, used where they fit the configuration.

They are those of the data dir itself, where it has no audio and they were not made here; or those of the data dirs that
``given.txt`` names, a path a line, which ``local/take_data_dirs.sh`` writes. Nothing says how they were made, so their
dimension and number of frames are looked at; where there is audio, whether it gives such values; and where there is
none, whether log-mel energies are like their neighbours, as 40 cepstral coefficients are not.
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
_LOOKED_AT = 10  # utterances, before all are read
_COMPARED = 3  # of them, computed from their audio
_FRAMES_OFF = 3  # the ends of an utterance may be treated otherwise
_ALIKE = 0.8  # correlation with what the audio gives
_NEIGHBOURS = 0.4  # correlation of neighbouring bands: of speech some 0.8, of cepstral coefficients 0


@dataclass(frozen=True)
class Given:
    """The features of a data dir.

    Attributes:
        folder: where they were found.
        feats: utterance → where in which archive.
        cmvn: speaker → the same; empty where they are absent or do not fit.
        dim: D.
    """

    folder: Path
    feats: dict[str, str]
    cmvn: dict[str, str]
    dim: int

    def inputs(self) -> list[Path]:
        """The files that they lie in."""
        tables = [self.folder / "feats.scp"] + [self.folder / "cmvn.scp"] * bool(self.cmvn)
        return tables + archives_of([*self.feats.values(), *self.cmvn.values()])


def find_given(data: DataDir, kind: str, cfg: "FbankConfig", compute: Compute | None,
               quiet: bool = False) -> Given | None:
    """The first features that fit; where none do, why is said.

    Args:
        data: the data dir.
        kind: mfcc or fbank.
        cfg: the configuration of these.
        compute: makes the features [T, D] of an utterance from its audio; None: there is none.
        quiet: say nothing.
    """
    folders = [Path(line) for line in read_lines(data.path / NAME)] if (data.path / NAME).is_file() else []
    if not folders and not (data.path / "wav.scp").exists() and _is_given(data.path):
        folders = [data.path]
    reasons = []
    for folder in folders:
        feats = {utt: rx for utt, rx in read_scp(folder / "feats.scp").items() if utt in data.utts}
        why = _misfit(folder, feats, data, kind, cfg, compute)
        if not why:
            return Given(folder, feats, _cmvn(folder, data, feats, cfg.dim, quiet), cfg.dim)
        reasons.append(f"{folder / 'feats.scp'}: not used, {why}")
    for reason in reasons if not quiet else ():
        warn(reason)
    return None


def _is_given(folder: Path) -> bool:
    """Whether it has features, and not such as were computed here."""
    about = folder / "feats.json"
    try:
        return (folder / "feats.scp").is_file() and (
            not about.is_file() or "given" in config.read_json(about, "make the features again"))
    except UserError:
        return False


def _misfit(folder: Path, feats: dict[str, str], data: DataDir, kind: str, cfg: "FbankConfig",
            compute: Compute | None) -> str | None:
    if not feats:
        return f"none of its utterances is in {data.path}"
    shift = _seconds(folder / "frame_shift")  # Kaldi's
    if shift is not None and abs(1000 * shift - cfg.frame_shift_ms) > 1e-3:
        return f"its frames are {1000 * shift:g} ms apart, the configuration's {cfg.frame_shift_ms:g}"
    looked_at: list[Array] = []
    for utt in list(feats)[:_LOOKED_AT]:
        try:
            mat = read_mat(feats[utt])
        except UserError:  # it costs itself, later
            continue
        if mat.shape[1] != cfg.dim:
            return f"its features have {mat.shape[1]} dimensions, the configuration's {cfg.dim}"
        expected = 1000 * data.durations[utt] / cfg.frame_shift_ms if utt in data.durations else len(mat)
        if abs(len(mat) - expected) > _FRAMES_OFF:
            return (f"{utt} has {len(mat)} frames, where its {data.durations[utt]:g} s would make about {expected:.0f} "
                    f"of {cfg.frame_shift_ms:g} ms")
        if compute and len(looked_at) < _COMPARED and (why := _unlike(mat, compute, data.utts[utt])):
            return f"{utt} {why}"
        looked_at.append(mat)
    if kind == "fbank" and not compute and looked_at:
        every = np.concatenate(looked_at)
        found = float(np.median([_correlation(every[:, d], every[:, d + 1]) for d in range(cfg.dim - 1)]))
        if found < _NEIGHBOURS:
            return (f"its values are hardly like their neighbours (correlation {found:.2f}), as log-mel energies are: "
                    "perhaps they are cepstral coefficients")
    return None


def _unlike(mat: Array, compute: Compute, utt: Utterance) -> str | None:
    try:
        own = compute(utt)
    except UserError:  # it will be said of all of them
        return None
    if abs(len(own) - len(mat)) > _FRAMES_OFF:
        return f"has {len(mat)} frames, where its audio gives {len(own)}"
    n = min(len(own), len(mat))
    own, mat = own[:n], mat[:n]
    found = float(np.median([_correlation(own[:, d], mat[:, d]) for d in range(own.shape[1])]))
    if found < _ALIKE:
        return f"has other features than its audio gives (correlation {found:.2f})"
    off = float(np.median(np.abs(own.mean(0) - mat.mean(0)) / own.std(0).clip(1e-3)))
    if off > 1:
        return f"has other features than its audio gives: their means are {off:.1f} standard deviations apart"
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
    found, speakers = read_scp(path), sorted({data.utts[utt].speaker for utt in feats})
    missing = [s for s in speakers if s not in found]
    why = f"it lacks speaker {missing[0]}" if missing else None
    if not why and (shape := read_mat(found[speakers[0]]).shape) != (2, dim + 1):
        why = f"its statistics are {shape[0]} × {shape[1]}, not 2 × {dim + 1}"
    if why and not quiet:
        warn(f"{path}: not used, {why}; statistics are computed")
    return {} if why else {s: found[s] for s in speakers}


def take_given(given: Given, data: DataDir, out: Path, kind: str, cfg: "FbankConfig", nj: int) -> list[Path]:
    """Check all of the given features and write ``out`` as if they had been made there. Returns the files of it.

    Raises:
        UserError: more of them are damaged or absent than ``cfg.max_bad`` allows.
    """
    bad = BadUtterances(given.folder, cfg.max_bad)
    num_frames: dict[str, int] = {}

    def one(utt: str) -> int | UserError:
        if utt not in given.feats:
            return UserError("it has no features", file=given.folder / "feats.scp", hint="leave the utterance out")
        try:
            return len(read_mat(given.feats[utt], dim=given.dim))
        except UserError as e:
            return e

    for utt, found in zip(data.utts, run_jobs(one, data.utts, nj, f"given {kind} {out.name}"), strict=True):
        if isinstance(found, UserError):
            bad.add(utt, found)
        elif found:
            num_frames[utt] = found
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
    frames = write_about(out, kind, given.dim, num_frames, len(bad), cfg.frame_shift_ms / 1000,
                         config=config.to_dict(cfg), given=str(given.folder))
    if given.cmvn:
        write_table(out / "cmvn.scp", given.cmvn)
    else:
        compute_cmvn(out)
    say(f"{out}: {frames} frames of {given.dim} values as they were given in {given.folder}; that they are "
        f"{kind} as {cfg.sample_rate} Hz, windows and bands of the configuration make them is taken on trust")
    return [p for name in ("feats.scp", "utt2num_frames", "utt2dur", "feats.json", "cmvn.scp")
            if (p := out / name).exists()]
