"""Train a triphone GMM-HMM on the alignment of another model: features, tree, one Gaussian per leaf, then EM.

The configuration selects one of three types of features: derivatives (conf/tri1.yaml), LDA of spliced frames with MLLT
updates (conf/tri2b.yaml), or speaker-adaptive training with fMLLR (conf/tri3b.yaml), which uses the LDA+MLLT transform
of the model given by --model.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from lstmp import config, distributed
from lstmp.corpus.lang import Lang
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError, command
from lstmp.features.load import FeatureConfig
from lstmp.gmm import em, lda, mllt, options, tree_stats
from lstmp.gmm.adapt import Adapter, FmllrConfig, read_transforms
from lstmp.gmm.align import read_alignment
from lstmp.gmm.build_tree import TreeConfig, build
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.record import write_training
from lstmp.gmm.shard import AlignConfig, Shard
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import Tree
from lstmp.log import say
from lstmp.stage import Stage


@dataclass(frozen=True)
class TriConfig:
    """conf/tri1.yaml, conf/tri2b.yaml, conf/tri3b.yaml.

    Attributes:
        feature: the features, before any transform.
        lda_dim: output dimension of LDA; 0: no LDA.
        lda_context: number of frames on each side that are spliced to each frame for LDA.
        mllt: numbers of the passes that begin with an MLLT update.
        adapt: numbers of the passes that begin with a re-estimation of the speakers' fMLLR transforms, in addition to
            the estimation before the first pass; empty: no adaptation.
        tree, em, align: settings of the tree, the training schedule and the alignment.
    """

    feature: FeatureConfig
    lda_dim: int
    lda_context: int
    mllt: list[int]
    adapt: list[int]
    tree: TreeConfig
    em: em.EmConfig
    align: AlignConfig

    def __post_init__(self):
        config.check(not self.feature.online_cmvn, "feature.cmvn", "none, mean or mean_var for GMMs")
        config.check(self.lda_dim >= 0, "lda_dim", "0 or more")
        config.check(0 <= self.lda_context <= 50, "lda_context", "between 0 and 50")
        for name in ("mllt", "adapt"):
            config.check(all(1 <= i <= self.em.num_iters for i in getattr(self, name)), name, "passes of the training")
        config.check(not self.mllt or self.lda_dim > 0, "mllt", "empty without LDA")
        config.check(not (self.adapt and self.lda_dim), "adapt", "empty where `lda_dim` is set: adapt in a later step")


class Trainer:
    """One process's part of the training. :meth:`run` does all of it, :meth:`grow_tree` only the tree."""

    def __init__(self, data, lang_dir, ali_dir, model_dir, cfg: TriConfig, fmllr: FmllrConfig | None, seed: int,
                 device, memory: float):
        self.cfg, self.fmllr, self.seed = cfg, fmllr, seed
        self.lang, self.ali_dir = Lang.load(lang_dir), Path(ali_dir)
        self.ali_model = AcousticModel.load(ali_dir)  # the HMM part that the alignment was made with
        self.base = None if model_dir is None else AcousticModel.load(model_dir, device)
        if self.ali_model.transitions.topology != self.lang.topology:
            raise UserError(f"the alignment was made with other phones than those of {lang_dir}", file=ali_dir,
                            hint="align with this lang folder")
        self.transform = None
        if cfg.adapt:
            if self.base is None or self.base.gmms is None:
                raise UserError("speaker-adaptive training needs the model that made the alignment",
                                hint="give its folder with --model")
            if self.base.feature != cfg.feature:
                raise UserError(f"its features are not those of the configuration: {self.base.feature}", file=model_dir,
                                hint="set `feature` in the configuration to that of this model")
            self.transform = self.base.transform
        self.shard = Shard(data, self.lang, cfg.feature, device, self.transform,
                              context=cfg.lda_context if cfg.lda_dim else 0, memory=memory)
        self.adapter: Adapter | None = None
        self._read_alignment()

    def _read_alignment(self):
        """Give the shard the alignment of its utterances, checked against features and model."""
        shard, transitions = self.shard, self.ali_model.transitions
        alignment = read_alignment(self.ali_dir, only=shard.feats.lengths.keys())
        shard.alignment = {u: alignment[u] for u in shard.utts if u in alignment}
        for utt, tids in shard.alignment.items():
            if len(tids) != (frames := shard.feats.lengths[utt]):
                raise UserError(f"{utt} has {len(tids)} frames in the alignment, but {frames} in the features",
                                file=self.ali_dir, hint="align these features again")
            transitions.check(utt, tids, file=self.ali_dir / "ali.ark")
        if not any(distributed.gather(len(shard.alignment))):
            raise UserError("no utterance of the data is in this alignment", file=self.ali_dir,
                            hint="align this data dir")

    def run(self, out):
        """Train, and write the model folder ``out``."""
        cfg, shard, ali_model = self.cfg, self.shard, self.ali_model
        tree, moments = self.grow_tree()
        model = first_model(moments, tree, self.lang, cfg.feature, cfg.em.min_variance)
        model.gmms, model.transform = model.mixtures.to(shard.device), self.transform
        context_free = set(self.lang.silence)
        shard.alignment = {
            u: tree_stats.convert_alignment(t, ali_model.transitions, model.transitions, tree, context_free)
            for u, t in shard.alignment.items()}
        shard.compile_graphs(model)
        em.train(shard, model, cfg.em, cfg.align, self.seed, lambda i: self._adapt(model, i))
        if self.adapter is not None:
            model.si_gmms = self.adapter.speaker_independent(model, cfg.em.min_variance)
        if distributed.rank() == 0:
            model.save(out, {"em": config.to_dict(cfg.em), "tree": config.to_dict(cfg.tree)})
        shard.clock.write(out)

    def _lda(self):
        """Estimate and apply LDA; its classes are the tied states of the alignment without silence."""
        shard, pdf = self.shard, self.ali_model.transitions.tid_pdf
        silent = self.ali_model.silent_pdfs(self.lang.silence)
        stats = lda.LdaStats.zeros(self.ali_model.transitions.num_pdfs, shard.dim)
        for utt, feats in (pair for block in shard.blocks() for pair in shard.feats.read(block)):
            classes = pdf[torch.from_numpy(shard.alignment[utt]).long()]
            stats.add(feats.cpu(), torch.where(silent[classes], -1, classes))
        distributed.all_reduce(*stats.tensors())
        self.transform = lda.estimate(stats, self.cfg.lda_dim)
        shard.feats.transform(self.transform)

    def _first_transforms(self):
        """Apply the fMLLR transforms of the alignment folder; if it has none, estimate them with ``base``."""
        assert self.fmllr is not None and self.base is not None
        self.adapter = Adapter(self.shard, self.fmllr)
        if (self.ali_dir / "trans.scp").is_file():
            self.adapter.apply(read_transforms(self.ali_dir))
        else:
            self.adapter.update(self.base.speaker_independent(), "before the first pass")

    def grow_tree(self, topology: Topology | None = None, left_biphone: bool = False):
        """Grow the tree on the features of the configuration.

        Args:
            topology: that of the lang folder (default), or one for low frame rates.
            left_biphone: the tree asks only about the phone and the one before it.

        Returns:
            The tree, and the moments [num_pdfs, 1 + 2D] of the frames of each pdf.
        """
        if self.cfg.lda_dim:
            with self.shard.clock("LDA and MLLT"):
                self._lda()
        if self.cfg.adapt:
            self._first_transforms()
        with self.shard.clock("tree"):
            return self._grow_tree(topology or self.lang.topology, left_biphone)

    def _grow_tree(self, topology: Topology, left_biphone: bool):
        cfg, shard, silence = self.cfg, self.shard, set(self.lang.silence)
        changed = topology != self.lang.topology
        stats = tree_stats.accumulate(shard, self.ali_model.transitions, silence, changed and topology.is_chain)
        if left_biphone or changed:
            stats = stats.without(right=left_biphone, pdf_class=topology.has_one_state)
        text = moments = None
        if distributed.rank() == 0:
            kind = "biphone" if left_biphone else "triphone"
            say(f"tree: {len(stats.events)} different {kind} states in {stats.moments[:, 0].sum() / 360000:.2f} h")
            tree, moments = build(stats, self.lang, cfg.tree, topology, left_biphone)
            gain = (tree_stats.log_likelihood(moments).sum() - tree_stats.log_likelihood(moments.sum(0)))
            leaves = sum(1 for root in tree.distinct_roots() for _ in root.leaves())
            say(f"tree: {leaves} leaves, {tree.num_pdfs} after merging; it gains "
                f"{gain / stats.moments[:, 0].sum():.2f} log-likelihood per frame over one Gaussian")
            text = tree.to_json()
        text, moments = distributed.pass_on((text, moments), 0)
        return Tree.from_json(text), moments

    def _adapt(self, model: AcousticModel, i: int) -> bool:
        """Update MLLT and fMLLR if the schedule has that in pass ``i``; returns whether the features changed."""
        if i in self.cfg.mllt:
            with self.shard.clock("LDA and MLLT"):
                self._mllt(model, i)
        if i in self.cfg.adapt:
            assert self.adapter is not None
            self.adapter.update(model, f"pass {i}")
        return i in self.cfg.mllt or i in self.cfg.adapt

    def _mllt(self, model: AcousticModel, i: int):
        """Make an MLLT update of the features, the transform and the means."""
        shard = self.shard
        shard.sort_by_pdf(model.transitions)
        stats = mllt.MlltStats.zeros(shard.dim)
        silent = model.silent_pdfs(self.lang.silence)
        for feats, pdf_counts in shard.frames_by_pdf():
            mllt.accumulate(model.mixtures, feats, pdf_counts, silent, stats)
            del feats
        distributed.all_reduce(*stats.tensors())
        a, gain = mllt.estimate(stats)
        a = a.float()
        shard.feats.transform(a)
        assert model.transform is not None
        self.transform = model.transform = a @ model.transform
        gmms = model.mixtures
        model.gmms = DiagGmms(gmms.offsets, gmms.weights, gmms.means @ a.to(gmms.means.device).t(), gmms.variances)
        if distributed.rank() == 0:
            say(f"pass {i}: MLLT gains {gain:.3f} log-likelihood per frame of speech")


