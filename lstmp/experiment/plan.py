"""Reads a grid of networks: which networks are trained, on which data, with which seeds, and claims about them.

A grid is a YAML file::

    exp: exp/sak2014                 # folder for the networks
    page: recipes/sak2014/README.md  # the generated page; its pictures and results.json are in the same folder
    title: …
    note: …                          # a paragraph for the page
    sets: [dev]                      # test sets; LM weight and penalty are chosen on the first; empty: no WERs
    seeds: [1, 2, 3]                 # of every network that does not set others
    sources:                         # training data, alignments and test data
      tied: {train: DIR, ali: DIR, valid: LIST, graph: DIR, decode: {dev: DIR}} # for LF-MMI also denominator: DIR
    decode: {search_beam: 10.0}      # keys of conf/decode.yaml
    common: {epochs: 4, …}           # keys of conf/lstmp.yaml, for all networks
    mmi: {leaky: 0.1}                # keys of conf/mmi.yaml, for those trained by LF-MMI
    networks:
      lstm-2: {source: tied, seeds: [1], layers: 2, …}  # changes to `common`, for each network
      more: {init: lstm-2, mmi: {leaky: 0.01}, …}       # training starts from the weights of lstm-2, with the same seed
    baseline: lstm-2                 # optional: the table says how each network's WER differs from this one's
    claims:                          # see lstmp.experiment.claims
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from lstmp import config
from lstmp.conf_files import read_sections
from lstmp.config import check
from lstmp.decode.config import DecodeConfig
from lstmp.errors import UserError
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.paths import ROOT
from lstmp.recipe.sections import override


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
        ivectors: folder of an i-vector extractor; needed for networks with i-vectors.
        online_fmllr: folder of steps/train_online_fmllr.sh; needed for networks with online fMLLR.
    """

    train: str
    ali: str
    valid: str
    graph: str
    decode: dict
    denominator: str = ""
    ivectors: str = ""
    online_fmllr: str = ""


@dataclass(frozen=True)
class Comparison:
    """What a claim says about two networks.

    Attributes:
        first, second: names of the networks.
        measure: `accuracy` (frame accuracy on held-out speech), `early` (the same after the first epoch), `gap`
            (training accuracy minus held-out accuracy) or `wer`.
        relation: `better`: the first network is better; `more`: its measure is larger; `no_better`: it is better by
            at most `margin`; `equal`: the difference is within `margin`.
        margin: absolute difference in per cent.
    """

    first: str
    second: str
    measure: str
    relation: str = "better"
    margin: float = 0.0

    def __post_init__(self):
        check(self.measure in MEASURES, "measure", f"one of {', '.join(MEASURES)}")
        check(self.relation in RELATIONS, "relation", f"one of {', '.join(RELATIONS)}")
        check(self.relation in ("better", "more") or self.margin > 0, "margin", "above 0 where likeness is claimed")


CLOCKS = ("processor", "wall")
MEASURES = ("accuracy", "early", "gap", "wer")
RELATIONS = ("better", "more", "no_better", "equal")


@dataclass(frozen=True)
class Claim:
    """A statement and the comparisons that test it; if there are none, ``untested`` says why."""

    text: str
    comparisons: list[Comparison] = field(default_factory=list)
    untested: str = ""


@dataclass(frozen=True)
class Run:
    """One training of a network, with one seed, in ``processes`` processes.

    Attributes:
        mmi: options of LF-MMI, if it is trained by that.
        init: the run whose weights it starts from; None: random weights.
    """

    network: str
    seed: int
    config: LstmpConfig
    source: Source
    folder: Path
    processes: int = 1
    mmi: MmiConfig | None = None
    init: "Run | None" = None

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


