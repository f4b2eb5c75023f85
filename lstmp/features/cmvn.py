"""Computes cepstral mean and variance statistics per speaker, as Kaldi's ``compute-cmvn-stats``.

Writes one matrix [2, D+1] per speaker to ``cmvn.ark``/``cmvn.scp``. Row 0 contains the sum over frames of each
dimension and the number of frames; row 1 contains the sums of squares and 0.
"""

import argparse
from pathlib import Path

import kaldi_native_fbank as knf

from lstmp.aliases import Array
from lstmp.corpus.datadir import read_table
from lstmp.errors import UserError, command
from lstmp.features.ark import ArkWriter, read_mat, read_scp
from lstmp.log import progress, say


def compute_cmvn(data_dir: Path | str) -> None:
    """Write ``cmvn.ark``/``cmvn.scp`` of a data dir with ``feats.scp`` and ``utt2spk``.

    Raises:
        UserError: a file is missing, an archive is damaged, or an utterance has no speaker.
    """
    data_dir = Path(data_dir)
    feats, speaker = read_scp(data_dir / "feats.scp"), read_table(data_dir / "utt2spk")
    stats: dict[str, Array] = {}
    for utt, rx in progress(feats.items(), f"cmvn {data_dir.name}"):
        if utt not in speaker:
            raise UserError(f"utterance {utt} has no speaker", file=data_dir / "utt2spk", hint="add its line")
        spk = speaker[utt]
        mat = read_mat(rx, dim=stats[spk].shape[1] - 1 if spk in stats else None)
        stats[spk] = stats.get(spk, 0) + knf.compute_cmvn_stats(mat)
    with ArkWriter(data_dir / "cmvn.ark", data_dir / "cmvn.scp") as writer:
        for spk in sorted(stats):
            writer.write(spk, stats[spk])
    say(f"{data_dir}: CMVN statistics of {len(stats)} speakers")


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps/compute_cmvn.sh", description=__doc__.split("\n")[0])
    parser.add_argument("data", metavar="DATA", help="data dir with feats.scp and utt2spk")
    compute_cmvn(parser.parse_args(argv).data)


if __name__ == "__main__":
    main()
