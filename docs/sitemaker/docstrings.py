"""Prepares docstrings for Sphinx: `Returns:` may be free text, or a list of names as after `Args:`; `Attributes:` may
describe several at once, as `Args:` may."""

import re

_NAME = re.compile(r"(\w+(?:, \w+)*): ")
_SEVERAL = re.compile(r"    (\w+(?:, \w+)+): ")


def with_returns(lines: list[str]) -> list[str]:
    """Replace the section `Returns:` of a docstring by a field; napoleon would take its first words as a type."""
    if "Returns:" not in lines:
        return lines
    start = lines.index("Returns:")
    end = _end_of_section(lines, start + 1)
    body = [line[4:] for line in lines[start + 1:end]]
    first = [line for line in body if line and not line.startswith(" ")]
    if len(first) > 1 and all(_NAME.match(line) for line in first):
        body = ["* **" + line.replace(": ", "**: ", 1) if line in first else "  " + line.lstrip() for line in body]
        return [*lines[:start], ":returns:", "", *("    " + line for line in body), "", *lines[end:]]
    return [*lines[:start], ":returns: " + body[0], *("    " + line if line else "" for line in body[1:]), *lines[end:]]


def with_attributes(lines: list[str]) -> list[str]:
    """Write out `a, b: text` of the section `Attributes:` for each name; napoleon would take `a,` as the type of b."""
    if "Attributes:" not in lines:
        return lines
    start = lines.index("Attributes:") + 1
    end = _end_of_section(lines, start)
    begins = [i for i in range(start, end) if re.match(r"    \S", lines[i])]
    written = []
    for first, after in zip(begins, [*begins[1:], end], strict=True):
        several = _SEVERAL.match(lines[first])
        texts = [lines[first]] if several is None else \
            [f"    {name}: {lines[first][several.end():]}" for name in several[1].split(", ")]
        written += [line for text in texts for line in (text, *lines[first + 1:after])]
    return [*lines[:start], *written, *lines[end:]]


def _end_of_section(lines: list[str], start: int) -> int:
    """The line after the section whose contents begin at ``start``."""
    return next((i for i in range(start, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))


def _process(app, what, name, obj, options, lines: list[str]):
    lines[:] = with_attributes(with_returns(lines))


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _process, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
