"""The options of run.sh: their help, their checks, and the values of those that concern the run itself."""

import os
import re
from pathlib import Path

import yaml

from lstmp import config
from lstmp.conf_files import leaves, read_sections
from lstmp.device import DEFAULT_MEMORY
from lstmp.errors import UserError
from lstmp.paths import ROOT
from lstmp.recipe.keys import RECIPE_KEYS

RUN_OPTIONS = {
    "recipe": "tiny, own, mini_librispeech, librispeech, or another folder of recipes/ (tiny)",
    "corpus": "folder of a local copy of the corpus; without it, it is downloaded (none)",
    "stage": "first stage to run, 0 to 11 (0)",
    "stop-stage": "last stage to run (11)",
    "nj": "number of processes, on each machine (the number of cores)",
    "memory": "GiB of features that a process of a training keeps in memory; the rest is read in each pass "
              f"({DEFAULT_MEMORY})",
    "nnodes": "number of machines; more than one share the folder of this checkout (1)",
    "rdzv-endpoint": "HOST:PORT on one of the machines, where they connect (default: by a folder that all share)",
    "launcher": "command that starts a given command on all machines (srun --ntasks-per-node=1)",
    "device": "auto, cpu or cuda; auto: networks are trained on the GPU if there is one, the rest uses the CPU (auto)",
    "exp": "folder for models and results (exp/<recipe>)",
    "data": "folder for data dirs (data/<recipe>)",
    "reference-ctm": "phone times of another aligner, to compare the triphones' alignment with (none)",
}
FLAGS = {"dry-run": "check all options and print the commands of the stages, without running them"}

MACHINES = ("nnodes", "rdzv-endpoint", "launcher", "nj")  # passed to local/path.sh, which starts torchrun


def parse_options(arguments: list[str]) -> dict[str, str]:
    """Parse ``--name value`` and ``--name=value`` to {name: value}. Of a repeated option, the last value is used."""
    options, rest = {}, list(arguments)
    while rest:
        name = rest.pop(0)
        if not name.startswith("--") or len(name) == 2:
            raise UserError(f"`{name}` is not an option", hint="write `--name value`; ./run.sh --help lists them")
        name, equals, value = name[2:].partition("=")
        if name.replace("_", "-") in FLAGS and not equals:
            name, value = name.replace("_", "-"), "true"
        elif not equals:
            if not rest or re.match(r"--[a-z]", rest[0]):
                raise UserError(f"option --{name} has no value", hint=f"write `--{name} VALUE`")
            value = rest.pop(0)
        options[name.replace("_", "-") if name.replace("_", "-") in RUN_OPTIONS else name] = value
    return options


def known_options(sections: dict[str, dict]) -> list[str]:
    """Names of all options: those of the run, the keys of the recipe, then ``section.key``."""
    names = [*RUN_OPTIONS, *FLAGS, *RECIPE_KEYS]
    for section, values in sections.items():
        names += [f"{section}.{key}" for key in leaves(values)]
    return names


def parse_value(option: str, text: str):
    if not text:  # YAML would read it as null, but an empty text is meant
        return ""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):  # such as 1e-4, which YAML reads as text
        return float(text)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--{option}: `{text}` cannot be read", hint="write a number, a word, true, false or [a, b]") \
            from None


def run_values(options: dict[str, str], name: str) -> dict:
    run = {"recipe": name, "corpus": "", "stage": "0", "stop-stage": "11", "nj": str(len(os.sched_getaffinity(0))),
           "memory": str(DEFAULT_MEMORY), "nnodes": "1", "rdzv-endpoint": "", "launcher": "srun --ntasks-per-node=1",
           "device": "auto", "exp": f"exp/{name}", "data": f"data/{name}", "reference-ctm": "", "dry-run": "false"}
    run |= {k: v for k, v in options.items() if k in RUN_OPTIONS or k in FLAGS}
    for key, low, high in (("stage", 0, 11), ("stop-stage", 0, 11), ("nj", 1, 256), ("nnodes", 1, 4096)):
        if not config.is_count(run[key]) or not low <= int(run[key]) <= high:
            raise UserError(f"--{key} must be a whole number from {low} to {high}, not `{run[key]}`",
                            hint="correct the value")
    if int(run["stop-stage"]) < int(run["stage"]):
        raise UserError(f"--stop-stage {run['stop-stage']} comes before --stage {run['stage']}",
                        hint="correct one of them")
    if run["dry-run"] not in ("true", "false"):
        raise UserError(f"--dry-run takes no value, not `{run['dry-run']}`", hint="write --dry-run alone")
    if not re.fullmatch(r"\d+(\.\d+)?", run["memory"]) or not float(run["memory"]):
        raise UserError(f"--memory must be a number of GiB above 0, not `{run['memory']}`", hint="correct the value")
    if not re.fullmatch(r"auto|cpu|cuda", run["device"]):
        raise UserError(f"--device must be auto, cpu or cuda, not `{run['device']}`", hint="correct the value")
    if not re.fullmatch(r"([^\s:]+:\d+)?", run["rdzv-endpoint"]):
        raise UserError(f"--rdzv-endpoint must be HOST:PORT, not `{run['rdzv-endpoint']}`", hint="correct the value")
    for key in ("corpus", "exp", "data", "reference-ctm"):  # relative to the folder where run.sh was called
        if key in options and (start := os.environ.get("LSTMP_FROM", os.getcwd())) != os.getcwd():
            run[key] = os.path.join(start, run[key])
    if run["corpus"] and not Path(run["corpus"]).is_dir():
        raise UserError("no such folder", file=run["corpus"], hint="give --corpus the folder of the corpus")
    return run


def help_text() -> str:
    sections = read_sections(ROOT / "conf")
    lines = ["", "options of the run, with their defaults:"]
    lines += [f"  --{name:<13} {text}" for name, text in {**RUN_OPTIONS, **FLAGS}.items()]
    lines += ["options of the recipe (recipes/<name>/recipe.yaml):", "  " + " ".join(f"--{k}" for k in RECIPE_KEYS)]
    lines += ["options of the configurations (explained in conf/<section>.yaml):"]
    lines += [f"  --{s}.{{{','.join(leaves(values))}}}" for s, values in sections.items()]
    return "\n".join(lines)
