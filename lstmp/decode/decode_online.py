"""Decode a data dir online, chunk by chunk as if the audio were just arriving, and measure the latency.

    steps/decode_online.sh --model DIR --graph DIR --data DIR --out DIR

The features of each utterance go through network and search in pieces of ``chunk_seconds``. The search itself uses one
LM weight and penalty; the hypotheses are written to ``scoring/<LMWT>_<WIP>.txt``, where steps/score.sh finds them.
``decode.json`` has the real-time factor, the seconds of computing per piece (mean, 95th percentile, worst), and with
``--same-as`` the utterances whose words differ from those of a decoding of whole utterances.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Json
from lstmp.corpus.lang import read_names
from lstmp.decode.acoustic_scorer import is_network
from lstmp.decode.best_path import file_name
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import check_same_model
from lstmp.decode.engine import NEAR_END
from lstmp.decode.live import LiveConfig
from lstmp.decode.online import OnlineSearch
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError, command
from lstmp.features.history import Heard
from lstmp.features.load import Features
from lstmp.log import say, warn
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.parallel import iter_jobs


@dataclass(frozen=True)
class OnlineResult:
    """One utterance.

    Attributes:
        words: word ids.
        final: whether its path ends in a final state.
        seconds: of computing, for each piece.
        revised: number of words of a result after a piece that the result after the next piece has changed or removed.
    """

    words: list[int]
    final: bool
    seconds: list[float]
    revised: int


def decode_pieces(network: AcousticNetwork, search: OnlineSearch, feats: torch.Tensor, piece: int,
                  heard: Heard | None = None) -> OnlineResult:
    """Decode the features [T, D] of one utterance, ``piece`` frames at a time.

    ``heard``: of the speaker before, see :class:`.NetworkStream`.

    Raises:
        UserError: there is no frame, or no path survives.
    """
    search.reset()
    stream, seconds = NetworkStream(network, heard), []
    pieces, shown, revised = feats.split(piece), list[int](), 0
    for number, part in enumerate(pieces, 1):
        start = time.perf_counter()
        search.accept(stream.accept(part))
        if number < len(pieces):
            path = search.best()
        else:
            search.accept(stream.finish())
            path = search.finish()
        words = [w for _, w in search.graph.words_on(path.arcs)]
        seconds.append(time.perf_counter() - start)
        revised += len(shown) - len(os.path.commonprefix([shown, words]))
        shown = words
    return OnlineResult(shown, path.final, seconds, revised)


def decode_online(model_dir: Path | str, graph_dir: Path | str, data_dir: Path | str, out: Path | str,
                  cfg: DecodeConfig, piece_seconds: float, lm_weight: int, word_penalty: float, nj: int) -> Json:
    """Decode ``data_dir`` into ``out``; see the module's docstring. Returns the contents of decode.json.

    Raises:
        UserError: bad input, or a share of more than ``cfg.max_failed`` of the utterances fails.
    """
    torch.set_num_threads(1)
    flush_denormals()
    if not is_network(model_dir):
        raise UserError("it is not a network", file=model_dir, hint="decode a GMM with steps/decode.sh")
    network = AcousticNetwork.load(model_dir, weights=cfg.network_weights)
    NetworkStream(network)  # raises an error early if the network cannot run online
    check_same_model(Path(graph_dir), Path(model_dir), network.num_pdfs)
    features = Features(data_dir, network.feature)
    shift = features.frame_shift
    piece = max(1, round(piece_seconds / shift))
    graph = SearchGraph.load(graph_dir, word_penalty)
    names = read_names(Path(graph_dir) / "words.txt")
    search = OnlineSearch(graph, replace(cfg, acoustic_scale=1 / lm_weight))

    history = features.history(network.listen) if network.front and cfg.speaker_history else None

    def decode_one(utt: str) -> OnlineResult | UserError:
        try:
            before = history.before(utt) if history else None
            return decode_pieces(network, search, features.load(utt), piece, before)
        except UserError as e:
            return e

    hypotheses: dict[str, list[str]] = {}
    seconds: list[float] = []
    failed = not_final = revised = num_words = frames = 0
    results = iter_jobs(decode_one, features.utts, nj, "decoding chunk by chunk")
    for utt, result in zip(features.utts, results, strict=True):
        if isinstance(result, UserError):
            warn(f"{utt}: {result}")
            failed, hypotheses[utt] = failed + 1, []
            continue
        hypotheses[utt] = names.words(result.words)
        frames += features.num_frames(utt)
        seconds += result.seconds
        not_final += not result.final
        revised, num_words = revised + result.revised, num_words + len(result.words)
    if not seconds:
        raise UserError("none of its utterances could be decoded", file=data_dir, hint="see the warnings above")
    if failed > cfg.max_failed * len(hypotheses):
        raise UserError(f"{failed} of {len(hypotheses)} utterances failed, more than max_failed {cfg.max_failed:g} "
                        "allows", file=data_dir, hint="see the warnings above")
    config.write_text(Path(out) / "scoring" / file_name(lm_weight, word_penalty),
                      "".join(" ".join([utt, *words]) + "\n" for utt, words in sorted(hypotheses.items())))
    audio = frames * shift
    report: Json = {
        "model": str(model_dir), "graph": str(graph_dir), "data": str(data_dir), "utterances": len(hypotheses),
        "failed": failed, "without_end": not_final, "audio_seconds": round(audio, 2),
        "rtf": round(sum(seconds) / audio, 4),
        "piece_seconds": piece * shift,
        "held_back_seconds": (network.lookahead + NEAR_END * network.subsampling) * shift,
        "latency": {"mean": float(np.mean(seconds)), "p95": float(np.quantile(seconds, 0.95)), "worst": max(seconds)},
        "revised_words": revised, "words": num_words,
        "lm_weight": lm_weight, "word_penalty": word_penalty, "config": config.to_dict(cfg)}
    config.write_text(Path(out) / "decode.json", json.dumps(report, indent=1) + "\n")
    latency = report["latency"]
    say(f"{out}: {len(hypotheses)} utterances, {audio / 60:.1f} minutes of audio, "
        f"real-time factor {report['rtf']:.3f}; a piece of {report['piece_seconds']:g} s takes "
        f"{latency['mean'] * 1e3:.0f} ms on average, "
        f"{latency['p95'] * 1e3:.0f} ms at the 95th percentile, {latency['worst'] * 1e3:.0f} ms at most; {revised} "
        f"words of partial results were revised, for {num_words} words in the end")
    return report


def compare(out: Path, other: Path, lm_weight: int, word_penalty: float) -> list[str]:
    """The utterances whose words differ between two decode dirs."""
    name = file_name(lm_weight, word_penalty)
    mine, theirs = (dict(line.partition(" ")[::2] for line in (Path(d) / "scoring" / name).read_text().splitlines())
                    for d in (out, other))
    return sorted(utt for utt in mine | theirs if mine.get(utt) != theirs.get(utt))


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/decode_online.sh", description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="folder of a unidirectional network")
    p.add_argument("--graph", required=True, help="graph dir, made from the same decision tree")
    p.add_argument("--data", required=True, help="data dir with the features that the network was trained on")
    p.add_argument("--out", type=Path, required=True, help="folder for the hypotheses")
    p.add_argument("--config", default="conf/decode.yaml", help="beams (%(default)s)")
    p.add_argument("--live-config", default="conf/live.yaml", help="chunk_seconds, the length of a piece (%(default)s)")
    p.add_argument("--lm-weight", type=int, default=11, help="divisor of the acoustic scores (%(default)s)")
    p.add_argument("--word-penalty", type=float, default=0.0, help="subtracted from the score for each word "
                   "(%(default)s)")
    p.add_argument("--same-as", type=Path, metavar="DIR", help="compare the hypotheses with this decode dir, made from "
                   "whole utterances")
    p.add_argument("--nj", type=int, default=1, help="number of processes (%(default)s)")
    a = p.parse_args(argv)
    if a.lm_weight < 1 or a.word_penalty < 0:
        raise UserError("--lm-weight must be 1 or more, --word-penalty 0 or more", hint="correct the values")
    piece = config.load(a.live_config, LiveConfig).chunk_seconds
    if a.same_as and not (a.same_as / "scoring" / file_name(a.lm_weight, a.word_penalty)).is_file():
        raise UserError("no such file", file=a.same_as / "scoring" / file_name(a.lm_weight, a.word_penalty),
                        hint="add this LM weight and penalty to the grid of conf/decode.yaml and decode again")
    report = decode_online(a.model, a.graph, a.data, a.out, config.load(a.config, DecodeConfig), piece, a.lm_weight,
                           a.word_penalty, a.nj)
    if a.same_as:
        differ = compare(a.out, a.same_as, a.lm_weight, a.word_penalty)
        say(f"{len(differ)} of {report['utterances']} utterances differ from {a.same_as}"
            + (f": {' '.join(differ[:5])}" if differ else ""))
        config.write_text(a.out / "decode.json", json.dumps(report | {"same_as": str(a.same_as), "differ": differ},
                                                            indent=1) + "\n")


if __name__ == "__main__":
    main()
