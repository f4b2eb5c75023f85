"""The utterances that the alignment check (steps/check_alignment.sh) finds suspicious, with their words and sound."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.aliases import Json
from lstmp.alignment.export import find_words
from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.lang import Lang
from lstmp.corpus.part_of_lang import write_part
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError
from lstmp.features.ark import read_int_vectors
from lstmp.features.frame_shift import frame_shift
from lstmp.files import temporary_folder
from lstmp.gmm.model import AcousticModel
from lstmp.report.experiment import ScoredSet
from lstmp.report.notes import Notes, reason

MOST = 500  # utterances of a check that are shown, worst first


@dataclass(frozen=True)
class Check:
    """An alignment check.

    Attributes:
        test_set: the utterances that are shown, with their transcripts.
        items: their rows in the shard ``suspicious``, without words.
        lang: the lang folder of the check.
    """

    test_set: ScoredSet
    items: list[Json]
    lang: Path


def read_checks(exp: Path, notes: Notes, prefix: str = "") -> list[Check]:
    """Read the checks in the folders of an experiment; what is missing or damaged gets a note."""
    checks = []
    for path in sorted(exp.glob("*/suspicious.txt")):
        try:
            if check := _read(path, prefix):
                checks.append(check)
        except (UserError, OSError, ValueError, KeyError, TypeError) as e:
            notes.add(f"{path}: {reason(e)}")
    return checks


def _read(path: Path, prefix: str) -> Check | None:
    lines = [line for _, line in numbered_lines(path)][:MOST]
    if not lines:
        return None
    data_dir, lang = _inputs(path.parent)
    data = read_data_dir(data_dir)
    items: list[Json] = []
    for line in lines:
        utt, score, why = [*line.split(" ", 2), ""][:3]
        if utt in data.utts:
            value = float(score)  # infinite for an utterance that cannot be aligned at all
            items.append({"utt": utt, "set": f"{prefix}{path.parent.name}", "speaker": data.utts[utt].speaker,
                          "score": value if value < float("inf") else None, "reason": why})
    chosen = {i["utt"]: data.utts[i["utt"]] for i in items}
    subset = dataclasses.replace(data, utts=chosen)
    return Check(ScoredSet(f"{prefix}{path.parent.name}", subset, {u: x.words for u, x in chosen.items()}), items, lang)


def _inputs(folder: Path) -> tuple[Path, Path]:
    """The data dir and the lang folder of a check, from the mark of its stage."""
    mark = config.read_json(folder / ".done.check_alignment.json", "run steps/check_alignment.sh again")
    names = [Path(name) for name in mark["inputs"]]
    texts, langs = [p for p in names if p.name == "text"], [p for p in names if (p / "words.txt").is_file()]
    if not texts or not langs:
        raise UserError("its data dir or its lang folder is no longer there", file=folder)
    return texts[0].parent, langs[0]


def word_times(exp: Path, check: Check, work: Path) -> dict[str, list[tuple[str, float, float]]]:
    """Utterance → (word, start, end) in seconds, from the last alignment of the experiment that has the utterance.

    Utterances that no alignment has are left out.
    """
    times: dict[str, list[tuple[str, float, float]]] = {}
    transcripts = {u: " ".join(words) for u, words in check.test_set.refs.items()}
    folders = sorted(exp.glob("*_ali/ali.ark"), key=lambda p: p.stat().st_mtime, reverse=True)
    for ali in [p.parent for p in folders]:
        found = {u: tids for u, tids in read_int_vectors(ali / "ali.ark") if u in transcripts and u not in times}
        if not found:
            continue
        shift = frame_shift(ali)
        with temporary_folder(work) as out:
            words = {w for u in found for w in check.test_set.refs[u]}
            lang = Lang.load(write_part(check.lang, words, out / "lang"))
            try:
                spans = find_words(found, AcousticModel.load(ali).transitions, lang, transcripts, ali)
            except UserError:
                continue  # an alignment with other pronunciations
        times |= {u: [(w, round(s * shift, 3), round((s + n) * shift, 3)) for w, s, n in of_utt]
                  for u, of_utt in spans.items()}
    return times


def transcript(words: tuple[str, ...], times: list[tuple[str, float, float]] | None) -> list[Json]:
    """The words of a transcript in the form of :func:`lstmp.report.words.shown_words`, all as correct."""
    spans = [(s, e) for _, s, e in times] if times else [(None, None)] * len(words)
    return [{"op": "C", "ref": w, "hyp": w, "start": start, "end": end, "confidence": None}
            for w, (start, end) in zip(words, spans, strict=True)]


