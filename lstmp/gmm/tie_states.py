"""Convert an alignment to other tied states: of a tree with more or fewer leaves, of biphones, or of monophones.

Every frame keeps its phone, and its HMM state unless the topology changes; pdf-ids and transition-ids change. So
networks with output layers of different size can be trained on the same alignment. The output is a complete alignment
folder: networks are trained on it, and decoding graphs are made from it (Kaldi: ``convert-ali`` after ``build-tree``).

For networks with a low frame rate, whose phones may be as short as one frame, ``--topology chain`` gives every phone a
state for its first frame and one for the others, ``--topology one_state`` a single one, and ``--context left_biphone``
makes a tree that does not ask about the next phone (Povey et al. 2016, "Purely sequence-trained neural networks for ASR
based on lattice-free MMI").
"""

import argparse
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config, distributed
from lstmp.corpus.lang import Lang
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm import options
from lstmp.gmm.adapt import FmllrConfig
from lstmp.gmm.align import alignment_files, read_alignment, write_states
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.record import Clock, write_record
from lstmp.gmm.train_tri import Trainer, TriConfig
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import Tree, monophone_tree
from lstmp.gmm.tree_stats import convert_alignment
from lstmp.log import say
from lstmp.stage import Stage


@dataclass(frozen=True)
class States:
    """Which states are tied.

    Attributes:
        tree: settings and features of the tree; None for monophones.
        fmllr: how speakers are adapted, if ``tree`` has adapted features.
        topology: of the phones, `lang`: that of the lang folder, `chain` or `one_state`.
        left_biphone: the tree asks only about the phone and the one before it.
    """

    tree: TriConfig | None
    fmllr: FmllrConfig | None = None
    topology: str = "lang"
    left_biphone: bool = False

    def topology_for(self, lang: Lang) -> Topology:
        """The topology of the states."""
        made = {"chain": Topology.chain, "one_state": Topology.one_state}.get(self.topology)
        return made(lang.topology.entries) if made else lang.topology

    def settings(self) -> list:
        """The settings of the stage. Those that did not exist in earlier versions appear only if they are used."""
        chosen = [self.topology] * (self.topology != "lang") + ["left_biphone"] * self.left_biphone
        return [config.to_dict(c) if c else None for c in (self.tree, self.fmllr)] + chosen


def rewrite(ali, lang: Lang, topology: Topology, tree: Tree, out) -> AcousticModel:
    """Write the alignment ``ali`` with the tied states of ``tree`` to the folder ``out``.

    The transition probabilities are re-estimated from the alignment, but not those of a topology for low frame rates:
    the frames of the alignment are shorter than those of the networks that such states are for.

    Returns:
        the HMM part of the new alignment.
    """
    old = AcousticModel.load(ali).transitions
    new = TransitionModel.from_tree(topology, tree, lang.silence + lang.nonsilence)
    alignment, counts = read_alignment(ali), np.zeros(new.num_tids + 1, dtype=np.int64)
    for utt, tids in alignment.items():  # each is replaced, so that memory holds one alignment
        old.check(utt, tids, file=Path(ali) / "ali.ark")
        alignment[utt] = convert_alignment(tids, old, new, tree, set(lang.silence))
        counts += np.bincount(alignment[utt], minlength=len(counts))
    if not topology.for_low_rate:
        new.update(torch.from_numpy(counts))
    model = AcousticModel(new, tree, None, None)
    model.save(out)
    write_states(out, alignment, new, lang.phone_names, frame_shift(ali))
    return model


def _tie(data, lang_dir, ali, base, out, states: States, device, memory: float):
    lang, clock = Lang.load(lang_dir), Clock()
    if AcousticModel.load(ali).transitions.topology != lang.topology:
        raise UserError(f"the alignment was made with other phones than those of {lang_dir}", file=ali,
                        hint="give the lang folder that the alignment was made with")
    topology = states.topology_for(lang)
    if states.tree is None:
        tree = monophone_tree(lang.sets, topology)
    else:
        trainer = Trainer(data, lang_dir, ali, base, states.tree, states.fmllr, 0, device, memory)
        tree, _ = trainer.grow_tree(topology, states.left_biphone)
        clock = trainer.shard.clock
        del trainer  # with its features
    if distributed.rank() == 0:
        with clock("alignment"):
            model = rewrite(ali, lang, topology, tree, out)
        say(f"{out}: the alignment {ali} with {model.tree.num_pdfs} tied states")
    clock.write(out)


@command
def main(argv=None):
    p: argparse.ArgumentParser = options.parser("steps/tie_states.sh", __doc__.split("\n")[0], "tri3b.yaml")
    p.add_argument("--ali", type=Path, required=True, help="alignment folder of the data")
    p.add_argument("--model", type=Path, help="folder of the model that made the alignment; needed if the "
                   "configuration adapts features to speakers")
    p.add_argument("--leaves", type=int, help="maximum number of leaves before merging (default: as in --config)")
    p.add_argument("--monophones", action="store_true", help="use the states of context-independent phones, no tree")
    p.add_argument("--topology", choices=("lang", "chain", "one_state"), default="lang", help="states of a phone: "
                   "those of the lang folder, or for networks with a low frame rate one for the first frame and one "
                   "for the others, or a single one (default: %(default)s)")
    p.add_argument("--context", choices=("triphone", "left_biphone"), default="triphone", help="what the tree may ask "
                   "about: the phones before and after, or only the one before (default: %(default)s)")
    options.add_fmllr(p)
    a = p.parse_args(argv)
    if a.monophones and a.leaves is not None:
        raise UserError("monophones have no leaves", hint="give --monophones or --leaves, not both")
    if a.monophones and a.context != "triphone":
        raise UserError("monophones have no context", hint="give --monophones or --context, not both")
    if a.leaves is not None and a.leaves < 1:
        raise UserError("--leaves must be 1 or more", hint="correct the value")
    cfg = fmllr = None
    inputs = [a.ali / n for n in ("ali.ark", "tree.json", "topo", "transitions.safetensors", "trans.ark")] + [a.lang]
    if not a.monophones:
        cfg = config.load(a.config, TriConfig)
        leaves = cfg.tree.max_leaves if a.leaves is None else a.leaves
        cfg = dataclasses.replace(cfg, tree=dataclasses.replace(cfg.tree, max_leaves=leaves))
        fmllr = config.load(a.fmllr_config, FmllrConfig) if cfg.adapt else None
        inputs += options.stage_inputs(a.data, a.lang)
        inputs += [a.model / n for n in ("final.safetensors", "config.yaml")] if a.model else []
    states = States(cfg, fmllr, a.topology, a.context == "left_biphone")
    stage = Stage(a.out, "align", inputs, states.settings())
    if distributed.on_first(stage.is_done):
        return
    a.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    distributed.launch(_tie, a.nj, a.data, a.lang, a.ali, a.model, a.out, states, a.device, a.memory)
    write_record(a.out, began, {"system": a.out.name, "config": str(a.config)})
    stage.mark(alignment_files(a.out))


if __name__ == "__main__":
    main()
