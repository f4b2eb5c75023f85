"""What is to be run: conf/*.yaml, overridden by recipes/<name>/recipe.yaml, overridden by the options of run.sh.

    python -m lstmp.recipe [options of run.sh]

checks every key, writes the resulting configurations to a folder that :mod:`lstmp.begin_run` makes <exp>/conf of, which
the steps read, and prints shell assignments that run.sh evaluates.
"""

import dataclasses
import os
import re
import shlex
import sys
from pathlib import Path

import yaml

from lstmp import config, kit
from lstmp.errors import UserError, command
from lstmp.recipe_keys import RECIPE_KEYS, Recipe
from lstmp.recipe_networks import Network, describe, networks, shell_values
from lstmp.recipe_options import (
    FLAGS,
    MACHINES,
    ROOT,
    RUN_OPTIONS,
    help_text,
    known_options,
    parse_options,
    parse_value,
    run_values,
)
from lstmp.recipe_order import check_predecessors
from lstmp.recipe_sections import check_sections, override, read_sections
from lstmp.working_folder import warn_of_another_version


def resolve(options: dict[str, str], root=ROOT) -> tuple[dict, Recipe, dict[str, dict], list[Network]]:
    """Combine ``conf/``, the recipe and the options.

    Returns:
        (values of the run options, the recipe, section name → values, the networks, each with a section of its name)

    Raises:
        UserError: for an unknown recipe, option or key, or a value of the wrong type or out of its range.
    """
    name = options.get("recipe", "tiny")
    path = Path(root) / "recipes" / name / "recipe.yaml"
    if not path.is_file():
        known = [p.parent.name for p in sorted(Path(root).glob("recipes/*/recipe.yaml"))]
        raise config.unknown(f"recipe `{name}`", name, known)
    run = run_values(options, name)
    sections = read_sections(Path(root) / "conf")
    values, lines = config.read_yaml(path)
    for key in values:
        if key not in sections and key not in (*RECIPE_KEYS, "layouts"):
            raise config.unknown(f"key `{key}`", key, [*RECIPE_KEYS, "layouts", *sections], file=path, line=lines[key])
    layouts = config.group(values.pop("layouts", None) or {}, "layouts", file=path, line=lines.get("layouts"))
    layout = choose_layout(layouts, run, file=path, line=lines.get("layouts"))
    for n in [f"layouts.{name}." for name, keys in layouts.items() if keys is layout]:
        lines |= {key.removeprefix(n): line for key, line in lines.items() if key.startswith(n)}
    values |= layout
    chosen = {}
    for option, text in options.items():
        if option in RUN_OPTIONS or option in FLAGS:
            continue
        if option not in RECIPE_KEYS and ("." not in option or option.split(".")[0] not in sections):
            known = [f"--{k}" for k in known_options(sections)]
            raise config.unknown(f"option --{option}", f"--{option}", known)
        chosen[option] = parse_value(option, text)
    values |= {k: v for k, v in chosen.items() if k in RECIPE_KEYS}

    for section in sections.values():  # one seed for all, unless a section's own is set below
        if "seed" in section and "seed" in values:
            section["seed"] = config.coerce(values["seed"], int, "seed", file=path, line=lines.get("seed"))
    for key in [k for k in values if k in sections]:
        override(sections, key, values.pop(key), what=key, file=path, lines=lines)
    for option, value in chosen.items():
        if option not in RECIPE_KEYS:
            first, *deeper = option.split(".")
            for key in reversed(deeper):
                value = {key: value}
            override(sections, first, value, what=f"--{first}")
    recipe = _recipe(values, path, lines, chosen)
    if absent := [name for name in recipe.triphones if name not in sections]:
        raise config.unknown(f"system `{absent[0]}`", absent[0], [s for s in sections if s.startswith("tri")],
                             file=path, line=lines.get("triphones"))
    at = {"lines": {}} if "networks" in chosen else {"file": path, "lines": lines}
    for network in (found := networks(recipe, sections["lstmp"], **at)):
        if network.name in sections and network.name != "lstmp":
            raise UserError(f"network `{network.name}` bears the name of a file of conf/", file=path,
                            line=lines.get(f"networks.{network.name}"), mend="name it otherwise")
    names = [n.name for n in found]

    def origin(section: str, key: str):
        own = key.split(".")[0] in (recipe.networks.get(section) or {})
        if section in names and own:
            return "--networks" if "networks" in chosen else (path, lines.get(f"networks.{section}.{key}"))
        section = "lstmp" if section in names else section
        if f"{section}.{key}" in chosen:
            return f"--{section}.{key}"
        if f"{section}.{key}" in lines:
            return path, lines[f"{section}.{key}"]
        file = Path(root) / f"conf/{section}.yaml"
        return file, config.read_yaml(file)[1].get(key)

    sections |= {n.name: n.config for n in found}
    check_sections(sections, names, origin)
    return run, recipe, sections, found


def _recipe(values: dict, path: Path, lines: dict[str, int], chosen: dict) -> Recipe:
    """The recipe's own keys; an error names the option that a value comes from, or the line of the recipe."""
    try:
        return config.build(values, Recipe, file=path, lines=lines)
    except UserError as e:
        named = re.match("`([^`]+)`", e.what)
        if named and named[1] in chosen:
            raise UserError(f"option --{named[1]}: {e.what}", mend=e.mend) from None
        raise


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


def write_sections(sections: dict[str, dict], folder):
    """Write each section to ``<folder>/<section>.yaml``."""
    for name, values in sections.items():
        path = Path(folder) / f"{name}.yaml"
        text = f"# From conf/{name}.yaml, the recipe and the options of run.sh; made by run.sh, do not edit.\n"
        text += yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
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


@command
def main(argv=None):
    """Print the shell assignments for run.sh's options, or with --help the list of options."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--help" in arguments or "-h" in arguments:
        print(help_text())
        return
    warn_of_another_version(ROOT)
    run, recipe, sections, found = resolve(parse_options(arguments))
    systems = [s for s in recipe.all_systems if not recipe.systems or s in recipe.systems]
    found = [n for n in found if n.name in systems]
    exp, data, dry = Path(run["exp"]), Path(run["data"]), run["dry-run"] == "true"
    gmm_train = recipe.train + (f"_coded{recipe.gmm_mp3_kbps}" if recipe.gmm_mp3_kbps else "")
    if not dry:
        check_predecessors(int(run["stage"]), exp, data, recipe, found, gmm_train, systems)
    values = {**run, **dataclasses.asdict(recipe), "systems": systems, "networks": [n.name for n in found],
              **shell_values(found)}
    values["heard"] = gmm_train
    values["heard_note"] = describe(found, read_sections(ROOT / "conf")["lstmp"], recipe.gmm_mp3_kbps)
    values |= {key: find_file(values[key], run, recipe) for key in ("lexicon", "arpa", "lm_text", "rescore_arpa")}
    values["new_conf"] = exp / f".conf.{os.getpid()}"  # lstmp.begin_run puts it in place, once no other run is there
    if not dry:
        write_sections(sections, values["new_conf"])
    print(shell_assignments(values))
    machines = {f"LSTMP_{key.upper().replace('-', '_')}": run[key] for key in MACHINES}
    machines["LSTMP_COMMIT"] = kit.commit()
    print(f"export {shlex.join(f'{name}={value}' for name, value in machines.items())}")


if __name__ == "__main__":
    main()
