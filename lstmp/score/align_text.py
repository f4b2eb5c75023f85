"""Word alignments to read, in the manner of sclite's ``.pra`` files, with a table of speakers at the end.

Correct words in lower case, wrong ones in upper case (as they are where they differ in letter case alone), ``***``
where a word is missing::

    id: (1272-128104-0000)
    Scores: (#C #S #D #I) 2 1 0 1
    REF:  mister QUILTER ***    is
    HYP:  mister QUITE   KILTER is
    Eval:        S       I
"""

import kaldialign

from lstmp import config
from lstmp.score.wer import Errors, Words

GAP = "***"


def align_words(ref: tuple[str, ...], hyp: tuple[str, ...]) -> tuple[str, str, str]:
    """The rows REF, HYP and Eval of one utterance, columns padded to the wider word."""
    rows: tuple[list[str], list[str], list[str]] = ([], [], [])
    for r, h in kaldialign.align(ref, hyp, ""):
        mark = "" if r == h else "I" if r == "" else "D" if h == "" else "S"
        wrong = (r, h) if r.casefold() == h.casefold() else (r.upper(), h.upper())  # alike in capitals: as they are
        cells = (wrong[0] or GAP, wrong[1] or GAP, mark) if mark else (r.lower(), h.lower(), "")
        width = max(map(len, cells))
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell.ljust(width))
    of_ref, of_hyp, marks = (" ".join(row).rstrip() for row in rows)
    return of_ref, of_hyp, marks


def write_alignment(path, refs: Words, hyps: Words, errors: Errors, speakers: dict[str, str]):
    """Write the alignment of a set, and each speaker's error rate, to ``path``.

    Args:
        path: the file to write.
        refs: utterance → reference words.
        hyps: utterance → hypothesis; one that is missing is all deletions.
        errors: the counts of the same pair.
        speakers: utterance → speaker.
    """
    lines = []
    for utt, (ins, dels, subs, words) in zip(errors.utts, errors.counts.tolist(), strict=True):
        ref, hyp, marks = align_words(refs[utt], hyps.get(utt, ()))
        note = " (no hypothesis)" if utt in errors.missing else ""
        lines += [f"id: ({utt}){note}", f"Scores: (#C #S #D #I) {words - subs - dels} {subs} {dels} {ins}",
                  f"REF:  {ref}".rstrip(), f"HYP:  {hyp}".rstrip(), f"Eval: {marks}".rstrip(), ""]
    config.write_text(path, "\n".join(lines + speaker_table(errors, speakers)) + "\n")


def speaker_table(errors: Errors, speakers: dict[str, str]) -> list[str]:
    """Lines of a table with the errors of each speaker and of all."""
    totals: dict[str, list[int]] = {}
    for utt, row in zip(errors.utts, errors.counts.tolist(), strict=True):
        total = totals.setdefault(speakers[utt], [0] * 5)
        for i, n in enumerate([1, *row]):
            total[i] += n
    totals = {s: totals[s] for s in sorted(totals)}
    totals["all"] = [sum(column) for column in zip(*totals.values(), strict=True)]
    width = max(len("speaker"), *map(len, totals))
    lines = [f"{'speaker':{width}} {'utts':>6} {'words':>7} {'ins':>6} {'del':>6} {'sub':>6} {'WER %':>7}"]
    for speaker, (utts, ins, dels, subs, words) in totals.items():
        wer = 100 * (ins + dels + subs) / words if words else float("nan")
        lines.append(f"{speaker:{width}} {utts:6d} {words:7d} {ins:6d} {dels:6d} {subs:6d} {wer:7.2f}")
    return lines
