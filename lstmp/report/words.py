"""The words of every utterance of a decoding: aligned with the reference, with times, confidences, phones and states.

Times, phones and states are those of the best path (:mod:`lstmp.report.path_aligner`); confidences are the words'
posterior probabilities in the lattices (:mod:`lstmp.decode.ctm`).
"""

from dataclasses import dataclass

from lstmp.aliases import Array, Json
from lstmp.alignment.export import state_runs
from lstmp.alignment.word_times import word_segments
from lstmp.decode.ctm import TimedWord, confident_path, joined
from lstmp.decode.lattice import read_lattices
from lstmp.decode.nbest import chosen_weights, lattice_files, lattice_frame_shift
from lstmp.errors import UserError
from lstmp.gmm.align import segments
from lstmp.gmm.model import AcousticModel
from lstmp.report.experiment import Decoding
from lstmp.report.lexicons import Lexicons, lang_of
from lstmp.report.notes import reason
from lstmp.report.path_aligner import PathAligner
from lstmp.report.tallies import Pairs


@dataclass(frozen=True)
class Details:
    """What the best paths of a decoding show.

    Attributes:
        words: utterance → its words with times in frames of the lattice, and confidences.
        states: utterance → ``{"phones": [[start, end, phone]], "states": [[start, end, "phone.state", pdf]]}``, with
            times in seconds.
        shift: seconds from frame to frame of the lattices.
        failed: utterance → why it has no words here.
    """

    words: dict[str, list[TimedWord]]
    states: dict[str, Json]
    shift: float
    failed: dict[str, str]


def details(d: Decoding, lexicons: Lexicons) -> Details:
    """Find the best paths of a decoding.

    Raises:
        UserError: lattices, model, graph or lang folder are missing.
    """
    lexicon, weights = lexicons[lang_of(d)], chosen_weights(d.dir, None, None)
    if isinstance(lexicon, UserError):
        raise lexicon
    model, shift = AcousticModel.load(str(d.info.get("model", ""))), lattice_frame_shift(d.info)
    aligner, found = PathAligner(model, lexicon.lang), Details({}, {}, shift, {})
    lattices = (item for file in lattice_files(d.dir) for item in read_lattices(file).items())
    for utt, lattice in lattices:
        if not lattice.num_arcs:
            continue
        words, confidence, pdfs = confident_path(lattice, *weights)
        try:
            if unknown := [w for w in words if w not in lexicon.names]:
                raise UserError(f"word {unknown[0]} of the best path is not in best.txt", hint="run stage 11 again")
            if (tids := aligner(words, pdfs)) is None:
                raise UserError("no path through its words has the states of the best path")
            spans = word_segments(segments(tids, model.transitions), [lexicon.names[w] for w in words], lexicon.lang)
        except UserError as e:
            found.failed[utt] = reason(e)
            continue
        found.words[utt] = joined(lexicon.names.spans(words), spans, confidence)
        found.states[utt] = _states(tids, model, lexicon.lang.phone_names, shift)
    return found


def _states(tids: Array, model: AcousticModel, names: dict[int, str], shift: float) -> Json:
    transitions = model.transitions
    phones = segments(tids, transitions)
    name_of = {frame: names[p.phone] for p in phones for frame in range(p.start, p.start + p.length)}
    state_of = transitions.tuples.numpy()[transitions.tid_tuple.numpy()[tids], 1].tolist()
    return {"phones": [[*_times(p.start, p.length, shift), names[p.phone]] for p in phones],
            "states": [[*_times(start, length, shift), f"{name_of[start]}.{state_of[start]}", pdf]
                       for start, length, pdf in state_runs(tids, phones, transitions)]}


def _times(start: int, length: int, shift: float) -> list[float]:
    return [round(start * shift, 3), round((start + length) * shift, 3)]


def shown_words(pairs: list[tuple[str, str]], timed: list[TimedWord] | None, shift: float,
                seconds: float) -> list[Json]:
    """The words of an utterance: correct (C), substituted (S), inserted (I) or deleted (D).

    A word has the times and the confidence of the word of the hypothesis. A deleted word has the time from the word
    before it to the next one, and no confidence.

    Args:
        pairs: (reference word, hypothesis word), "" for none.
        timed: the words of the hypothesis; None, or other words than in ``pairs``: there are no times.
        seconds: length of the utterance.
    """
    if timed is None or [w.word for w in timed] != [h for _, h in pairs if h]:
        return [{"op": operation(r, h), "ref": r, "hyp": h, "start": None, "end": None, "confidence": None}
                for r, h in pairs]
    out, position = [], 0
    for r, h in pairs:
        if h:
            word = timed[position]
            position += 1
            start, end = _times(word.begin, word.frames, shift)
            confidence: float | None = round(word.confidence, 3)
        else:
            start = round((timed[position - 1].begin + timed[position - 1].frames) * shift, 3) if position else 0.0
            end = round(timed[position].begin * shift if position < len(timed) else max(seconds, start), 3)
            confidence = None
        out.append({"op": operation(r, h), "ref": r, "hyp": h, "start": start, "end": end, "confidence": confidence})
    return out


def operation(ref: str, hyp: str) -> str:
    """C for a correct word, S for a substituted, I for an inserted, D for a deleted one."""
    return "C" if ref == hyp else "I" if not ref else "D" if not hyp else "S"


def confidences(details_of: Details, pairs: Pairs) -> tuple[list[float], list[bool]]:
    """The confidence of every word of the hypotheses, and whether it is correct.

    Utterances whose best path has other words than their hypothesis are left out.
    """
    scores: list[float] = []
    correct: list[bool] = []
    for utt, timed in details_of.words.items():
        hyp = [(r, h) for r, h in pairs.get(utt, ()) if h]
        if [h for _, h in hyp] == [w.word for w in timed]:
            scores += [w.confidence for w in timed]
            correct += [r == h for r, h in hyp]
    return scores, correct
