"""Gives the name of the running command for its help and messages: a script in steps/, or a subcommand of ``lstmp``."""

_subcommand: str | None = None  # such as "lstmp train"


def name_subcommand(name: str):
    """Record that the program was started as a subcommand of ``lstmp``."""
    global _subcommand
    _subcommand = name


def program_name(script: str) -> str:
    """The subcommand with which the program was started, or else the name of its ``script``."""
    return _subcommand or script
