"""``train.json``: what a training says of itself for the table of results."""

import json
import time
from pathlib import Path

from lstmp import config
from lstmp.gmm.model import AcousticModel


def write_record(directory, system: str, began: float, seed: int, config_path):
    """Write the record of a GMM training that began at ``began`` (seconds since the epoch)."""
    model = AcousticModel.load(directory)
    record = {"system": system, "params": model.gmms.num_params, "minutes": round((time.time() - began) / 60, 2),
              "seed": seed, "config": str(config_path), "pdfs": model.gmms.num_pdfs,
              "gaussians": model.gmms.num_gaussians}
    config.write_text(Path(directory) / "train.json", json.dumps(record, indent=1) + "\n")
