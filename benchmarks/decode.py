"""Compare our decoder with k2's search and Kaldi's algorithm, on the same HCLG and the same acoustic scores.

    python -m benchmarks.decode --model DIR --graph DIR --data DIR [--utts 40] [--beams 8,10,13,15]

For each search beam and decoder, prints the WER, the real-time factor (wall-clock seconds of search per second of
audio) with one process and with two that share one graph, the speed-up of two processes, and memory: of the graph, and
private memory of each process at the end. ``native`` is lstmp.decode.search with its native engine; ``k2``, if
installed, is the same with k2's engine; both make lattices and take their best paths. ``Kaldi`` is ``FasterDecoder`` of
kaldi-decoder, Kaldi's search for a single path, which is less work than a lattice. All use the beams and max_active of
the configuration. Do not run other programs at the same time.
"""

import argparse
import dataclasses
import importlib.util
import multiprocessing
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
from lstmp.decode.acoustic_scorer import load_acoustic_scorer
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import check_same_model
from lstmp.decode.engine import search_library
from lstmp.decode.lattice_paths import best_paths
from lstmp.decode.search import decode_utterance, load_graph
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError, command
from lstmp.features.load import Features
from lstmp.gmm.model import AcousticModel
from lstmp.log import progress, say


def kaldi_graph(graph_dir: Path, model_dir: Path):
    """HCLG with pdf-id + 1 instead of transition-ids, as ``DecodableCtc`` needs it.

    ``model_dir``: the GMM with the transition model that the graph was made from.
    """
    arrays = FstArrays.read(graph_dir / "HCLG.fst")
    column = AcousticModel.load(model_dir).transitions.tid_pdf.numpy().astype("int32") + 1
    column[0] = 0  # epsilon
    arrays.ilabel = column[arrays.ilabel]
    return kaldifst.StdConstFst(arrays.to_fst())


def ours(graph, loglikes, cfg) -> list[int]:
    lattice = decode_utterance(graph, loglikes, cfg)  # with the native engine or k2, depending on the type of the graph
    return lattice.words_on(best_paths(lattice, [(1 / cfg.acoustic_scale, 0.0)])[0])


def kaldis(fst, loglikes, cfg) -> list[int]:
    scores = (loglikes * cfg.acoustic_scale).contiguous().numpy()  # must outlive the decoder, which has a pointer to it
    decodable = kaldi_decoder.DecodableCtc(scores)
    decoder = kaldi_decoder.FasterDecoder(fst, kaldi_decoder.FasterDecoderOptions(
        beam=cfg.search_beam, max_active=cfg.max_active, min_active=cfg.min_active))
    decoder.decode(decodable)
    found, path = decoder.get_best_path()
    if not found or not decoder.reached_final():
        raise UserError("no path reaches a final state")
    return list(kaldifst.get_linear_symbol_sequence(path)[2])


def private_mb() -> float:
    """Private memory of this process, MB."""
    rows = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(r[1]) for r in rows if r[0] in ("Private_Clean:", "Private_Dirty:")) / 1024


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def _worker(search, graph, scores, cfg, start, results):
    before = private_mb()
    start.wait()
    words, failed = {}, []
    for utt, loglikes in scores.items():
        try:
            words[utt] = search(graph, loglikes, cfg)
        except UserError as e:
            words[utt] = []
            failed.append(f"{utt}: {e}")
    results.put((words, failed, private_mb() - before))


def timed(search, graph, scores, cfg, nj: int) -> tuple[dict[str, list[int]], float, float]:
    """Search in ``nj`` forked processes. Returns (utterance → word ids, wall seconds, MB of the largest process)."""
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    utts = sorted(scores, key=lambda utt: -len(scores[utt]))
    workers = [context.Process(target=_worker, args=(search, graph, {u: scores[u] for u in utts[i::nj]}, cfg, start,
                                                     results)) for i in range(nj)]
    for worker in workers:
        worker.start()
    time.sleep(1.0)  # until all workers are waiting
    started = time.perf_counter()
    start.set()
    done = [results.get() for _ in workers]
    wall = time.perf_counter() - started
    for worker in workers:
        worker.join()
    for failure in (f for _, failed, _ in done for f in failed):
        say(failure)
    return {u: w for words, _, _ in done for u, w in words.items()}, wall, max(mb for _, _, mb in done)


