"""Resolve the options of run.sh: write the configurations and print the shell variables that run.sh uses.

    python -m lstmp.recipe [options of run.sh]

The configurations are written to a temporary folder. :mod:`lstmp.recipe.begin_run` moves them to <exp>/conf, which the
steps read.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml

from lstmp import config
from lstmp.conf_files import read_sections
from lstmp.errors import UserError, command
from lstmp.machine import commit
from lstmp.paths import ROOT
from lstmp.recipe.options import MACHINES, help_text, parse_options
from lstmp.recipe.order import check_predecessors
from lstmp.recipe.resolve import find_file, resolve
from lstmp.recipe.shell import assignments, combination_variables, run_variables, settings_function, system_variables
from lstmp.recipe.working_folder import warn_of_another_version


def write_sections(sections: dict[str, dict], folder):
    """Write each section to ``<folder>/<section>.yaml``."""
    for name, values in sections.items():
        path = Path(folder) / f"{name}.yaml"
        text = f"# From conf/{name}.yaml, the recipe and the options of run.sh; made by run.sh, do not edit.\n"
        text += yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        config.write_text(path, text)


@command
def main(argv=None):
    """Print the shell variables for the options of run.sh, or with --help the list of options."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--help" in arguments or "-h" in arguments:
        print(help_text())
        return
    warn_of_another_version(ROOT)
    run, recipe, sections, networks = resolve(parse_options(arguments))
    systems = [s for s in recipe.all_systems if not recipe.systems or s in recipe.systems]
    networks = [n for n in networks if n.name in systems]
    exp, data, dry_run = Path(run["exp"]), Path(run["data"]), run["dry-run"] == "true"
    if not dry_run:
        check_predecessors(int(run["stage"]), exp, data, recipe, networks, systems)
    if recipe.source == "datadirs" and not run["corpus"]:
        raise UserError(f"the recipe `{run['recipe']}` has no speech of its own",
                        hint="give --corpus DIR, the folder with your data dirs")
    files: dict[str, Any] = {key: find_file(getattr(recipe, key), run, recipe)
                             for key in ("lexicon", "arpa", "lm_text", "rescore_arpa")}
    recipe = dataclasses.replace(recipe, **files)
    new_conf = exp / f".conf.{os.getpid()}"  # begin_run moves it to <exp>/conf under the lock
    if not dry_run:
        write_sections(sections, new_conf)
    values = run_variables(run, recipe, systems, networks, read_sections(ROOT / "conf")["lstmp"])
    by_system = {name: system_variables(name, None, run, recipe) for name in ("mono", *recipe.triphones)}
    by_system |= {n.name: system_variables(n.name, n, run, recipe) for n in networks}
    by_system |= combination_variables(run, recipe, systems)
    print("\n".join([*assignments(values | {"new_conf": new_conf}), *settings_function(by_system)]))
    exported = {f"LSTMP_{key.upper().replace('-', '_')}": run[key] for key in MACHINES}
    exported["LSTMP_COMMIT"] = commit()
    # the command that reports and records name, unless a script that calls run.sh has set its own
    exported["LSTMP_COMMAND"] = os.environ.get("LSTMP_COMMAND") or shlex.join(["./run.sh", *arguments])
    print(f"export {shlex.join(f'{name}={value}' for name, value in exported.items())}")


if __name__ == "__main__":
    main()
