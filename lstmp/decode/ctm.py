"""Word times and confidences of a decoding, as a CTM file.

    steps/get_ctm.sh DECODE_DIR --graph DIR --lang DIR --hmm DIR

The words are those of the best path at the LM weight and penalty chosen on dev. The *confidence* of a word is its
posterior probability in the lattice: the sum over all paths on which it is the last word at a frame, maximized over the
frames that the word covers (C_max of F. Wessel, R. Schlueter, K. Macherey, H. Ney, "Confidence measures for large
vocabulary continuous speech recognition", IEEE TSAP 9(3), 2001). The *times* come from aligning the hypotheses with the
model that decoded them, because a decoding graph emits a word only once it is the only one possible. Lines: utterance,
channel 1, begin, duration, word, confidence.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.aliases import Array
from lstmp.alignment.export import find_words
from lstmp.corpus.datadir import read_data_dir, write_table
from lstmp.corpus.lang import Lang, read_names
from lstmp.corpus.part_of_lang import write_part
from lstmp.corpus.subset import write_subset
from lstmp.decode.acoustic_scorer import is_network
from lstmp.decode.adapted import state_frames
from lstmp.decode.best_path import words_on_paths
from lstmp.decode.confidence import word_presence
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.decode.lattice_paths import best_paths
from lstmp.decode.nbest import add_arguments, chosen_weights, frames_in_lattice_frame, lattice_files
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

_BEAM = 8.0  # the posterior probability of paths that are worse than the best one by more than this is negligible


def best_with_confidences(lattice: Lattice, lm_weight: float, word_penalty: float) -> tuple[list[int], list[float]]:
    """The words of the best path, and the confidence of each. The lattice must have a path."""
    return confident_path(lattice, lm_weight, word_penalty)[:2]


def confident_path(lattice: Lattice, lm_weight: float, word_penalty: float) -> tuple[list[int], list[float], Array]:
    """The best path of a lattice, which must have one.

    Returns:
        its words; the confidence of each; and the pdf-id of each frame, int64 [T].
    """
    near = near_best(lattice, lm_weight, word_penalty, _BEAM)
    path = best_paths(near, [(lm_weight, word_penalty)])[0]
    (words,) = words_on_paths(near, path[None])
    frames = np.repeat(np.arange(len(path)), near.num_words[path])
    distinct = np.unique(words)
    scores = near.acoustic.astype(np.float64) / lm_weight + near.graph - word_penalty * near.num_words
    presence = word_presence(near, scores, distinct) if len(distinct) else np.zeros((0, len(path)))
    ends = [next((f for f in frames[i + 1:] if f > begin), len(path)) for i, begin in enumerate(frames)]
    confidences = [float(min(presence[row, begin:end].max(), 1.0)) for row, begin, end in
                   zip(np.searchsorted(distinct, words), frames, ends, strict=True)]
    return words, confidences, near.arcs[path[:-1], 2].astype(np.int64) - 1  # the last arc has no frame


def align_hypotheses(decode_dir: Path | str, hypotheses: dict[str, list[str]], lang: Path | str, hmm: Path | str | None,
                     out: Path, conf: Path, nj: int) -> Path:
    """Align the hypotheses with the model that decoded them. Returns the folder of the alignment."""
    decode_info = config.read_json(Path(decode_dir) / "decode.json", "decode this set first (stage 10)")
    data = read_data_dir(decode_info["data"], need=("wav.scp", "utt2spk"))
    nonempty = {utt: words for utt, words in hypotheses.items() if words and utt in data.utts}
    if not nonempty:
        raise UserError("nothing was recognized in it", file=decode_dir, hint="there are no words to give times to")
    write_subset(replace(data, utts={u: replace(x, words=tuple(nonempty.get(u, ()))) for u, x in data.utts.items()}),
                 set(nonempty), out / "data")
    write_table(out / "data" / "text", {utt: " ".join(nonempty[utt]) for utt in sorted(nonempty)})
    model = Path(decode_info["model"])
    cfg = replace(config.load(conf / "align.yaml", AlignConfig), max_failed=1.0)  # the caller handles those that fail
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
    """A word with its first frame, number of frames, and confidence from 0 to 1.

    Those of :func:`timed_words` are frames of the features, whatever the subsampling of the model.
    """

    word: str
    begin: int
    frames: int
    confidence: float


def timed_words(decode_dir: Path | str, graph: Path | str, lang: Path | str, hmm: Path | str | None, out: Path,
                conf: Path, weights: tuple[float, float], nj: int,
                confident: bool = True) -> dict[str, list[TimedWord]]:
    """Utterance → its words with times and confidences.

    Args:
        decode_dir: folder of a decoding.
        graph, lang: the graph dir and the lang folder that it was decoded with.
        hmm: for a network, the alignment or GMM that its tied states come from; None: the folder of the network.
        out: folder for the alignment.
        conf: folder of align.yaml, fmllr.yaml.
        weights: LM weight and word insertion penalty.
        nj: number of processes.
        confident: whether to compute confidences; otherwise they are 0.

    If the alignment of an utterance fails, a warning is printed and its words divide its length evenly.
    """
    names = read_names(Path(graph) / "words.txt")
    decode_info = config.read_json(Path(decode_dir) / "decode.json", "decode this set first (stage 10)")
    group = frames_in_lattice_frame(decode_info)

    def job(path: Path) -> dict[str, tuple[list[int], list[float], int]]:
        lattices = {utt: x for utt, x in read_lattices(path).items() if x.num_arcs}
        return {utt: (*best_words(x), group * int(state_frames(x)[-1])) for utt, x in lattices.items()}

    def best_words(lattice: Lattice) -> tuple[list[int], list[float]]:
        if confident:
            return best_with_confidences(lattice, *weights)
        (words,) = words_on_paths(lattice, best_paths(lattice, [weights]))
        return words, [0.0] * len(words)

    results: dict[str, tuple[list[int], list[float], int]] = {}
    for part in run_jobs(job, lattice_files(decode_dir), nj, "confidences", unit="job"):
        results |= part
    hypotheses = {utt: [names[w] for w in words] for utt, (words, _, _) in results.items()}
    if not any(hypotheses.values()):
        return {utt: [] for utt in results}
    lang = write_part(lang, set().union(*hypotheses.values()), out / "lang")
    try:
        ali = align_hypotheses(decode_dir, hypotheses, lang, hmm, out, conf, nj)
        times = find_words(read_alignment(ali), AcousticModel.load(ali).transitions, Lang.load(lang),
                           {utt: " ".join(words) for utt, words in hypotheses.items()}, decode_dir)
    except UserError as e:
        warn(str(e))
        times = {}
    if failed := sorted(utt for utt, words in hypotheses.items() if words and utt not in times):
        warn(f"{len(failed)} utterances could not be aligned with their hypotheses, the times of their words are "
             f"guessed: {failed[0]} …")
    return {utt: joined(names.spans(words), times.get(utt) or _evenly(hypotheses[utt], frames), confidence)
            for utt, (words, confidence, frames) in results.items()}


def joined(spans: list[tuple[str, range]], times: list[tuple[str, int, int]],
           confidence: list[float]) -> list[TimedWord]:
    """The words of an utterance. The confidence of a word recognized in pieces is the lowest one of its pieces."""
    out = []
    for word, places in spans:
        (_, begin, _), (_, last, length) = times[places[0]], times[places[-1]]
        out.append(TimedWord(word, begin, last + length - begin, min(confidence[i] for i in places)))
    return out


def _evenly(words: list[str], frames: int) -> list[tuple[str, int, int]]:
    """(word, begin, length) of words that divide ``frames`` frames evenly."""
    bounds = [round(i * frames / max(len(words), 1)) for i in range(len(words) + 1)]
    return [(word, begin, end - begin) for word, begin, end in zip(words, bounds, bounds[1:], strict=False)]


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/get_ctm.sh", description=__doc__.split("\n")[0])
    add_arguments(p)
    p.add_argument("--lang", required=True, help="lang folder that the graph was made from")
    p.add_argument("--hmm", help="for a network, the alignment or GMM that its tied states come from (default: the "
                   "folder of the network)")
    p.add_argument("--conf", type=Path, default=Path("conf"), help="folder of align.yaml, fmllr.yaml (default: conf)")
    p.add_argument("--out", type=Path, help="folder for words.ctm (default: DECODE_DIR/ctm)")
    a = p.parse_args(argv)
    out = a.out or Path(a.decode_dir) / "ctm"
    timed = timed_words(a.decode_dir, a.graph, a.lang, a.hmm, out, a.conf,
                        chosen_weights(a.decode_dir, a.lm_weight, a.word_penalty), a.nj)
    decode_info = config.read_json(Path(a.decode_dir) / "decode.json", "decode this set first (stage 10)")
    shift = frame_shift(decode_info["data"])
    rows = [f"{utt} 1 {w.begin * shift:.2f} {w.frames * shift:.2f} {w.word} {w.confidence:.3f}\n"
            for utt in sorted(timed) for w in timed[utt]]
    config.write_text(out / "words.ctm", "".join(rows))
    say(f"{out}/words.ctm: {len(rows):,} words of {len(timed)} utterances")


if __name__ == "__main__":
    main()
