"""Decoding on two machines gives the lattices, hypotheses and transforms of one."""

import numpy as np
from helpers.decoding import adapted_work, arguments, run, work  # noqa: F401  (a fixture)
from helpers.machines import on_machines

from lstmp.decode.decode import main
from lstmp.decode.lattice import read_lattices


def test_two_machines_decode_as_one_does(work):  # noqa: F811
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


def test_two_machines_adapt_as_one_does(adapted_work):  # noqa: F811
    assert run(adapted_work, out="one").returncode == 0
    out = on_machines(adapted_work, "decode.sh", *arguments(adapted_work, "two", nj=1))
    assert out.returncode == 0, out.stdout
    for path in [adapted_work / "one" / "trans.ark", *(adapted_work / "one" / "scoring").glob("*.txt")]:
        assert path.read_bytes() == (adapted_work / "two" / path.relative_to(adapted_work / "one")).read_bytes()
