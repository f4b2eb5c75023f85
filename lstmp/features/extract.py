"""Features of a data dir from its audio: MFCCs for the GMMs, log-mel filterbank energies for the networks.

The signal processing is Kaldi's, by ``kaldi-native-fbank``. Writes ``feats.ark``/``feats.scp`` (float32 [T, D]),
``utt2num_frames``, ``feats.json`` (what they are) and the speakers' CMVN statistics. Utterances without usable audio
are reported and left out of ``feats.scp``, whose ids all later stages take.
"""

import argparse
import contextlib
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
from lstmp.corpus.datadir import AUDIO, DataDir, Utterance, copy_tables, read_data_dir, tables_of
from lstmp.corpus.utterance_audio import add_option, at_rate, audio_stamps, check_commands, read_as_is, tell_rates
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
        """D of the features."""
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


KINDS = {"mfcc": MfccConfig, "fbank": FbankConfig}


def compute_features(samples: Array, cfg: FbankConfig, utt: str = "") -> Array:
    """Features of one utterance, np.float32 [T, D]: MFCCs if ``cfg`` is a :class:`MfccConfig`, else log-mel energies.

    Args:
        samples: float32 [samples] on the scale of 16-bit integers.
        cfg: the configuration.
        utt: its id, which seeds the dither.

    Raises:
        UserError: too short for one window.
    """
    if cfg.dither > 0:  # our own, because the library's is not seeded
        noise = np.random.default_rng(zlib.crc32(utt.encode())).standard_normal(len(samples), dtype=np.float32)
        samples = samples + np.float32(cfg.dither) * noise
    frames = computer(cfg)
    frames.accept_waveform(cfg.sample_rate, samples)
    frames.input_finished()
    if frames.num_frames_ready == 0:
        raise UserError(f"{len(samples)} samples, too short for one window of {cfg.frame_length_ms:g} ms")
    return np.stack([frames.get_frame(t) for t in range(frames.num_frames_ready)])


def computer(cfg: FbankConfig) -> Any:
    """The library's object that makes such features, without dither."""
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


def extract(data_dir: Path | str, out_dir: Path | str, cfg: FbankConfig, nj: int, allow_commands: bool = False) -> None:
    """Compute and write the features of a data dir; skipped where they are done.

    Args:
        data_dir: with utt2spk, and wav.scp or features that were given, see :mod:`lstmp.features.given`.
        out_dir: the same, or another folder, which then becomes a data dir with the same tables.
        cfg: a :class:`MfccConfig` or :class:`FbankConfig`.
        nj: number of processes.
        allow_commands: run the commands of wav.scp.

    Raises:
        UserError: a malformed data dir, commands that are not allowed, or more unusable utterances than
            ``cfg.max_bad`` allows.
    """
    first, on_first = distributed.rank() == 0, distributed.on_first
    data, out = read_data_dir(data_dir, need=("utt2spk",)), Path(out_dir)
    kind = "mfcc" if isinstance(cfg, MfccConfig) else "fbank"
    audio = (data.path / "wav.scp").exists()
    if audio:
        check_commands(data, allow_commands)

    def features_of(utt: Utterance) -> tuple[Array, int]:
        samples, own = read_as_is(utt, allow_commands)
        return compute_features(at_rate(samples, own, cfg.sample_rate), cfg, utt.id), own

    in_place = out.resolve() == data.path.resolve()
    tables = tables_of(data.path)
    if given := find_given(data, kind, cfg, (lambda utt: features_of(utt)[0]) if audio else None, quiet=not first):
        _take_given(given, data, out, kind, cfg, nj, [data.path / "utt2spk"] if in_place else tables)
        return
    if not audio:
        raise UserError(f"no wav.scp, and no {kind} features that fit the configuration", file=data.path,
                        hint="give the audio, or features made with this configuration")
    stage = Stage(out, "feats", inputs=[t for t in tables if t.name in AUDIO] if in_place else tables,
                  settings={**config.to_dict(cfg), "kind": kind, "library": version("kaldi-native-fbank"),
                            "audio": _audio_state(data)}, version=2)
    if on_first(stage.is_done):
        return
    say(f"{out}: {kind} of {len(data.utts)} utterances")
    out.mkdir(parents=True, exist_ok=True)
    copies = on_first(copy_tables, data, out)

    def one(utt: Utterance) -> tuple[Array, int] | UserError:
        try:
            return features_of(utt)
        except UserError as e:
            return e if e.file else UserError(e.what, file=utt.wav, hint="leave the utterance out")
        except OSError as e:
            return UserError(e.strerror or str(e), file=utt.wav, hint="check the disk and the file's mode")

    bad = BadUtterances(data.path, cfg.max_bad)
    num_frames: dict[str, int] = {}
    rates: Counter[int] = Counter()
    found = iter_jobs(one, data.utts.values(), nj, f"{kind} {out.name}", for_all=False)
    with ArkWriter(out / "feats.ark", out / "feats.scp") if first else contextlib.nullcontext() as writer:
        for utt, result in zip(data.utts, found, strict=True):
            if writer is None:  # other machines send theirs to the first
                continue
            if isinstance(result, UserError):
                bad.add(utt, result)
            else:
                feats, own = result
                rates[own] += 1
                writer.write(utt, feats)
                num_frames[utt] = len(feats)
                dim = feats.shape[1]
        bad.check(len(data.utts))
        if first and not num_frames:
            raise UserError("no utterance has usable audio", file=data.path / "wav.scp", hint="see the warnings above")
    if not first:
        return
    tell_rates(data.path, rates, cfg.sample_rate)
    frames = write_about(out, kind, dim, num_frames, len(bad), cfg.frame_shift_ms / 1000, config=config.to_dict(cfg))
    compute_cmvn(out)
    stage.mark(outputs=[*(out / name for name in OUTPUTS), *copies])
    say(f"{out}: {frames} frames of {dim} values, {frames * cfg.frame_shift_ms / 3.6e6:.2f} h")


def _take_given(given: Given, data: DataDir, out: Path, kind: str, cfg: FbankConfig, nj: int,
                inputs: list[Path]) -> None:
    there = [p for p in given.inputs() if p.resolve().parent == out.resolve()]
    stage = Stage(out, "feats", inputs + [p for p in given.inputs() if p not in there],
                  {**config.to_dict(cfg), "kind": kind, "given": str(given.folder)})
    if distributed.on_first(stage.is_done):
        return
    out.mkdir(parents=True, exist_ok=True)
    copies = distributed.on_first(copy_tables, data, out)
    made = take_given(given, data, out, kind, cfg, nj)
    distributed.on_first(stage.mark, [*made, *copies, *there])


def _audio_state(data: DataDir) -> str:
    """A digest of every audio file's size and time."""
    digest = 0
    for stamp in audio_stamps(data.utts.values()):
        digest = zlib.crc32(repr(stamp).encode(), digest)
    return f"{digest:08x}"


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="lstmp.features.extract", description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=list(KINDS), required=True, help="which features")
    parser.add_argument("--config", required=True, help="conf/mfcc.yaml, conf/fbank.yaml or a copy of it")
    parser.add_argument("--nj", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument("--out", help="write to this folder, a data dir with the same tables (default: DATA itself)")
    add_option(parser)
    parser.add_argument("data", metavar="DATA", help="data dir with wav.scp and utt2spk")
    args = parser.parse_args(argv)
    distributed.together(extract, args.data, args.out or args.data, config.load(args.config, KINDS[args.kind]), args.nj,
                         args.allow_commands)


if __name__ == "__main__":
    main()
