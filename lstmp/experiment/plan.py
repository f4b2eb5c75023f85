"""A grid of networks: which networks are trained, on which data, with which seeds, and claims about them.

:mod:`lstmp.experiment.grid_file` reads it from a file, and explains the keys.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from lstmp import config
from lstmp.config import check
from lstmp.decode.config import DecodeConfig
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.sequence.config import SequenceConfig


@dataclass(frozen=True)
class Source:
    """Data to train on and to decode.

    Attributes:
        train: data dir of the training utterances, with features.
        ali: alignment of the training utterances.
        valid: list of training utterances to hold out, or a data dir of held-out utterances.
        graph: decoding graph for the states of the alignment.
        decode: test set → its data dir, with features.
        denominator: denominator graph for the states of the alignment; needed for LF-MMI.
        weak_graph: graph with a weak language model for the states of the alignment; needed for sMBR and MMI.
        ivectors: folder of an i-vector extractor; needed for networks with i-vectors.
        online_fmllr: folder of steps/train_online_fmllr.sh; needed for networks with online fMLLR.
    """

    train: str
    ali: str
    valid: str
    graph: str
    decode: dict
    denominator: str = ""
    weak_graph: str = ""
    ivectors: str = ""
    online_fmllr: str = ""


@dataclass(frozen=True)
class Comparison:
    """What a claim says about two networks.

    Attributes:
        first, second: names of the networks.
        measure: `accuracy` (frame accuracy on held-out speech), `early` (the same after the first epoch), `gap`
            (training accuracy minus held-out accuracy), `wer`, or `epochs` or `minutes` (core minutes) until the
            held-out accuracy that all seeds of both networks reach.
        relation: `better`: the first network is better; `more`: its measure is larger; `no_better`: it is better by
            at most `margin`; `equal`: the difference is within `margin`.
        margin: absolute difference, in the unit of the measure.
        level: held-out accuracy in per cent to which `epochs` and `minutes` are counted; 0: what both networks reach.
    """

    first: str
    second: str
    measure: str
    relation: str = "better"
    margin: float = 0.0
    level: float = 0.0

    def __post_init__(self):
        check(self.measure in MEASURES, "measure", f"one of {', '.join(MEASURES)}")
        check(self.relation in RELATIONS, "relation", f"one of {', '.join(RELATIONS)}")
        check(self.relation in ("better", "more") or self.margin > 0, "margin", "above 0 where likeness is claimed")
        check(0 <= self.level < 100, "level", "at least 0 and below 100")
        check(not self.level or self.measure in ("epochs", "minutes"), "level",
              "left out, except for epochs and minutes")
        check(self.measure != "gap" or self.relation in ("more", "equal"), "relation", "more or equal for the gap")


SIDE_BY_SIDE = "side_by_side"
CLOCKS = ("processor", "wall", SIDE_BY_SIDE)
MEASURES = ("accuracy", "early", "gap", "wer", "epochs", "minutes")
EFFORTS = ("early", "epochs", "minutes")  # measures of how fast a network learns from random weights
RELATIONS = ("better", "more", "no_better", "equal")


@dataclass(frozen=True)
class Claim:
    """A statement and the comparisons that test it; if there are none, ``untested`` says why.

    ``papers`` is what the papers report of it. ``discussion`` is a paragraph for the page, such as what would overturn
    the verdict.
    """

    text: str
    comparisons: list[Comparison] = field(default_factory=list)
    untested: str = ""
    discussion: str = ""
    papers: str = ""


@dataclass(frozen=True)
class Run:
    """One training of a network, with one seed, in ``processes`` processes.

    Attributes:
        mmi: options of LF-MMI, if it is trained by that.
        sequence: options of sMBR or MMI on lattices, if it is trained by these.
        init: the run whose weights it starts from; None: random weights.
    """

    network: str
    seed: int
    config: LstmpConfig
    source: Source
    folder: Path
    processes: int = 1
    mmi: MmiConfig | None = None
    sequence: SequenceConfig | None = None
    init: "Run | None" = None

    @property
    def conf(self) -> Path:
        """Folder of its configuration: beside its own folder, which training moves away if it has another network."""
        return self.folder.with_name(f"{self.folder.name}.conf")

    @property
    def log(self) -> Path:
        """The output of its commands."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def depth(self) -> int:
        """Number of trainings that come before it."""
        return self.init.depth + 1 if self.init else 0

    @property
    def ivectors(self) -> str:
        """Folder of the i-vector extractor to train it with; "": none, or that of the run that it starts from."""
        return self.source.ivectors if self.config.ivector_dim and not self.init else ""

    @property
    def online_fmllr(self) -> str:
        """As :attr:`ivectors`, of steps/train_online_fmllr.sh."""
        return self.source.online_fmllr if self.config.feature.kind == "online_fmllr" and not self.init else ""

    @property
    def data_options(self) -> list[str]:
        """Options of the steps that train a network: its data and what these need."""
        s = self.source
        return ["--train", s.train, "--ali", s.ali, "--valid", s.valid,
                *(["--ivectors", self.ivectors] if self.ivectors else [])]

    def train_command(self) -> list[str]:
        """The command that trains it."""
        step = "steps/train_sequence.sh" if self.sequence else "steps/train_lstmp.sh"
        s, conf = self.source, self.conf
        return [step, *self.data_options, "--out", str(self.folder), "--config", str(conf / "lstmp.yaml"),
                "--threads", "1", "--nj", str(self.processes),
                *(["--denominator", s.denominator, "--mmi-config", str(conf / "mmi.yaml")] if self.mmi else []),
                *(["--graph", s.weak_graph, "--sequence-config", str(conf / "sequence.yaml")]
                  if self.sequence else []),
                *(["--online-fmllr", self.online_fmllr] if self.online_fmllr else []),
                *(["--init", str(self.init.folder)] if self.init else [])]


