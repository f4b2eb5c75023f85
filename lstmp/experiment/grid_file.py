"""Reads a grid of networks: which networks are trained, on which data, with which seeds, and claims about them.

A grid is a YAML file::

    exp: exp/sak2014                 # folder for the networks
    page: recipes/sak2014/README.md  # the generated page; its pictures and results.json are in the same folder
    title: …
    note: …                          # a paragraph for the page
    sets: [dev, test]                # test sets; LM weight and penalty are chosen on the first; empty: no WERs
    claims_on: test                  # the set whose word errors decide claims (default: the first one)
    to_the_end: true                 # comparisons of networks that still learn at their last epoch decide nothing;
                                     # except those trained on lattices, which is for a few epochs
    clock: side_by_side              # minutes are epochs times the processor time of one, measured for all networks
                                     # side by side (lstmp/experiment/costs.py); or processor (the default): that of the
                                     # trainings; or wall: that too, but learning curves are drawn
                                     # against their time by the clock
    levels: [50, 60]                 # the page tells epochs and minutes to these held-out frame accuracies, in per cent
    curves: {depth: [lstm-1, lstm-2]} # pictures of learning curves: file name → the networks that each one shows
    seeds: [1, 2, 3]                 # of every network that does not set others
    looks: 2                         # how often claims are decided, each time with more seeds; a p-value must be below
                                     # 0.05 divided by this (default: 1)
    sources:                         # training data, alignments and test data
      tied: {train: DIR, ali: DIR, valid: LIST, graph: DIR, decode: {dev: DIR}} # and see Source
    decode: {search_beam: 10.0}      # keys of conf/decode.yaml
    common: {epochs: 4, …}           # keys of conf/lstmp.yaml, for all networks
    rates: 0.5                       # the rates of networks without lr_initial are searched for, from this share of the
                                     # largest stable one downwards (lstmp/experiment/rates.py). steps/run_grid.sh
                                     # --find-rates writes them to rates.json beside the page, and finds those of
                                     # changed networks again. lr_final is scaled with them
    shares: recipes/sak2014          # the folder of another grid, grid.yaml, and of its page. Its records, rates and
                                     # costs count here too, for networks with the same name, seed and settings
    mmi: {leaky: 0.1}                # keys of conf/mmi.yaml, for those trained by LF-MMI
    sequence: {accuracy: phone}      # keys of conf/sequence.yaml, for those trained by sMBR or MMI on lattices
    networks:
      lstm-2: {source: tied, seeds: [1], layers: 2, …}  # changes to `common`, for each network
      lstm-5: {paper: {name: LSTM 440 x 5, accuracy: 67.6, wer: 10.8}, …} # published figures of such a network
      more: {init: lstm-2, mmi: {leaky: 0.01}, …}       # training starts from the weights of lstm-2, with the same seed
      smbr: {init: lstm-2, criterion: smbr}             # as lstm-2, but with `training` of conf/sequence.yaml
    baseline: lstm-2                 # optional: the table says how each network's WER differs from this one's
    claims:                          # see lstmp.experiment.claims
"""

import copy
import re
from dataclasses import replace
from pathlib import Path

from lstmp import config
from lstmp.conf_files import read_sections
from lstmp.decode.config import DecodeConfig
from lstmp.errors import UserError
from lstmp.experiment.plan import CLOCKS, EFFORTS, Claim, Comparison, Grid, Network, Paper, Source
from lstmp.experiment.rates import Found, read_rates, settings
from lstmp.nnet.config import LstmpConfig, continued
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.paths import ROOT
from lstmp.recipe.sections import override
from lstmp.sequence.config import SequenceConfig
from lstmp.sequence.training import SequenceSource

