"""Models trained once for all tests of this folder."""

from helpers.known_gaussians import adapted, ali_dir, mono_dir, toy, tri_dir  # noqa: F401
