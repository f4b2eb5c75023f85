"""The words of every utterance of a decoding: aligned with the reference, with times, confidences, phones and states.

Times, phones and states come from an alignment of the hypotheses with the model that decoded them; confidences are the
words' posterior probabilities in the lattices (:mod:`lstmp.decode.ctm`).
"""

from dataclasses import dataclass
from pathlib import Path

from lstmp import config, files
from lstmp.aliases import Array, Json
from lstmp.alignment.export import state_runs
from lstmp.corpus.lang import Lang
from lstmp.decode.ctm import TimedWord, timed_words
from lstmp.decode.nbest import chosen_weights
from lstmp.errors import UserError
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.log import quiet
from lstmp.report.experiment import Decoding
from lstmp.report.tallies import Pairs


@dataclass(frozen=True)
class Details:
    """What the alignment of the hypotheses of a decoding gives.

    Attributes:
        words: utterance → its words with times in frames, and confidences.
        states: utterance → ``{"phones": [[start, end, phone]], "states": [[start, end, "phone.state", pdf]]}``, with
            times in seconds.
        shift: frame shift in seconds.
    """

    words: dict[str, list[TimedWord]]
    states: dict[str, Json]
    shift: float


def details(d: Decoding, conf: Path, work: Path) -> Details:
    """Align the hypotheses of a decoding.

    Args:
        conf: folder of align.yaml and fmllr.yaml.
        work: a folder to make temporary files in.

    Raises:
        UserError: lattices, graph or lang folder are missing, or nothing could be aligned.
    """
    graph = Path(str(d.info.get("graph", "")))
    graph_info = config.read_json(graph / "graph.json", "run stage 9, graphs")
    lang = graph_info.get("lang")
    if not isinstance(lang, str):
        raise UserError("it does not name its lang folder", file=graph / "graph.json", hint="make the graph again")
    shift = frame_shift(str(d.info["data"]))
    with files.temporary_folder(work) as out, quiet():
        words = timed_words(d.dir, graph, lang, None, out, conf, chosen_weights(d.dir, None, None), 1)
        states: dict[str, Json] = {}
        if (out / "ali" / "ali.ark").is_file():
            model, names = AcousticModel.load(out / "ali"), Lang.load(out / "lang").phone_names
            states = {utt: _states(tids, model, names, shift)
                      for utt, tids in read_alignment(out / "ali").items()}
    return Details(words, states, shift)


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
    """The confidence of every word of the hypotheses, and whether it is correct."""
    scores: list[float] = []
    correct: list[bool] = []
    for utt, timed in details_of.words.items():
        hyp = [(r == h) for r, h in pairs.get(utt, ()) if h]
        if len(hyp) == len(timed):
            scores += [w.confidence for w in timed]
            correct += hyp
    return scores, correct
