"""Training by LF-MMI on the data of known_gaussians: denominator graph, and what training takes as arguments."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from helpers import ROOT
from lstmp import config
from lstmp.gmm import tie_states
from lstmp.graph import make_denominator as step
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.nnet.mmi.training import MmiSource

MMI = config.load(ROOT / "conf" / "mmi.yaml", MmiConfig)
HELD_OUT = ("s0-028", "s1-037")


def make_denominator(ali, out, order=4):
    conf = yaml.safe_load((ROOT / "conf" / "denominator.yaml").read_text())
    conf["phone_lm"]["order"] = order
    config.write_text(out.parent / f"{out.name}.yaml", yaml.safe_dump(conf))
    step.main.__wrapped__(["--ali", str(ali), "--out", str(out), "--config", str(out.parent / f"{out.name}.yaml")])
    return out


def make_states(toy, ali, out, topology):
    tie_states.main.__wrapped__(["--data", str(toy.data), "--lang", str(toy.lang), "--ali", str(ali),
                                 "--out", str(out), "--config", str(toy.conf / "tri1.yaml"),
                                 "--leaves", "40" if topology == "chain" else "20",
                                 "--topology", topology, "--context", "left_biphone"])
    return out


@pytest.fixture(scope="session")
def states(toy, ali_dir, tmp_path_factory):
    """The alignment of :mod:`helpers.known_gaussians`, to states of biphones."""
    return make_states(toy, ali_dir, tmp_path_factory.mktemp("mmi") / "biphones", "chain")


@pytest.fixture(scope="session")
def denominator_dir(states):
    return make_denominator(states, states.parent / "denominator")


@dataclass
class MmiToy:
    """As :class:`helpers.toy_data.ToyData`: ``data``, ``ali`` and ``valid`` are the arguments of training."""

    path: Path
    data: Path
    ali: Path
    denominator: Path

    @property
    def valid(self) -> Path:
        (self.path / "valid.list").write_text("".join(f"{utt}\n" for utt in HELD_OUT))
        return self.path / "valid.list"

    def source(self, **changes) -> MmiSource:
        return MmiSource(replace(MMI, **changes), self.denominator)