def errors(references: dict[str, list], hypotheses: dict[str, list]) -> int:
    return sum(kaldialign.edit_distance(words, hypotheses[utt])["total"] for utt, words in references.items())


@command
def main(argv=None):
    """Print word error rate, speed and memory of the decoders for each beam."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True, help="folder of a GMM or a network")
    parser.add_argument("--graph", required=True, help="graph dir with HCLG.fst")
    parser.add_argument("--data", required=True, help="data dir with features and text")
    parser.add_argument("--config", default="conf/decode.yaml", help="configuration (%(default)s)")
    parser.add_argument("--utts", type=int, default=40, help="number of utterances, evenly spread over the data dir "
                        "(%(default)s)")
    parser.add_argument("--beams", default="", help="search beams, such as 10,13 (default: that of the configuration)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cfg = config.load(args.config, DecodeConfig)
    scorer = load_acoustic_scorer(args.model)
    graph_info = check_same_model(Path(args.graph), Path(args.model), scorer.num_pdfs)
    features, data = Features(args.data, scorer.feature), read_data_dir(args.data)
    utts = [utt for utt in features.utts if utt in data.utts]
    utts = utts[::max(1, len(utts) // args.utts)][:args.utts]
    word_ids = read_symbols(Path(args.graph) / "words.txt")
    references = {utt: [word_ids.get(w, -1) for w in data.utts[utt].words] for utt in utts}  # -1: not in the graph
    num_words = max(1, sum(map(len, references.values())))
    start = time.perf_counter()
    scores = {utt: scorer([features.load(utt)])[0] for utt in progress(utts, "scores")}
    audio = features.frame_shift * sum(features.num_frames(utt) for utt in utts)
    say(f"{len(utts)} utterances, {audio:.0f} s, {num_words} words; scores took {time.perf_counter() - start:.1f} s")
    decoders = [("native", ours, lambda: SearchGraph.load(args.graph)),
                ("Kaldi", kaldis, lambda: kaldi_graph(Path(args.graph), Path(graph_info["model"])))]
    if search_library() is None:
        say("no compiler found: the native search is the one in NumPy")
    if importlib.util.find_spec("k2"):
        decoders.insert(1, ("k2", ours, lambda: load_graph(args.graph, scorer.num_pdfs, "k2")))
    beams = [float(b) for b in args.beams.split(",") if b] or [cfg.search_beam]
    rows = {}
    for name, search, load in decoders:  # only one graph is in memory at a time
        before = resident_mb()
        graph = load()
        size = resident_mb() - before
        for beam in beams:
            beam_cfg = dataclasses.replace(cfg, search_beam=beam)
            hypotheses, one, private = timed(search, graph, scores, beam_cfg, 1)
            _, two, private_two = timed(search, graph, scores, beam_cfg, 2)
            rows[beam, name] = (100 * errors(references, hypotheses) / num_words, one / audio, two / audio, one / two,
                                size, max(private, private_two))
            say(f"{name}, beam {beam:g}: real-time factor {one / audio:.4f}")
        del graph
    kaldi = {beam: rows[beam, "Kaldi"][1] for beam in beams}
    print("| beam | decoder | WER % | RTF, 1 process | RTF, 2 processes | speed-up by 2 processes | speed relative to "
          "Kaldi | graph, MB | private memory of a process, MB |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for (beam, name), (wer, one, two, speedup, size, private) in sorted(rows.items(), key=lambda r: r[0][0]):
        print(f"| {beam:g} | {name} | {wer:.2f} | {one:.4f} | {two:.4f} | {speedup:.2f} | {kaldi[beam] / one:.2f} | "
              f"{size:.0f} | {private:.0f} |")


if __name__ == "__main__":
    main()