def first_model(moments, tree, lang: Lang, feature: FeatureConfig, min_variance: float) -> AcousticModel:
    """Make a model with one Gaussian per pdf from the moments [num_pdfs, 1 + 2D] of its frames.

    A pdf without frames gets the Gaussian of all frames.
    """
    moments = torch.from_numpy(moments)
    dim = (moments.shape[1] - 1) // 2
    moments = torch.where(moments[:, :1] > 0, moments, moments.sum(0))
    mean = moments[:, 1:1 + dim] / moments[:, :1]
    variance = (moments[:, 1 + dim:] / moments[:, :1] - mean * mean).clamp(min=min_variance)
    n = len(moments)
    gmms = DiagGmms(torch.arange(n + 1), torch.ones(n), mean.float(), variance.float())
    transitions = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence)
    return AcousticModel(transitions, tree, gmms, feature)


def _train(data, lang, ali, model, out, cfg: TriConfig, fmllr: FmllrConfig | None, seed: int, device, memory: float):
    Trainer(data, lang, ali, model, cfg, fmllr, seed, device, memory).run(out)


@command
def main(argv=None):
    p = options.training_parser("steps/train_tri.sh", __doc__.split("\n")[0], "tri1.yaml")
    p.add_argument("--ali", type=Path, required=True, help="alignment folder of the data, made by another model")
    p.add_argument("--model", type=Path, help="folder of that model; needed for speaker-adaptive training")
    options.add_fmllr(p)
    args = p.parse_args(argv)
    cfg = config.load(args.config, TriConfig)
    fmllr = config.load(args.fmllr_config, FmllrConfig) if cfg.adapt else None
    inputs = options.stage_inputs(args.data, args.lang) + [
        args.ali / n for n in ("ali.ark", "tree.json", "transitions.safetensors", "trans.ark")]
    inputs += [args.model / n for n in ("final.safetensors", "config.yaml")] if args.model else []
    settings = {"config": config.to_dict(cfg), "seed": args.seed} | ({"fmllr": config.to_dict(fmllr)} if fmllr else {})
    stage = Stage(args.out, "train", inputs, settings)
    if distributed.on_first(stage.is_done):
        return
    say(f"training triphones on {args.data} with the alignment {args.ali}")
    began = time.time()
    distributed.launch(_train, args.nj, args.data, args.lang, args.ali, args.model, args.out, cfg, fmllr,
                       args.seed, args.device, args.memory)
    write_training(args.out, args.out.name, began, args.seed, args.config)
    stage.mark([args.out / n for n in ("final.safetensors", "tree.json", "topo", "config.yaml", "train.json")])


if __name__ == "__main__":
    main()
