"""Export an alignment to other programs: CTM files, Praat TextGrids, or a Kaldi alignment folder."""

import argparse
import itertools
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.alignment.textgrid import Interval, write_textgrid
from lstmp.alignment.word_times import word_segments
from lstmp.corpus.datadir import read_table
from lstmp.corpus.ids import file_name
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError, command
from lstmp.features.ark import write_gzipped_int_vectors
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm.align import Segment, ctm_line, read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import TransitionModel
from lstmp.kaldi.model import write_model
from lstmp.kaldi.tree import write_tree
from lstmp.log import say, warn
from lstmp.stage import Stage

FORMATS = ("ctm", "textgrid", "kaldi")
_MAX_WARNINGS = 5  # the first utterances with an error get a warning each, the others are counted
Words = dict[str, list[tuple[str, int, int]]]  # utterance → (word, first frame, length)


def find_words(alignment: dict[str, np.ndarray], transitions: TransitionModel, lang: Lang, transcripts: dict[str, str],
               text_path) -> Words:
    """Find the words of every utterance with first frame and length.

    An utterance whose phones do not fit its transcript is left out, with a warning.

    Raises:
        UserError: no utterance is left.
    """
    words: Words = {}
    failed: list[str] = []
    for utt, tids in alignment.items():
        try:
            if utt not in transcripts:
                raise UserError("it has no transcript", file=text_path)
            words[utt] = word_segments(segments(tids, transitions), transcripts[utt].split(), lang)
        except UserError as e:
            failed.append(f"{utt}: {e}")
    for line in failed[:_MAX_WARNINGS]:
        warn(f"no words for {line}")
    if len(failed) > _MAX_WARNINGS:
        warn(f"no words for {len(failed) - _MAX_WARNINGS} more utterances")
    if failed and not words:
        raise UserError(f"no utterance of the alignment has words: {failed[0]}", file=text_path,
                        hint="give the data dir and the lang folder that were aligned")
    return words


def write_ctms(out, alignment, transitions: TransitionModel, names: dict[int, str], words: Words, shift: float):
    """Write ``words.ctm`` and ``phones.ctm`` with times in seconds.

    Args:
        names: phone id → name.
        shift: frame shift in seconds.
    """
    config.write_text(Path(out) / "words.ctm", "".join(
        ctm_line(utt, start, length, word, shift) for utt in sorted(words) for word, start, length in words[utt]))
    config.write_text(Path(out) / "phones.ctm", "".join(
        ctm_line(utt, s.start, s.length, names[s.phone], shift)
        for utt in sorted(alignment) for s in segments(alignment[utt], transitions)))


def write_textgrids(out, alignment, transitions: TransitionModel, lang: Lang, words: Words, shift: float):
    """Write ``textgrid/<utterance>.TextGrid`` with the tiers words, phones and states (pdf-ids).

    Utterance ids are converted to safe file names. ``shift`` is the frame shift in seconds.
    """
    for utt, tids in alignment.items():
        phones = segments(tids, transitions)
        tiers = word_tiers(words.get(utt, ()), phones, lang.phone_names, shift)
        tiers["states"] = [_interval(start, length, str(pdf), shift) for start, length, pdf in
                           state_runs(tids, phones, transitions)]
        write_textgrid(Path(out) / "textgrid" / f"{file_name(utt)}.TextGrid", tiers, len(tids) * shift)


def word_tiers(words, phones: list[Segment], names: dict[int, str], shift: float) -> dict[str, list[Interval]]:
    """Make the tiers words and phones of an utterance, with times in seconds.

    Args:
        words: (word, first frame, length) in order.
        phones: phones of the utterance.
        names: phone id → label.
        shift: frame shift in seconds.
    """
    return {"words": [_interval(start, length, word, shift) for word, start, length in words],
            "phones": [_interval(s.start, s.length, names[s.phone], shift) for s in phones]}


def state_runs(tids: np.ndarray, phones: list[Segment], transitions: TransitionModel) -> list[tuple[int, int, int]]:
    """(first frame, length, pdf-id) of every run of frames in the same HMM state of the same phone."""
    of_tuple = transitions.tid_tuple.numpy()[tids]
    change = np.flatnonzero(of_tuple[1:] != of_tuple[:-1]) + 1
    starts = np.union1d(change, [s.start for s in phones]).astype(np.int64)
    pdfs = transitions.tid_pdf.numpy()[tids]
    return [(int(a), int(b - a), int(pdfs[a])) for a, b in itertools.pairwise([*starts, len(tids)])]