_KEYS = ("exp", "page", "title", "note", "sets", "seeds", "looks", "sources", "decode", "common", "networks",
         "baseline", "claims", "claims_on", "clock", "curves", "levels", "mmi", "rates", "sequence", "shares",
         "to_the_end")


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
    sections = read_sections(ROOT / "conf")
    for section, key in (("decode", "decode"), ("lstmp", "common"), ("mmi", "mmi"), ("sequence", "sequence")):
        override(sections, section, values.get(key) or {}, what=key, file=path, lines=lines)
    sources = {name: config.build(keys, Source, file=path, prefix=f"sources.{name}.")
               for name, keys in _group(values, "sources", path, lines).items()}
    seeds = config.coerce(values.get("seeds", [1]), list[int], "seeds", file=path, line=lines.get("seeds"))
    share = config.coerce(values.get("rates"), float | None, "rates", file=path, line=lines.get("rates"))
    if share is not None and share <= 0:
        raise UserError("`rates` must be above 0", file=path, line=lines["rates"], hint="0.5 is usual")
    page, shares = Path(values["page"]), None
    if values.get("shares"):
        shares = Path(config.coerce(values["shares"], str, "shares", file=path, line=lines["shares"]))
        if not (shares / "grid.yaml").is_file():
            raise UserError(f"`shares`: no grid.yaml in {shares}", file=path, line=lines["shares"],
                            hint="name the folder of another grid, from the top of the checkout")
        other = config.read_yaml(shares / "grid.yaml")[0].get("page", "")
        if Path(str(other)).parent.resolve() != shares.resolve():
            raise UserError(f"`shares`: the page of {shares}/grid.yaml is not in this folder", file=path,
                            line=lines["shares"], hint="name the folder of a page and its grid.yaml")
    networks, searched = _networks(values, {}, bool(share), sources, seeds, sections, path, lines)
    baseline = str(values.get("baseline") or "")
    if baseline and baseline not in networks:
        raise config.unknown(f"network `{baseline}`", baseline, networks, file=path, line=lines["baseline"])
    clock = values.get("clock", "processor")
    if clock not in CLOCKS:
        raise config.unknown(f"clock `{clock}`", str(clock), CLOCKS, file=path, line=lines["clock"])
    claims = config.coerce(values.get("claims") or [], list[dict], "claims", file=path, line=lines.get("claims"))
    claims = [_claim(keys, networks, path, lines.get("claims")) for keys in claims]
    sets = config.coerce(values["sets"], list[str], "sets", file=path, line=lines["sets"])
    for name, source in sources.items():
        if absent := [s for s in sets if s not in source.decode]:
            raise UserError(f"`sources.{name}.decode` has no folder for the set {absent[0]}", file=path,
                            line=lines["sources"], hint="name the data dir to decode for each of `sets`")
    claims_on = str(values.get("claims_on") or (sets[0] if sets else ""))
    if claims_on and claims_on not in sets:
        raise config.unknown(f"set `{claims_on}`", claims_on, sets, file=path, line=lines["claims_on"])
    curves = {str(name): config.coerce(shown, list[str], f"curves.{name}", file=path, line=lines["curves"])
              for name, shown in config.group(values.get("curves") or {}, "curves", file=path).items()}
    for name in (n for n in curves if not re.fullmatch(r"[\w-]+", n) or n == "size"):
        raise UserError(f"a picture in `curves` cannot be named `{name}`", file=path, line=lines["curves"],
                        hint="letters, digits, `_` and `-`, and not `size`, the name of another picture")
    for name in (n for shown in curves.values() for n in shown if n not in networks):
        raise config.unknown(f"network `{name}` in `curves`", name, networks, file=path, line=lines["curves"])
    to_the_end = config.coerce(values.get("to_the_end", False), bool, "to_the_end", file=path,
                               line=lines.get("to_the_end"))
    levels = config.coerce(values.get("levels", []), list[float], "levels", file=path, line=lines.get("levels"))
    looks = config.coerce(values.get("looks", 1), int, "looks", file=path, line=lines.get("looks"))
    if looks < 1:
        raise UserError("`looks` must be 1 or more", file=path, line=lines["looks"], hint="leave it out for 1")
    grid = Grid(Path(values["exp"]), page, str(values["title"]), str(values.get("note") or ""), sets,
                config.build(sections["decode"], DecodeConfig, file=path), sources, networks, clock, baseline, claims,
                claims_on, to_the_end, levels, curves, share or 0.0, searched, shares, looks=looks)
    rates = _rates_of(grid, searched)
    networks, _ = _networks(values, rates, bool(share), sources, seeds, sections, path, lines)
    return replace(grid, networks=networks, without_rate=[n for n in searched if n not in rates])


