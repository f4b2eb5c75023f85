"""Subsets contain the right utterances, held-out sets contain every speaker, and features are copied."""

import pytest
from helpers.corpora import data_dir
from hypothesis import given
from hypothesis import strategies as st

from lstmp.corpus.datadir import Utterance, by_speaker, read_data_dir, read_table, write_data_dir
from lstmp.corpus.subset import held_out, main, spread
from lstmp.errors import UserError

SPEAKERS = st.dictionaries(st.integers(0, 99).map(str), st.integers(1, 20), min_size=1, max_size=8).map(
    lambda sizes: {s: [f"{s}-{i}" for i in range(n)] for s, n in sizes.items()})


@given(SPEAKERS, st.integers(1, 100))
def test_spread_covers_all_speakers(speakers, n):
    chosen = spread(speakers, n)
    total = sum(map(len, speakers.values()))
    assert len(chosen) == min(n, total)
    assert len({u.split("-")[0] for u in chosen}) == min(n, len(speakers))
    assert chosen <= spread(speakers, n + 1)


@given(SPEAKERS, st.floats(0.01, 0.4))
def test_held_out_set_leaves_utterances_of_each_speaker(tmp_path_factory, speakers, fraction):
    path = tmp_path_factory.mktemp("d")
    write_data_dir(path, [Utterance(u, s, "a.wav", ("A",)) for s, utts in speakers.items() for u in utts])
    data = read_data_dir(path)
    able = [s for s, utts in speakers.items() if len(utts) > 1]
    try:
        chosen = held_out(data, fraction)
    except UserError:
        assert round(fraction * len(data.utts)) > len(data.utts) - len(speakers) or not able
        return
    rest = [u for u in data.utts if u not in chosen]
    assert {data.utts[u].speaker for u in chosen} == set(able)
    assert by_speaker(data.utts[u] for u in rest).keys() == speakers.keys()
    assert len(chosen) == max(len(able), round(fraction * len(data.utts)))


def test_changed_segment_is_detected(tmp_path, capsys):
    path = data_dir(tmp_path / "d")
    lines = [f"{utt} rec {i} {i + 1}\n" for i, utt in enumerate(read_data_dir(path).utts)]
    (path / "wav.scp").write_text("rec rec.wav\n")
    (path / "segments").write_text("".join(lines))
    run(path, "--first", 2)
    assert read_data_dir(tmp_path / "out").utts["19-198-0001"].segment.end == 2
    (path / "segments").write_text("".join(lines).replace(" rec 1 2", " rec 1 1.5"))
    run(path, "--first", 2)
    assert "segments changed" in capsys.readouterr().out
    assert read_data_dir(tmp_path / "out").utts["19-198-0001"].segment.end == 1.5


def run(path, *options):
    main([str(path), str(path.parent / "out"), *map(str, options)])
    return list(read_data_dir(path.parent / "out").utts)


def test_the_command_selects_utterances_and_their_features(tmp_path, capsys):
    path = data_dir(tmp_path / "d")
    (path / "utt2dur").write_text("19-198-0000 3\n19-198-0001 1\n26-495-0000 2\n26-495-0001 4\n")
    (path / "feats.scp").write_text("".join(f"{u} f.ark:{i}\n" for i, u in enumerate(read_data_dir(path).utts)))
    (path / "cmvn.scp").write_text("19-198 c.ark:1\n26-495 c.ark:2\n")
    assert run(path, "--first", 1) == ["19-198-0000"]
    assert read_table(tmp_path / "out" / "cmvn.scp") == {"19-198": "c.ark:1"}
    assert run(path, "--shortest", 2) == ["19-198-0001", "26-495-0000"]
    assert read_table(tmp_path / "out" / "feats.scp") == {"19-198-0001": "f.ark:1", "26-495-0000": "f.ark:2"}
    assert run(path, "--shortest", 2) and "is done" in capsys.readouterr().out
    assert [u[:6] for u in run(path, "--per-speaker", 1)] == ["19-198", "26-495"]
    assert [u[:6] for u in run(path, "--spread", 2)] == ["19-198", "26-495"]
    (tmp_path / "list").write_text("26-495-0001 x\n19-198-0000\n")
    assert run(path, "--utts", tmp_path / "list") == ["19-198-0000", "26-495-0001"]
    (tmp_path / "list").write_text("26-495-0001 19-198-0000\n")
    with pytest.raises(SystemExit):
        run(path, "--utts", tmp_path / "list")
    assert "list:1: `26-495-0001` and `19-198-0000` in one line; write one" in capsys.readouterr().err
    held = run(path, "--held-out", 0.5, "--rest", tmp_path / "rest")
    assert sorted(held + list(read_data_dir(tmp_path / "rest").utts)) == list(read_data_dir(path).utts)
    held = run(path, "--held-out-speakers", 1, "--rest", tmp_path / "rest")
    assert len(read_data_dir(tmp_path / "rest").speakers) == len({u[:6] for u in held}) == 1 and len(held) == 2


@pytest.mark.parametrize(("options", "what"), [
    (["--first", "0"], "cannot choose"), (["--held-out", "3"], "cannot be held out"),
    (["--held-out-speakers", "2"], "2 speakers cannot be held out of 2"),
    (["--utts", "{list}"], "list:2: `nobody`"), (["--shortest", "1"], "utt2dur")])
def test_invalid_options_are_reported_in_one_line(tmp_path, capsys, options, what):
    path = data_dir(tmp_path / "d")
    (path / "utt2dur").unlink()
    (tmp_path / "list").write_text("19-198-0000\nnobody\n")
    with pytest.raises(SystemExit) as e:
        main([str(path), str(tmp_path / "out"), *(o.format(list=tmp_path / "list") for o in options)])
    error = capsys.readouterr().err
    assert e.value.code == 1 and what in error and error.count("\n") == 1
