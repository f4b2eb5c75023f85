"""Words with their times and confidences: a CTM file of a decoding.

    steps/get_ctm.sh DECODE_DIR --graph DIR --lang DIR --hmm DIR

The words are the best path's at the LM weight and penalty chosen on dev. A word's *confidence* is its posterior
probability in the lattice: all paths on which it is the last word at a frame count together, and of the frames that
the word covers the best one is taken (C_max of F. Wessel, R. Schlueter, K. Macherey, H. Ney, "Confidence measures
for large vocabulary continuous speech recognition", IEEE TSAP 9(3), 2001). The *times* come from an alignment of the
hypotheses by the model that decoded, since search graphs emit a word only where it can be no other. Lines: utterance,
channel 1, begin, duration, word, confidence.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.alignment.export import find_words
from lstmp.corpus.datadir import read_data_dir, write_table
from lstmp.corpus.lang import Lang, read_names
from lstmp.corpus.part_of_lang import write_part
from lstmp.corpus.subset import write_subset
from lstmp.decode.adapted import state_frames
from lstmp.decode.best_path import words_on_paths
from lstmp.decode.confidence import word_presence
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.decode.lattice_paths import best_paths
from lstmp.decode.nbest import add_arguments, chosen_weights, lattice_files
from lstmp.decode.acoustic_scorer import is_network
from lstmp.decode.word_graph import near_best
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm import align as gmm_align
from lstmp.gmm.align import read_alignment
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import AlignConfig
from lstmp.log import say, warn
from lstmp.nnet import align as network_align
from lstmp.parallel import run_jobs

_BEAM = 8.0  # what is further below the best path than this has no posterior probability to speak of


def best_with_confidences(lattice: Lattice, lm_weight: float, word_penalty: float) -> tuple[list[int], list[float]]:
    """The words of the best path of a lattice that has one, and the confidence of each."""
    near = near_best(lattice, lm_weight, word_penalty, _BEAM)
    path = best_paths(near, [(lm_weight, word_penalty)])[0]
    (words,) = words_on_paths(near, path[None])
    frames = np.repeat(np.arange(len(path)), near.num_words[path])
    different = np.unique(words)
    scores = near.acoustic.astype(np.float64) / lm_weight + near.graph - word_penalty * near.num_words
    there = word_presence(near, scores, different) if len(different) else np.zeros((0, len(path)))
    ends = [next((f for f in frames[i + 1:] if f > begin), len(path)) for i, begin in enumerate(frames)]
    return words, [float(min(there[row, begin:end].max(), 1.0)) for row, begin, end in
                   zip(np.searchsorted(different, words), frames, ends, strict=True)]


def align_hypotheses(decode_dir: Path | str, hypotheses: dict[str, list[str]], lang: Path | str, hmm: Path | str | None,
                     out: Path, conf: Path, nj: int) -> Path:
    """Align what was recognized with the model that recognized it. Returns the alignment's folder."""
    about = config.read_json(Path(decode_dir) / "decode.json", "decode this set first (stage 10)")
    data = read_data_dir(about["data"], need=("wav.scp", "utt2spk"))
    spoken = {utt: words for utt, words in hypotheses.items() if words and utt in data.utts}
    if not spoken:
        raise UserError("nothing was recognized in it", file=decode_dir, hint="there are no words to give times to")
    write_subset(replace(data, utts={u: replace(x, words=tuple(spoken.get(u, ()))) for u, x in data.utts.items()}),
                 set(spoken), out / "data")
    write_table(out / "data" / "text", {utt: " ".join(spoken[utt]) for utt in sorted(spoken)})
    model = Path(about["model"])
    cfg = replace(config.load(conf / "align.yaml", AlignConfig), max_failed=1.0)  # the caller looks at those that fail
    record = conf / "align.yaml"
    if is_network(model):
        network_align.align(out / "data", Path(lang), model, Path(hmm or model), out / "ali", cfg, nj,
                            config_file=record)
    else:
        gmm_align.align(out / "data", Path(lang), model, out / "ali", cfg, conf / "fmllr.yaml", nj,
                        config_file=record)
    return out / "ali"


@dataclass(frozen=True)
class TimedWord:
    """A word, its frames, and its confidence from 0 to 1."""

    word: str
    begin: int
    frames: int
    confidence: float


