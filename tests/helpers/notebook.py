"""Executes the code of a notebook with plain Python, and collects what a notebook shows: printed text and figures.

    python -m helpers.notebook NOTEBOOK     (in tests/)     execute it and write the new outputs into it
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path

from PIL import Image

DPI, COLOURS = 80, 96  # of the pictures: the notebook is small


def execute(path: Path) -> list[dict]:
    """Execute the code cells in order, in the notebook's folder. Returns the cells with their new outputs."""
    from matplotlib import pyplot as plt

    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    namespace: dict = {"__name__": "__main__"}
    here = Path.cwd()
    os.chdir(path.parent)
    plt.close("all")
    try:
        count = 0
        for cell in (c for c in cells if c["cell_type"] == "code"):
            count += 1
            cell |= {"execution_count": count, "outputs": _run("".join(cell["source"]), count, namespace)}
    finally:
        os.chdir(here)
    return cells


def _run(source: str, number: int, namespace: dict) -> list[dict]:
    from matplotlib import pyplot as plt

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.parse(source), f"<cell {number}>", "exec"), namespace)
    outputs: list[dict] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(True)})
    for figure in map(plt.figure, plt.get_fignums()):
        drawn, picture = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(picture, format="png", optimize=True)
        outputs.append({"output_type": "display_data", "metadata": {}, "data": {
            "image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": ["<Figure>"]}})
    plt.close("all")
    return outputs


def update(path: Path):
    """Execute a notebook and write the outputs into it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"] = execute(path)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    update(Path(sys.argv[1]).resolve())
