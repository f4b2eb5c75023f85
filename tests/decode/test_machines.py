"""Decoding on two machines gives the same lattices, hypotheses and transforms as on one machine."""

import numpy as np
from helpers.decoding import arguments, run
from helpers.machines import on_machines

from lstmp.decode.decode import main
from lstmp.decode.lattice import read_lattices


def test_lattices_and_hypotheses_are_the_same(work):
    main(arguments(work, "one"))
    out = on_machines(work, "decode.sh", *arguments(work, "two", nj=2))
    assert out.returncode == 0, out.stdout
    files = sorted((work / "one").glob("lat.*"))
    assert len(files) == 4 and [f.name for f in files] == sorted(f.name for f in (work / "two").glob("lat.*"))
    for path in files:
        a, b = read_lattices(path), read_lattices(work / "two" / path.name)
        assert a.keys() == b.keys()
        for utt in a:
            assert np.array_equal(a[utt].arcs, b[utt].arcs) and np.array_equal(a[utt].graph, b[utt].graph)
    for path in (work / "one" / "scoring").glob("*.txt"):
        assert path.read_bytes() == (work / "two" / "scoring" / path.name).read_bytes()


def test_transforms_are_the_same(adapted_work):
    assert run(adapted_work, out="one").returncode == 0
    out = on_machines(adapted_work, "decode.sh", *arguments(adapted_work, "two", nj=1))
    assert out.returncode == 0, out.stdout
    for path in [adapted_work / "one" / "trans.ark", *(adapted_work / "one" / "scoring").glob("*.txt")]:
        assert path.read_bytes() == (adapted_work / "two" / path.relative_to(adapted_work / "one")).read_bytes()
