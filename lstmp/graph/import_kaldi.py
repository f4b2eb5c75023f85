"""Import from Kaldi: a GMM for steps/align.sh and steps/decode.sh, a decoding graph, a lang folder.

    steps/import_kaldi_model.sh --kaldi exp/tri2b --out exp/mine/tri2b
    steps/import_kaldi_model.sh --kaldi exp/tri2b --out mine/tri2b --graph exp/tri2b/graph --graph-out mine/tri2b/graph

steps/align.sh accepts Kaldi's lang folder unchanged. Some other steps need ``lexiconp.txt`` and ``silprob.txt`` as
well; ``--lang-out`` writes a copy of the folder with these files.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.corpus.fst import FstArrays
from lstmp.corpus.kaldi_lang import is_kaldi_lang
from lstmp.corpus.lang import Lang, read_symbols
from lstmp.errors import UserError, command, of_file
from lstmp.gmm.model import AcousticModel
from lstmp.graph.epsilon_free import epsilon_free
from lstmp.graph.graph_file import NAME, write_graph_file
from lstmp.kaldi.import_gmm import import_model
from lstmp.log import say
from lstmp.stage import Stage, digest


def import_graph(kaldi, out, model_dir, new_tid: np.ndarray, *, lang=None):
    """Write the graph folder ``out`` from Kaldi's graph folder, unless it is up to date.

    Args:
        kaldi: Kaldi's graph folder, with ``HCLG.fst`` and ``words.txt``.
        out: folder to write.
        model_dir: the imported model that the graph was built from.
        new_tid: int32 [num_tids + 1], transition-id of Kaldi's model → transition-id of the imported model.
        lang: lang folder, for the silence phones; None: they are read from Kaldi's ``phones/silence.csl``.

    Raises:
        UserError: a file is missing or damaged, or the graph does not match the model or ``words.txt``.
    """
    kaldi, out, model_dir = Path(kaldi), Path(out), Path(model_dir)
    inputs = [kaldi / "HCLG.fst", kaldi / "words.txt", kaldi / "phones" / "silence.csl", model_dir / "tree.json",
              model_dir / "topo", model_dir / "final.safetensors", *([Path(lang) / "phones"] if lang else [])]
    stage = Stage(out, "import", inputs, {})
    if stage.is_done():
        return
    for path in inputs[:2]:
        if not path.is_file():
            raise UserError("no such file", file=path, hint="give the folder that Kaldi's utils/mkgraph.sh made")
    hclg = FstArrays.read(kaldi / "HCLG.fst")
    highest = int(hclg.ilabel.max(initial=0))
    if highest >= len(new_tid) or int(hclg.ilabel.min(initial=0)) < 0:
        raise UserError(f"it has transition-id {highest}, the model has 1 to {len(new_tid) - 1}",
                        file=kaldi / "HCLG.fst", hint="give the model that the graph was built from")
    words = set(read_symbols(kaldi / "words.txt").values())
    if unknown := sorted(set(np.unique(hclg.olabel).tolist()) - words):
        raise UserError(f"word {unknown[0]} of HCLG.fst is not in it", file=kaldi / "words.txt",
                        hint="give the words.txt that the graph was built with")
    hclg.ilabel = new_tid[hclg.ilabel]
    model = AcousticModel.load(model_dir)
    with of_file(kaldi / "HCLG.fst"):
        graph = epsilon_free(hclg, model.transitions.tid_pdf.numpy())
    hclg.write(out / "HCLG.fst")
    config.copy_file(kaldi / "words.txt", out / "words.txt")
    write_graph_file(graph, out, model.tree.num_pdfs)
    info = {"tree": digest(model_dir / "tree.json"), "num_pdfs": model.tree.num_pdfs, "states": len(hclg.final),
            "arcs": len(hclg.src), "epsilon_arcs": int((hclg.ilabel == 0).sum()), "model": str(model_dir),
            "from": str(kaldi)}
    silence = Lang.load(lang, False).silence if lang else _silence(kaldi / "phones" / "silence.csl")
    config.write_text(out / "graph.json", json.dumps(info | ({"silence": silence} if silence else {}), indent=1) + "\n")
    stage.mark([out / name for name in ("HCLG.fst", "words.txt", "graph.json", NAME)])
    say(f"{out}: {len(hclg.final):,} states, {len(hclg.src):,} arcs, from {kaldi}; {graph.num_arcs:,} arcs after "
        "removal of epsilons")


def _silence(path: Path) -> list[int]:
    """The phone ids of Kaldi's ``silence.csl``, such as ``1:2:3``; none if the file is missing."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not all(config.is_count(field) for field in text.split(":")):
        raise UserError(f"{text[:40]!r} is not a list of phones such as 1:2:3", file=path, line=1, hint="copy it again")
    return [int(field) for field in text.split(":")]


