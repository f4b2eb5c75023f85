"""Prepares docstrings for Sphinx: `Returns:` may be free text, or a list of names as after `Args:`."""

import re

_NAME = re.compile(r"(\w+(?:, \w+)*): ")


def with_returns(lines: list[str]) -> list[str]:
    """Replace the section `Returns:` of a docstring by a field; napoleon would take its first words as a type."""
    if "Returns:" not in lines:
        return lines
    start = lines.index("Returns:")
    end = next((i for i in range(start + 1, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
    body = [line[4:] for line in lines[start + 1:end]]
    first = [line for line in body if line and not line.startswith(" ")]
    if len(first) > 1 and all(_NAME.match(line) for line in first):
        body = ["* **" + line.replace(": ", "**: ", 1) if line in first else "  " + line.lstrip() for line in body]
        return [*lines[:start], ":returns:", "", *("    " + line for line in body), "", *lines[end:]]
    return [*lines[:start], ":returns: " + body[0], *("    " + line if line else "" for line in body[1:]), *lines[end:]]


def _process(app, what, name, obj, options, lines: list[str]):
    lines[:] = with_returns(lines)


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _process, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
