"""What is to be run: conf/*.yaml, overridden by recipes/<name>/recipe.yaml, overridden by the options of run.sh.

    python -m lstmp.recipe [options of run.sh]

checks every key, writes the resulting configurations to <exp>/conf/<section>.yaml, which the steps read, and prints
shell assignments that run.sh evaluates. A configuration file is rewritten only when its content changes.
"""

import dataclasses
import os
import re
import shlex
import socket
import sys
from pathlib import Path

import yaml

from lstmp import config, kit
from lstmp.errors import UserError, command
from lstmp.recipe_keys import RECIPE_KEYS, Recipe
from lstmp.recipe_networks import Network, describe, networks, shell_values
from lstmp.working_folder import warn_of_another_version

ROOT = kit.root()

RUN_OPTIONS = {
    "recipe": "tiny, mini_librispeech, librispeech, or another folder of recipes/ (tiny)",
    "corpus": "folder of a local copy of the corpus; without it, it is downloaded (none)",
    "stage": "first stage to run, 0 to 11 (0)",
    "stop-stage": "last stage to run (11)",
    "nj": "number of processes, on each machine (the number of cores)",
    "nnodes": "number of machines; more than one share the folder of this checkout (1)",
    "rdzv-endpoint": "HOST:PORT where the machines meet, HOST being one of them; PORT is free (29500 of this machine)",
    "launcher": "command that starts another one on all machines (srun --ntasks-per-node=1)",
    "device": "auto, cpu or cuda; auto: networks are trained on the GPU if there is one, all else on the CPU (auto)",
    "exp": "folder for models and results (exp/<recipe>)",
    "data": "folder for data dirs (data/<recipe>)",
    "reference-ctm": "phone times of another aligner, to compare the triphones' alignment with (none)",
}


_MACHINES = ("nnodes", "rdzv-endpoint", "launcher", "nj")  # what local/path.sh must know to start torchrun


def read_sections(folder) -> dict[str, dict]:
    """The default configurations: file name without ``.yaml`` → its values, for every file of ``conf/``."""
    return {p.stem: config.read_yaml(p)[0] for p in sorted(Path(folder).glob("*.yaml"))}


def override(values: dict, key: str, value, *, what: str, file=None, line=None):
    """Set ``values[key]``, which must exist, to ``value``, which must be of its type. ``what`` names it in errors."""
    if key not in values:
        raise config.unknown(what, key, sorted(values), file=file, line=line)
    old = values[key]
    if isinstance(old, dict):
        for k, v in config.group(value, what, file=file, line=line).items():
            override(old, k, v, what=f"{what}.{k}", file=file, line=line)
        return
    if old is None or type(old) is int and isinstance(value, float):  # the step's own dataclass decides
        values[key] = value
    elif isinstance(old, list) and not old and isinstance(value, list):  # of what, the step's own dataclass knows
        values[key] = value
    elif isinstance(old, list):
        kind = list[type(old[0])] if old else list[str]
        values[key] = config.coerce(value, kind, what, file=file, line=line)
    else:
        values[key] = config.coerce(value, type(old), what, file=file, line=line)


def parse_options(arguments: list[str]) -> dict[str, str]:
    """``--name value`` or ``--name=value`` pairs → {name: value}; the last of several counts."""
    options, rest = {}, list(arguments)
    while rest:
        name = rest.pop(0)
        if not name.startswith("--") or len(name) == 2:
            raise UserError(f"`{name}` is not an option", mend="write `--name value`; ./run.sh --help lists them")
        name, equals, value = name[2:].partition("=")
        if not equals:
            if not rest or re.match(r"--[a-z]", rest[0]):
                raise UserError(f"option --{name} has no value", mend=f"write `--{name} VALUE`")
            value = rest.pop(0)
        options[name.replace("_", "-") if name.replace("_", "-") in RUN_OPTIONS else name] = value
    return options


