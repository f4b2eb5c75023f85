"""Collect the results of a recipe into results.json and RESULTS.md.

Reads ``train.json`` of each model dir, and ``decode.json`` and ``score.json`` of its decode dirs. Writes
``results.json`` (a row for each system, LM and set, and everything else that the page shows), ``RESULTS.md`` (the same
as readable tables) and copies of the training curves. The whole page is generated.
"""

import argparse
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.conf_files import changed
from lstmp.corpus.datadir import read_table
from lstmp.corpus.sound import read_sound
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.paths import root
from lstmp.score.report import markdown, report_path

TRAIN = ("params", "minutes", "seed", "config")
DECODE = ("audio_seconds", "rtf")
SCORE = ("wer", "ci", "confidence", "ins", "del", "sub", "words", "utterances", "missing", "lmwt", "wip", "chosen_on",
         "chosen_here", "best_of_this_set")


@dataclass(frozen=True)
class System:
    """A system of the table: its name, and a pattern of its decode dirs with ``{lm}`` and ``{set}``."""

    name: str
    pattern: str

    @classmethod
    def parse(cls, text: str, recipe_dir) -> "System":
        """Parse ``NAME=PATTERN`` or ``NAME``, which is short for ``NAME=<recipe dir>/NAME/decode_{lm}_{set}``."""
        name, _, pattern = text.partition("=")
        system = cls(name, pattern or f"{recipe_dir}/{name}/decode_{{lm}}_{{set}}")
        try:
            system.dir("lm", "set")
        except (KeyError, IndexError, ValueError):
            raise UserError(f"`{pattern}` is not a pattern of decode dirs",
                            hint="use {lm} and {set} only, as in exp/tiny/mono/decode_{lm}_{set}") from None
        return system

    def dir(self, lm: str, set_name: str) -> Path:
        """The decode dir of an LM and a set."""
        return Path(self.pattern.format(lm=lm, set=set_name))


def collect(systems: list[System], sets: list[str], lms: list[str], command_line: str) -> tuple[list[dict], dict]:
    """Collect the rows, and ``train.json`` of each system.

    If there are several LMs, a system has rows only for those that it was decoded with, and must then be scored on all
    sets. The rows are followed by those of other LMs that earlier runs have scored.

    Returns:
        (rows, system name → its training record with "dir", the model dir)

    Raises:
        UserError: a file is missing, damaged or has no value for a key. The message names the stage that makes it.
    """
    rows, trainings = [], {}
    for system in systems:
        decoded = [lm for lm in lms if len(lms) == 1 or any(system.dir(lm, s).is_dir() for s in sets)]
        if not decoded:
            raise UserError(f"system {system.name} was not decoded with any of {', '.join(lms)}", file=system.pattern,
                            hint="run stage 10, or correct --systems")
        for lm in decoded + _scored_before(system, sets, lms):
            for set_name in sets:
                decode_dir = system.dir(lm, set_name)
                score = _read(decode_dir / "score.json", SCORE, "run stage 11, scoring")
                decode = _read(decode_dir / "decode.json", DECODE, "run stage 10, decoding")
                train = _training(decode_dir, decode, system.name)
                trainings[system.name] = {**train, "dir": decode_dir.parent}
                rows.append({
                    "system": system.name, "set": set_name, "lm": lm, **{k: score[k] for k in SCORE},
                    **{k: decode[k] for k in DECODE}, "failed": decode.get("failed", 0), "engine": decode.get("engine"),
                    **{k: train[k] for k in TRAIN},
                    **{k: v for k, v in train.items() if k.startswith("frame_accuracy_")}, "command": command_line})
    return rows, trainings


