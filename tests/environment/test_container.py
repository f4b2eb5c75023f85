"""The Dockerfile and the content of the image."""

import os
import re

from helpers import ROOT


def test_the_dockerfile_matches_the_documentation():
    """It installs the packages of the page, and the user of the image makes the environment in the copy."""
    text = (ROOT / "Dockerfile").read_text()
    page = (ROOT / "docs" / "stage-00-environment.md").read_text()
    steps = re.findall(r"^([A-Z]+) (.*)$", re.sub(r"\\\n *", "", text), re.M)
    apt = next(value for name, value in steps if name == "RUN" and "apt-get" in value)
    packages = re.search(r"--no-install-recommends ([\w .+-]+?) *&&", apt).group(1)
    assert f"apt-get install {packages}\n" in page.replace("`", "\n")
    names = [name for name, _ in steps]
    made = steps.index(("RUN", "local/env.sh"))
    assert names.index("USER") < made and names.index("COPY") < made
    assert os.access(ROOT / "local/env.sh", os.X_OK)
    assert text.rstrip().endswith('CMD ["./run.sh"]')
    variables = {value.split("=")[0] for name, value in steps if name == "ARG"}
    assert variables == {"LSTMP_GPU", "LSTMP_TORCH_INDEX"}
    assert all(v in (ROOT / "local/env.sh").read_text() for v in variables)


def test_the_image_contains_no_results_and_no_environment():
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"}
    assert {".git", ".venv", "exp", "data", "downloads", "models"} <= ignored