def resolve(options: dict[str, str], root=ROOT) -> tuple[dict, Recipe, dict[str, dict], list[Network]]:
    """Combine ``conf/``, the recipe and the options.

    Returns:
        (values of the run options, the recipe, section name → values, the networks, each with a section of its name)

    Raises:
        UserError: for an unknown recipe, option or key, or a value of the wrong type.
    """
    name = options.get("recipe", "tiny")
    path = Path(root) / "recipes" / name / "recipe.yaml"
    if not path.is_file():
        known = [p.parent.name for p in sorted(Path(root).glob("recipes/*/recipe.yaml"))]
        raise config.unknown(f"recipe `{name}`", name, known)
    run = _run_values(options, name)
    sections = read_sections(Path(root) / "conf")
    values, lines = config.read_yaml(path)
    for key in values:
        if key not in sections and key not in (*RECIPE_KEYS, "layouts"):
            raise config.unknown(f"key `{key}`", key, [*RECIPE_KEYS, "layouts", *sections], file=path, line=lines[key])
    layouts = config.group(values.pop("layouts", None) or {}, "layouts", file=path, line=lines.get("layouts"))
    values |= choose_layout(layouts, run, file=path, line=lines.get("layouts"))
    chosen = {}
    for option, text in options.items():
        if option in RUN_OPTIONS:
            continue
        if option not in RECIPE_KEYS and ("." not in option or option.split(".")[0] not in sections):
            known = [f"--{k}" for k in known_options(sections)]
            raise config.unknown(f"option --{option}", f"--{option}", known)
        chosen[option] = _parse(option, text)
    values |= {k: v for k, v in chosen.items() if k in RECIPE_KEYS}

    for section in sections.values():  # one seed for all, unless a section's own is set below
        if "seed" in section and "seed" in values:
            section["seed"] = config.coerce(values["seed"], int, "seed", file=path, line=lines.get("seed"))
    for key in [k for k in values if k in sections]:
        override(sections, key, values.pop(key), what=key, file=path, line=lines[key])
    for option, value in chosen.items():
        if option not in RECIPE_KEYS:
            first, *deeper = option.split(".")
            for key in reversed(deeper):
                value = {key: value}
            override(sections, first, value, what=f"--{first}")
    recipe = config.build(values, Recipe, file=path, lines={k: n for k, n in lines.items() if k not in chosen})
    if absent := [name for name in recipe.triphones if name not in sections]:
        raise config.unknown(f"system `{absent[0]}`", absent[0], [s for s in sections if s.startswith("tri")],
                             file=path, line=lines.get("triphones"))
    at = {"file": path, "line": lines.get("networks")}
    for network in (found := networks(recipe, sections["lstmp"], override, **at)):
        if network.name in sections and network.name != "lstmp":
            raise UserError(f"network `{network.name}` bears the name of a file of conf/", mend="name it otherwise",
                            **at)
    sections |= {n.name: n.config for n in found}
    return run, recipe, sections, found


def choose_layout(layouts: dict, run: dict, *, file, line) -> dict:
    """The keys of the first layout all of whose splits are in the corpus; without --corpus, those of `download`.

    A corpus may be had in several forms, with other names of splits and files: `layouts: {name: {key: value}}`.

    Raises:
        UserError: no layout fits the corpus.
    """
    for name, keys in layouts.items():
        if not isinstance(keys, dict) or not {"train", "dev", "tests"} <= set(keys) <= set(RECIPE_KEYS):
            raise UserError(f"layout `{name}` must give train, dev and tests, and else keys of the recipe", file=file,
                            line=line, mend="see recipes/mini_librispeech/recipe.yaml")
        for key, kind in (("train", str), ("dev", str), ("tests", list[str])):
            config.coerce(keys[key], kind, f"layouts.{name}.{key}", file=file, line=line)
        splits = [*keys["train"].split("+"), keys["dev"], *keys["tests"]]
        here = [Path(run["corpus"]) / "LibriSpeech", Path(run["corpus"])]
        if any(all((d / s).is_dir() for s in splits) for d in here) if run["corpus"] else name == "download":
            return keys
    if layouts:
        known = "; ".join(f"{n}: {k['train']}, {k['dev']}{''.join(f', {t}' for t in k['tests'])}"
                          for n, k in layouts.items())
        raise UserError("the splits of the recipe are not all there", file=run["corpus"],
                        mend=f"it needs the folders of one of these layouts: {known}")
    return {}


def find_file(name: str, run: dict, recipe: Recipe) -> str:
    """Where a file is that the recipe names by its place in the corpus.

    It is looked for in the corpus and the folder above, and in their `lm` folders. The corpus `tiny` has it in
    <data>/local; a file of a download need not be there yet.

    Raises:
        UserError: it is not in --corpus.
    """
    if not name:
        return ""
    if recipe.source == "tiny":
        corpus = Path(run["data"]) / "local"
    else:
        corpus = Path(run["corpus"] or "downloads")
    base = Path(name).name
    places = [c / n for c in (corpus, corpus.parent) for n in (name, f"lm/{base}", base)]
    for place in [*places, Path(name)]:
        if place.is_file():
            return str(place)
    if recipe.source == "datadirs" or run["corpus"] and recipe.source != "tiny":
        raise UserError("no such file", file=places[0], mend=f"put it there, or in {places[1].parent}")
    return str(places[0])


def known_options(sections: dict[str, dict]) -> list[str]:
    """Names of all options: those of the run, the recipe's keys, then ``section.key``."""
    names = list(RUN_OPTIONS) + RECIPE_KEYS
    for section, values in sections.items():
        names += [f"{section}.{key}" for key in _leaves(values)]
    return names


def _leaves(values: dict) -> list[str]:
    """Dotted names of the values in nested mappings."""
    names = []
    for key, value in values.items():
        names += [f"{key}.{k}" for k in _leaves(value)] if isinstance(value, dict) else [key]
    return names


