"""Command-line options that all steps that train a network share."""

import argparse
from typing import Any

from lstmp.device import CHOICES, DEFAULT_MEMORY, for_training, memory_size
from lstmp.errors import UserError
from lstmp.nnet.distributed.workers import default_threads


def add_options(parser: argparse.ArgumentParser):
    """Add data, alignment, network folder and processes."""
    parser.add_argument("--train", required=True, metavar="DIR", help="data dir with filterbank features")
    parser.add_argument("--ali", required=True, metavar="DIR",
                        help="alignment with pdf.scp or pdf.ark, and num_pdfs; or from Kaldi, with ali.*.gz, tree, "
                        "final.mdl")
    parser.add_argument("--valid", required=True, metavar="DIR|LIST",
                        help="held-out data dir, or a list of utterance ids to hold out of --train")
    parser.add_argument("--valid-ali", metavar="DIR", help="alignment of --valid (default: --ali)")
    parser.add_argument("--align-model", metavar="DIR",
                        help="folder with tree.json and transitions.safetensors (default: --ali)")
    parser.add_argument("--out", required=True, metavar="DIR", help="network folder to write, such as exp/tiny/lstmp")
    parser.add_argument("--device", default="auto", help=f"{CHOICES}; auto: a GPU, if there is one "
                        "(default: %(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes that share the streams, in the way that "
                        "`updates` in the configuration says (default: %(default)s; ignored under torchrun)")
    parser.add_argument("--threads", type=int, default=default_threads(),
                        help="number of threads that share the streams, if there is one process (default: "
                        "OMP_NUM_THREADS, or the number of processors)")
    parser.add_argument("--memory", type=memory_size, default=DEFAULT_MEMORY, metavar="GiB",
                        help="of features and targets that are kept in memory; if they need more, they are read again "
                        "in each epoch (default: %(default)s)")


def arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :func:`lstmp.nnet.train.train` that these options and ``--init`` give.

    Raises:
        UserError: the number of threads or processes is below 1, or there is no such device.
    """
    if args.threads < 1 or args.nj < 1:
        raise UserError("--threads and --nj must be at least 1", hint="without them, one process uses all processors")
    device = for_training(args.device)
    return {"data": args.train, "ali": args.ali, "valid": args.valid, "out": args.out, "align_model": args.align_model,
            "valid_ali": args.valid_ali, "device": device, "threads": args.threads if device == "cpu" else 0,
            "nj": args.nj, "memory": args.memory, "initial": args.init, "ivectors": getattr(args, "ivectors", None),
            "online_fmllr": getattr(args, "online_fmllr", None)}
