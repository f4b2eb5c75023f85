"""Align recordings with their transcripts, using an exported model: finds the times of all words and phones.

    lstmp align MODEL FOLDER OUT

FOLDER contains recordings of any format, sampling rate and number of channels, each with a transcript (.txt or .lab) of
the same name; the recordings in a subfolder are from one speaker. OUT gets a Praat TextGrid for each recording, in the
same subfolder; words.ctm and phones.ctm for all recordings; and recordings.txt, which lists the recording for each
name in the CTM files.
"""

import argparse
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from lstmp import config, files
from lstmp.alignment.export import find_words, word_tiers, write_ctms
from lstmp.alignment.textgrid import write_textgrid
from lstmp.corpus.audio import RATE, write_wav
from lstmp.corpus.datadir import Utterance, write_data_dir, write_table
from lstmp.corpus.lang import Lang
from lstmp.corpus.part_of_lang import plain_phone
from lstmp.corpus.pieces import made_of_pieces
from lstmp.corpus.textlines import numbered_lines
from lstmp.device import for_processes
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm import align as gmm_align
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.make_fmllr import make_fmllr
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import AlignConfig
from lstmp.log import quiet, say, warn
from lstmp.nnet import align as network_align
from lstmp.parallel import iter_jobs
from lstmp.program import program_name
from lstmp.transcribe.contained import contained
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.media import read_recording
from lstmp.transcribe.recognize import extract_features, processes
from lstmp.transcribe.spelling import Speller, SpokenWord, known_words, read_pronunciations, write_lang
from lstmp.transcribe.transcribed_folder import Recording, find_recordings

_MIN_SAMPLES = RATE // 10  # a shorter recording contains no word
_MAX_SHOWN = 10  # most frequent words missing from the lexicon that are shown


@dataclass
class Aligned:
    """The result of aligning a folder.

    Attributes:
        textgrids: path of a recording, relative to the folder → its TextGrid.
        left_out: path of a file, relative to the folder → why it was not aligned.
        unknown: word that the lexicon lacks → number of its occurrences in the transcripts.
        words: number of words in all transcripts.
    """

    textgrids: dict[str, Path] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    words: int = 0

    def leave_out(self, name, reason: str):
        self.left_out[str(name)] = reason
        warn(f"{name} is left out: {reason}")


@contained()
def align(model, folder, out, *, nj: int = 1, lexicon=None, device: str = "cpu", verbose: bool = False) -> Aligned:
    """Align every recording of a folder. A recording that cannot be aligned is left out with a warning.

    Args:
        model: folder made by steps/export_model.sh.
        folder: recordings with their transcripts, see :mod:`lstmp.transcribe.transcribed_folder`.
        out: folder to write: ``<recording>.TextGrid`` with the tiers words and phones, times in seconds; words.ctm,
            phones.ctm, recordings.txt.
        nj: number of processes.
        lexicon: file of additional pronunciations, lines of ``WORD PHONE PHONE …`` in the phones of the model.
        device: cpu or cuda, where the network is computed.
        verbose: print progress.

    Raises:
        UserError: no model, no recordings, a bad line in the lexicon, or no recording could be aligned.
    """
    model, folder, out = ModelFolder.load(model), Path(folder), Path(out)
    result = Aligned()
    recordings, left_out = find_recordings(folder)
    for name in sorted(left_out):
        result.leave_out(name, left_out[name])
    prons = read_pronunciations(lexicon)
    words_of = _spell(model, recordings, prons, result)
    out.mkdir(parents=True, exist_ok=True)
    with files.temporary_folder(out) as work, quiet(not verbose):  # in `out`, because its disk has enough space
        lengths = _write_data(folder, recordings, words_of, work / "data", nj, result)
        if lengths:
            lang = write_lang(model.path / "lang", words_of.values(), prons, lexicon, work / "lang")
            ali = _align(model, work, lang, processes(nj, len(lengths)), device)
            model.check_unchanged()
            _write(recordings, lengths, words_of, ali, lang, out, folder, result)
    if not result.textgrids:
        first = next((f"; {n}: {why}" for n, why in result.left_out.items()), "")
        raise UserError(f"no recording could be aligned{first}", file=folder, hint="see the warnings above")
    return result


def _spell(model: ModelFolder, recordings: list[Recording], prons, result: Aligned) -> dict[str, list[SpokenWord]]:
    """Look up the words of all transcripts in the lexicon, with a warning about those that it lacks.

    Returns:
        utterance → the words of its transcript
    """
    known = known_words(model.path / "lang")
    if made_of_pieces(known):
        if not prons:
            raise UserError("its lexicon contains word pieces, not words", file=model.path / "lang/lexiconp.txt",
                            hint="give --lexicon FILE with the pronunciations of the words")
        known = set()
    speller, words_of = Speller(known | prons.keys()), {}
    for r in recordings:
        if words := speller.read(r.text):
            words_of[r.utt] = words
            result.words += len(words)
            result.unknown.update(w.written for w in words if not w.known)
        else:
            result.leave_out(r.name, "its transcript contains no words")
    if result.unknown:
        shown = ", ".join(f"{word} ({n})" for word, n in result.unknown.most_common(_MAX_SHOWN))
        hint = "; numbers must be written out" if any(c.isdigit() for w in result.unknown for c in w) else ""
        warn(f"{result.unknown.total()} of {result.words} words, {len(result.unknown)} different ones, are not in the "
             f"lexicon and are aligned as an unknown noise: {shown}{' …' * (len(result.unknown) > _MAX_SHOWN)}; give "
             f"their pronunciations with --lexicon FILE{hint}")
    return words_of