def _scored_before(system: System, sets: list[str], lms: list[str]) -> list[str]:
    """Language models other than ``lms`` with which earlier runs have scored the system on all sets.

    Decodings that are older than their model are left out, with a warning.
    """
    earlier_lms, pattern = [], Path(system.pattern.format(lm="*", set=sets[0]))
    root = Path(*pattern.parts[:next((i for i, part in enumerate(pattern.parts) if "*" in part), len(pattern.parts))])
    name = re.compile(re.escape(system.pattern.format(lm="\0", set=sets[0])).replace(re.escape("\0"), "(.+)"))
    for folder in sorted(root.glob(str(pattern.relative_to(root)))) if root != pattern else ():
        match = name.fullmatch(str(folder))
        scores = [system.dir(match[1], s) / "score.json" for s in sets] if match and match[1] not in lms else []
        if match is None or not scores or not all(p.is_file() for p in scores):
            continue
        model = folder.parent / "final.safetensors"
        if model.is_file() and min(p.stat().st_mtime_ns for p in scores) < model.stat().st_mtime_ns:
            warn(f"{folder}: decoded before {system.name} was trained again; it has no row")
            continue
        earlier_lms.append(match[1])
    return earlier_lms


def _training(decode_dir: Path, decode: dict, system: str) -> dict:
    """train.json of a system; for a combination, the sums of its systems' parameters and minutes."""
    if "combined" not in decode:
        return _read(decode_dir.parent / "train.json", TRAIN, f"train {system}")
    parts = [_read(Path(d).parent / "train.json", TRAIN, f"train {Path(d).parent.name}") for d in decode["combined"]]
    return {**{key: sum(part[key] for part in parts) for key in ("params", "minutes")}, "seed": parts[0]["seed"],
            "config": {}}


def _read(path: Path, keys, hint: str) -> dict:
    value = config.read_json(path, hint)
    for key in keys:
        if key not in value:
            raise UserError(f"it has no `{key}`", file=path, hint=f"delete it; {hint}")
    return value


def describe_data(data_dir) -> str:
    """The number of utterances, speakers and hours of a data dir, as text."""
    speakers = read_table(Path(data_dir) / "utt2spk")
    text = f"{len(speakers):,} utterances of {len(set(speakers.values())):,} speakers"
    path = Path(data_dir) / "utt2dur"
    if path.is_file():
        try:
            text += f", {sum(map(float, read_table(path).values())) / 3600:.2f} h"
        except ValueError:
            raise UserError("a duration is not a number", file=path, hint="run stage 1 again") from None
    return text


def copy_curves(trainings: dict, folder: Path) -> dict[str, str]:
    """Copy the training curves to the folder of the table. Returns system → file name."""
    curves = {}
    for name, train in trainings.items():
        source = train["dir"] / "curve.png"
        if source.is_file():
            curves[name] = f"{name}-curve.png"
            config.copy_file(source, folder / curves[name])
    return curves


def read_agreements(pairs: list[str]) -> dict[str, dict]:
    """Read ``NAME=FILE`` arguments: name → result of lstmp.score.compare_ctm."""
    agreements = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals:
            raise UserError(f"--agreement {pair} is not NAME=FILE", hint="name the system, then the JSON file")
        agreements[name] = _read(Path(path), ("frame_agreement", "boundary_median_ms", "boundary_within_20ms",
                                              "utterances", "frames"), "run lstmp.score.compare_ctm --out")
    return agreements


def read_spent(paths: list[str]) -> list[dict]:
    """The records of GMM steps, in the given order: step, minutes, seconds by type of work, peak memory."""
    keys = ("minutes", "seconds", "peak_memory_gib")
    return [{"step": Path(p).parent.name} | {k: r[k] for k in keys} for p in paths
            for r in [_read(Path(p), keys, "run the step again")]]


def read_text_report(path) -> list[dict]:
    """Read the report of lstmp.score.text_report, a dictionary for each set; empty if there is no such file."""
    if not Path(path).is_file():
        return []
    hint = "run local/check_text.sh again"
    reports = config.read_json(path, hint).get("sets")
    keys = {"set", "words", "different", "unknown", "most_unknown", "other_spelling", "most_other_spelling"}
    if not isinstance(reports, list) or not all(isinstance(r, dict) and keys <= set(r) for r in reports):
        raise UserError("not a report on words", file=path, hint=hint)
    return reports


