"""Reads and writes the records of a grid's runs: small files next to the grid's page, to be published with it.

A record, ``records/<network>-seed<seed>.json``, says what was trained and decoded, on which data, and with which
results: everything that the page shows. So the page can be generated again, and the grid continued, on a machine that
does not have the trained networks.

A run is done if its record has the settings of the grid, and if the contents of its inputs are the same as here. Data
that were computed again on another machine may differ in the last bits of their numbers. With ``ALIKE`` such a run
counts as done too. Then only utterances, lengths, the number of states and the sizes of graphs must be equal; no other
numbers are compared.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from lstmp import config
from lstmp.decode.config import LATER_OPTIONS
from lstmp.errors import UserError
from lstmp.experiment.plan import Grid, Run
from lstmp.features.load import archives
from lstmp.gmm.align import states_inputs
from lstmp.gmm.ivector import NAME as IVECTORS
from lstmp.gmm.online_fmllr import NAME as ONLINE_FMLLR
from lstmp.machine import machine
from lstmp.nnet.criterion import Source
from lstmp.nnet.mmi.training import MmiSource
from lstmp.nnet.network_stage import decoding_options, result_settings
from lstmp.score.wer import count_errors, read_hyps, read_refs
from lstmp.sequence.training import SequenceSource
from lstmp.stage import digest

SAME, ALIKE = "same", "alike"
_TEXTS = ("utt2num_frames", "num_pdfs")  # files whose contents must always be the same
_NOT_OF_NETWORKS = ("fmllr", "utts_per_job", "max_failed", "engine")  # keys of conf/decode.yaml without effect on words
_KEYS = ("settings", "inputs", "machine", "training", "sets")
_TRAINING = ("num_pdfs", "params", "cpu_minutes", "minutes", "frame_accuracy_train", "frame_accuracy_valid")
_EPOCH = ("accuracy_valid", "loss_valid", "cpu_seconds", "seconds", "staleness_mean")


def path(grid: Grid, run: Run) -> Path:
    """The file of a run's record."""
    return grid.page.parent / "records" / f"{run.network}-seed{run.seed}.json"


def folders(grid: Grid, run: Run) -> dict[str, Path]:
    """The decode dirs of a run: test set → folder."""
    return {name: run.folder / f"decode_{name}" for name in grid.sets}


def settings(grid: Grid, run: Run) -> dict:
    """Everything that the result depends on except the data, as JSON values."""
    decode = {k: v for k, v in config.to_dict(grid.decode).items()
              if k not in _NOT_OF_NETWORKS and LATER_OPTIONS.get(k) != v}
    values = {"network": _of_network(run) | decoding_options(run.config), "processes": run.processes,
              "decode": decode if grid.sets else None, "sets": grid.sets}
    return json.loads(json.dumps(values, sort_keys=True, default=str))


def _of_network(run: Run) -> dict:
    """The settings that its weights depend on, and those of the run that it starts from."""
    first = {"init": _of_network(run.init) | {"processes": run.init.processes}} if run.init else {}
    return result_settings(run.config, criterion_source(run)) | first


def criterion_source(run: Run) -> Source | None:
    """What the criterion of its training needs; None for cross entropy."""
    if run.mmi:
        return MmiSource(run.mmi, Path(run.source.denominator))
    if run.sequence and run.init:
        return SequenceSource(run.sequence, Path(run.source.weak_graph), run.init.folder)
    return None


def inputs(grid: Grid, run: Run) -> dict[str, list]:
    """The data that the run is trained on and decodes: file → [digest of its contents, its size in bytes].

    Raises:
        UserError: one of the files is missing.
    """
    s = run.source
    of_first = inputs(grid, run.init) if run.init else {}
    held_out = [s.valid] if Path(s.valid).is_dir() else []
    dirs = [Path(d) for d in (s.train, *held_out, *(s.decode[name] for name in grid.sets))]
    files = [Path(s.ali) / "num_pdfs", _held_out(run)]
    files += [p for p in states_inputs(s.ali) if p.suffix != ".scp"]  # not tables, which contain paths
    files += source.inputs([Path(s.ali)]) if (source := criterion_source(run)) else []
    files += [Path(run.ivectors) / IVECTORS] if run.ivectors else []
    files += [Path(run.online_fmllr) / ONLINE_FMLLR] if run.online_fmllr else []
    files += [p for d in dirs for p in (d / "utt2num_frames", *archives(d))]
    if grid.sets:
        files += sorted(Path(s.graph).glob("*.safetensors")) or [Path(s.graph) / "HCLG.k2.safetensors"]
    if absent := [p for p in files if not p.is_file()]:
        raise UserError("no such file", file=absent[0], hint="make the data that the grid's `sources` name")
    return of_first | {_name(p): [digest(p), p.stat().st_size] for p in files}


