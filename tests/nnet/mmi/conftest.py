"""An alignment of toy data, made once for all tests of this folder."""

from helpers.known_gaussians import ali_dir, mono_dir, toy  # noqa: F401
