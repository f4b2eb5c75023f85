"""Fixtures that several test files of this folder share."""

from helpers.decoding import adapted_work, work  # noqa: F401
from helpers.lattices import decode_dir  # noqa: F401
