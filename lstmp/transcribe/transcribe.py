"""Transcribe recordings with an exported model.

    ./transcribe.sh --model DIR talk.mp3 interview.wav      text: one line per file, beginning with its name
    ./transcribe.sh --model DIR --format srt talk.mp3       subtitles; also ctm, json
    ./transcribe.sh --model DIR --stream talk.mp3           online: each segment as soon as it ends
    arecord -f S16_LE -r 16000 -t raw | ./transcribe.sh --model DIR --stream -

Files may have any format that libsndfile or ffmpeg reads, any sampling rate, and any number of channels, which are
averaged; `-` is raw 16-bit PCM on the standard input. The transcript of a recording is written to the standard output,
or to --out DIR, as soon as it is done; messages go to the standard error. A file that cannot be read gives a warning;
the other files are transcribed, and then the exit status is 1.
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
from lstmp.decode.live import LiveConfig, LiveRecognizer, Segment
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError, command
from lstmp.features.extract import CONFIGS, FbankConfig
from lstmp.files import replacing, temporary_folder
from lstmp.log import progress, quiet, warn
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.forward import AcousticNetwork
from lstmp.program import program_name
from lstmp.transcribe import formats
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.media import Pieces, RawPcm, on_standard_input, read_recording, recording_blocks
from lstmp.transcribe.recognize import grammar_graph, recognize
from lstmp.transcribe.sound import SoundOnlyRecognizer
from lstmp.transcribe.speakers import load_speaker, save_speaker, speaker_file

_BATCH_SECONDS = 20.0  # speech per process in a batch, because a batch takes some tenths of a second to start


class LiveModel:
    """A model folder for online recognition, loaded once for any number of recordings."""

    def __init__(self, model: ModelFolder, graph: Path | None = None):
        """``graph`` is a graph dir to use instead of the model's."""
        model.check_live()
        graph = graph or model.path / "graph"
        torch.set_num_threads(1)
        flush_denormals()
        path = model.path
        decode = config.load(path / "conf/decode.yaml", DecodeConfig)
        self.network = AcousticNetwork.load(path / "network", weights=decode.network_weights)
        self.graph = SearchGraph.load(graph, model.word_penalty)
        self.search = replace(decode, acoustic_scale=1 / model.lm_weight)
        self.features: FbankConfig = config.load(path / f"conf/{model.extracted}.yaml", CONFIGS[model.extracted])
        self.live = config.load(path / "conf/live.yaml", LiveConfig)
        if not all(0 <= pdf < self.network.num_pdfs for pdf in model.silent):
            raise UserError("`silent` contains numbers that are not states of its network", file=path / "model.json",
                            hint="export it again")
        self.silent = np.zeros(self.network.num_pdfs, dtype=bool)
        self.silent[model.silent] = True
        self.names = read_names(graph / "words.txt")
        if unknown := {*self.graph.vocabulary.tolist()} - self.names.keys():
            raise UserError(f"it does not contain word id {min(unknown)} of the graph", file=graph / "words.txt",
                            hint="use the words.txt that was made with the graph")
        model.check_unchanged()

    def recognizer(self, speaker: Path | None = None) -> SoundOnlyRecognizer:
        """Make a recognizer for one recording.

        Args:
            speaker: file with what was heard of the speaker before; None: a speaker not known.

        Raises:
            UserError: the file is damaged, or the network does not adapt to speakers.
        """
        before = None
        if speaker:
            if not self.network.front:
                raise UserError(f"the network has cmvn {self.network.feature.cmvn}, so it remembers no speaker",
                                hint="leave the speaker out, or use a network with cmvn online_mean or online fMLLR")
            before = load_speaker(speaker, self.features, self.network.front, self.network.dim)
        return SoundOnlyRecognizer(LiveRecognizer(self.network, self.graph, self.search, self.features, self.live,
                                                  self.silent, self.names, before))

    def remember(self, speaker: Path, recognizer: SoundOnlyRecognizer):
        """Write what ``recognizer``, which was made with this file, has heard of the speaker."""
        heard = recognizer.heard()
        assert heard is not None and self.network.front is not None
        save_speaker(speaker, heard, self.features, self.network.front)

    def segments(self, blocks, speaker: Path | None = None) -> Iterator[Segment]:
        """Recognize a recording online: yields each change of a segment as soon as possible.

        Args:
            blocks: its samples, float32 at 16 kHz, ±32768, in blocks of any length.
            speaker: file of the speaker, which is read before and written after the recording.
        """
        recognizer = self.recognizer(speaker)
        pieces = Pieces(round(self.live.chunk_seconds * RATE))
        for block in blocks:
            for piece in pieces(block):
                yield from recognizer.accept(piece)
        for piece in pieces(np.zeros(0, np.float32), last=True):
            yield from recognizer.accept(piece)
        yield from recognizer.finish()
        if speaker:
            self.remember(speaker, recognizer)


def stream(model: LiveModel, file: str, blocks, form: str, out, name: str | None = None, speaker: Path | None = None):
    """Recognize a recording online and write each segment to ``out`` when it ends; JSON also gets unfinished segments.

    Args:
        file: name of the recording in JSON.
        blocks: its samples, see :meth:`LiveModel.segments`.
        form: text or json.
        name: name before the words of each segment in text; None: no name.
        speaker: see :meth:`LiveModel.segments`.
    """
    shown = sys.stderr.isatty() and form == "text"
    for s in model.segments(blocks, speaker):
        if form == "json":
            print(json.dumps({"name": file, **asdict(s)}, ensure_ascii=False), file=out, flush=True)
        elif shown:
            print("\r\x1b[K" + ("" if s.final else " ".join(s.words)[-100:]), end="", file=sys.stderr, flush=True)
        if form == "text" and s.final:
            print(*([name] if name else []), *s.words, file=out, flush=True)


