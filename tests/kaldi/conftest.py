"""Models trained once for all tests of this folder."""

from helpers.known_gaussians import ali_dir, mono_dir, tri_dir, world  # noqa: F401
