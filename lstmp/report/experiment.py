"""Finds what a report needs in the folder of an experiment: its results, decodings, sets and configuration."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lstmp import config
from lstmp.aliases import Json
from lstmp.corpus.datadir import DataDir, read_data_dir
from lstmp.decode.acoustic_scorer import is_network
from lstmp.errors import UserError
from lstmp.report.notes import Notes, reason
from lstmp.score.wer import Errors, Words, count_errors, read_hyps, read_refs
from lstmp.shards import shard_name

_KEYS = {"system", "set", "lm", "wer", "ci", "ins", "del", "sub", "words"}


@dataclass(frozen=True)
class ScoredSet:
    """A test set: the name that the report calls it by, the data dir with its tables, and its transcripts."""

    name: str
    data: DataDir
    refs: Words


@dataclass(frozen=True)
class Decoding:
    """A scored decoding of a set.

    Attributes:
        system, lm: the names in the report.
        dir: the decode dir.
        info: its decode.json.
        row: its row of results.json.
        test_set: the set.
        hyps: the hypotheses at the weights that were chosen on dev.
        errors: their errors.
    """

    system: str
    lm: str
    dir: Path
    info: Json
    row: Json
    test_set: ScoredSet
    hyps: Words
    errors: Errors

    @property
    def set(self) -> str:
        """The name of the set in the report."""
        return self.test_set.name

    @property
    def name(self) -> str:
        """The part of the names of its shards that they have in common."""
        return shard_name(self.system, self.lm, self.set)

    @cached_property
    def of_network(self) -> bool:
        """Whether a network has decoded the set."""
        model = self.info.get("model")
        return isinstance(model, str) and Path(model).is_dir() and is_network(model)


@dataclass
class Experiment:
    """The folder of a recipe's results.

    Attributes:
        dir: the folder, such as exp/tiny.
        name: the name in a report of several experiments.
        results: results.json; {} if there is none yet.
        decodings: the decodings of its table that can be shown.
    """

    dir: Path
    name: str
    results: Json
    decodings: list[Decoding] = field(default_factory=list)

    @property
    def rows(self) -> list[Json]:
        """The rows of the table of word error rates that have all figures."""
        return [row for row in self.results.get("rows", []) if isinstance(row, dict) and _KEYS <= set(row)]

    @property
    def systems(self) -> list[str]:
        """The systems of the table, in order."""
        return list(dict.fromkeys(str(row["system"]) for row in self.rows))

    @property
    def sets(self) -> list[ScoredSet]:
        """The sets of the decodings, in order."""
        return list({d.set: d.test_set for d in self.decodings}.values())


def read_experiment(folder: Path, notes: Notes, prefix: str = "") -> Experiment:
    """Read an experiment. What is missing or damaged gets a note and is left out.

    Args:
        folder: the folder, such as exp/tiny.
        notes: for what is missing.
        prefix: is put before the names of systems, in a report of several experiments.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError("no such folder", file=folder, hint="give the folder of an experiment, such as exp/tiny")
    results: Json = {}
    try:
        results = config.read_json(folder / "results.json", "run stage 11, scoring")
    except UserError as e:
        notes.add(str(e))
    experiment = Experiment(folder, prefix.rstrip("."), results)
    sets: dict[str, ScoredSet] = {}
    for row in experiment.rows:
        try:
            experiment.decodings.append(_decoding(folder, row, prefix, sets))
        except (UserError, OSError, KeyError) as e:
            notes.add(f"{row.get('system')}, {row.get('lm')}, {row.get('set')}: {reason(e)}")
    return experiment


def _decoding(folder: Path, row: Json, prefix: str, sets: dict[str, ScoredSet]) -> Decoding:
    system, lm, set_name = (str(row[key]) for key in ("system", "lm", "set"))
    path = folder / system / f"decode_{lm}_{set_name}"
    info = config.read_json(path / "decode.json", "only decodings in the usual place are shown by utterance")
    data = Path(str(info.get("data", "")))
    if set_name not in sets:
        sets[set_name] = ScoredSet(set_name, read_data_dir(data), read_refs(data))
    refs = sets[set_name].refs
    hyps = read_hyps(path / "best.txt")
    errors = count_errors(refs, hyps, path / "best.txt")
    return Decoding(prefix + system, lm, path, info, row, sets[set_name], hyps, errors)


def share_sets(experiments: list[Experiment]) -> None:
    """Make experiments share the sets that they have in common, and rename different sets of the same name."""
    known: dict[str, ScoredSet] = {}
    for experiment in experiments:
        for own in experiment.sets:
            same = own.refs == known.setdefault(own.name, own).refs
            name = own.name if same else f"{experiment.name}.{own.name}"
            shared = known.setdefault(name, replace(own, name=name))
            experiment.decodings = [replace(d, test_set=shared) if d.test_set is own else d
                                    for d in experiment.decodings]


def detailed_systems(experiment: Experiment, which: str) -> frozenset[str]:
    """The systems whose words get times, phones and states; ``which`` is ``detailed`` of conf/report.yaml.

    Combinations of systems have no times.
    """
    systems = list(dict.fromkeys(d.system for d in experiment.decodings if not d.info.get("combined")))
    networks = {d.system for d in experiment.decodings if d.of_network}
    return frozenset({"none": (), "all": systems, "networks": networks or systems[-1:]}[which])