def _targets(files: list[str], names: list[str], out: str | None, form: str) -> list[Path | None]:
    """The file to write each transcript to; None means the standard output."""
    if out is None:
        return [None] * len(files)
    if twice := {f for f in files if files.count(f) > 1}:
        raise UserError("it is given more than once", file=sorted(twice)[0], hint="give it once")
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
    p.add_argument("--out", help="folder to write one file per recording to (default: the standard output)")
    p.add_argument("--stream", action="store_true", help="recognize online, chunk by chunk; formats text and json")
    p.add_argument("--rate", type=int, default=RATE, help="sampling rate of raw PCM (default: %(default)s)")
    p.add_argument("--channels", type=int, default=1, help="channels of raw PCM (default: %(default)s)")
    p.add_argument("--grammar", help="what may be said: a list of phrases, one a line, or a JSGF grammar (default: the "
                   "model's own language model)")
    p.add_argument("--speaker", metavar="ID", help="with --stream: the speaker of all recordings. What is heard is "
                   "kept in a small file, for later recordings of the same speaker")
    p.add_argument("--speakers", default="speakers", metavar="DIR", help="folder of these files (default: %(default)s)")
    p.add_argument("--verbose", action="store_true", help="print progress on the standard error")
    p.add_argument("--nj", type=int, default=len(os.sched_getaffinity(0)), help="number of processes (default: one for "
                   "each core)")
    a = p.parse_args(argv)
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", hint="correct the value")
    if a.stream and a.format not in ("text", "json"):
        raise UserError(f"--stream writes text or json, not {a.format}", hint="leave --stream out")
    if a.speaker is not None and not a.stream:
        raise UserError("--speaker is for --stream", hint="leave it out: a whole recording is adapted to by itself")
    with quiet(not a.verbose):
        transcribe(a)


def transcribe(a: argparse.Namespace):
    """Transcribe the recordings as the command's options say. One that cannot be read gives a warning and is skipped.

    Raises:
        UserError: bad options or model; or at the end, if some recordings could not be transcribed.
    """
    model, names = ModelFolder.load(a.model), formats.names(a.files)
    targets = _targets(a.files, names, a.out, a.format)
    RawPcm(a.rate, a.channels)  # checked before anything is loaded
    speaker = None if a.speaker is None else speaker_file(a.speakers, a.speaker)
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
        except OSError as e:  # such as a read error of this file; a full disk for our output names another file
            if len(a.files) == 1 or e.filename not in (None, file):
                raise
            failed.append(file)
            warn(f"{file}: {e.strerror or e}")

    with temporary_folder() as work:
        with _stdout_to_stderr():
            graph = grammar_graph(model, a.grammar, work) if a.grammar else None
            live = LiveModel(model, graph) if a.stream else None
            if live and speaker:
                live.recognizer(speaker)  # a wrong file is reported once
        todo = progress(list(zip(a.files, names, targets, strict=True)), "transcribing", unit="file")
        if live is not None:
            for file, name, target in todo:
                with one_of_many(file), _opened(target) as out:
                    blocks = on_standard_input(a.rate, a.channels, live.live.chunk_seconds) if file == "-" else \
                        recording_blocks(file)
                    stream(live, file, blocks, a.format, out, name if len(names) > 1 and target is None else None,
                           speaker)
        else:
            for batch in _batches(a, todo, one_of_many):
                _transcribe(a, model, graph, batch, one_of_many)
    if failed:
        raise UserError(f"{len(failed)} of {len(a.files)} recordings could not be transcribed", hint="see the warnings "
                        "above")


def _batches(a: argparse.Namespace, todo, one_of_many) -> Iterator[list]:
    """Read the recordings in batches, large enough to keep all processes busy: (file, samples, name, target)."""
    batch, seconds = [], 0.0
    for file, name, target in todo:
        with one_of_many(file):
            samples = np.concatenate([*on_standard_input(a.rate, a.channels, 10.0)]) if file == "-" else \
                read_recording(file)
            batch.append((file, samples, name, target))
            seconds += len(samples) / RATE
        if seconds >= _BATCH_SECONDS * a.nj:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch


def _transcribe(a: argparse.Namespace, model: ModelFolder, graph: Path | None, batch: list, one_of_many):
    """Transcribe a batch of recordings and write the transcripts."""
    try:
        with temporary_folder() as work, _stdout_to_stderr():
            transcripts = recognize(model, [(file, samples) for file, samples, _, _ in batch], work, a.nj, graph,
                                    formats.FORMATS[a.format])
    except UserError:
        if len(batch) == 1:
            with one_of_many(batch[0][0]):
                raise
        else:
            for one in batch:
                _transcribe(a, model, graph, [one], one_of_many)
        return
    for transcript, (_, _, name, target) in zip(transcripts, batch, strict=True):
        shown_name = name if a.format == "ctm" or len(a.files) > 1 and target is None else None
        text = formats.write(transcript, a.format, shown_name)
        if target is None:
            print(text, end="", flush=True)
        else:
            config.write_text(target, text)


@contextlib.contextmanager
def _stdout_to_stderr():
    """Send what this process and its children print to the standard error inside this block."""
    sys.stdout.flush()
    original = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(original, 1)
        os.close(original)


@contextlib.contextmanager
def _opened(target: Path | None):
    """The standard output, or a file that gets its final name when it is complete."""
    if target is None:
        yield sys.stdout
        return
    with replacing(target) as tmp, open(tmp, "w", encoding="utf-8") as f:
        yield f


if __name__ == "__main__":
    main()
