"""The command ``lstmp``. Each subcommand calls the ``main`` of a module, most of which also have a script in steps/.

A module is imported only when its subcommand is called, because most of them import torch, which takes seconds.
"""

import importlib
import sys

from lstmp import __version__, config
from lstmp.errors import command
from lstmp.program import name_subcommand

COMMANDS = {
    "run": ("lstmp.recipe.working_folder",
            "train and test a recipe, from audio to word error rates: the stages of run.sh"),
    "progress": ("lstmp.recipe.show_progress",
                 "how far a run is: what is done, what runs, the time left (steps/show_progress.sh)"),
    "transcribe": ("lstmp.transcribe.transcribe", "transcribe recordings with a model folder"),
    "serve": ("lstmp.serve.server", "live recognition over WebSockets, and a page for the microphone (steps/serve.sh)"),
    "align": ("lstmp.transcribe.align_folder",
              "align recordings with their transcripts, to Praat TextGrids and CTM, with a model folder"),
    "train": ("lstmp.nnet.train", "train a network (steps/train_lstmp.sh)"),
    "decode": ("lstmp.decode.decode", "decode a data dir (steps/decode.sh)"),
    "score": ("lstmp.score.score", "word error rates of decode dirs (steps/score.sh)"),
    "report": ("lstmp.report.make_report", "make the page of an experiment, or of several (steps/make_report.sh)"),
    "export": ("lstmp.transcribe.export", "put a trained network and everything it needs into a model folder"),
}


def help_text() -> str:
    """The text that ``lstmp --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = ["usage: lstmp COMMAND [OPTIONS]        lstmp COMMAND --help        lstmp --version", "",
             "Hybrid HMM acoustic modelling with LSTMP networks.", ""]
    return "\n".join([*lines, *(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())])


@command
def main(argv=None):
    """Call the subcommand that the first argument names.

    Raises:
        UserError: there is no such command.
    """
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("--help", "-h", "help"):
        print(help_text())
        return
    if name in ("--version", "-V"):
        print(f"lstmp {__version__}")
        return
    if name not in COMMANDS:
        raise config.unknown(f"command `lstmp {name}`", name, COMMANDS)
    name_subcommand(f"lstmp {name}")
    importlib.import_module(COMMANDS[name][0]).main(rest)
