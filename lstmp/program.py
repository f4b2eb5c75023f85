"""What the running command is called in its help and messages: a script of steps/, or a subcommand of ``lstmp``."""

_subcommand: str | None = None  # such as "lstmp train"


def name_subcommand(name: str):
    """Record that the program was started as a subcommand of ``lstmp``."""
    global _subcommand
    _subcommand = name


def program_name(script: str) -> str:
    """The subcommand by which the program was started, or else ``script``, which starts it."""
    return _subcommand or script