def _write_data(folder: Path, recordings, words_of, data: Path, nj: int, result: Aligned) -> dict[str, float]:
    """Write a data dir with all recordings that can be read. Returns utterance → seconds."""
    todo = [r for r in recordings if r.utt in words_of]

    def convert(r: Recording) -> float | UserError:
        try:
            samples = read_recording(r.audio)
            if len(samples) < _MIN_SAMPLES:
                raise UserError(f"{len(samples) / RATE:.2f} s is too short")
            write_wav(data / f"wav/{r.utt}.wav", samples)
        except UserError as e:
            return e if e.file != r.audio else UserError(e.what, hint=e.hint)
        except OSError as e:
            return UserError(e.strerror or str(e))
        return len(samples) / RATE

    lengths = {}
    for r, seconds in zip(todo, iter_jobs(convert, todo, nj, "reading recordings"), strict=True):
        if isinstance(seconds, UserError):
            result.leave_out(r.audio.relative_to(folder), str(seconds))
        else:
            lengths[r.utt] = seconds
    if lengths:
        write_data_dir(data, [Utterance(r.utt, r.speaker, str((data / f"wav/{r.utt}.wav").resolve()),
                                        tuple(w for x in words_of[r.utt] for w in x.words))
                              for r in todo if r.utt in lengths])
    return lengths


def _align(model: ModelFolder, work: Path, lang: Path, nj: int, device: str) -> Path:
    """Extract features, adapt them if the network needs that, and align. Returns the folder of the alignment."""
    data, conf = work / "data", model.path / "conf"
    extract_features(model, data, nj)
    cfg = replace(config.load(conf / "align.yaml", AlignConfig), max_failed=1.0)  # failures are reported in _write
    if model.adapts:
        gmm_align.align(data, lang, model.path / "adapt", work / "adapt", cfg, conf / "fmllr.yaml", nj)
        make_fmllr(data, model.path / "adapt", work / "adapt", work / "fmllr")
        data = work / "fmllr"
    network_align.align(data, lang, model.path / "network", model.path / "hmm", work / "ali", cfg, nj, device=device)
    return work / "ali"


def _write(recordings, lengths, words_of, ali: Path, lang_dir: Path, out: Path, folder: Path, result: Aligned):
    alignment = read_alignment(ali)
    failed = dict(line.split(" ", 1) for _, line in numbered_lines(ali / "failed.txt"))
    shift = frame_shift(ali)
    transitions, lang = AcousticModel.load(ali).transitions, Lang.load(lang_dir)
    names = {i: plain_phone(name) for i, name in lang.phone_names.items()}
    entries = {utt: " ".join(w for x in words_of[utt] for w in x.words) for utt in alignment}
    words = {utt: _as_written(words_of[utt], times)
             for utt, times in (find_words(alignment, transitions, lang, entries, ali) if alignment else {}).items()}
    for r in recordings:
        path = r.audio.relative_to(folder)
        if r.utt in words:
            target, frames = out / r.name.with_name(f"{r.name.name}.TextGrid"), len(alignment[r.utt])
            tiers = word_tiers(words[r.utt], segments(alignment[r.utt], transitions), names, shift)
            write_textgrid(target, tiers, max(lengths[r.utt], frames * shift))
            result.textgrids[str(path)] = target
        elif r.utt in lengths:
            why = failed.get(r.utt, "it could not be aligned")
            result.leave_out(path, f"{why}; check that the recording and the transcript belong together")
    write_ctms(out, {utt: alignment[utt] for utt in words}, transitions, names, words, shift)
    write_table(out / "recordings.txt", {r.utt: os.fsencode(r.audio.relative_to(folder)).decode(errors="replace")
                                        for r in recordings if r.utt in words})


def _as_written(words: list[SpokenWord], times) -> list[tuple[str, int, int]]:
    """Convert times of lexicon words to times of the written words, each of which is one or more lexicon words.

    Args:
        words: the words of a transcript.
        times: (lexicon word, first frame, number of frames), in order.

    Returns:
        (written word, first frame, number of frames), in order
    """
    out, index = [], 0
    for word in words:
        (_, begin, _), (_, last, length) = times[index], times[index + len(word.words) - 1]
        out.append((word.written, begin, last + length - begin))
        index += len(word.words)
    return out


@command
def main(argv=None):
    """Command line; see ``--help``."""
    p = argparse.ArgumentParser(prog=program_name("steps/align_folder.sh"), description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", metavar="MODEL", help="folder made by steps/export_model.sh, or `lstmp export`")
    p.add_argument("folder", metavar="FOLDER", help="recordings and their transcripts")
    p.add_argument("out", metavar="OUT", help="folder to write; it may be FOLDER")
    p.add_argument("--lexicon", help="additional pronunciations: `WORD PHONE PHONE …` lines, in the phones of the "
                   "model")
    p.add_argument("--nj", type=int, default=len(os.sched_getaffinity(0)), help="number of processes (default: one "
                   "for each core)")
    p.add_argument("--device", default="cpu", type=for_processes, help="cpu or cuda, where the network is computed "
                   "(default: %(default)s)")
    p.add_argument("--verbose", action="store_true", help="print progress")
    a = p.parse_args(argv)
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", hint="correct the value")
    result = align(a.model, a.folder, a.out, nj=a.nj, lexicon=a.lexicon, device=a.device, verbose=a.verbose)
    aligned, left_out = len(result.textgrids), len(result.left_out)
    say(f"{a.out}: {aligned} recording{'s' * (aligned != 1)} aligned, {left_out} file{'s' * (left_out != 1)} left out")


if __name__ == "__main__":
    main()
