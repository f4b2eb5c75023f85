"""Make the decoding graph of a model and a language model (stage 9): HCLG.fst, its form for the search, words.txt.

    python -m lstmp.graph.make_graph --lang data/<recipe>/lang_<lm> --model <model> --out <model>/graph_<lm>

``graph.json`` has the size of the graph and a digest of the model's tree, so that the decoder can reject the graph of
another model.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.fst_cycles import check_backoff, check_lexicon
from lstmp.corpus.lang import Lang
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError, command, of_file
from lstmp.gmm.model import AcousticModel
from lstmp.graph.bounded import bounded
from lstmp.graph.epsilon_free import epsilon_free
from lstmp.graph.graph_file import NAME, write_graph_file
from lstmp.graph.hclg import compose_hclg
from lstmp.log import say
from lstmp.stage import Stage, digest

_SELF_LOOP_SCALE = 0.1  # as in Kaldi


def make_graph(lang_dir, model_dir, out, *, transition_scale: float = 1.0,
               self_loop_scale: float | None = None) -> None:
    """Write the graph folder ``out``.

    Args:
        lang_dir: lang folder with L_disambig.fst and G.fst.
        model_dir: folder of a GMM, an alignment or a network; its tree and transition model are used.
        out: folder to write.
        transition_scale: scale of the transition log-probabilities, except self-loops.
        self_loop_scale: scale of the log-probabilities of staying in and of leaving a state; None: 1 with the topology
            of chain models, so that all frames have the same factor, otherwise 0.1.

    Raises:
        UserError: the lang folder does not match the model, a file is missing or damaged, lexicon or language model
            have a cycle without a word, or no graph of a usable size can be made of them.
    """
    lang_dir, model_dir, out = Path(lang_dir), Path(model_dir), Path(out)
    if min(transition_scale, self_loop_scale or 0.0) < 0:
        raise UserError("scales must not be negative", hint="1.0 and 0.1 are usual")
    transitions_file = model_dir / "transitions.safetensors"
    if not transitions_file.is_file():
        transitions_file = model_dir / "final.safetensors"
    if self_loop_scale is None:
        topo = model_dir / "topo"
        self_loop_scale = Topology.read(topo).self_loop_scale(_SELF_LOOP_SCALE) if topo.is_file() else _SELF_LOOP_SCALE
    inputs = [lang_dir, model_dir / "tree.json", model_dir / "topo", transitions_file]
    stage = Stage(out, "hclg", inputs=inputs, settings=[transition_scale, self_loop_scale])
    hclg = None
    if not stage.is_done():
        hclg = _make_hclg(lang_dir, model_dir, out, transition_scale, self_loop_scale)
        stage.mark(outputs=[out / "HCLG.fst", out / "words.txt", out / "graph.json"])
    stage = Stage(out, "k2", inputs=[out / "HCLG.fst", *inputs[1:]], settings=[], version=3)
    if not stage.is_done():
        model = AcousticModel.load(model_dir)
        with of_file(out / "HCLG.fst"):
            graph = epsilon_free(hclg or FstArrays.read(out / "HCLG.fst"), model.transitions.tid_pdf.numpy())
        write_graph_file(graph, out, model.tree.num_pdfs)
        say(f"{out}: {graph.num_states:,} states, {graph.num_arcs:,} arcs after removal of epsilons, of which "
            f"{len(graph.arcs):,} are stored")
        stage.mark(outputs=[out / NAME])


def _make_hclg(lang_dir: Path, model_dir: Path, out: Path, transition_scale: float,
               self_loop_scale: float) -> FstArrays:
    lang, model = Lang.load(lang_dir, pronunciations=False), AcousticModel.load(model_dir)
    if not model.transitions.topology.fits(lang.topology):
        raise UserError(f"its phones or topology differ from those of the model {model_dir}", file=lang_dir / "topo",
                        hint="make the graph with the lang folder that the model was trained with")
    l_disambig, g = lang_dir / "L_disambig.fst", lang_dir / "G.fst"
    arcs = _check(l_disambig, g, lang)

    def compose() -> FstArrays:
        return compose_hclg(read_fst(l_disambig), read_fst(g), lang.disambig, model.tree, model.transitions,
                            transition_scale=transition_scale, self_loop_scale=self_loop_scale,
                            phone_names=lang.phone_names)

    with of_file(lang_dir):
        hclg = bounded(compose, arcs, UserError(
            f"no graph of a usable size can be made of lexicon and language model, which have {arcs:,} arcs",
            file=lang_dir,
            hint="prepare the lang folder again: words that sound alike must end in symbols #1, #2 …, and a state of "
                 "G.fst must have one arc for each word"))
    hclg.write(out / "HCLG.fst")
    config.copy_file(lang_dir / "words.txt", out / "words.txt")
    info = {"tree": digest(model_dir / "tree.json"), "num_pdfs": model.tree.num_pdfs, "states": len(hclg.final),
            "arcs": len(hclg.src), "epsilon_arcs": int((hclg.ilabel == 0).sum()), "silence": lang.silence,
            "model": str(model_dir), "lang": str(lang_dir), "transition_scale": transition_scale,
            "self_loop_scale": self_loop_scale}
    config.write_text(out / "graph.json", json.dumps(info, indent=1) + "\n")
    return hclg


def _check(l_disambig: Path, g: Path, lang: Lang) -> int:
    """Check both FSTs for cycles that would never end. Returns their total number of arcs, for the limits of time and
    memory; several arcs of a state of G with the same word count as one, because they must not raise the limits."""
    lexicon, model = FstArrays.read(l_disambig), FstArrays.read(g)
    check_lexicon(lexicon, lang.disambig, l_disambig)
    check_backoff(model, lang.words.get("#0"), g)
    key = model.src.astype(np.int64) * (int(model.ilabel.max(initial=0)) + 1) + model.ilabel
    return len(lexicon.src) + len(np.unique(key))


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="steps/make_graph.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--lang", required=True, help="lang folder with G.fst, data/<recipe>/lang_<lm>")
    parser.add_argument("--model", required=True, help="folder of the model whose tree and transitions to use")
    parser.add_argument("--out", required=True, help="folder for the graph, exp/<recipe>/<model>/graph_<lm>")
    parser.add_argument("--transition-scale", type=float, default=1.0,
                        help="scale of the transition log-probabilities, except self-loops (default: %(default)s)")
    parser.add_argument("--self-loop-scale", type=float,
                        help="scale of the log-probabilities of staying in and of leaving a state (default: 1 with the "
                        f"topology of chain models, otherwise {_SELF_LOOP_SCALE})")
    args = parser.parse_args(argv)
    make_graph(args.lang, args.model, args.out, transition_scale=args.transition_scale,
               self_loop_scale=args.self_loop_scale)


if __name__ == "__main__":
    main()
