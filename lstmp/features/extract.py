"""Computes the features of a data dir: MFCCs for the GMMs, log-mel filterbank energies for the networks.

The signal processing is Kaldi's, from ``kaldi-native-fbank``. Writes ``feats.ark``/``feats.scp`` (float32 [T, D]),
``utt2num_frames``, ``feats.json`` (a description) and the speakers' CMVN statistics. Utterances without usable audio
are reported and left out of ``feats.scp``; all later stages use the utterances in ``feats.scp``.
"""

import argparse
import contextlib
import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np

from lstmp import config, distributed
from lstmp.aliases import Array
from lstmp.config import check
from lstmp.corpus.bad import BadUtterances
from lstmp.corpus.datadir import AUDIO, DataDir, Utterance, copy_tables, existing_tables, read_data_dir
from lstmp.corpus.utterance_audio import (
    add_option,
    at_rate,
    audio_stamps,
    check_commands,
    log_resampling,
    read_original,
)
from lstmp.errors import UserError, command
from lstmp.features.about import write_about
from lstmp.features.ark import ArkWriter
from lstmp.features.cmvn import compute_cmvn
from lstmp.features.given import Given, find_given, take_given
from lstmp.log import say
from lstmp.parallel import iter_jobs
from lstmp.stage import Stage

WINDOWS = ("povey", "hamming", "hanning", "rectangular")
OUTPUTS = ("feats.ark", "feats.scp", "utt2num_frames", "feats.json", "cmvn.ark", "cmvn.scp")


@dataclass(frozen=True)
class FbankConfig:
    """The values of conf/fbank.yaml, explained there."""

    sample_rate: int
    frame_length_ms: float
    frame_shift_ms: float
    window: str
    preemphasis: float
    dither: float
    snip_edges: bool
    num_mel_bins: int
    low_freq: float
    high_freq: float
    max_bad: float

    def __post_init__(self) -> None:
        nyquist = self.sample_rate / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        check(self.sample_rate > 0, "sample_rate", "above 0")
        check(self.frame_shift_ms > 0, "frame_shift_ms", "above 0")
        check(self.frame_length_ms >= self.frame_shift_ms, "frame_length_ms", "at least frame_shift_ms")
        check(self.window in WINDOWS, "window", f"one of {', '.join(WINDOWS)}")
        check(0 <= self.preemphasis <= 1, "preemphasis", "from 0 to 1")
        check(self.dither >= 0, "dither", "0 or more")
        check(3 <= self.num_mel_bins <= 128, "num_mel_bins", "from 3 to 128")
        check(0 <= self.low_freq < nyquist, "low_freq", f"from 0 to below {nyquist:g}, half the sampling rate")
        check(self.low_freq < high <= nyquist, "high_freq",
              f"above low_freq and at most {nyquist:g}, half the sampling rate")
        check(self.max_bad >= 0, "max_bad", "a fraction below 1, or a count")

    @property
    def dim(self) -> int:
        """D, the dimension of the features."""
        return self.num_mel_bins


@dataclass(frozen=True)
class MfccConfig(FbankConfig):
    """The values of conf/mfcc.yaml, explained there."""

    num_ceps: int
    cepstral_lifter: float
    use_energy: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= self.num_ceps <= self.num_mel_bins, "num_ceps", "from 1 to num_mel_bins")
        check(self.cepstral_lifter >= 0, "cepstral_lifter", "0 or more")

    @property
    def dim(self) -> int:
        return self.num_ceps


CONFIGS: dict[str, type[FbankConfig]] = {"mfcc": MfccConfig, "fbank": FbankConfig}