def _parse(option: str, text: str):
    if not text:  # YAML takes it for null; what is given as an empty text is one
        return ""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):  # 1e-4, which YAML takes for text
        return float(text)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--{option}: `{text}` cannot be read", mend="write a number, a word, true, false or [a, b]") \
            from None


def _run_values(options: dict[str, str], name: str) -> dict:
    run = {"recipe": name, "corpus": "", "stage": "0", "stop-stage": "11", "nj": str(len(os.sched_getaffinity(0))),
           "nnodes": "1", "rdzv-endpoint": f"{socket.gethostname()}:29500", "launcher": "srun --ntasks-per-node=1",
           "device": "auto", "exp": f"exp/{name}", "data": f"data/{name}", "reference-ctm": ""}
    run |= {k: v for k, v in options.items() if k in RUN_OPTIONS}
    for key, low, high in (("stage", 0, 11), ("stop-stage", 0, 11), ("nj", 1, 256), ("nnodes", 1, 4096)):
        if not config.is_count(run[key]) or not low <= int(run[key]) <= high:
            raise UserError(f"--{key} must be a whole number from {low} to {high}, not `{run[key]}`",
                            mend="correct the value")
    if not re.fullmatch(r"auto|cpu|cuda", run["device"]):
        raise UserError(f"--device must be auto, cpu or cuda, not `{run['device']}`", mend="correct the value")
    if not re.fullmatch(r"[^\s:]+:\d+", run["rdzv-endpoint"]):
        raise UserError(f"--rdzv-endpoint must be HOST:PORT, not `{run['rdzv-endpoint']}`", mend="correct the value")
    for key in ("corpus", "exp", "data", "reference-ctm"):  # as seen from where run.sh was called
        if key in options and (start := os.environ.get("LSTMP_FROM", os.getcwd())) != os.getcwd():
            run[key] = os.path.join(start, run[key])
    if run["corpus"] and not Path(run["corpus"]).is_dir():
        raise UserError("no such folder", file=run["corpus"], mend="give --corpus the folder of the corpus")
    return run


def write_sections(sections: dict[str, dict], folder):
    """Write each section to ``<folder>/<section>.yaml`` unless it stands there already."""
    for name, values in sections.items():
        path = Path(folder) / f"{name}.yaml"
        text = f"# From conf/{name}.yaml, the recipe and the options of run.sh; made by run.sh, do not edit.\n"
        text += yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            config.write_text(path, text)


def shell_assignments(values: dict) -> str:
    """``name=value`` lines for bash, quoted; lists become arrays, groups associative ones, `-` in names becomes `_`."""
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs = " ".join(f"[{key}]={shlex.quote(str(v))}" for key, v in value.items())
            lines.append(f"declare -A {name}=({pairs})")
            continue
        quoted = f"({shlex.join(map(str, value))})" if isinstance(value, list) else shlex.quote(
            str(value).lower() if isinstance(value, bool) else str(value))
        lines.append(f"{name.replace('-', '_')}={quoted}")
    return "\n".join(lines)


def help_text() -> str:
    sections = read_sections(ROOT / "conf")
    lines = ["", "options of the run, with their defaults:"]
    lines += [f"  --{name:<13} {text}" for name, text in RUN_OPTIONS.items()]
    lines += ["options of the recipe (recipes/<name>/recipe.yaml):", "  " + " ".join(f"--{k}" for k in RECIPE_KEYS)]
    lines += ["options of the configurations (conf/<section>.yaml, where each is explained):"]
    lines += [f"  --{s}.{{{','.join(_leaves(values))}}}" for s, values in sections.items()]
    return "\n".join(lines)


@command
def main(argv=None):
    """Print the shell assignments for run.sh's options, or with --help the list of options."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--help" in arguments or "-h" in arguments:
        print(help_text())
        return
    warn_of_another_version(ROOT)
    run, recipe, sections, found = resolve(parse_options(arguments))
    write_sections(sections, Path(run["exp"]) / "conf")
    systems = [s for s in recipe.all_systems if not recipe.systems or s in recipe.systems]
    found = [n for n in found if n.name in systems]
    values = {**run, **dataclasses.asdict(recipe), "systems": systems, "networks": [n.name for n in found],
              **shell_values(found)}
    values["heard"] = recipe.train + (f"_coded{recipe.gmm_mp3_kbps}" if recipe.gmm_mp3_kbps else "")  # by the GMMs
    values["heard_note"] = describe(found, read_sections(ROOT / "conf")["lstmp"], recipe.gmm_mp3_kbps)
    values |= {key: find_file(values[key], run, recipe) for key in ("lexicon", "arpa", "lm_text", "rescore_arpa")}
    print(shell_assignments(values))
    machines = {f"LSTMP_{key.upper().replace('-', '_')}": run[key] for key in _MACHINES}
    print(f"export {shlex.join(f'{name}={value}' for name, value in machines.items())}")


if __name__ == "__main__":
    main()