@dataclass(frozen=True)
class Grid:
    """The content of a grid's file; ``networks`` contains the checked configurations, including ``common``.

    ``clock`` says how the training time is measured: as processor time or as wall-clock time.
    """

    exp: Path
    page: Path
    title: str
    note: str
    sets: list[str]
    decode: DecodeConfig
    sources: dict[str, Source]
    networks: dict[str, LstmpConfig]
    source_of: dict[str, str]
    seeds_of: dict[str, list[int]]
    processes_of: dict[str, int]
    clock: str
    baseline: str
    claims: list[Claim]
    mmi_of: dict[str, MmiConfig]
    init_of: dict[str, str]

    def runs(self, only: list[str] | None = None) -> list[Run]:
        """List all runs, or those of the networks ``only``: the first seeds of all networks, then the second ones …

        Raises:
            UserError: a name in ``only`` is not in the grid.
        """
        for name in only or []:
            if name not in self.networks:
                raise config.unknown(f"network `{name}`", name, self.networks)
        chosen = [n for n in self.networks if not only or n in only]
        max_seeds = max(len(self.seeds_of[n]) for n in chosen)
        return [self.run(n, seed)
                for k in range(max_seeds) for n in chosen for seed in self.seeds_of[n][k:k + 1]]

    def run(self, network: str, seed: int) -> Run:
        """The run of a network with a seed."""
        init = self.init_of.get(network)
        return Run(network, seed, replace(self.networks[network], seed=seed), self.sources[self.source_of[network]],
                   self.exp / network / f"seed{seed}", self.processes_of[network], self.mmi_of.get(network),
                   self.run(init, seed) if init else None)


_KEYS = ("exp", "page", "title", "note", "sets", "seeds", "sources", "decode", "common", "networks", "baseline",
         "claims", "clock", "mmi")


