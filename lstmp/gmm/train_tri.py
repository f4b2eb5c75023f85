"""Train a triphone GMM-HMM on the alignment of a smaller model: grow the tree, start with a Gaussian a leaf, do EM."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from lstmp import config, distributed
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError, command
from lstmp.features.load import FeatureConfig
from lstmp.gmm import em, options, tree_stats
from lstmp.gmm.align import read_alignment
from lstmp.gmm.build_tree import TreeConfig, build
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.record import write_record
from lstmp.gmm.transition import TransitionModel
from lstmp.log import say
from lstmp.stage import Stage


@dataclass(frozen=True)
class TriConfig:
    """conf/tri1.yaml: the features, the tree, the schedule and the alignment."""

    feature: FeatureConfig
    tree: TreeConfig
    em: em.EmConfig
    align: em.AlignConfig


def first_model(moments, tree, lang: Lang, feature: FeatureConfig, min_variance: float) -> AcousticModel:
    """One Gaussian for each pdf from its moments [num_pdfs, 1 + 2D]; a leaf without frames gets the overall one."""
    moments = torch.from_numpy(moments)
    dim = (moments.shape[1] - 1) // 2
    moments = torch.where(moments[:, :1] > 0, moments, moments.sum(0))
    mean = moments[:, 1:1 + dim] / moments[:, :1]
    variance = (moments[:, 1 + dim:] / moments[:, :1] - mean * mean).clamp(min=min_variance)
    n = len(moments)
    gmms = DiagGmms(torch.arange(n + 1), torch.ones(n), mean.float(), variance.float())
    transitions = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence)
    return AcousticModel(transitions, tree, gmms, feature)


def _train(data, lang_dir, ali_dir, out, cfg: TriConfig, seed: int, device):
    lang = Lang.load(lang_dir)
    old = AcousticModel.load(ali_dir)
    if old.transitions.topology != lang.topology:
        raise UserError(f"the alignment was made with other phones than those of {lang_dir}", file=ali_dir,
                        mend="align with this lang")
    shard = em.Shard(data, lang, cfg.feature, device)
    everything = read_alignment(ali_dir)
    shard.alignment = {u: everything[u] for u in shard.utts if u in everything}
    for utt, tids in shard.alignment.items():
        if len(tids) != len(shard.feats[utt]):
            raise UserError(f"{utt} has {len(tids)} frames in the alignment, {len(shard.feats[utt])} in the features",
                            file=ali_dir, mend="align these features again")
        if tids.min() < 1 or tids.max() > old.transitions.num_tids:
            raise UserError(f"{utt} has transition-ids that the model does not", file=ali_dir / "ali.ark",
                            mend="align again; ali.ark belongs to another model")
    if not any(distributed.gather(len(shard.alignment))):
        raise UserError("no utterance of the data is aligned there", file=ali_dir, mend="align this data dir")
    free = set(lang.silence)
    stats = tree_stats.accumulate(shard.alignment, shard.feats, shard.dim, old.transitions, free)
    grown = [None]
    if distributed.rank() == 0:
        say(f"tree: {len(stats.events)} different triphone states in {stats.moments[:, 0].sum() / 360000:.2f} h")
        tree, moments = build(stats, lang, cfg.tree)
        gain = (tree_stats.log_likelihood(moments).sum() - tree_stats.log_likelihood(moments.sum(0)))
        leaves = sum(1 for root in tree.distinct_roots() for _ in root.leaves())
        say(f"tree: {leaves} leaves, {tree.num_pdfs} after merging; it gains {gain / stats.moments[:, 0].sum():.2f} "
            "log-likelihood per frame over one Gaussian")
        grown = [(tree, moments)]
    if distributed.world_size() > 1:
        dist.broadcast_object_list(grown, src=0)
    tree, moments = grown[0]
    model = first_model(moments, tree, lang, cfg.feature, cfg.em.min_variance)
    model.gmms = model.gmms.to(device)
    shard.alignment = {u: tree_stats.convert_alignment(t, old.transitions, model.transitions, tree, free)
                       for u, t in shard.alignment.items()}
    shard.compile_graphs(model)
    em.train(shard, model, cfg.em, cfg.align, seed)
    if distributed.rank() == 0:
        model.save(out, {"em": config.to_dict(cfg.em), "tree": config.to_dict(cfg.tree)})


@command
def main(argv=None):
    p = options.training_parser("steps/train_tri1.sh", __doc__, "tri1.yaml")
    p.add_argument("--ali", type=Path, required=True, help="alignment of the data by another model")
    args = p.parse_args(argv)
    cfg = config.load(args.config, TriConfig)
    inputs = options.stage_inputs(args.data, args.lang) + [
        args.ali / n for n in ("ali.ark", "tree.json", "transitions.safetensors")]
    stage = Stage(args.out, "train", inputs, {"config": config.to_dict(cfg), "seed": args.seed})
    if stage.is_done():
        return
    say(f"training triphones on {args.data} with the alignment {args.ali}")
    began = time.time()
    distributed.launch(_train, args.nj, args.data, args.lang, args.ali, args.out, cfg, args.seed, args.device)
    write_record(args.out, "tri1", began, args.seed, args.config)
    stage.mark([args.out / n for n in ("final.safetensors", "tree.json", "topo", "config.yaml", "train.json")])


if __name__ == "__main__":
    main()
