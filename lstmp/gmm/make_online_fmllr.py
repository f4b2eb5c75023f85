"""Write the data dir that a network with online fMLLR is trained on: each frame as it would be while it is recognized.

The states are those of an alignment; in use they are the network's posteriors. Every second utterance of a speaker
begins with what the one before it has left, the others with nothing, so that the network learns to know both, speakers
who are new and speakers who were heard before. The prior of a speaker's transforms is one that was learnt without him.
"""

import argparse
from pathlib import Path

import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.corpus.bad import LeftOut
from lstmp.corpus.datadir import by_speaker, copy_tables, existing_tables, read_data_dir, read_lines
from lstmp.errors import UserError, command
from lstmp.features.about import read_about, write_about
from lstmp.features.ark import ArkWriter, vector_index
from lstmp.features.history import Heard
from lstmp.features.load import RAW_MFCC, Features, data_inputs
from lstmp.gmm.align import alignment_file, states_inputs
from lstmp.gmm.online_fmllr import NAME, Adapter
from lstmp.gmm.train_online_fmllr import PRIORS, read_priors, with_states
from lstmp.log import say
from lstmp.parallel import iter_jobs
from lstmp.stage import Stage, digest

_OUTPUTS = ("feats.ark", "feats.scp", "utt2num_frames", "feats.json")


class _Utterances:
    """Adapts pairs of utterances."""

    def __init__(self, data: Path, ali: Path, adapter_dir: Path):
        self.features, self.adapter = Features(data, RAW_MFCC), Adapter.read(adapter_dir / NAME)
        self._index = vector_index(alignment_file(ali))
        priors, self._part = read_priors(adapter_dir / PRIORS, self.adapter.dim * (self.adapter.dim + 1))
        self._adapters = [self.adapter.with_axes(*prior) for prior in priors]

    def adapt(self, utt: str, adapter: Adapter, heard: Heard | None) -> tuple[Array, Heard]:
        """The adapted frames of an utterance, float32 [T, D], and what was heard of its speaker then.

        Raises:
            UserError: it has no usable features or no alignment of the same length.
        """
        cepstra, pdfs = with_states(self.features, self._index, utt, adapter.num_pdfs)
        online = adapter.start(heard)
        online.hear_states(pdfs)
        frames = torch.cat([*online.parts(cepstra.numpy()), *online.rest()])
        return frames.numpy(), online.heard()

    def pair(self, job: tuple[str, list[str]]) -> list[tuple[str, Array | UserError]]:
        """One or two successive utterances of a speaker, each with its adapted frames, or with an error."""
        speaker, utts = job
        done: list[tuple[str, Array | UserError]] = []
        heard, part = None, self._part.get(speaker)
        adapter = self.adapter if part is None else self._adapters[part]
        for utt in utts:
            try:
                frames, heard = self.adapt(utt, adapter, heard)
                done.append((utt, frames))
            except UserError as e:
                done.append((utt, e))
        return done


def make_online_fmllr(data: Path, ali: Path, adapter_dir: Path, out: Path, nj: int) -> None:
    """Write the adapted features of ``data`` to the data dir ``out``, unless this has been done already.

    Args:
        data: data dir with MFCC features.
        ali: its alignment, to the states that the adapter was trained for.
        adapter_dir: folder with online_fmllr.safetensors and priors.safetensors.
        nj: number of processes.

    Raises:
        UserError: bad input, or no utterance can be used.
    """
    if out.resolve() == data.resolve():
        raise UserError("this folder is also the input (--data)", file=out, hint="give another folder as --out")
    tables = existing_tables(data)
    needs = [adapter_dir / NAME, adapter_dir / PRIORS]
    stage = Stage(out, "online_fmllr", [*needs, *states_inputs(ali), *data_inputs(data), *tables], {})
    if stage.is_done():
        return
    torch.set_num_threads(1)
    utterances = _Utterances(data, ali, adapter_dir)
    read = read_data_dir(data, need=("utt2spk",))
    have = set(utterances.features.utts)
    pairs = [(speaker, utts[n:n + 2]) for speaker, all_utts in by_speaker(read.utts.values()).items()
             for utts in [[u for u in all_utts if u in have]] for n in range(0, len(utts), 2)]
    copies = copy_tables(read, out)
    frames: dict[str, int] = {}
    left_out = LeftOut(data)
    with ArkWriter(out / "feats.ark", out / "feats.scp") as writer:
        for done in iter_jobs(utterances.pair, pairs, nj, f"online fmllr {out.name}", "pair"):
            for utt, result in done:
                if isinstance(result, UserError):
                    left_out.add(utt, result)
                    continue
                writer.write(utt, result)
                frames[utt] = len(result)
    left_out.done()
    if not frames:
        raise UserError("no utterance has usable features and an alignment", file=data / "feats.scp",
                        hint="make both again")
    config.write_text(out / "feats.scp", "".join(f"{line}\n" for line in sorted(read_lines(out / "feats.scp"))))
    features, dim = utterances.features, utterances.adapter.dim
    total = write_about(out, "online_fmllr", dim, frames, len(left_out), features.frame_shift,
                        config=(read_about(data) or {}).get("config"), online_fmllr=digest(adapter_dir / NAME))
    stage.mark([*(out / name for name in _OUTPUTS), *copies])
    say(f"{out}: {total:,} frames of {dim} values")


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/make_online_fmllr.sh", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="data dir with MFCC features")
    p.add_argument("--ali", type=Path, required=True, help="its alignment to the states of the network")
    p.add_argument("--online-fmllr", type=Path, required=True, help="folder that steps/train_online_fmllr.sh wrote")
    p.add_argument("--out", type=Path, required=True, help="data dir to write")
    p.add_argument("--nj", type=int, default=2, help="number of processes (default: %(default)s)")
    a = p.parse_args(argv)
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", hint="correct the value")
    make_online_fmllr(a.data, a.ali, a.online_fmllr, a.out, a.nj)


if __name__ == "__main__":
    main()
