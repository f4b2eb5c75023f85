"""Train a monophone GMM-HMM from a flat start.

Every state of every phone starts with the same Gaussian, estimated on all the data. The first pass divides each
utterance's frames equally among its states. After that, realignment and EM passes alternate while Gaussians are split.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from lstmp import config, distributed
from lstmp.corpus.lang import Lang
from lstmp.errors import command
from lstmp.features.load import FeatureConfig
from lstmp.gmm import em, options
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.record import write_training
from lstmp.gmm.shard import AlignConfig, Shard
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import monophone_tree
from lstmp.log import say
from lstmp.stage import Stage


@dataclass(frozen=True)
class MonoConfig:
    """conf/mono.yaml: the features, the training schedule, the first pass and the alignment."""

    feature: FeatureConfig
    em: em.EmConfig
    first_min_occupancy: float
    align: AlignConfig

    def __post_init__(self):
        config.check(not self.feature.online_cmvn, "feature.cmvn", "none, mean or mean_var for GMMs")


def equal_alignment(words: list[int], num_frames: int, lang: Lang, model: AcousticModel) -> np.ndarray | None:
    """Divide the frames of an utterance equally among its states: silence, first pronunciation of each word, silence.

    Returns:
        transition-ids int32 [T]. The silences are left out if there are too few frames with them; None if there are
        too few frames without them too.
    """
    phones = [p for w in words for p in lang.lexicon[w][0][1]]
    if not phones:
        phones = [lang.optional_silence]
    silence = [lang.optional_silence]
    for sequence in (silence + phones + silence, phones):
        tuples = []
        for phone in sequence:
            for state in range(lang.topology.num_states(phone)):
                pdf = model.tree.pdf((phone,), state)
                tuples.append((model.transitions.tuple_index(phone, state, pdf), state))
        if len(tuples) <= num_frames:
            break
    else:
        return None
    bounds = np.linspace(0, num_frames, len(tuples) + 1).astype(int)
    out = np.zeros(num_frames, dtype=np.int32)
    for (index, state), start, end in zip(tuples, bounds[:-1], bounds[1:], strict=True):
        out[start:end] = model.transitions.self_loop_tid(index)
        first, last = int(model.transitions.first_tid[index]), int(model.transitions.first_tid[index + 1])
        out[start] = next(t for t in range(first, last) if model.transitions.tid_dest[t] == state + 1)
    return out


def _flat_start(shard: Shard, lang: Lang, feature: FeatureConfig) -> AcousticModel:
    sums = torch.zeros(2, shard.dim, dtype=torch.float64)
    count = torch.zeros(1, dtype=torch.float64)
    for _, feats in shard.feats.read(shard.utts):
        x = feats.cpu().double()
        sums += torch.stack([x.sum(0), (x * x).sum(0)])
        count += len(x)
    distributed.all_reduce(sums, count)
    mean = sums[0] / count
    variance = (sums[1] / count - mean * mean).clamp(min=1e-4)
    tree = monophone_tree(lang.sets, lang.topology)
    n = tree.num_pdfs
    gmms = DiagGmms(torch.arange(n + 1), torch.ones(n), mean.float().repeat(n, 1), variance.float().repeat(n, 1))
    transitions = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence)
    return AcousticModel(transitions, tree, gmms.to(shard.device), feature)


def _train(data, lang_dir, out, cfg: MonoConfig, seed: int, device, memory: float):
    lang = Lang.load(lang_dir)
    shard = Shard(data, lang, cfg.feature, device, memory=memory)
    model = _flat_start(shard, lang, cfg.feature)
    shard.compile_graphs(model)
    for utt in shard.utts:
        tids = equal_alignment(shard.words[utt], shard.feats.lengths[utt], lang, model)
        if tids is not None:
            shard.alignment[utt] = tids
    shard.sort_by_pdf(model.transitions)
    loglike = em.em_step(shard, model, cfg.first_min_occupancy, cfg.em.min_variance)
    if distributed.rank() == 0:
        frames = sum(map(len, shard.alignment.values()))
        say(f"flat start: {model.tree.num_pdfs} pdfs, {len(shard.alignment)} utterances in this process "
            f"({frames / 360000:.2f} h), log-likelihood per frame {loglike:.3f}")
    em.train(shard, model, cfg.em, cfg.align, seed)
    if distributed.rank() == 0:
        model.save(out, {"em": config.to_dict(cfg.em)})
    shard.clock.write(out)


@command
def main(argv=None):
    p = options.training_parser("steps/train_mono.sh", __doc__.split("\n")[0], "mono.yaml")
    args = p.parse_args(argv)
    cfg = config.load(args.config, MonoConfig)
    inputs = options.stage_inputs(args.data, args.lang)
    stage = Stage(args.out, "train", inputs, {"config": config.to_dict(cfg), "seed": args.seed})
    if distributed.on_first(stage.is_done):
        return
    say(f"training monophones on {args.data}")
    began = time.time()
    distributed.launch(_train, args.nj, args.data, args.lang, args.out, cfg, args.seed, args.device, args.memory)
    write_training(args.out, "mono", began, args.seed, args.config)
    stage.mark([args.out / n for n in ("final.safetensors", "tree.json", "topo", "config.yaml", "train.json")])


if __name__ == "__main__":
    main()