def _networks(values: dict, rates: dict[str, Found], are_searched: bool, sources: dict[str, Source], seeds: list[int],
              sections: dict, path, lines) -> tuple[dict[str, Network], list[str]]:
    """The networks, and the names of those whose rates are searched for."""
    networks: dict[str, Network] = {}
    searched: list[str] = []
    for name, own in _group(values, "networks", path, lines).items():
        networks[name] = _network(name, own or {}, networks, sources, seeds, sections, rates, path, lines)
        if not are_searched or "lr_initial" in (own or {}) or networks[name].sequence:
            continue
        if networks[name].init or networks[name].config.criterion != "cross_entropy":
            raise UserError(f"network `{name}` needs `lr_initial`", file=path, line=lines.get("networks"),
                            hint="the range test is for networks that begin with random weights and cross entropy")
        searched.append(name)
    return networks, searched


def _rates_of(grid: Grid, searched: list[str]) -> dict[str, Found]:
    """The rates that were found for the present settings of networks. Those of the grid with which this one shares come
    first: both train one network in the same folder."""
    rates: dict[str, Found] = {}
    for folder in filter(None, (grid.shares, grid.page.parent) if searched else ()):
        for name, found in read_rates(folder).items():
            if name in searched and found.network == settings(grid.first_run(name)):
                rates.setdefault(name, found)
    return rates


