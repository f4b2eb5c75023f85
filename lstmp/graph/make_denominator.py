"""Make the denominator graph of LF-MMI from the phones of an alignment, whose states are for low frame rates.

    python -m lstmp.graph.make_denominator --ali exp/<recipe>/biphones --out exp/<recipe>/denominator

``--ali`` is a folder of ``steps/tie_states.sh --topology chain`` or ``one_state``. It should have all utterances that
the criterion will be computed for, those held out too: a phone sequence that the graph does not accept has no
numerator.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.errors import UserError, command
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.graph.denominator import NAME, make_denominator
from lstmp.graph.phone_lm import PhoneLmConfig, estimate
from lstmp.log import say
from lstmp.stage import Stage


@dataclass(frozen=True)
class DenominatorConfig:
    """conf/denominator.yaml; ``phone_lm``: the phone language model."""

    phone_lm: PhoneLmConfig


def make(ali: Path, out: Path, cfg: DenominatorConfig) -> None:
    """Write the graph of an alignment folder to the folder ``out``, unless this has been done already.

    Raises:
        UserError: the alignment is missing or damaged, has no phones, or another topology.
    """
    inputs = [ali / n for n in ("ali.ark", "tree.json", "topo", "transitions.safetensors")]
    stage = Stage(out, "denominator", inputs, config.to_dict(cfg))
    if stage.is_done():
        return
    model, phones = AcousticModel.load(ali), []
    if not model.transitions.topology.for_low_rate:
        raise UserError("its phones may not be as short as one frame", file=ali,
                        hint="convert it with steps/tie_states.sh --topology chain")
    for utt, tids in read_alignment(ali).items():
        model.transitions.check(utt, tids, file=ali / "ali.ark")
        phones.append([s.phone for s in segments(tids, model.transitions)])
    lm = estimate(phones, cfg.phone_lm)
    graph = make_denominator(lm, model)
    out.mkdir(parents=True, exist_ok=True)
    graph.write(out / NAME)
    say(f"{out}: phone language model of order {cfg.phone_lm.order}, {len(lm.histories):,} states, {len(lm.source):,} "
        f"arcs; graph of {len(graph.pdf):,} states, {len(graph.arcs()[0]):,} arcs, {graph.num_pdfs:,} pdfs")
    stage.mark([out / NAME])


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/make_denominator.sh", description=__doc__.split("\n")[0])
    p.add_argument("--ali", type=Path, required=True, help="alignment folder with states for a low frame rate")
    p.add_argument("--out", type=Path, required=True, help="folder for the graph")
    p.add_argument("--config", type=Path, default=Path("conf/denominator.yaml"), help="default: %(default)s")
    a = p.parse_args(argv)
    make(a.ali, a.out, config.load(a.config, DenominatorConfig))


if __name__ == "__main__":
    main()
