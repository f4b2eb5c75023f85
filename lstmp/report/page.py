"""The page itself: index.html from its template, and the files that it loads."""

from datetime import datetime
from pathlib import Path

import jinja2

from lstmp import config
from lstmp.aliases import Json
from lstmp.conf_files import compared
from lstmp.errors import UserError
from lstmp.machine import commit, machine
from lstmp.nnet.learning_curves import write_curves
from lstmp.paths import root
from lstmp.report.notes import Notes, reason
from lstmp.shards import shard_path, write_shard

HERE = Path(__file__).parent
TEMPLATES, ASSETS = HERE / "templates", HERE / "assets"


def write_page(report: Path, experiment: Json, results: Json) -> list[Path]:
    """Write index.html, assets/ and the shards ``experiment`` and ``results``; returns the files.

    Args:
        report: folder of the report.
        experiment, results: the contents of these shards (docs/formats.md), which the template gets too.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.get_template("index.html").render(experiment=experiment, results=results)
    assets = [p for p in sorted(ASSETS.rglob("*")) if p.is_file()]
    copies = [config.copy_file(p, report / "assets" / p.relative_to(ASSETS)) for p in assets]
    if not shard_path(report, "progress").is_file():
        write_shard(report, "progress", {})  # a run that begins later writes it
    results_shard = write_shard(report, "results", results)
    files = sorted(p.stem for p in (report / "data").glob("*.js"))  # asking for another one is an error in a browser
    shards = [write_shard(report, "experiment", {**experiment, "files": files}), results_shard]
    config.write_text(report / "index.html", text)  # last: the other files are there when it can be opened
    return [report / "index.html", *copies, *shards]


def configuration(exp: Path, systems: list[str], notes: Notes) -> list[Json]:
    """Every value of <exp>/conf with its default: file, key, value, default, changed."""
    try:
        both = compared(exp / "conf", root() / "conf", systems)
    except (UserError, OSError) as e:
        notes.add(reason(e))
        return []
    return [{"file": f"{section}.yaml", "key": key, "value": value, "default": default, "changed": value != default}
            for section, values in both.items() for key, (value, default) in values.items()]


def new_experiment(exp: Path, title: str) -> Json:
    """The shard ``experiment`` of a run without results."""
    return {"title": title, "exp": str(exp), "made": datetime.now().astimezone().isoformat(timespec="seconds"),
            "commit": commit(), "machine": machine(), "versions": {}, "commands": [], "config": [], "notes": [],
            "sets": [], "systems": [], "lms": [], "several": False, "parts": [{"name": title, "exp": str(exp)}],
            "decodings": []}


def begin_page(exp: Path, command: str) -> None:
    """At the beginning of a run, write a page without results, on which the progress can be watched.

    An existing page is left as it is: it shows the previous results until the new ones are there.
    """
    report = exp / "report"
    write_curves(report, {"": exp})
    if not (report / "index.html").is_file() or not shard_path(report, "experiment").is_file():
        new = {"commands": [command], "config": configuration(exp, [], Notes())}
        write_page(report, {**new_experiment(exp, exp.name), **new}, {"rows": []})
