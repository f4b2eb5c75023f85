"""What tests of several rooms share: small experiments, known models, other machines."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