def compute_features(samples: Array, cfg: FbankConfig, utt: str = "") -> Array:
    """Compute the features of one utterance: MFCCs if ``cfg`` is an :class:`MfccConfig`, else log-mel energies.

    Args:
        samples: float32 [samples] on the scale of 16-bit integers.
        cfg: the configuration.
        utt: utterance id, which seeds the dither.

    Returns:
        np.float32 [T, D].

    Raises:
        UserError: the utterance is shorter than one window.
    """
    if cfg.dither > 0:  # not the library's dither, which has no seed
        noise = np.random.default_rng(zlib.crc32(utt.encode())).standard_normal(len(samples), dtype=np.float32)
        samples = samples + np.float32(cfg.dither) * noise
    frames = make_extractor(cfg)
    frames.accept_waveform(cfg.sample_rate, samples)
    frames.input_finished()
    if frames.num_frames_ready == 0:
        raise UserError(f"{len(samples)} samples, too short for one window of {cfg.frame_length_ms:g} ms")
    return np.stack([frames.get_frame(t) for t in range(frames.num_frames_ready)])


def make_extractor(cfg: FbankConfig) -> Any:
    """Create the object of kaldi-native-fbank that computes features with this configuration, without dither."""
    options = knf.MfccOptions() if isinstance(cfg, MfccConfig) else knf.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither, frame.snip_edges = cfg.sample_rate, 0, cfg.snip_edges
    frame.frame_length_ms, frame.frame_shift_ms = cfg.frame_length_ms, cfg.frame_shift_ms
    frame.window_type, frame.preemph_coeff = cfg.window, cfg.preemphasis
    mel.num_bins, mel.low_freq, mel.high_freq = cfg.num_mel_bins, cfg.low_freq, cfg.high_freq
    if not isinstance(cfg, MfccConfig):
        return knf.OnlineFbank(options)
    options.num_ceps, options.cepstral_lifter, options.use_energy = cfg.num_ceps, cfg.cepstral_lifter, cfg.use_energy
    return knf.OnlineMfcc(options)


def extract(data_dir: Path | str, out_dir: Path | str, cfg: FbankConfig, nj: int, allow_commands: bool = False,
            compressed: bool = False) -> None:
    """Compute and write the features of a data dir; skipped if already done.

    Args:
        data_dir: data dir with utt2spk, and with wav.scp or given features, see :mod:`lstmp.features.given`.
        out_dir: ``data_dir`` itself, or another folder, which becomes a data dir with the same tables.
        cfg: an :class:`MfccConfig` or :class:`FbankConfig`.
        nj: number of processes.
        allow_commands: run the commands of wav.scp.
        compressed: write Kaldi's compressed matrices, a quarter of the size.

    Raises:
        UserError: the data dir is malformed, commands are not allowed, or more utterances are unusable than
            ``cfg.max_bad`` allows.
    """
    first, on_first = distributed.rank() == 0, distributed.on_first
    data, out = read_data_dir(data_dir, need=("utt2spk",)), Path(out_dir)
    feature_type = "mfcc" if isinstance(cfg, MfccConfig) else "fbank"
    has_audio = (data.path / "wav.scp").exists()
    if has_audio:
        check_commands(data, allow_commands)

    def features_of(utt: Utterance) -> tuple[Array, int]:
        samples, original_rate = read_original(utt, allow_commands)
        return compute_features(at_rate(samples, original_rate, cfg.sample_rate), cfg, utt.id), original_rate

    in_place = out.resolve() == data.path.resolve()
    tables = existing_tables(data.path)
    compute = (lambda utt: features_of(utt)[0]) if has_audio else None
    if given := find_given(data, feature_type, cfg, compute, quiet=not first):
        _take_given(given, data, out, feature_type, cfg, nj, [data.path / "utt2spk"] if in_place else tables)
        return
    if not has_audio:
        raise UserError(f"no wav.scp, and no {feature_type} features that match the configuration", file=data.path,
                        hint="provide audio, or features made with this configuration")
    stage = Stage(out, "feats", inputs=[t for t in tables if t.name in AUDIO] if in_place else tables,
                  settings={**config.to_dict(cfg), "kind": feature_type, "library": version("kaldi-native-fbank"),
                            "audio": _audio_state(data), **({"compressed": True} if compressed else {})}, version=2)
    if on_first(stage.is_done):
        return
    say(f"{out}: {feature_type} of {len(data.utts)} utterances")
    out.mkdir(parents=True, exist_ok=True)
    copies = on_first(copy_tables, data, out)

    def features_or_error(utt: Utterance) -> tuple[Array, int] | UserError:
        try:
            return features_of(utt)
        except UserError as e:
            return e if e.file else UserError(e.what, file=utt.wav, hint="leave the utterance out")
        except OSError as e:
            return UserError(e.strerror or str(e), file=utt.wav, hint="check the disk and the file's mode")

    bad = BadUtterances(data.path, cfg.max_bad)
    num_frames: dict[str, int] = {}
    rates: Counter[int] = Counter()
    results = iter_jobs(features_or_error, data.utts.values(), nj, f"{feature_type} {out.name}", for_all=False)
    with ArkWriter(out / "feats.ark", out / "feats.scp", compressed) if first else contextlib.nullcontext() as writer:
        for utt, result in zip(data.utts, results, strict=True):
            if writer is None:  # other machines send their features to the first one
                continue
            if isinstance(result, UserError):
                bad.add(utt, result)
            else:
                feats, original_rate = result
                rates[original_rate] += 1
                writer.write(utt, feats)
                num_frames[utt] = len(feats)
                dim = feats.shape[1]
        bad.check(len(data.utts))
        if first and not num_frames:
            raise UserError("no utterance has usable audio", file=data.path / "wav.scp", hint="see the warnings above")
    if not first:
        return
    log_resampling(data.path, rates, cfg.sample_rate)
    frames = write_about(out, feature_type, dim, num_frames, len(bad), cfg.frame_shift_ms / 1000,
                         config=config.to_dict(cfg))
    compute_cmvn(out)
    stage.mark(outputs=[*(out / name for name in OUTPUTS), *copies])
    say(f"{out}: {frames} frames of {dim} values, {frames * cfg.frame_shift_ms / 3.6e6:.2f} h")


