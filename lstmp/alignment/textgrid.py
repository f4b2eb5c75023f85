"""Writes Praat TextGrids (long text format): tiers of intervals that cover an utterance from start to end."""

from lstmp import config

Interval = tuple[float, float, str]


def write_textgrid(path, tiers: dict[str, list[Interval]], end: float):
    """Write a TextGrid, UTF-8.

    Args:
        tiers: name → (start, end, label) in seconds, in order and without overlap; gaps become empty intervals.
        end: length of the utterance in seconds.
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}",
             "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for n, (name, intervals) in enumerate(tiers.items(), 1):
        whole = _without_gaps(intervals, end)
        lines += [f"    item [{n}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}",
                  "        xmin = 0", f"        xmax = {end:.3f}", f"        intervals: size = {len(whole)}"]
        for i, (start, stop, label) in enumerate(whole, 1):
            lines += [f"        intervals [{i}]:", f"            xmin = {start:.3f}", f"            xmax = {stop:.3f}",
                      f"            text = {_quoted(label)}"]
    config.write_text(path, "\n".join(lines) + "\n")


def _without_gaps(intervals: list[Interval], end: float) -> list[Interval]:
    whole, position = [], 0.0
    for start, stop, label in intervals:
        if start > position + 1e-6:
            whole.append((position, start, ""))
        whole.append((start, stop, label))
        position = stop
    if end > position + 1e-6:
        whole.append((position, end, ""))
    return whole


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