def read_sounds(data_dirs: list[Path]) -> list[dict]:
    """Bandwidth and level of the data dirs in which local/validate_data_dir.sh has measured them."""
    return [{"set": d.name, "bandwidth_hz": sound.bandwidth, "level_db": sound.level}
            for d in dict.fromkeys(data_dirs) if (sound := read_sound(d))]


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="steps/make_results.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--recipe-dir", required=True, help="folder of the recipe's models, such as exp/tiny")
    parser.add_argument("--systems", nargs="+", required=True, metavar="NAME[=PATTERN]",
                        help="rows of the table; PATTERN is the path of the system's decode dirs, with {lm} and {set}, "
                             "in the model dir (default: RECIPE_DIR/NAME/decode_{lm}_{set})")
    parser.add_argument("--sets", nargs="+", required=True, help="columns of the table, starting with the set used "
                        "for tuning")
    parser.add_argument("--lms", nargs="+", required=True, help="names of the language models")
    parser.add_argument("--out", help="the Markdown file to write (default: RECIPE_DIR/RESULTS.md), with results.json "
                        "in the same folder")
    parser.add_argument("--title", help="heading of the page (default: the name of RECIPE_DIR)")
    parser.add_argument("--command", default=os.environ.get("LSTMP_COMMAND", ""),
                        help="the command that produced the results (default: the command line of run.sh)")
    parser.add_argument("--train-data", nargs="*", default=[], metavar="DIR", help="training data dirs, to describe")
    parser.add_argument("--agreement", nargs="*", default=[], metavar="NAME=FILE",
                        help="alignment agreement of a system, written by lstmp.score.compare_ctm --out")
    parser.add_argument("--spent", nargs="*", default=[], metavar="FILE",
                        help="train.json and align.json of the GMM steps, for the table of computing times")
    parser.add_argument("--note", nargs="*", default=[], help="remarks above the table")
    args = parser.parse_args(argv)
    out = Path(args.out or Path(args.recipe_dir) / "RESULTS.md")
    systems = [System.parse(s, args.recipe_dir) for s in args.systems]
    # the stage at which this run was resumed is not part of the command that reproduces the results
    command = re.sub(r" --(stage|stop-stage)[ =]\S+", "", args.command)
    rows, trainings = collect(systems, args.sets, args.lms, command)
    conf = Path(args.recipe_dir) / "conf"
    out.parent.mkdir(parents=True, exist_ok=True)
    text = [f for d in args.train_data[:1] for f in read_text_report(report_path(Path(d).parent, args.lms[0]))]
    train_data = [Path(d) for d in args.train_data]
    sound = read_sounds([*train_data, *(train_data[0].parent / s for s in args.sets)] if train_data else [])
    record = {
        "title": args.title or Path(args.recipe_dir).name, "rows": rows, "notes": args.note,
        "commit": os.environ.get("LSTMP_COMMIT", ""),
        "changed": changed(conf, root() / "conf", [s.name for s in systems]) if conf.is_dir() else {},
        "training_data": [f"{Path(d).name}: {describe_data(d)}" for d in args.train_data],
        "train_data": args.train_data,
        **({"text": text} if text else {}), **({"sound": sound} if sound else {}),
        "agreement": read_agreements(args.agreement), "spent": read_spent(args.spent),
        "epochs": {name: t["epochs"] for name, t in trainings.items() if t.get("epochs")},
        "curves": copy_curves(trainings, out.parent)}
    config.write_text(out.with_name("results.json"), json.dumps(record, indent=1) + "\n")
    config.write_text(out, markdown(record))
    say(f"{out}: {len(rows)} rows of {len(trainings)} systems")


if __name__ == "__main__":
    main()
