"""Transcribe recordings with an exported model.

    ./transcribe.sh --model DIR talk.mp3 interview.wav      text, one line for each file
    ./transcribe.sh --model DIR --format srt talk.mp3       subtitles; also ctm, json
    ./transcribe.sh --model DIR --stream talk.mp3           piece by piece, each segment as soon as it ends
    arecord -f S16_LE -r 16000 -t raw | ./transcribe.sh --model DIR --stream -

Any format that libsndfile or ffmpeg reads, any rate, any number of channels (their mean); `-` is raw 16-bit PCM on the
standard input. What is recognized goes to the standard output, or to --out DIR; messages go to the standard error.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.corpus.audio import RATE
from lstmp.corpus.lang import read_names
from lstmp.decode.config import DecodeConfig
from lstmp.decode.engine import SearchGraph
from lstmp.decode.live import LiveConfig, LiveRecognizer, Segment
from lstmp.errors import UserError, command
from lstmp.features.extract import FbankConfig
from lstmp.kit import called
from lstmp.log import quiet
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.workers import flush_denormals
from lstmp.transcribe import formats
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.media import RawPcm, read_recording, recording_blocks
from lstmp.transcribe.recognize import grammar_graph, recognize


class LiveModel:
    """A model folder, loaded once for any number of recordings."""

    def __init__(self, model: ModelFolder, graph: Path | None = None):
        """``graph``: a graph dir in the place of the model's own."""
        model.check_live()
        graph = graph or model.path / "graph"
        torch.set_num_threads(1)
        flush_denormals()
        path = model.path
        self.network = AcousticNetwork.load(path / "network")
        self.graph = SearchGraph.load(graph).with_penalty(model.word_penalty)
        self.search = replace(config.load(path / "conf/decode.yaml", DecodeConfig), acoustic_scale=1 / model.lm_weight)
        self.fbank = config.load(path / "conf/fbank.yaml", FbankConfig)
        self.live = config.load(path / "conf/live.yaml", LiveConfig)
        if not all(0 <= pdf < self.network.num_pdfs for pdf in model.silent):
            raise UserError("`silent` are not states of its network", file=path / "model.json", mend="export it again")
        self.silent = np.zeros(self.network.num_pdfs, dtype=bool)
        self.silent[model.silent] = True
        self.names = read_names(graph / "words.txt")
        if strange := {*np.unique(self.graph.words).tolist()} - self.names.keys():
            raise UserError(f"word id {min(strange)} of the graph is not in it", file=graph / "words.txt",
                            mend="take the words.txt that was made with the graph")

    def recognizer(self) -> LiveRecognizer:
        """For one recording."""
        return LiveRecognizer(self.network, self.graph, self.search, self.fbank, self.live, self.silent, self.names)

    def segments(self, blocks) -> Iterator[Segment]:
        """What is recognized in a recording, as it comes in: pieces of samples of any length."""
        recognizer = self.recognizer()
        piece = round(self.live.chunk_seconds * RATE)
        for block in blocks:
            for at in range(0, len(block), piece):
                yield from recognizer.accept(block[at:at + piece])
        yield from recognizer.finish()


def raw_blocks(rate: int, channels: int, seconds: float) -> Iterator[np.ndarray]:
    """The standard input as it comes in, at most ``seconds`` at a time."""
    pcm, size = RawPcm(rate, channels), max(2, round(seconds * rate) * 2 * channels)
    while data := os.read(0, size):
        yield pcm(data)
    yield pcm(b"", last=True)


def stream(model: LiveModel, name: str, blocks, form: str, out):
    """Write the segments of a recording to ``out`` as they end; in JSON, what is still open as well, line by line."""
    shown = sys.stderr.isatty() and form == "text"
    for s in model.segments(blocks):
        if form == "json":
            print(json.dumps({"name": name, **asdict(s)}, ensure_ascii=False), file=out, flush=True)
        elif shown:
            print("\r\x1b[K" + ("" if s.final else " ".join(s.words)[-100:]), end="", file=sys.stderr, flush=True)
        if form == "text" and s.final:
            print(" ".join(s.words), file=out, flush=True)


