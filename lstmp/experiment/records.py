"""What is known of a run of a grid: a small file beside the grid's page, to be published with it.

A record, ``records/<network>-seed<seed>.json``, says what was trained, decoded and on which data, and what came of it:
all that the page shows. So a page can be made again, and a grid carried on, where the networks themselves are not.

A run is done when its record's settings are the grid's and its inputs those that are here, by their contents. Data made
on another machine may differ in the last bit of some number: :data:`ALIKE` counts a run on such data as well.
"""

import json
import os
import platform
from pathlib import Path

from lstmp import config
from lstmp.corpus.datadir import read_table
from lstmp.experiment.plan import Grid, Run
from lstmp.features.load import archives
from lstmp.nnet.data import alignment_file
from lstmp.nnet.train import what_counts
from lstmp.score.wer import count_errors, read_hyps, read_refs
from lstmp.stage import digest

SAME, ALIKE = "same", "alike"  # inputs of the same contents, or of the same sizes
_TRAINING = ("num_pdfs", "params", "cpu_minutes", "minutes", "frame_accuracy_train", "frame_accuracy_valid")
_EPOCH = ("accuracy_valid", "cpu_seconds", "seconds", "staleness_mean")


def path(grid: Grid, run: Run) -> Path:
    """Where the run's record lies."""
    return grid.page.parent / "records" / f"{run.network}-seed{run.seed}.json"


def folders(grid: Grid, run: Run) -> dict[str, Path]:
    """Set → decode dir of a run."""
    return {name: run.folder / f"decode_{name}" for name in grid.sets}


def settings(grid: Grid, run: Run) -> dict:
    """All that the result depends on but the data, as JSON keeps it."""
    found = {"network": what_counts(run.config), "processes": run.processes,
             "decode": config.to_dict(grid.decode) if grid.sets else None, "sets": grid.sets}
    return json.loads(json.dumps(found, sort_keys=True, default=str))


def inputs(grid: Grid, run: Run) -> dict[str, list]:
    """File → [digest of its contents, its bytes], of the data that the run learns from and decodes."""
    s = run.source
    dirs = [Path(d) for d in (s.train, *(s.decode[name] for name in grid.sets))]
    files = [alignment_file(s.ali), Path(s.valid), *(sorted(Path(s.graph).glob("*.safetensors")) if grid.sets else [])]
    files += [p for d in dirs for p in (d / "utt2num_frames", *archives(d))]  # not feats.scp, which has folders in it
    return {str(p): [digest(p), p.stat().st_size if p.is_file() else 0] for p in files}


def read(grid: Grid, run: Run) -> dict | None:
    """The run's record; None where there is none, or one of other settings.

    Raises:
        UserError: it is damaged.
    """
    file = path(grid, run)
    if not file.is_file():
        return None
    record = config.read_json(file, "delete it, and run the grid")
    return record if record.get("settings") == settings(grid, run) else None


def is_done(grid: Grid, run: Run, data: str = SAME) -> bool:
    """Whether a record of the run has these settings, and inputs that are the same, or alike, as those here."""
    record = read(grid, run)
    if record is None:
        return False
    here = inputs(grid, run)
    if data == SAME:
        return record["inputs"] == here
    return {name: size for name, (_, size) in record["inputs"].items()} == {n: size for n, (_, size) in here.items()}


def write(grid: Grid, run: Run):
    """Write the record of a run that has been trained, decoded and scored."""
    train = config.read_json(run.folder / "train.json", "run the grid")
    sets = {}
    for name, folder in folders(grid, run).items():
        counted = count_errors(read_refs(run.source.decode[name]), read_hyps(folder / "best.txt"))
        sets[name] = {"wer": config.read_json(folder / "score.json", "run the grid")["wer"],
                      "errors": [int(n) for n in counted.errors], "words": [int(n) for n in counted.words]}
    record = {"settings": settings(grid, run), "inputs": inputs(grid, run),
              "frames": sum(int(n) for n in read_table(Path(run.source.train) / "utt2num_frames").values()),
              "machine": machine(),
              "training": {k: train[k] for k in _TRAINING}
              | {"epochs": [{k: e[k] for k in _EPOCH if k in e} for e in train["epochs"]]}, "sets": sets}
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in record.items())
    config.write_text(path(grid, run), f"{{\n{lines}\n}}\n")


def machine() -> str:
    """Processor and number of cores, in words."""
    name = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            name = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
