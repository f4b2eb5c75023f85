"""Readable word alignments, similar to sclite's ``.pra`` files, followed by a table of error rates by speaker.

Correct words are in lower case, wrong words in upper case (unchanged if they differ only in letter case). ``***``
stands for a missing word::

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
    """The lines REF, HYP and Eval of one utterance, with columns padded to the width of the longer word."""
    rows: tuple[list[str], list[str], list[str]] = ([], [], [])
    for r, h in kaldialign.align(ref, hyp, ""):
        mark = "" if r == h else "I" if r == "" else "D" if h == "" else "S"
        # words that differ only in letter case would look equal in capitals
        wrong = (r, h) if r.casefold() == h.casefold() else (r.upper(), h.upper())
        cells = (wrong[0] or GAP, wrong[1] or GAP, mark) if mark else (r.lower(), h.lower(), "")
        width = max(map(len, cells))
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell.ljust(width))
    of_ref, of_hyp, marks = (" ".join(row).rstrip() for row in rows)
    return of_ref, of_hyp, marks


def write_alignment(path, refs: Words, hyps: Words, errors: Errors, speakers: dict[str, str]):
    """Write the alignments of a set, and the error rate of each speaker, to ``path``.

    Args:
        path: the file to write.
        refs: utterance → reference words.
        hyps: utterance → hypothesis words; if it is missing, all reference words count as deleted.
        errors: the error counts of ``hyps`` against ``refs``.
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
    """The lines of a table with the errors of each speaker and in total."""
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