def write_kaldi(out, alignment, model: AcousticModel, lang: Lang):
    """Write ``kaldi/``: ali.1.gz, pdf.1.gz, num_jobs, phones.txt, and, in text form, tree and final.mdl.

    Without mixtures, ``final.mdl`` has only the transition model: enough to read alignments, but not to decode.
    """
    folder = Path(out) / "kaldi"
    tid_pdf = model.transitions.tid_pdf.numpy().astype(np.int32)
    write_tree(folder / "tree", model.tree)
    write_model(folder / "final.mdl", model.transitions, model.gmms)
    config.write_text(folder / "phones.txt", (lang.dir / "phones.txt").read_text(encoding="utf-8"))
    write_gzipped_int_vectors(folder / "pdf.1.gz", ((u, tid_pdf[alignment[u]]) for u in sorted(alignment)))
    write_gzipped_int_vectors(folder / "ali.1.gz", ((u, alignment[u]) for u in sorted(alignment)))
    config.write_text(folder / "num_jobs", "1\n")


def _interval(start: int, length: int, label: str, shift: float) -> Interval:
    return start * shift, (start + length) * shift, label


def _load(ali, model_dir, lang: Lang) -> tuple[dict[str, np.ndarray], AcousticModel]:
    alignment, model = read_alignment(ali), AcousticModel.load(ali)
    transitions = model.transitions
    for utt, tids in alignment.items():
        transitions.check(utt, tids, file=Path(ali) / "ali.ark")
    unknown = sorted(set(transitions.tid_phone.tolist()[1:]) - set(lang.phone_names))
    if unknown:
        raise UserError(f"phone {unknown[0]} of the alignment is not in it", file=lang.dir / "phones.txt",
                        hint="give the lang folder that the alignment was made with")
    if model_dir is not None:
        full = AcousticModel.load(model_dir)
        if full.gmms is None or full.transitions.tuples.tolist() != transitions.tuples.tolist():
            raise UserError("it has no mixtures, or mixtures for other states than the alignment", file=model_dir,
                            hint="give the GMM that made the alignment, or leave out --model")
        model = full
    return alignment, model


@command
def main(argv=None):
    """Command line; see ``--help``."""
    p = argparse.ArgumentParser(prog="steps/export_alignment.sh", description=__doc__)
    p.add_argument("--ali", type=Path, required=True, help="alignment folder")
    p.add_argument("--lang", type=Path, required=True, help="lang folder that the alignment was made with")
    p.add_argument("--data", type=Path, help="data dir with the transcripts; not needed for --format kaldi")
    p.add_argument("--model", type=Path, help="GMM folder; its mixtures go into Kaldi's final.mdl (default: none)")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="what to write (default: all)")
    args = p.parse_args(argv)
    times = set(args.format) & {"ctm", "textgrid"}
    if times and args.data is None:
        raise UserError("--data is needed for the words", hint="give the data dir, or --format kaldi")
    inputs = [args.ali / n for n in ("ali.ark", "tree.json", "topo", "transitions.safetensors")] + [args.lang]
    inputs += [args.data / "text"] if times else []
    inputs += [args.model / "final.safetensors"] if args.model else []
    stage = Stage(args.out, "export", inputs, {"formats": sorted(args.format)})
    if stage.is_done():
        return
    lang = Lang.load(args.lang)
    alignment, model = _load(args.ali, args.model, lang)
    shift = frame_shift(args.ali)
    outputs = []
    if times:
        text = args.data / "text"
        words = find_words(alignment, model.transitions, lang, read_table(text), text)
    if "ctm" in args.format:
        write_ctms(args.out, alignment, model.transitions, lang.phone_names, words, shift)
        outputs += [args.out / "words.ctm", args.out / "phones.ctm"]
    if "textgrid" in args.format:
        write_textgrids(args.out, alignment, model.transitions, lang, words, shift)
        outputs.append(args.out / "textgrid")
    if "kaldi" in args.format:
        write_kaldi(args.out, alignment, model, lang)
        outputs += [args.out / "kaldi" / n for n in ("ali.1.gz", "pdf.1.gz", "tree", "final.mdl", "num_jobs")]
    stage.mark(outputs)
    say(f"{args.out}: {len(alignment)} utterances as {', '.join(args.format)}")


if __name__ == "__main__":
    main()
