"""Align a data dir with a network, as targets for the next network; writes the same files as steps/align.sh.

The search is the same as with a GMM, with log posterior minus log prior, or the outputs of a network trained by LF-MMI,
instead of log-likelihoods. Tree, topology and transition probabilities come from the GMM whose tied states the network
was trained on.

A network with subsampling has one row of scores for a group of frames, so the path has one state for each group. The
alignment gives it to all frames of the group: it has one transition-id per frame of the features, like any other, but
states begin only with groups.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from lstmp import config, distributed
from lstmp.corpus.lang import Lang
from lstmp.device import DEFAULT_MEMORY
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm import options
from lstmp.gmm.align import alignment_files, collect, write_alignment
from lstmp.gmm.model import AcousticModel, copy_hmm
from lstmp.gmm.record import write_record
from lstmp.gmm.shard import AlignConfig, Shard
from lstmp.gmm.tree_stats import low_rate_path, windows
from lstmp.log import say
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.front import front_files
from lstmp.stage import Stage


def _align(data, lang_dir, network_dir, hmm_dir, out, cfg: AlignConfig, device, memory: float):
    flush_denormals()
    lang, hmm, network = Lang.load(lang_dir), AcousticModel.load(hmm_dir), AcousticNetwork.load(network_dir, device)
    if network.num_pdfs != hmm.tree.num_pdfs:
        raise UserError(f"the network has {network.num_pdfs} states, the tree {hmm.tree.num_pdfs}", file=hmm_dir,
                        hint="give --hmm the alignment that the network was trained on")
    shard = Shard(data, lang, network.feature, device, memory=memory)
    shard.compile_graphs(hmm)
    shard.align(hmm, cfg, scores=network, frames_per_row=network.subsampling)
    if network.subsampling > 1:
        for utt, path in shard.alignment.items():
            shard.alignment[utt] = for_frames(path, network.subsampling, shard.feats.lengths[utt], hmm,
                                              set(lang.silence))
    for utt in shard.score:
        shard.score[utt] /= network.cfg.score_factor
    merged = collect(shard)
    if merged is not None:
        write_alignment(out, *merged, hmm, lang, frame_shift(data))
        frames = sum(map(len, merged[0].values()))
        mean = sum(merged[1][u] * len(a) for u, a in merged[0].items()) / max(1, frames)
        what = "log posterior over prior" if network.has_priors else "score"
        say(f"{out}: {len(merged[0])} utterances aligned, {len(merged[2])} not, {what} {mean:.3f} per frame")
    shard.clock.write(out)


def for_frames(path: np.ndarray, subsampling: int, frames: int, hmm: AcousticModel,
               context_free: set[int]) -> np.ndarray:
    """The transition-ids of an utterance's frames, from those of its output frames.

    Args:
        path: int32 [T], the transition-ids of the output frames, in Kaldi's reordered form: the transition that leaves
            a state comes before its self-loops.
        subsampling: frames for which an output frame stands.
        frames: number of the utterance's frames, from subsampling (T - 1) + 1 to subsampling T.
        hmm: the model.
        context_free: context-independent phones, such as silence.

    Returns:
        int32 [frames], in the same form: the additional frames of a state are self-loops. In a phone of a chain model
        only the first frame is in the state of the beginning.

    Raises:
        UserError: an HMM state has no self-loop.
    """
    transitions = hmm.transitions
    if transitions.topology.is_chain:
        window, index = windows(path, transitions, context_free)
        return low_rate_path(window, np.repeat(index, subsampling)[:frames], transitions, hmm.tree)
    loops = {tid: transitions.self_loop_tid(int(transitions.tid_tuple[tid])) for tid in np.unique(path).tolist()}
    if 0 in loops.values():
        raise UserError("an HMM state without a self-loop lasts one output frame, so it cannot be given to its frames",
                        hint="align with a network without `subsampling`")
    out = np.repeat(np.array([loops[tid] for tid in path.tolist()], np.int32), subsampling)
    out[::subsampling] = path
    return out[:frames]


def align(data: Path, lang: Path, network: Path, hmm: Path, out: Path, cfg: AlignConfig, nj: int, *,
          device: str = "cpu", memory: float = DEFAULT_MEMORY, config_file: Path | str = "") -> None:
    """Align a data dir with a network, in ``nj`` processes; skipped if the alignment is up to date.

    Args:
        hmm: alignment or GMM whose states the network was trained on.
        memory: GiB of features and graphs that each process keeps in memory.
        config_file: the file that ``cfg`` was read from, for the record.

    Raises:
        UserError: bad input, or too many utterances fail.
    """
    inputs = options.stage_inputs(data, lang) + [network / "final.safetensors", network / "config.yaml"]
    inputs += front_files(network)
    stage = Stage(out, "align", [*inputs, hmm / "tree.json", hmm / "topo"], config.to_dict(cfg))
    if distributed.on_first(stage.is_done):
        return
    say(f"aligning {data} with {network}")
    torch.set_num_threads(max(1, torch.get_num_threads() // nj))
    began = time.time()
    distributed.launch(_align, nj, data, lang, network, hmm, out, cfg, device, memory)
    copy_hmm(hmm, out)
    write_record(out, began, {"system": out.name, "config": str(config_file)})
    stage.mark(alignment_files(out))


@command
def main(argv=None):
    p: argparse.ArgumentParser = options.parser("steps/align_lstmp.sh", __doc__.split("\n")[0], "align.yaml")
    p.add_argument("--network", type=Path, required=True, help="folder of the network, such as exp/<recipe>/lstmp")
    p.add_argument("--hmm", type=Path, required=True, help="alignment or GMM whose states the network was trained on")
    a = p.parse_args(argv)
    align(a.data, a.lang, a.network, a.hmm, a.out, config.load(a.config, AlignConfig), a.nj, device=a.device,
          memory=a.memory, config_file=a.config)


if __name__ == "__main__":
    main()
