"""Transcribes whole recordings: cuts them at pauses, decodes the pieces like any data dir, and gives words with times.

The pieces become a data dir in a temporary folder, where each recording is a separate speaker.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.corpus.audio import RATE, write_wav
from lstmp.corpus.datadir import write_table
from lstmp.corpus.prepare_lm import prepare_lm
from lstmp.corpus.textlines import numbered_lines
from lstmp.decode.best_path import file_name
from lstmp.decode.config import DecodeConfig
from lstmp.decode.ctm import TimedWord, timed_words
from lstmp.decode.decode import decode
from lstmp.features.extract import CONFIGS, FbankConfig, extract
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm.make_fmllr import make_fmllr
from lstmp.graph.make_graph import make_graph
from lstmp.log import warn
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.formats import Transcript, Word
from lstmp.transcribe.pauses import CutConfig, cuts
from lstmp.transcribe.sound import WithoutDigitalSilence, sound_parts, why_no_sound

_UTTS_PER_PROCESS = 50  # utterances to align, since another process takes some seconds to start
_MIN_SAMPLES = RATE // 10  # a shorter piece is not worth a search


@dataclass(frozen=True)
class _Piece:
    utt: str
    recording: int
    begin: float  # seconds


def recognize(model: ModelFolder, recordings: list[tuple[str, np.ndarray]], work: Path, nj: int,
              graph: Path | None = None, wanted: str = "confidences") -> list[Transcript]:
    """Transcribe recordings. Parts without sound (see :mod:`lstmp.transcribe.sound`) give no words.

    Args:
        model: the model to recognize with.
        recordings: (name, samples float32 at 16 kHz, ±32768).
        work: an empty folder for intermediate files; about 200 MB for an hour of audio.
        nj: number of processes.
        graph: a graph dir to use instead of the model's.
        wanted: what is needed besides the words: "times" of words, "confidences" (which includes times), or "" for
            neither; without times they are all 0.
    """
    graph = graph or model.path / "graph"
    replaced = [WithoutDigitalSilence(samples) for _, samples in recordings]
    cfg = config.load(model.path / "conf/transcribe.yaml", CutConfig)
    pieces = _cut([x.samples for x in replaced], cfg, work / "data")
    for r in {*range(len(recordings))} - {piece.recording for piece in pieces}:
        name, samples = recordings[r]
        warn(f"{name or 'the samples'}: no speech found, the transcript is empty: {why_no_sound(samples)}")
    words: list[list[Word]] = [[] for _ in recordings]
    if pieces:
        words_of = _decode(model, graph, work, len(pieces), nj, wanted)
        shift = frame_shift(work / "data")
        for piece in pieces:
            words[piece.recording] += [_word(w, piece.begin, shift, replaced[piece.recording])
                                       for w in words_of.get(piece.utt, [])]
    model.check_unchanged()
    return [Transcript(name, len(samples) / RATE, tuple(recognized))
            for (name, samples), recognized in zip(recordings, words, strict=True)]


def _cut(recordings, cfg: CutConfig, data: Path) -> list[_Piece]:
    pieces, wavs, speakers = [], {}, {}
    for r, samples in enumerate(recordings):
        parts = [(first + begin, first + end) for first, last in sound_parts(samples)
                 for begin, end in cuts(samples[first:last], cfg) if end - begin >= _MIN_SAMPLES]
        for n, (begin, end) in enumerate(parts):
            speaker = f"r{r:04d}"
            pieces.append(_Piece(f"{speaker}-{n:05d}", r, begin / RATE))
            path = data / "wav" / f"{pieces[-1].utt}.wav"
            write_wav(path, samples[begin:end])
            wavs[pieces[-1].utt], speakers[pieces[-1].utt] = str(path), speaker
    if wavs:
        write_table(data / "wav.scp", wavs)
        write_table(data / "utt2spk", speakers)
        groups = {s: " ".join(u for u in speakers if speakers[u] == s) for s in dict.fromkeys(speakers.values())}
        write_table(data / "spk2utt", groups)
    return pieces


def grammar_graph(model: ModelFolder, grammar, work: Path) -> Path:
    """Make the decoding graph of a grammar below ``work``; returns its folder."""
    prepare_lm(model.path / "lang", work / "lang_grammar", grammar=grammar)
    make_graph(work / "lang_grammar", model.path / "hmm", work / "graph")
    return work / "graph"


def extract_features(model: ModelFolder, data: Path, nj: int):
    """Extract the features that a model is computed from, in the data dir itself; bad utterances are only warned of."""
    cfg: FbankConfig = config.load(model.path / f"conf/{model.extracted}.yaml", CONFIGS[model.extracted])
    extract(data, data, replace(cfg, max_bad=float(10 ** 9)), nj)


def _decode(model: ModelFolder, graph: Path, work: Path, utts: int, nj: int, wanted: str) -> dict[str, list[TimedWord]]:
    """Extract features, adapt them if the network needs that, search, and compute what is wanted."""
    data, conf = work / "data", model.path / "conf"
    extract_features(model, data, nj)
    per_job = min(32, -(-utts // nj))
    cfg = replace(config.load(conf / "decode.yaml", DecodeConfig), utts_per_job=per_job, max_failed=1.0,
                  lm_weights=[model.lm_weight],  # type: ignore[list-item]  # only files say whole numbers
                  word_penalties=[model.word_penalty])
    if model.adapts:
        decode(model.path / "adapt", graph, data, work / "adapt", cfg, nj, "cpu")
        make_fmllr(data, model.path / "adapt", work / "adapt", work / "fmllr")
        data = work / "fmllr"
    # the pieces of a recording are its utterances in order, so a network that adapts knows what was heard before
    decode(model.path / "network", graph, data, work / "decode", replace(cfg, speaker_history=True), nj, "cpu")
    weights = (model.lm_weight, model.word_penalty)
    if not wanted:
        lines = (line.split() for _, line in numbered_lines(work / "decode/scoring" / file_name(*weights)))
        return {utt: [TimedWord(word, 0, 0, 0.0) for word in words] for utt, *words in lines}
    return timed_words(work / "decode", graph, model.path / "lang", model.path / "hmm", work / "ctm", conf, weights,
                       processes(nj, utts), wanted == "confidences")


def processes(nj: int, utts: int) -> int:
    """How many processes, at most ``nj``, are worth starting to align ``utts`` utterances."""
    return min(nj, -(-utts // _UTTS_PER_PROCESS))


def _word(w: TimedWord, begin: float, shift: float, replaced: WithoutDigitalSilence) -> Word:
    start = begin + w.begin * shift
    return Word(w.word, replaced.seconds(start), replaced.seconds(start + w.frames * shift), w.confidence)
