"""Train a network further by sMBR or MMI on lattices, which are made during the training, and write a network folder.

    steps/train_sequence.sh --init exp/<recipe>/lstmp --graph exp/<recipe>/<targets>/graph_weak --train … --out …

Everything else is as in the training by cross entropy, :mod:`lstmp.nnet.train`.
"""

import argparse
from pathlib import Path

from lstmp import config
from lstmp.errors import UserError, command
from lstmp.nnet.config import LstmpConfig, continued
from lstmp.nnet.train import train
from lstmp.nnet.train_options import add_options, arguments
from lstmp.program import program_name
from lstmp.sequence.config import SequenceConfig
from lstmp.sequence.training import SequenceSource


def configuration(initial: Path, training: dict, file: Path) -> LstmpConfig:
    """The configuration of the network ``initial``, with the values ``training`` of ``file``.

    Raises:
        UserError: there is no such network, or a value is unknown or out of range.
    """
    values = continued(config.to_dict(config.load(initial / "config.yaml", LstmpConfig)))
    return config.build(values | training, LstmpConfig, file=file,
                        lines={key.removeprefix("training."): n for key, n in config.read_yaml(file)[1].items()})


@command
def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog=program_name("steps/train_sequence.sh"), description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--init", required=True, metavar="DIR", help="trained network that training starts from, whose "
                        "priors are used")
    parser.add_argument("--graph", required=True, metavar="DIR", help="graph that is searched for lattices, from "
                        "steps/make_graph.sh with a weak language model")
    parser.add_argument("--config", metavar="FILE", help="network and training options, with `criterion: smbr` or mmi "
                        "(default: those of --init with `training` of --sequence-config)")
    parser.add_argument("--sequence-config", default="conf/sequence.yaml", metavar="FILE",
                        help="options of lattices and criterion (default: %(default)s)")
    args = parser.parse_args(argv)
    initial, graph, file = Path(args.init), Path(args.graph), Path(args.sequence_config)
    if not (initial / "config.yaml").is_file():
        raise UserError("no such network", file=initial, hint="check --init")
    options = config.load(file, SequenceConfig)
    cfg = config.load(args.config, LstmpConfig) if args.config else configuration(initial, options.training, file)
    train(cfg, **arguments(args), source=SequenceSource(options, graph, initial))


if __name__ == "__main__":
    main()
