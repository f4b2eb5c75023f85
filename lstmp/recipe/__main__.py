"""Resolve the options of run.sh: write the configurations and print the shell variables that run.sh uses.

    python -m lstmp.recipe [options of run.sh]

The configurations go to a folder that :mod:`lstmp.recipe.begin_run` makes <exp>/conf of, which the steps read.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path

import yaml

from lstmp import config
from lstmp.conf_files import read_sections
from lstmp.errors import command
from lstmp.machine import commit
from lstmp.paths import ROOT
from lstmp.recipe.networks import describe, shell_values
from lstmp.recipe.options import MACHINES, help_text, parse_options
from lstmp.recipe.order import check_predecessors
from lstmp.recipe.resolve import find_file, resolve
from lstmp.recipe.working_folder import warn_of_another_version


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
    values["new_conf"] = exp / f".conf.{os.getpid()}"  # lstmp.recipe.begin_run puts it in place, once no other run is there
    if not dry:
        write_sections(sections, values["new_conf"])
    print(shell_assignments(values))
    machines = {f"LSTMP_{key.upper().replace('-', '_')}": run[key] for key in MACHINES}
    machines["LSTMP_COMMIT"] = commit()
    print(f"export {shlex.join(f'{name}={value}' for name, value in machines.items())}")


if __name__ == "__main__":
    main()