def timed_words(decode_dir: Path | str, graph: Path | str, lang: Path | str, hmm: Path | str | None, out: Path,
                conf: Path, weights: tuple[float, float], nj: int,
                confident: bool = True) -> dict[str, list[TimedWord]]:
    """Utterance → its words; of a decode dir, at an LM weight and a word insertion penalty.

    Args:
        graph, lang: that it was decoded with.
        hmm: where a network decoded, the alignment or GMM whose states it learned; None: the network's own folder.
        out: folder for the alignment.
        conf: folder of align.yaml, fmllr.yaml.
        confident: whether confidences are asked for; without, they are 0.

    Where the alignment fails, which is warned of, the words of an utterance share its length evenly.
    """
    names = read_names(Path(graph) / "words.txt")

    def job(path: Path) -> dict[str, tuple[list[int], list[float], int]]:
        lattices = {utt: x for utt, x in read_lattices(path).items() if x.num_arcs}
        return {utt: (*found_in(x), int(state_frames(x)[-1])) for utt, x in lattices.items()}

    def found_in(lattice: Lattice) -> tuple[list[int], list[float]]:
        if confident:
            return best_with_confidences(lattice, *weights)
        (words,) = words_on_paths(lattice, best_paths(lattice, [weights]))
        return words, [0.0] * len(words)

    found: dict[str, tuple[list[int], list[float], int]] = {}
    for part in run_jobs(job, lattice_files(decode_dir), nj, "confidences", unit="job"):
        found |= part
    said = {utt: [names[w] for w in words] for utt, (words, _, _) in found.items()}
    if not any(said.values()):
        return {utt: [] for utt in found}
    lang = write_part(lang, set().union(*said.values()), out / "lang")
    try:
        ali = align_hypotheses(decode_dir, said, lang, hmm, out, conf, nj)
        times = find_words(read_alignment(ali), AcousticModel.load(ali).transitions, Lang.load(lang),
                           {utt: " ".join(words) for utt, words in said.items()}, decode_dir)
    except UserError as e:
        warn(str(e))
        times = {}
    if lost := sorted(utt for utt, words in said.items() if words and utt not in times):
        warn(f"{len(lost)} utterances could not be aligned with what was recognized, the times of their words are "
             f"guessed: {lost[0]} …")
    return {utt: joined(names.spans(words), times.get(utt) or _evenly(said[utt], frames), confidence)
            for utt, (words, confidence, frames) in found.items()}


def joined(spans: list[tuple[str, range]], times: list[tuple[str, int, int]],
           confidence: list[float]) -> list[TimedWord]:
    """The words of an utterance; one that was recognized in pieces is as sure as the least sure of them."""
    out = []
    for word, places in spans:
        (_, begin, _), (_, last, length) = times[places[0]], times[places[-1]]
        out.append(TimedWord(word, begin, last + length - begin, min(confidence[i] for i in places)))
    return out


def _evenly(words: list[str], frames: int) -> list[tuple[str, int, int]]:
    """(word, begin, length) of words that share so many frames."""
    at = [round(i * frames / max(len(words), 1)) for i in range(len(words) + 1)]
    return [(word, begin, end - begin) for word, begin, end in zip(words, at, at[1:], strict=False)]


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/get_ctm.sh", description=__doc__.split("\n")[0])
    add_arguments(p)
    p.add_argument("--lang", required=True, help="lang folder that the graph was made from")
    p.add_argument("--hmm", help="where a network decoded: alignment or GMM whose states it learned (default: its own "
                   "folder)")
    p.add_argument("--conf", type=Path, default=Path("conf"), help="folder of align.yaml, fmllr.yaml (default: conf)")
    p.add_argument("--out", type=Path, help="folder for words.ctm (default: DECODE_DIR/ctm)")
    a = p.parse_args(argv)
    out = a.out or Path(a.decode_dir) / "ctm"
    timed = timed_words(a.decode_dir, a.graph, a.lang, a.hmm, out, a.conf,
                        chosen_weights(a.decode_dir, a.lm_weight, a.word_penalty), a.nj)
    about = config.read_json(Path(a.decode_dir) / "decode.json", "decode this set first (stage 10)")
    shift = frame_shift(about["data"])
    rows = [f"{utt} 1 {w.begin * shift:.2f} {w.frames * shift:.2f} {w.word} {w.confidence:.3f}\n"
            for utt in sorted(timed) for w in timed[utt]]
    config.write_text(out / "words.ctm", "".join(rows))
    say(f"{out}/words.ctm: {len(rows):,} words of {len(timed)} utterances")


if __name__ == "__main__":
    main()
