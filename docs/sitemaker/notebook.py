"""A Jupyter notebook as a Markdown page: its text, its code, and the output and pictures that are stored in it."""

import json


def as_markdown(notebook: str) -> str:
    """Convert the JSON text of a notebook (nbformat 4)."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = "".join(data["image/png"]).replace("\n", "")
                parts.append(f"![the picture that this code draws](data:image/png;base64,{picture})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"