def _network(name, own, earlier: dict[str, Network], sources: dict[str, Source], seeds: list[int], sections: dict,
             rates: dict[str, Found], path, lines) -> Network:
    """Check the keys ``own`` of a network; ``earlier``: those that are listed before it."""
    where = {"file": path, "line": lines.get("networks")}
    if not re.fullmatch(r"[\w.+-]+", str(name)):
        raise UserError(f"network `{name}` must be named with letters, digits, `_`, `-`, `.`, `+`",
                        hint="its folder has this name", **where)
    own = dict(config.group(own, f"networks.{name}", **where))
    source = config.coerce(own.pop("source", next(iter(sources))), str, f"{name}.source", **where)
    seeds = config.coerce(own.pop("seeds", seeds), list[int], f"{name}.seeds", **where)
    processes = config.coerce(own.pop("processes", 1), int, f"{name}.processes", **where)
    init = config.coerce(own.pop("init", ""), str, f"{name}.init", **where)
    paper = config.build(own.pop("paper"), Paper, file=path, prefix=f"{name}.paper.") if "paper" in own else None
    if processes < 1:
        raise UserError(f"`{name}.processes` must be 1 or more", hint="correct it", **where)
    if source not in sources:
        raise config.unknown(f"source `{source}` of {name}", source, sources, **where)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"`{name}.seeds` must be a list of different numbers", hint="correct it", **where)
    if init and init not in earlier:
        raise UserError(f"network `{init}`, which {name} starts from, is not listed before it", **where,
                        hint="list it first")
    if init and not set(seeds) <= set(earlier[init].seeds):
        raise UserError(f"network `{init}`, which {name} starts from, has other seeds", **where,
                        hint=f"give `{name}` seeds of `{init}`")
    of_criterion = {"mmi": own.pop("mmi", {}), "sequence": own.pop("sequence", {})}
    on_lattices = own.get("criterion", sections["lstmp"]["criterion"]) in SequenceSource.criteria
    section = copy.deepcopy({name: sections["lstmp"], "mmi": sections["mmi"], "sequence": sections["sequence"]})
    for key, keys in of_criterion.items():
        override(section, key, keys, what=f"networks.{name}.{key}", file=path, lines=lines)
    if on_lattices:
        if not init:
            raise UserError(f"network `{name}` is trained on lattices, and needs the key `init`", **where,
                            hint="name the network whose training it continues")
        section[name] = continued(config.to_dict(earlier[init].config))
        override(section, name, section["sequence"]["training"], what="sequence.training", file=path, lines=lines)
    elif name in rates and "lr_initial" not in own:
        found, usual = rates[name].rate, section[name]["lr_initial"]
        section[name] |= {"lr_initial": found, "lr_final": found * section[name]["lr_final"] / usual}
    override(section, name, own, what=f"networks.{name}", file=path, lines=lines)
    cfg = config.build(section[name], LstmpConfig, file=path, prefix=f"{name}.")
    lfmmi = cfg.criterion == "lfmmi"
    if of_criterion["mmi"] and not lfmmi:
        raise UserError(f"network `{name}` has `mmi`, but is not trained by LF-MMI", **where,
                        hint="set `criterion: lfmmi`, or leave `mmi` out")
    if of_criterion["sequence"] and not on_lattices:
        raise UserError(f"network `{name}` has `sequence`, but is not trained on lattices", **where,
                        hint="set `criterion: smbr` or `mmi`, or leave `sequence` out")
    if init and earlier[init].config.feature.kind != cfg.feature.kind:
        raise UserError(f"network `{init}`, which {name} starts from, has other features", **where,
                        hint="give both the same `feature.kind`")
    needed = {"denominator": lfmmi, "weak_graph": on_lattices, "ivectors": cfg.ivector_dim > 0 and not init,
              "online_fmllr": cfg.feature.kind == "online_fmllr" and not init}
    for key in (k for k, is_needed in needed.items() if is_needed and not getattr(sources[source], k)):
        raise UserError(f"network `{name}` needs `{key}` in its source `{source}`", **where,
                        hint="see lstmp/experiment/grid_file.py")
    mmi = config.build(section["mmi"], MmiConfig, file=path, prefix=f"{name}.mmi.") if lfmmi else None
    sequence = config.build(section["sequence"], SequenceConfig, file=path, prefix=f"{name}.sequence.") \
        if on_lattices else None
    return Network(cfg, source, seeds, processes, mmi, sequence, init, paper)


def _group(values: dict, key: str, path, lines) -> dict:
    if not isinstance(values[key], dict) or not values[key]:
        raise UserError(f"`{key}` must be a group of names", file=path, line=lines[key],
                        hint="see recipes/sak2014/grid.yaml")
    return values[key]


def _claim(keys: dict, networks: dict, path, line) -> Claim:
    keys = dict(keys)
    comparisons = [config.build(c, Comparison, file=path, prefix="claims.comparisons.")
                   for c in config.coerce(keys.pop("comparisons", None) or [], list[dict], "claims.comparisons",
                                          file=path, line=line)]
    for name, measure in ((name, c.measure) for c in comparisons for name in (c.first, c.second)):
        if name not in networks:
            raise config.unknown(f"network `{name}` in a claim", name, networks, file=path, line=line)
        if networks[name].init and measure in EFFORTS:
            raise UserError(f"network `{name}` starts from another one, so its epochs and minutes cannot be compared",
                            file=path, line=line, hint="compare another measure")
    claim = config.build({**keys, "comparisons": []}, Claim, file=path, prefix="claims.")
    if bool(comparisons) == bool(claim.untested):
        raise UserError("a claim needs either comparisons or the reason why it is `untested`", file=path, line=line,
                        hint=f"correct `{claim.text[:40]}`")
    return replace(claim, comparisons=comparisons)