@dataclass(frozen=True)
class Paper:
    """What a paper reports of a network: its name there, frame accuracy and WER in per cent."""

    name: str
    accuracy: float | None = None
    wer: float | None = None


@dataclass(frozen=True)
class Network:
    """A network of a grid: its checked configuration, including `common`, and its own keys.

    Attributes:
        source: name of its source.
        processes: that train it.
        mmi, sequence: as in :class:`Run`.
        init: name of the network whose weights it starts from, or "".
        paper: the published network that it is like.
    """

    config: LstmpConfig
    source: str
    seeds: list[int]
    processes: int
    mmi: MmiConfig | None
    sequence: SequenceConfig | None
    init: str
    paper: Paper | None


@dataclass(frozen=True)
class Grid:
    """The content of a grid's file.

    ``clock`` says how the training time is measured: as processor time or as wall-clock time of the trainings, or as
    epochs times the processor time of one, measured side by side (lstmp.experiment.costs). ``claims_on`` is "" if
    nothing is decoded. ``rates`` is 0 if the file has no such key; ``without_rate`` names the networks whose rate is
    yet to be found; ``shares`` is None if the file has no such key. The other fields are the keys of the file.
    """

    exp: Path
    page: Path
    title: str
    note: str
    sets: list[str]
    decode: DecodeConfig
    sources: dict[str, Source]
    networks: dict[str, Network]
    clock: str
    baseline: str
    claims: list[Claim]
    claims_on: str
    to_the_end: bool
    levels: list[float]
    curves: dict[str, list[str]]
    rates: float
    without_rate: list[str]
    shares: Path | None
    looks: int = 1

    def runs(self, only: list[str] | None = None) -> list[Run]:
        """List all runs, or those of the networks ``only``: the first seeds of all networks, then the second ones …

        Raises:
            UserError: a name in ``only`` is not in the grid.
        """
        for name in only or []:
            if name not in self.networks:
                raise config.unknown(f"network `{name}`", name, self.networks)
        chosen = [n for n in self.networks if not only or n in only]
        max_seeds = max(len(self.networks[n].seeds) for n in chosen)
        return [self.run(n, seed)
                for k in range(max_seeds) for n in chosen for seed in self.networks[n].seeds[k:k + 1]]

    def first_run(self, name: str) -> Run:
        """The run of a network with the first of its seeds."""
        return self.run(name, self.networks[name].seeds[0])

    def run(self, name: str, seed: int) -> Run:
        """The run of a network with a seed."""
        network = self.networks[name]
        return Run(name, seed, replace(network.config, seed=seed), self.sources[network.source],
                   self.exp / name / f"seed{seed}", network.processes, network.mmi, network.sequence,
                   self.run(network.init, seed) if network.init else None)
