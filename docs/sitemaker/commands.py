"""The command reference: what every script and every subcommand of `lstmp` prints with `--help`."""

import contextlib
import functools
import importlib
import io
import os
import re
import shlex
import subprocess
import sys

from lstmp import cli, program
from sitemaker.pages import ROOT, label, scripts

PAGE = "reference/commands.md"
HEAD = """# Commands

The help of every script, as `--help` prints it. The [pages of the stages](../stages.md) explain what the steps do.

"""
_CALL = re.compile(r'^(?:exec python -m|on_machines \d+) (lstmp\..*) "\$@"$', re.M)


@functools.cache
def help_of(command: str) -> str:
    """What ``command --help`` prints; ``command`` is a script, relative to the repository, or `lstmp SUBCOMMAND`.

    A script that only calls a module is not started: its module is called here, which takes no second to import torch.
    """
    if command == "lstmp":
        return cli.help_text()
    if command == "lstmp run":  # replaces itself by run.sh
        return help_of("run.sh")
    if command.startswith("lstmp "):
        return help_of_module(cli.COMMANDS[command.split()[1]][0], (), command)
    call = _CALL.search((ROOT / command).read_text(encoding="utf-8"))
    if call:
        module, *arguments = shlex.split(call[1])
        return help_of_module(module, tuple(arguments))
    done = subprocess.run([ROOT / command, "--help"], capture_output=True, text=True, check=True,
                          env={**os.environ, "LSTMP_PYTHON": sys.executable})
    return done.stdout


@functools.cache
def help_of_module(module: str, arguments: tuple[str, ...] = (), subcommand: str | None = None) -> str:
    """What `python -m MODULE ARGUMENTS --help` prints."""
    main = importlib.import_module(module).main
    output = io.StringIO()
    columns, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "88"
    program._subcommand = subcommand
    try:
        with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            main([*arguments, "--help"])
    finally:
        program._subcommand = None
        del os.environ["COLUMNS"]
        if columns:
            os.environ["COLUMNS"] = columns
    return output.getvalue()


def page() -> str:
    """The page, as Markdown."""
    text = HEAD
    titles = {"Whole runs": ".", "Steps": "steps", "Preparation": "local", "Recipes with a script": "recipes"}
    for title, folder in titles.items():
        text += f"## {title}\n\n"
        for script in (s for s in scripts() if (s.split("/")[0] if "/" in s else ".") == folder):
            text += f"({label(script)})=\n### {script}\n\n```text\n{help_of(script).rstrip()}\n```\n\n"
    text += f"## lstmp\n\n```text\n{cli.help_text()}\n```\n\n"
    for name in list(cli.COMMANDS)[1:]:  # `run` has the help of run.sh
        text += f"### lstmp {name}\n\n```text\n{help_of(f'lstmp {name}').rstrip()}\n```\n\n"
    return text