def _targets(files: list[str], out: str | None, form: str) -> list[Path | None]:
    """Where each transcript goes; None: to the standard output."""
    if out is None:
        return [None] * len(files)
    suffix = {"text": ".txt"}.get(form, f".{form}")
    names = [("stdin" if f == "-" else Path(f).stem) + suffix for f in files]
    if twice := {n for n in names if names.count(n) > 1}:
        raise UserError(f"two of the recordings would be written to {sorted(twice)[0]}", file=out,
                        mend="transcribe them in two runs")
    return [Path(out) / n for n in names]


@command
def main(argv=None):
    program = called("./transcribe.sh")
    p = argparse.ArgumentParser(prog=program, description=__doc__.replace("./transcribe.sh", program),
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("files", nargs="+", metavar="FILE", help="recordings; - is raw PCM on the standard input")
    p.add_argument("--model", required=True, help="folder made by steps/export_model.sh")
    p.add_argument("--format", choices=formats.FORMATS, default="text", help="default: text")
    p.add_argument("--out", help="folder for a file each (default: the standard output)")
    p.add_argument("--stream", action="store_true", help="recognize piece by piece; formats text and json")
    p.add_argument("--rate", type=int, default=RATE, help="of raw PCM (default: %(default)s)")
    p.add_argument("--channels", type=int, default=1, help="of raw PCM (default: %(default)s)")
    p.add_argument("--grammar", help="what may be said: a list of phrases, one a line, or a JSGF grammar (default: the "
                   "model's own language model)")
    p.add_argument("--verbose", action="store_true", help="tell on the standard error what is done")
    p.add_argument("--nj", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: the processors)")
    a = p.parse_args(argv)
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", mend="correct the value")
    if a.stream and a.format not in ("text", "json"):
        raise UserError(f"--stream writes text or json, not {a.format}", mend="leave --stream out")
    with quiet(not a.verbose):
        transcribe(a)


def transcribe(a: argparse.Namespace):
    """What the command's options say."""
    model, targets = ModelFolder.load(a.model), _targets(a.files, a.out, a.format)
    RawPcm(a.rate, a.channels)  # checked before anything is loaded
    for f in a.files:
        if f != "-" and not Path(f).is_file():
            raise UserError("no such audio file", file=f, mend="check the path")
    if a.stream:
        with tempfile.TemporaryDirectory(prefix="lstmp-") as work, _stdout_to_stderr():
            live = LiveModel(model, grammar_graph(model, a.grammar, Path(work)) if a.grammar else None)
        for f, target in zip(a.files, targets, strict=True):
            blocks = raw_blocks(a.rate, a.channels, live.live.chunk_seconds) if f == "-" else recording_blocks(f)
            with _opened(target) as out:
                stream(live, f, blocks, a.format, out)
        return
    recordings = [(f, np.concatenate(list(raw_blocks(a.rate, a.channels, 10.0))) if f == "-" else read_recording(f))
                  for f in a.files]
    with tempfile.TemporaryDirectory(prefix="lstmp-") as work, _stdout_to_stderr():
        found = recognize(model, recordings, Path(work), a.nj, a.grammar)
    for transcript, target in zip(found, targets, strict=True):
        text = formats.write(transcript, a.format)
        if target is None:
            print(text, end="", flush=True)
        else:
            config.write_text(target, text)


@contextlib.contextmanager
def _stdout_to_stderr():
    """What this process or one that it starts prints goes to the standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _opened(target: Path | None):
    """The standard output, or a file that takes its name when it is complete."""
    if target is None:
        yield sys.stdout
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    tmp = target.with_name(f".{target.name}.tmp")
    try:
        with open(tmp, "w", encoding="utf-8") as f:
            yield f
        tmp.replace(target)
    finally:
        tmp.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
