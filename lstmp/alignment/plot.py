"""Plot utterances with their alignment: spectrogram, words, phones, HMM states, and the log-likelihood of each frame.

Long utterances take several rows. The spectrogram is computed from the audio, since the features have lost part of it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp.alignment.word_times import word_segments
from lstmp.corpus.audio import RATE
from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.ids import file_name
from lstmp.corpus.lang import Lang
from lstmp.corpus.utterance_audio import add_option, check_commands, read_utterance
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import frame_shift
from lstmp.features.load import Features
from lstmp.gmm.adapt import read_transforms
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.log import say
from lstmp.picture import plt, write_png

_WINDOW, _FFT = int(0.025 * RATE), 512
_ROW_SECONDS = 4.0     # maximum length of a row: makes a phone of 30 ms two millimetres wide on a page
_INCHES = 3.2          # width of a second
_SMOOTH = 15           # frames that the log-likelihood is averaged over
_RANGE = 70            # dynamic range of the spectrogram in decibels
_INK, _PAPER = "#1b1b1b", "#f4f1ea"


@dataclass(frozen=True)
class Picture:
    """The contents of a plot.

    Attributes:
        title: text above the first row.
        spectrum: float [T, F], decibels; frequencies from 0 to half the sampling rate.
        words, phones: (name, first frame, length).
        states: frames at which an HMM state begins.
        loglike: float [T], log-likelihood of each frame, or None.
        shift: frame shift in seconds.
    """

    title: str
    spectrum: np.ndarray
    words: list[tuple[str, int, int]]
    phones: list[tuple[str, int, int]]
    states: np.ndarray
    loglike: np.ndarray | None
    shift: float


def spectrogram(samples: np.ndarray, shift: float) -> np.ndarray:
    """Power spectrum in decibels of every frame: float32 [T, 257]; Hann windows of 25 ms every ``shift`` seconds."""
    if len(samples) < _WINDOW:
        return np.zeros((0, _FFT // 2 + 1), dtype=np.float32)
    samples = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])  # pre-emphasis
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::round(RATE * shift)]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), _FFT)) ** 2
    return 10 * np.log10(power + 1).astype(np.float32)


def state_starts(tids: np.ndarray, transitions) -> np.ndarray:
    """Frames at which the path enters an HMM state other than by its self-loop: int64."""
    of_tuple = transitions.tid_tuple.numpy()[tids]
    stays = np.concatenate([[False], transitions.is_self_loop.numpy()[tids[1:]] & (of_tuple[1:] == of_tuple[:-1])])
    return np.flatnonzero(~stays)


def frame_loglikes(model: AcousticModel, feats: torch.Tensor, tids: np.ndarray) -> np.ndarray:
    """Acoustic log-likelihood of each frame along an alignment: float32 [T]."""
    pdfs, column = np.unique(model.transitions.tid_pdf.numpy()[tids], return_inverse=True)
    scores = model.mixtures.loglikes(feats, torch.from_numpy(pdfs))
    return scores[torch.arange(len(tids)), torch.from_numpy(column)].numpy()


def smoothed(values: np.ndarray, width: int = _SMOOTH) -> np.ndarray:
    """Moving average over ``width`` frames, over fewer frames at both ends."""
    ones = np.ones(min(width, len(values)))
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def draw(picture: Picture, path, start: float = 0.0, end: float | None = None):
    """Plot the part from ``start`` to ``end`` (in seconds, default: to the end) as the PNG file ``path``."""
    total = len(picture.spectrum) * picture.shift
    end = min(end or total, total)
    rows = max(1, int(np.ceil((end - start) / _ROW_SECONDS - 1e-6)))
    width = (end - start) / rows  # equal for all rows, so that the last one is not a short rest
    panels = [3.0, 0.32, 0.42] + ([1.1] if picture.loglike is not None else [])
    figure = plt.figure(figsize=(_INCHES * max(width, 1.2) + 1, rows * (sum(panels) * 0.62 + 0.55) + 0.35))
    figure.set_layout_engine("constrained", h_pad=0.03, hspace=0)
    figure.suptitle(picture.title, fontsize=9, wrap=True)
    for number, part in enumerate(figure.subfigures(rows, 1, squeeze=False).flat if rows > 1 else [figure]):
        axes = part.subplots(len(panels), 1, sharex=True, height_ratios=panels, gridspec_kw={"hspace": 0.02})
        _draw_row(picture, axes, start + number * width, start + (number + 1) * width, number == rows - 1)
    write_png(figure, path, dpi=100)


def _draw_row(picture: Picture, axes, start: float, end: float, last: bool):
    sound, words, phones, *rest = axes
    seconds = len(picture.spectrum) * picture.shift
    top = picture.spectrum.max()
    sound.imshow(picture.spectrum.T, origin="lower", aspect="auto", cmap="magma", vmin=top - _RANGE, vmax=top,
                 extent=(0, seconds, 0, RATE / 2000), interpolation="nearest")
    sound.set_ylabel("kHz", fontsize=8)
    states = picture.states * picture.shift
    phone_starts = np.array([frame for _, frame, _ in picture.phones]) * picture.shift
    for times, width, alpha in ((states, 0.5, 0.35), (phone_starts, 0.8, 0.8)):
        times = times[(times >= start) & (times <= end)]
        sound.vlines(times, 0, RATE / 2000, color="white", linewidth=width, alpha=alpha)
    _spans(words, picture.words, picture.shift, start, end, "#cfe3f1", 8)
    _spans(phones, picture.phones, picture.shift, start, end, _PAPER, 6.5)
    for axis in rest:
        assert picture.loglike is not None
        time = (np.arange(len(picture.loglike)) + 0.5) * picture.shift
        axis.plot(time, picture.loglike, color="#9aa7b0", linewidth=0.6)
        axis.plot(time, smoothed(picture.loglike), color="#b5342c", linewidth=1.3)
        low, high = np.percentile(picture.loglike, [0.5, 99.5])
        axis.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        axis.set_ylabel("log-\nlikelihood", fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes:
        axis.set_xlim(start, end)
        axis.tick_params(labelsize=7, length=2)
    if last:
        note = f"; the likelihood of each frame in grey, over {_SMOOTH * picture.shift:.2f} s in red" if rest else ""
        axes[-1].set_xlabel(f"seconds{note}", fontsize=8)


def _spans(axis, spans, shift: float, start: float, end: float, colour: str, size: float):
    """Draw boxes with names. A name that is wider than its box is rotated or made smaller, or left out if too small."""
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    points = 72 * _INCHES * max(1.0, 1.2 / (end - start))  # width of a second
    boxes = []
    for name, first, length in spans:
        a, b = max(first * shift, start), min((first + length) * shift, end)
        if b <= a:
            continue
        boxes.append((a, b - a))
        room, width = points * (b - a), 0.72 * max(1, len(name))  # box in points; name in font sizes
        rotated = size * width > room and len(name) <= 3
        font_size = min(size, 0.95 * room if rotated else room / width)
        if font_size >= 4:
            axis.text((a + b) / 2, 0.48, name, ha="center", va="center", fontsize=font_size, color=_INK, clip_on=True,
                      rotation=90 if rotated else 0)
    axis.broken_barh(boxes, (0, 1), facecolor=colour, edgecolor=_INK, linewidth=0.5)


def load_picture(utt: str, data, lang: Lang, hmm: AcousticModel, alignment: dict, gmm: AcousticModel | None,
                 shift: float, transforms: dict | None = None, allow_commands: bool = False) -> Picture:
    """Prepare the plot of utterance ``utt``.

    Args:
        data: the data dir as read by ``read_data_dir``.
        hmm: HMM part of the alignment folder.
        alignment: utterance → transition-ids.
        gmm: the model that computes the log-likelihoods, or None to plot none.
        shift: frame shift of the alignment in seconds.
        transforms: fMLLR transforms of the speakers, if the alignment was made with them.
        allow_commands: whether commands in wav.scp may be run.

    Raises:
        UserError: the utterance is unknown or not aligned, or its audio or features do not fit its alignment.
    """
    if utt not in data.utts:
        raise UserError(f"no utterance {utt}", file=data.path / "text", hint="give ids from its first column")
    if utt not in alignment:
        raise UserError(f"{utt} is not aligned", hint="see failed.txt in the alignment's folder")
    tids = alignment[utt].astype(np.int64)
    hmm.transitions.check(utt, tids)
    spectrum = spectrogram(read_utterance(data.utts[utt], RATE, allow_commands), shift)
    if abs(len(spectrum) - len(tids)) > 2:
        raise UserError(f"{len(tids)} frames in the alignment of {utt}, but {len(spectrum)} in its audio",
                        file=data.utts[utt].wav, hint="make the features and the alignment again")
    loglike = None
    if gmm is not None:
        feats = Features(data.path, gmm.input, gmm.transform, transforms).load(utt)
        if len(feats) != len(tids):
            raise UserError(f"{len(tids)} frames in the alignment of {utt}, but {len(feats)} in its features",
                            file=data.path / "feats.scp", hint="align these features again")
        loglike = frame_loglikes(gmm, feats, tids)
    parts = segments(tids, hmm.transitions)
    names = [(lang.phone_names[s.phone].partition("_")[0].replace("SIL", ""), s.start, s.length) for s in parts]
    words = data.utts[utt].words
    title = f"{utt}   {'' if loglike is None else f'[{loglike.mean():.1f} per frame]   '}{' '.join(words)}"
    try:
        spans = word_segments(parts, words, lang)
    except UserError:  # the transcript is not the aligned one: plot the phones without words
        spans = []
    return Picture(title, spectrum, spans, names, state_starts(tids, hmm.transitions), loglike, shift)


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/plot_alignment.sh", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="data dir: wav.scp, text")
    p.add_argument("--lang", type=Path, required=True, help="lang folder")
    p.add_argument("--ali", type=Path, required=True, help="alignment folder")
    p.add_argument("--model", type=Path, help="GMM that made the alignment, to plot the log-likelihood")
    p.add_argument("--out", type=Path, required=True, help="folder for <utterance>.png")
    p.add_argument("--start", type=float, default=0.0, help="first second to plot (default: %(default)s)")
    p.add_argument("--end", type=float, help="last second to plot (default: to the end)")
    add_option(p)
    p.add_argument("utts", nargs="+", metavar="UTT", help="utterance ids")
    args = p.parse_args(argv)
    if args.start < 0 or (args.end is not None and args.end <= args.start):
        raise UserError("--end must be later than --start", hint="give seconds from the utterance's beginning")
    data, lang, hmm = read_data_dir(args.data), Lang.load(args.lang), AcousticModel.load(args.ali)
    check_commands(data, args.allow_commands)
    gmm = AcousticModel.load(args.model) if args.model else None
    if gmm is not None and (gmm.gmms is None or gmm.transitions.num_pdfs != hmm.transitions.num_pdfs):
        raise UserError("not the GMM that made the alignment", file=args.model,
                        hint="give the GMM that made it, or leave out --model")
    alignment = read_alignment(args.ali)
    transforms = read_transforms(args.ali) if gmm and (args.ali / "trans.scp").is_file() else None
    for utt in args.utts:
        picture = load_picture(utt, data, lang, hmm, alignment, gmm, frame_shift(args.ali), transforms,
                               args.allow_commands)
        if args.start >= len(picture.spectrum) * picture.shift:
            raise UserError(f"{utt} ends at {len(picture.spectrum) * picture.shift:.2f} s", hint="lower --start")
        path = args.out / f"{file_name(utt)}.png"
        draw(picture, path, args.start, args.end)
        say(str(path))


if __name__ == "__main__":
    main()