def import_lang(kaldi, out):
    """Copy Kaldi's lang folder and add ``lexiconp.txt`` and ``silprob.txt``, unless the copy is up to date.

    Raises:
        UserError: the folder is damaged, or its ``L.fst`` does not have the structure that Kaldi's scripts make.
    """
    kaldi, out = Path(kaldi), Path(out)
    stage = Stage(out, "import", [kaldi], {})
    if stage.is_done():
        return
    lang = Lang.load(kaldi)
    written = []
    for source in sorted(p for p in kaldi.rglob("*") if p.is_file() and not p.name.startswith(".")):
        written.append(config.copy_file(source, out / source.relative_to(kaldi)))
    if is_kaldi_lang(kaldi):
        lines = [f"{lang.word_names[word]} {p!r} {' '.join(lang.phone_names[x] for x in phones)}\n"
                 for word in sorted(lang.lexicon) for p, phones in lang.lexicon[word]]
        config.write_text(out / "lexiconp.txt", "".join(lines))
        config.write_text(out / "silprob.txt", f"{lang.sil_prob!r}\n")
        written += [out / "lexiconp.txt", out / "silprob.txt"]
    stage.mark(written)
    say(f"{out}: {len(lang.lexicon)} words with {sum(map(len, lang.lexicon.values()))} pronunciations, probability of "
        f"silence {lang.sil_prob:.3g}, from {kaldi}")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/import_kaldi_model.sh", description=__doc__.split("\n")[0])
    p.add_argument("--kaldi", type=Path, required=True, help="Kaldi's folder with final.mdl and tree")
    p.add_argument("--out", type=Path, required=True, help="model folder to write")
    p.add_argument("--lang", type=Path, help="lang folder to use the model with, which has Kaldi's phones by name "
                   "(default: keep Kaldi's phone ids)")
    p.add_argument("--lang-out", type=Path, help="write a copy of --lang here, with the files that Kaldi's lang folder "
                   "does not have")
    p.add_argument("--kind", choices=("mfcc", "fbank"), default="mfcc", help="type of features (default: mfcc)")
    p.add_argument("--graph", type=Path, help="Kaldi's graph folder, with HCLG.fst and words.txt")
    p.add_argument("--graph-out", type=Path, help="graph folder to write from --graph")
    a = p.parse_args(argv)
    if (a.graph is None) != (a.graph_out is None) or (a.lang_out and not a.lang):
        raise UserError("--graph and --graph-out must be given together, and --lang-out needs --lang",
                        hint="give both options")
    folders = [path.resolve() for path in (a.kaldi, a.out, a.graph, a.graph_out, a.lang, a.lang_out) if path]
    if len(set(folders)) < len(folders):
        raise UserError("input and output must be different folders", hint="give another --out")
    if a.lang_out:
        import_lang(a.lang, a.lang_out)
    new_tid = import_model(a.kaldi, a.out, lang=a.lang, feature_type=a.kind)
    if a.graph:
        import_graph(a.graph, a.graph_out, a.out, new_tid, lang=a.lang)


if __name__ == "__main__":
    main()
