"""Our decoder beside Kaldi's algorithm, on the same HCLG and the same acoustic scores.

    python -m benchmarks.decode --model DIR --graph DIR --data DIR [--utts 50] [--beams 10,13]

For each search beam: WER and real-time factor (seconds of one core for a second of audio, search alone) of k2 through
``lstmp.decode.search``, which keeps a lattice, and of kaldi-decoder's ``FasterDecoder``, which keeps one path only;
and how many utterances, and words, the two agree on. Both search with the beam and max_active of the configuration.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import kaldi_decoder
import kaldialign
import kaldifst
import torch

from lstmp import config
from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.fst import FstArrays
from lstmp.corpus.lang import read_symbols
from lstmp.decode.best_path import best_paths
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import check_same_model
from lstmp.decode.scorer import FRAME_SHIFT, load_scorer
from lstmp.decode.search import decode_utterance
from lstmp.errors import UserError, command
from lstmp.features.load import Features
from lstmp.gmm.model import AcousticModel
from lstmp.graph.k2_graph import load_k2_graph
from lstmp.log import progress, say


def kaldi_graph(graph_dir: Path, model_dir: Path):
    """HCLG with pdf-id + 1 in place of transition-ids, which is what ``DecodableCtc`` maps to columns.

    ``model_dir`` is that of the GMM from whose transitions the graph was made.
    """
    arrays = FstArrays.read(graph_dir / "HCLG.fst")
    column = AcousticModel.load(model_dir).transitions.tid_pdf.numpy().astype("int32") + 1
    column[0] = 0  # epsilon
    arrays.ilabel = column[arrays.ilabel]
    return kaldifst.StdConstFst(arrays.to_fst())


def ours(graph, loglikes, cfg) -> list[int]:
    lattice = decode_utterance(graph, loglikes, cfg)
    return lattice.words_on(next(best_paths([lattice], [(1 / cfg.acoustic_scale, 0.0)]))[0])


def kaldis(fst, loglikes, cfg) -> list[int]:
    scores = (loglikes * cfg.acoustic_scale).contiguous().numpy()  # the decoder points to it and to the graph
    decodable = kaldi_decoder.DecodableCtc(scores)
    decoder = kaldi_decoder.FasterDecoder(fst, kaldi_decoder.FasterDecoderOptions(
        beam=cfg.search_beam, max_active=cfg.max_active, min_active=cfg.min_active))
    decoder.decode(decodable)
    found, path = decoder.get_best_path()
    if not found or not decoder.reached_final():
        raise UserError("no path reaches a final state")
    return list(kaldifst.get_linear_symbol_sequence(path)[2])


def timed(search, graph, scores, cfg, name) -> tuple[dict[str, list[int]], float, float]:
    """Returns (utterance → word ids, wall seconds, CPU seconds); an utterance that fails has no words."""
    words = {}
    wall, cpu = time.perf_counter(), time.process_time()
    for utt, loglikes in progress(scores.items(), name):
        try:
            words[utt] = search(graph, loglikes, cfg)
        except UserError as e:
            words[utt] = []
            say(f"{name}: {utt}: {e}")
    return words, time.perf_counter() - wall, time.process_time() - cpu


def errors(references: dict[str, list], hypotheses: dict[str, list]) -> int:
    return sum(kaldialign.edit_distance(words, hypotheses[utt])["total"] for utt, words in references.items())


@command
def main(argv=None):
    """Print WER, real-time factor and agreement of both decoders for each beam."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True, help="model dir")
    parser.add_argument("--graph", required=True, help="graph dir with HCLG.fst")
    parser.add_argument("--data", required=True, help="data dir with features and text")
    parser.add_argument("--config", default="conf/decode.yaml", help="configuration (%(default)s)")
    parser.add_argument("--utts", type=int, default=50, help="utterances, spread over the data dir (%(default)s)")
    parser.add_argument("--beams", default="", help="search beams, as 10,13 (default: that of the configuration)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cfg = config.load(args.config, DecodeConfig)
    scorer = load_scorer(args.model)
    graph_info = check_same_model(Path(args.graph), Path(args.model), scorer.num_pdfs)
    features, data = Features(args.data, scorer.feature), read_data_dir(args.data)
    utts = [utt for utt in features.utts if utt in data.utts]
    utts = utts[::max(1, len(utts) // args.utts)][:args.utts]
    word_ids = read_symbols(Path(args.graph) / "words.txt")
    references = {utt: [word_ids.get(w, -1) for w in data.utts[utt].words] for utt in utts}  # -1: not in the graph
    num_words = max(1, sum(map(len, references.values())))
    start = time.perf_counter()
    scores = {utt: scorer([features.load(utt)])[0] for utt in progress(utts, "scores")}
    audio = FRAME_SHIFT * sum(map(len, scores.values()))
    say(f"{len(utts)} utterances, {audio:.0f} s, {num_words} words; scores took {time.perf_counter() - start:.1f} s")
    graph, fst = load_k2_graph(args.graph), kaldi_graph(Path(args.graph), Path(graph_info["model"]))
    print("beam  decoder  WER %   RTF wall  RTF CPU  agree: utts  words")
    for beam in [float(b) for b in args.beams.split(",") if b] or [cfg.search_beam]:
        at = dataclasses.replace(cfg, search_beam=beam)
        mine, *my_times = timed(ours, graph, scores, at, "k2")
        other, *other_times = timed(kaldis, fst, scores, at, "Kaldi")
        same = sum(mine[utt] == other[utt] for utt in utts) / max(1, len(utts))
        words = 1 - errors(other, mine) / max(1, sum(map(len, other.values())))
        for name, found, (wall, cpu) in (("k2", mine, my_times), ("Kaldi", other, other_times)):
            print(f"{beam:4g}  {name:<7}  {100 * errors(references, found) / num_words:5.2f}   {wall / audio:8.4f}  "
                  f"{cpu / audio:7.4f}  {100 * same:9.1f} %  {100 * words:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
