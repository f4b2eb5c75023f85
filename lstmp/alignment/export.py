"""Write an alignment for other programs: CTM files, Praat TextGrids, an alignment folder that Kaldi reads."""

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
_WARNINGS = 5  # so many utterances are named one by one, the others only counted
Words = dict[str, list[tuple[str, int, int]]]


def find_words(alignment: dict[str, np.ndarray], transitions: TransitionModel, lang: Lang, transcripts: dict[str, str],
               text_path) -> Words:
    """Words with first frame and length of every utterance; an utterance that cannot be read is named and left out.

    Raises:
        UserError: none can be read.
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
    for line in failed[:_WARNINGS]:
        warn(f"no words for {line}")
    if len(failed) > _WARNINGS:
        warn(f"no words for {len(failed) - _WARNINGS} more utterances")
    if failed and not words:
        raise UserError(f"no utterance of the alignment has words: {failed[0]}", file=text_path,
                        hint="give the data dir and the lang folder that were aligned")
    return words


def write_ctms(out, alignment, transitions: TransitionModel, names: dict[int, str], words: Words, shift: float):
    """Write ``words.ctm`` and ``phones.ctm``, times in seconds; ``names`` are those of the phones by id, ``shift`` is
    seconds from frame to frame."""
    config.write_text(Path(out) / "words.ctm", "".join(
        ctm_line(utt, start, length, word, shift) for utt in sorted(words) for word, start, length in words[utt]))
    config.write_text(Path(out) / "phones.ctm", "".join(
        ctm_line(utt, s.start, s.length, names[s.phone], shift)
        for utt in sorted(alignment) for s in segments(alignment[utt], transitions)))


def write_textgrids(out, alignment, transitions: TransitionModel, lang: Lang, words: Words, shift: float):
    """Write ``textgrid/<utterance>.TextGrid``, the id as a file's name: tiers words, phones, states (pdf-ids)."""
    for utt, tids in alignment.items():
        phones = segments(tids, transitions)
        tiers = word_tiers(words.get(utt, ()), phones, lang.phone_names, shift)
        tiers["states"] = [_interval(start, length, str(pdf), shift) for start, length, pdf in
                           state_runs(tids, phones, transitions)]
        write_textgrid(Path(out) / "textgrid" / f"{file_name(utt)}.TextGrid", tiers, len(tids) * shift)


def word_tiers(words, phones: list[Segment], names: dict[int, str], shift: float) -> dict[str, list[Interval]]:
    """The tiers words and phones, times in seconds.

    Args:
        words: (word, first frame, length) in order.
        phones: those of the same utterance.
        names: phone id → label.
        shift: seconds from frame to frame.
    """
    return {"words": [_interval(start, length, word, shift) for word, start, length in words],
            "phones": [_interval(s.start, s.length, names[s.phone], shift) for s in phones]}


def state_runs(tids: np.ndarray, phones: list[Segment], transitions: TransitionModel) -> list[tuple[int, int, int]]:
    """(first frame, length, pdf-id) of every stay in one HMM state of one phone."""
    of_tuple = transitions.tid_tuple.numpy()[tids]
    change = np.flatnonzero(of_tuple[1:] != of_tuple[:-1]) + 1
    starts = np.union1d(change, [s.start for s in phones]).astype(np.int64)
    pdfs = transitions.tid_pdf.numpy()[tids]
    return [(int(a), int(b - a), int(pdfs[a])) for a, b in itertools.pairwise([*starts, len(tids)])]


def write_kaldi(out, alignment, model: AcousticModel, lang: Lang):
    """Write ``kaldi/``: ali.1.gz, pdf.1.gz, num_jobs, phones.txt, tree and final.mdl, the last two as text.

    Without mixtures, ``final.mdl`` is the transition model alone: enough for what reads alignments, not for decoding.
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
    strange = sorted(set(transitions.tid_phone.tolist()[1:]) - set(lang.phone_names))
    if strange:
        raise UserError(f"phone {strange[0]} of the alignment is not in it", file=lang.dir / "phones.txt",
                        hint="give the lang folder that the alignment was made with")
    if model_dir is not None:
        full = AcousticModel.load(model_dir)
        if full.gmms is None or full.transitions.tuples.tolist() != transitions.tuples.tolist():
            raise UserError("it has no mixtures, or not those of the alignment's states", file=model_dir,
                            hint="give the GMM that made the alignment, or leave out --model")
        model = full
    return alignment, model


@command
def main(argv=None):
    """Command line; see ``--help``."""
    p = argparse.ArgumentParser(prog="steps/export_alignment.sh", description=__doc__)
    p.add_argument("--ali", type=Path, required=True, help="alignment folder")
    p.add_argument("--lang", type=Path, required=True, help="lang folder that it was made with")
    p.add_argument("--data", type=Path, help="data dir with the transcripts; not needed for kaldi alone")
    p.add_argument("--model", type=Path, help="GMM folder whose mixtures go into Kaldi's final.mdl (default: none)")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="(default: all)")
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