def _take_given(given: Given, data: DataDir, out: Path, feature_type: str, cfg: FbankConfig, nj: int,
                inputs: list[Path]) -> None:
    existing = [p for p in given.inputs() if p.resolve().parent == out.resolve()]
    stage = Stage(out, "feats", inputs + [p for p in given.inputs() if p not in existing],
                  {**config.to_dict(cfg), "kind": feature_type, "given": str(given.folder)})
    if distributed.on_first(stage.is_done):
        return
    out.mkdir(parents=True, exist_ok=True)
    copies = distributed.on_first(copy_tables, data, out)
    written = take_given(given, data, out, feature_type, cfg, nj)
    distributed.on_first(stage.mark, [*written, *copies, *existing])


def _audio_state(data: DataDir) -> str:
    """A digest of the sizes and modification times of all audio files."""
    digest = 0
    for stamp in audio_stamps(data.utts.values()):
        digest = zlib.crc32(repr(stamp).encode(), digest)
    return f"{digest:08x}"


@command
def main(argv: list[str] | None = None) -> None:
    kinds = [kind for kind in CONFIGS if kind in (sys.argv[1:] if argv is None else argv)]  # given by the script
    parser = argparse.ArgumentParser(prog=f"steps/make_{(kinds or ['mfcc'])[0]}.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=list(CONFIGS), required=True, help="type of features")
    parser.add_argument("--config", required=True, help="conf/mfcc.yaml, conf/fbank.yaml or a copy")
    parser.add_argument("--nj", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument("--out", help="write a data dir with the same tables to this folder (default: DATA itself)")
    parser.add_argument("--compressed", action="store_true", help="write Kaldi's compressed matrices: a quarter of the "
                        "disk space, with 8 bits for each value")
    add_option(parser)
    parser.add_argument("data", metavar="DATA", help="data dir with wav.scp and utt2spk")
    args = parser.parse_args(argv)
    cfg = config.load(args.config, CONFIGS[args.kind])
    distributed.together(extract, args.data, args.out or args.data, cfg, args.nj, args.allow_commands,
                         args.compressed)


if __name__ == "__main__":
    main()