def load(path) -> Grid:
    """Read the file of a grid.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type, or an undefined name.
    """
    values, lines = config.read_yaml(path)
    for key in values:
        if key not in _KEYS:
            raise config.unknown(f"key `{key}`", key, _KEYS, file=path, line=lines[key])
    for key in ("exp", "page", "title", "sets", "sources", "networks"):
        if key not in values:
            raise UserError(f"key `{key}` is missing", file=path, hint="see recipes/sak2014/grid.yaml")
    where = {"file": path, "line": lines.get("networks")}
    sections = read_sections(ROOT / "conf")
    override(sections, "decode", values.get("decode") or {}, what="decode", file=path, lines=lines)
    override(sections, "lstmp", values.get("common") or {}, what="common", file=path, lines=lines)
    override(sections, "mmi", values.get("mmi") or {}, what="mmi", file=path, lines=lines)
    sources = {name: config.build(keys, Source, file=path, prefix=f"sources.{name}.")
               for name, keys in _group(values, "sources", path, lines).items()}
    seeds = config.coerce(values.get("seeds", [1]), list[int], "seeds", file=path, line=lines.get("seeds"))
    networks, source_of, seeds_of, processes_of = {}, {}, {}, {}
    mmi_of: dict[str, MmiConfig] = {}
    init_of: dict[str, str] = {}
    for name, own in _group(values, "networks", path, lines).items():
        if not re.fullmatch(r"[\w.+-]+", str(name)):
            raise UserError(f"network `{name}` must be named with letters, digits, `_`, `-`, `.`, `+`",
                            hint="its folder has this name", **where)
        own = dict(config.group(own or {}, f"networks.{name}", **where))
        source_of[name] = config.coerce(own.pop("source", next(iter(sources))), str, f"{name}.source", **where)
        seeds_of[name] = config.coerce(own.pop("seeds", seeds), list[int], f"{name}.seeds", **where)
        processes_of[name] = config.coerce(own.pop("processes", 1), int, f"{name}.processes", **where)
        if processes_of[name] < 1:
            raise UserError(f"`{name}.processes` must be 1 or more", hint="correct it", **where)
        if source_of[name] not in sources:
            raise config.unknown(f"source `{source_of[name]}` of {name}", source_of[name], sources, **where)
        if not seeds_of[name] or len(set(seeds_of[name])) < len(seeds_of[name]):
            raise UserError(f"`{name}.seeds` must be a list of different numbers", hint="correct it", **where)
        init = config.coerce(own.pop("init", ""), str, f"{name}.init", **where)
        if init and init not in networks:
            raise UserError(f"network `{init}`, which {name} starts from, is not listed before it", **where,
                            hint="list it first")
        if init and not set(seeds_of[name]) <= set(seeds_of[init]):
            raise UserError(f"network `{init}`, which {name} starts from, has other seeds", **where,
                            hint=f"give `{name}` seeds of `{init}`")
        init_of |= {name: init} if init else {}
        section = {name: _copied(sections["lstmp"]), "mmi": _copied(sections["mmi"])}
        own_mmi = own.pop("mmi", {})
        override(section, "mmi", own_mmi, what=f"networks.{name}.mmi", file=path, lines=lines)
        override(section, name, own, what=f"networks.{name}", file=path, lines=lines)
        networks[name] = config.build(section[name], LstmpConfig, file=path, prefix=f"{name}.")
        if own_mmi and networks[name].criterion != "lfmmi":
            raise UserError(f"network `{name}` has `mmi`, but is not trained by LF-MMI", **where,
                            hint="set `criterion: lfmmi`, or leave `mmi` out")
        if init and networks[init].feature.kind != networks[name].feature.kind:
            raise UserError(f"network `{init}`, which {name} starts from, has other features", **where,
                            hint="give both the same `feature.kind`")
        if networks[name].criterion == "lfmmi":
            mmi_of[name] = config.build(section["mmi"], MmiConfig, file=path, prefix=f"{name}.mmi.")
        needed = {"denominator": name in mmi_of, "ivectors": networks[name].ivector_dim > 0 and not init,
                  "online_fmllr": networks[name].feature.kind == "online_fmllr" and not init}
        for key in (k for k, is_needed in needed.items() if is_needed and not getattr(sources[source_of[name]], k)):
            raise UserError(f"network `{name}` needs `{key}` in its source `{source_of[name]}`", **where,
                            hint="see lstmp/experiment/plan.py")
    baseline = str(values.get("baseline") or "")
    if baseline and baseline not in networks:
        raise config.unknown(f"network `{baseline}`", baseline, networks, file=path, line=lines["baseline"])
    clock = values.get("clock", "processor")
    if clock not in CLOCKS:
        raise config.unknown(f"clock `{clock}`", str(clock), CLOCKS, file=path, line=lines["clock"])
    claims = config.coerce(values.get("claims") or [], list[dict], "claims", file=path, line=lines.get("claims"))
    claims = [_claim(keys, networks, path, lines.get("claims")) for keys in claims]
    return Grid(Path(values["exp"]), Path(values["page"]), str(values["title"]), str(values.get("note") or ""),
                config.coerce(values["sets"], list[str], "sets", file=path, line=lines["sets"]),
                config.build(sections["decode"], DecodeConfig, file=path), sources, networks, source_of, seeds_of,
                processes_of, clock, baseline, claims, mmi_of, init_of)


def _group(values: dict, key: str, path, lines) -> dict:
    if not isinstance(values[key], dict) or not values[key]:
        raise UserError(f"`{key}` must be a group of names", file=path, line=lines[key],
                        hint="see recipes/sak2014/grid.yaml")
    return values[key]


def _copied(values: dict) -> dict:
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in values.items()}


def _claim(keys: dict, networks: dict, path, line) -> Claim:
    keys = dict(keys)
    comparisons = [config.build(c, Comparison, file=path, prefix="claims.comparisons.")
                   for c in config.coerce(keys.pop("comparisons", None) or [], list[dict], "claims.comparisons",
                                          file=path, line=line)]
    for name in (n for c in comparisons for n in (c.first, c.second)):
        if name not in networks:
            raise config.unknown(f"network `{name}` in a claim", name, networks, file=path, line=line)
    claim = config.build({**keys, "comparisons": []}, Claim, file=path, prefix="claims.")
    if bool(comparisons) == bool(claim.untested):
        raise UserError("a claim needs either comparisons or the reason why it is `untested`", file=path, line=line,
                        hint=f"correct `{claim.text[:40]}`")
    return Claim(claim.text, comparisons, claim.untested)
