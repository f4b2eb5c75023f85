"""Tests of topologies: Kaldi's defaults, the round trip through a file, and errors for bad files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.corpus.topology import Topology
from lstmp.errors import UserError


def test_default_topology_equals_kaldis():
    topology = Topology.bakis(nonsilence=[2, 3], silence=[1])
    assert topology.entries[2] == (((0, 0.75), (1, 0.25)), ((1, 0.75), (2, 0.25)), ((2, 0.75), (3, 0.25)))
    first, *middle, last = topology.entries[1]
    assert first == ((0, 0.25), (1, 0.25), (2, 0.25), (3, 0.25))
    assert middle == [((1, 0.25), (2, 0.25), (3, 0.25), (4, 0.25))] * 3
    assert last == ((4, 0.75), (5, 0.25))
    assert topology.num_states(1) == 5 and topology.num_states(3) == 3


def test_topologies_for_low_frame_rates():
    lang = Topology.bakis(nonsilence=[2, 3], silence=[1])
    chain, one_state = Topology.chain([1, 2, 3]), Topology.one_state([1, 2, 3])
    assert chain.num_states(2) == 2 and one_state.num_states(2) == 1
    assert [t.is_chain for t in (lang, chain, one_state)] == [False, True, False]
    assert [t.has_one_state for t in (lang, chain, one_state)] == [False, False, True]
    assert [t.for_low_rate for t in (lang, chain, one_state)] == [False, True, True]
    assert chain.fits(lang) and one_state.fits(lang) and not Topology.chain([1, 2]).fits(lang)
    # a phone of n frames has the probability 0.5ⁿ: frame by frame through its states
    after = {(0,): 1.0}
    for frames in range(1, 5):
        after = {(to,): sum(p * q for (s,), p in after.items() for d, q in chain.entries[2][s] if d == to)
                 for to in (1, 2)}
        assert after.pop((2,)) == 0.5 ** frames


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 7))
def test_file_round_trip(tmp_path_factory, speech, silence):
    path = tmp_path_factory.mktemp("topo") / "topo"
    topology = Topology.bakis(nonsilence=[4, 7, 5], silence=[1, 2], nonsilence_states=speech, silence_states=silence)
    topology.write(path)
    assert Topology.read(path) == topology
    for states in topology.entries.values():
        assert all(sum(p for _, p in state) == pytest.approx(1) for state in states)


def test_files_with_other_line_breaks_are_read(tmp_path):
    """Kaldi's scripts break lines at other positions."""
    (tmp_path / "topo").write_text(
        "<Topology> <TopologyEntry> <ForPhones> 1 2\n</ForPhones> <State> 0 <PdfClass> 0 <Transition> 0 0.5\n"
        "<Transition> 1 0.5 </State> <State> 1 </State> </TopologyEntry> </Topology>")
    assert Topology.read(tmp_path / "topo").entries == dict.fromkeys((1, 2), (((0, 0.5), (1, 0.5)),))


@pytest.mark.parametrize("old, new, message", [
    ("<Topology>", "<Topo>", ":1: expected <Topology>, found <Topo>"),
    ("3 4", "3 x", ":4: expected a number, found x"),
    ("3 4", "3 3", "phone 3 has two topologies"),
    ("<State> 1 <Pdf", "<State> 2 <Pdf", ":7: expected state 1"),
    ("<PdfClass> 1", "<PdfClass> 5", "the pdf-class of state 1 must be 1"),
    ("<Transition> 1 0.75 <Tran", "<Transition> 1 0.5 <Tran", ":7: the transitions of state 1 must be"),
    ("<Transition> 2 0.75", "<Transition> 9 0.75", "a transition leads to a state that does not exist"),
    ("<State> 3 </State>\n</TopologyEntry>\n</Topology>\n", "", "found the end of the file"),
])
def test_bad_file_is_an_error(tmp_path, old, new, message):
    path = tmp_path / "topo"
    Topology.bakis(nonsilence=[3, 4], silence=[]).write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match="topo:") as e:
        Topology.read(path)
    assert message in str(e.value)


def test_empty_file_is_an_error(tmp_path):
    (tmp_path / "topo").write_text("")
    with pytest.raises(UserError, match="expected <Topology>"):
        Topology.read(tmp_path / "topo")
