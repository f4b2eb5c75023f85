"""Lattice-free MMI: the criterion of sequence training and its implementations (docs/lf-mmi.md)."""