def exact_names(run: Run, names: Iterable[str]) -> set[str]:
    """Those of the inputs ``names`` of a run whose contents must always be the same: numbers of frames and of tied
    states, and the held-out list."""
    return {_name(_held_out(run)), *(name for name in names if name.endswith(_TEXTS))}


def _held_out(run: Run) -> Path:
    valid = Path(run.source.valid)
    return valid / "utt2spk" if valid.is_dir() else valid


def _name(file: Path) -> str:
    """The path relative to the working folder, so that it does not depend on where the checkout is."""
    return os.path.relpath(file) if file.resolve().is_relative_to(Path.cwd().resolve()) else str(file)


def find(grid: Grid, run: Run) -> tuple[Path, dict] | None:
    """The file and the content of a run's record: of the grid itself, or else of the one with which it shares.

    None if there is no record, or only one with other settings.

    Raises:
        UserError: it is damaged.
    """
    own = path(grid, run)
    for folder in filter(None, (grid.page.parent, grid.shares)):
        file = folder / own.relative_to(grid.page.parent)
        if file.is_file():
            hint = f"delete it, and run the grid of {folder}"
            record = config.read_json(file, hint)
            if absent := [key for key in _KEYS if key not in record]:
                raise UserError(f"it has no `{absent[0]}`", file=file, hint=hint)
            if record["settings"] == settings(grid, run):
                return file, record
    return None


def finished(grid: Grid) -> dict[str, list[dict]]:
    """Read the records: network → the records of its runs, for the networks for which all seeds are done.

    Raises:
        UserError: two runs were scored on different utterances.
    """
    done: dict[str, list[dict]] = {}
    scored: dict[str, int] = {}
    for name in grid.networks:
        wanted = grid.runs([name])
        runs = dict(found for r in wanted if (found := find(grid, r)))
        if len(runs) < len(wanted):
            continue
        for file, run in runs.items():
            for set_name, scores in run["sets"].items():
                if scored.setdefault(set_name, scores["words"]) != scores["words"]:
                    raise UserError(f"it was scored on other utterances of {set_name} than the previous records",
                                    file=file, hint="delete the records that are out of date, and run the grid")
        done[name] = list(runs.values())
    return done


def is_done(grid: Grid, run: Run, data: str = SAME) -> bool:
    """Whether there is a record of the run with these settings, and with the same (or similar) inputs as here."""
    found = find(grid, run)
    if found is None:
        return False
    record, here = found[1], inputs(grid, run)
    if data == SAME:
        return record["inputs"] == here

    exact = exact_names(run, here)
    return all(name in record["inputs"] and record["inputs"][name][name not in exact] == of_file[name not in exact]
               for name, of_file in here.items())


def without_run(grid: Grid) -> list[Path]:
    """Records that belong to no run of the grid, but to networks or seeds that it had earlier."""
    return sorted(set((grid.page.parent / "records").glob("*.json")) - {path(grid, run) for run in grid.runs()})


def write(grid: Grid, run: Run):
    """Write the record of a run that has been trained, decoded and scored."""
    train = config.read_json(run.folder / "train.json", "run the grid")
    sets = {}
    for name, folder in folders(grid, run).items():
        counted = count_errors(read_refs(run.source.decode[name]), read_hyps(folder / "best.txt"))
        sets[name] = {"wer": config.read_json(folder / "score.json", "run the grid")["wer"],
                      "errors": [int(n) for n in counted.errors], "words": [int(n) for n in counted.words]}
    record = {"settings": settings(grid, run), "inputs": inputs(grid, run),
              "machine": machine(),
              "training": {k: train[k] for k in _TRAINING}
              | {"epochs": [{k: e[k] for k in _EPOCH if k in e} for e in train["epochs"]]}, "sets": sets}
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in record.items())
    config.write_text(path(grid, run), f"{{\n{lines}\n}}\n")
