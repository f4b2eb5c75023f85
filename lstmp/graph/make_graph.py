"""Stage 9: the search graph of a model and a language model: ``HCLG.fst``, ``words.txt``, ``graph.json``, the k2 form.

    python -m lstmp.graph.make_graph --lang data/<recipe>/lang_<lm> --model <model> --out <model>/graph_<lm>

``graph.json`` holds counts and the digest of the model's tree, so that a decoder can refuse the graph of another model.
"""

import argparse
import json
from pathlib import Path

from lstmp import config
from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError, command
from lstmp.gmm.model import AcousticModel
from lstmp.graph.epsilon_free import epsilon_free
from lstmp.graph.graph_file import NAME, write_graph_file
from lstmp.graph.hclg import compose_hclg
from lstmp.log import say
from lstmp.stage import Stage, digest


def make_graph(lang_dir, model_dir, out, *, transition_scale: float = 1.0, self_loop_scale: float = 0.1) -> None:
    """Write the graph folder ``out``.

    Args:
        lang_dir: with L_disambig.fst and G.fst.
        model_dir: a GMM's, an alignment's or a network's folder: its tree and transitions are used.
        transition_scale, self_loop_scale: on the transitions' log-probabilities; Kaldi's values are 1 and 0.1.

    Raises:
        UserError: if the two folders do not belong together, or a file is missing or damaged.
    """
    lang_dir, model_dir, out = Path(lang_dir), Path(model_dir), Path(out)
    if min(transition_scale, self_loop_scale) < 0:
        raise UserError("scales must not be negative", hint="1.0 and 0.1 are usual")
    transitions_file = model_dir / "transitions.safetensors"
    if not transitions_file.is_file():
        transitions_file = model_dir / "final.safetensors"
    inputs = [lang_dir, model_dir / "tree.json", model_dir / "topo", transitions_file]
    stage = Stage(out, "hclg", inputs=inputs, settings=[transition_scale, self_loop_scale])
    hclg = None
    if not stage.is_done():
        hclg = _make_hclg(lang_dir, model_dir, out, transition_scale, self_loop_scale)
        stage.mark(outputs=[out / "HCLG.fst", out / "words.txt", out / "graph.json"])
    stage = Stage(out, "k2", inputs=[out / "HCLG.fst", *inputs[1:]], settings=[])
    if not stage.is_done():
        model = AcousticModel.load(model_dir)
        graph = epsilon_free(hclg or FstArrays.read(out / "HCLG.fst"), model.transitions.tid_pdf.numpy())
        write_graph_file(graph, out, model.tree.num_pdfs)
        states = int(graph.arcs[:, :2].max()) + 1
        say(f"{out}: for the search, without epsilons, {states:,} states, {len(graph.arcs):,} arcs")
        stage.mark(outputs=[out / NAME])


def _make_hclg(lang_dir: Path, model_dir: Path, out: Path, transition_scale: float,
               self_loop_scale: float) -> FstArrays:
    lang, model = Lang.load(lang_dir, pronunciations=False), AcousticModel.load(model_dir)
    if lang.topology != model.transitions.topology:
        raise UserError(f"its phones or their topology are not those of the model {model_dir}", file=lang_dir / "topo",
                        hint="make the graph with the lang folder that the model was trained with")
    hclg = compose_hclg(read_fst(lang_dir / "L_disambig.fst"), read_fst(lang_dir / "G.fst"), lang.disambig, model.tree,
                        model.transitions, transition_scale=transition_scale, self_loop_scale=self_loop_scale,
                        phone_names=lang.phone_names)
    hclg.write(out / "HCLG.fst")
    config.copy_file(lang_dir / "words.txt", out / "words.txt")
    info = {"tree": digest(model_dir / "tree.json"), "num_pdfs": model.tree.num_pdfs, "states": len(hclg.final),
            "arcs": len(hclg.src), "epsilon_arcs": int((hclg.ilabel == 0).sum()), "silence": lang.silence,
            "model": str(model_dir), "lang": str(lang_dir), "transition_scale": transition_scale,
            "self_loop_scale": self_loop_scale}
    config.write_text(out / "graph.json", json.dumps(info, indent=1) + "\n")
    return hclg


@command
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lang", required=True, help="lang folder with G.fst, data/<recipe>/lang_<lm>")
    parser.add_argument("--model", required=True, help="folder of the model whose tree and transitions to use")
    parser.add_argument("--out", required=True, help="folder for the graph, exp/<recipe>/<model>/graph_<lm>")
    parser.add_argument("--transition-scale", type=float, default=1.0,
                        help="scale of transition log-probabilities other than self-loops' (default: %(default)s)")
    parser.add_argument("--self-loop-scale", type=float, default=0.1,
                        help="scale of staying and leaving (default: %(default)s)")
    args = parser.parse_args(argv)
    make_graph(args.lang, args.model, args.out, transition_scale=args.transition_scale,
               self_loop_scale=args.self_loop_scale)


if __name__ == "__main__":
    main()
