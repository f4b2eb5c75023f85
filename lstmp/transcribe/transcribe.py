"""Transcribe recordings with an exported model.

    ./transcribe.sh --model DIR talk.mp3 interview.wav      text, a line for each file, which begins with its name
    ./transcribe.sh --model DIR --format srt talk.mp3       subtitles; also ctm, json
    ./transcribe.sh --model DIR --stream talk.mp3           piece by piece, each segment as soon as it ends
    arecord -f S16_LE -r 16000 -t raw | ./transcribe.sh --model DIR --stream -

Any format that libsndfile or ffmpeg reads, any rate, any number of channels (their mean); `-` is raw 16-bit PCM on the
standard input. What is recognized goes to the standard output, or to --out DIR, as soon as a recording is done;
messages go to the standard error. A file that cannot be read is warned of; the exit status is 1 after the others.
"""

import argparse
import contextlib
import json
import os
import sys
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
from lstmp.files import replacing, temporary_folder
from lstmp.log import progress, quiet, warn
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.forward import AcousticNetwork
from lstmp.program import program_name
from lstmp.transcribe import formats
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.media import RawPcm, on_standard_input, read_recording, recording_blocks
from lstmp.transcribe.recognize import grammar_graph, recognize
from lstmp.transcribe.sound import Listener

_BUSY_SECONDS = 20.0  # of speech for each process: to begin costs some tenths of a second


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
            raise UserError("`silent` are not states of its network", file=path / "model.json", hint="export it again")
        self.silent = np.zeros(self.network.num_pdfs, dtype=bool)
        self.silent[model.silent] = True
        self.names = read_names(graph / "words.txt")
        if strange := {*np.unique(self.graph.words).tolist()} - self.names.keys():
            raise UserError(f"word id {min(strange)} of the graph is not in it", file=graph / "words.txt",
                            hint="take the words.txt that was made with the graph")
        model.check_unchanged()

    def recognizer(self) -> Listener:
        """For one recording."""
        return Listener(LiveRecognizer(self.network, self.graph, self.search, self.fbank, self.live, self.silent,
                                       self.names))

    def segments(self, blocks) -> Iterator[Segment]:
        """What is recognized in a recording, as it comes in: pieces of samples of any length."""
        recognizer = self.recognizer()
        piece = round(self.live.chunk_seconds * RATE)
        for block in blocks:
            for at in range(0, len(block), piece):
                yield from recognizer.accept(block[at:at + piece])
        yield from recognizer.finish()


def stream(model: LiveModel, file: str, blocks, form: str, out, name: str | None = None):
    """Write the segments of a recording to ``out`` as they end; in JSON, what is still open as well, line by line.

    Args:
        name: what is written before the words of a text; None: nothing.
    """
    shown = sys.stderr.isatty() and form == "text"
    for s in model.segments(blocks):
        if form == "json":
            print(json.dumps({"name": file, **asdict(s)}, ensure_ascii=False), file=out, flush=True)
        elif shown:
            print("\r\x1b[K" + ("" if s.final else " ".join(s.words)[-100:]), end="", file=sys.stderr, flush=True)
        if form == "text" and s.final:
            print(*([name] if name else []), *s.words, file=out, flush=True)


def _targets(files: list[str], names: list[str], out: str | None, form: str) -> list[Path | None]:
    """Where each transcript goes; None: to the standard output."""
    if out is None:
        return [None] * len(files)
    if twice := {f for f in files if files.count(f) > 1}:
        raise UserError("it is given twice", file=sorted(twice)[0], hint="give it once")
    suffix = {"text": ".txt"}.get(form, f".{form}")
    return [Path(out) / (name + suffix) for name in names]


@command
def main(argv=None):
    program = program_name("./transcribe.sh")
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
        raise UserError("--nj must be 1 or more", hint="correct the value")
    if a.stream and a.format not in ("text", "json"):
        raise UserError(f"--stream writes text or json, not {a.format}", hint="leave --stream out")
    with quiet(not a.verbose):
        transcribe(a)


def transcribe(a: argparse.Namespace):
    """What the command's options say. A recording that cannot be read is warned of, and the others are transcribed.

    Raises:
        UserError: bad options or model; or at the end, because of recordings that could not be transcribed.
    """
    model, names = ModelFolder.load(a.model), formats.names(a.files)
    targets = _targets(a.files, names, a.out, a.format)
    RawPcm(a.rate, a.channels)  # checked before anything is loaded
    failed = []

    @contextlib.contextmanager
    def one_of_many(file: str):
        try:
            yield
        except UserError as e:
            if len(a.files) == 1:
                raise
            failed.append(file)
            warn(str(e) if e.file else f"{file}: {e}")

    with temporary_folder() as work:
        with _stdout_to_stderr():
            graph = grammar_graph(model, a.grammar, work) if a.grammar else None
            live = LiveModel(model, graph) if a.stream else None
        todo = progress(list(zip(a.files, names, targets, strict=True)), "transcribing", unit="file")
        if live is not None:
            for file, name, target in todo:
                with one_of_many(file), _opened(target) as out:
                    blocks = on_standard_input(a.rate, a.channels, live.live.chunk_seconds) if file == "-" else \
                        recording_blocks(file)
                    stream(live, file, blocks, a.format, out, name if len(names) > 1 and target is None else None)
        else:
            for batch in _batches(a, todo, one_of_many):
                _transcribe(a, model, graph, batch, one_of_many)
    if failed:
        raise UserError(f"{len(failed)} of {len(a.files)} recordings could not be transcribed", hint="see the warnings "
                        "above")


def _batches(a: argparse.Namespace, todo, one_of_many) -> Iterator[list]:
    """Recordings with their samples, name and target: one, or as many short ones as keep all processes busy."""
    batch, seconds = [], 0.0
    for file, name, target in todo:
        with one_of_many(file):
            samples = np.concatenate([*on_standard_input(a.rate, a.channels, 10.0)]) if file == "-" else \
                read_recording(file)
            batch.append((file, samples, name, target))
            seconds += len(samples) / RATE
        if seconds >= _BUSY_SECONDS * a.nj:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch


def _transcribe(a: argparse.Namespace, model: ModelFolder, graph: Path | None, batch: list, one_of_many):
    """Write the transcripts of a few recordings."""
    try:
        with temporary_folder() as work, _stdout_to_stderr():
            found = recognize(model, [(file, samples) for file, samples, _, _ in batch], work, a.nj, graph,
                              formats.FORMATS[a.format])
    except UserError:
        if len(batch) == 1:
            with one_of_many(batch[0][0]):
                raise
        else:
            for one in batch:
                _transcribe(a, model, graph, [one], one_of_many)
        return
    for transcript, (_, _, name, target) in zip(found, batch, strict=True):
        told = name if a.format == "ctm" or len(a.files) > 1 and target is None else None
        text = formats.write(transcript, a.format, told)
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
    with replacing(target) as tmp, open(tmp, "w", encoding="utf-8") as f:
        yield f


if __name__ == "__main__":
    main()
