"""Taking over existing Kaldi data dirs (recipe `own`): local/take_data_dirs.sh."""

import pytest
from helpers.corpora import TEXT, data_dir, tone

from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.take_data_dirs import main, take


def test_tables_are_copied_and_durations_measured(tmp_path):
    source = data_dir(tmp_path / "src" / "train", audio=True)
    (source / "utt2dur").unlink()
    main(["--corpus", str(tmp_path / "src"), "--out", str(tmp_path / "data"), "--splits", "train", "--nj", "1"])
    data = read_data_dir(tmp_path / "data" / "train")
    assert {u: " ".join(x.words) for u, x in data.utts.items()} == TEXT
    assert data.durations == pytest.approx({u: 0.5 + i / 10 for i, u in enumerate(TEXT)}, abs=0.001)


def test_relative_paths_are_resolved_against_the_current_folder(tmp_path, monkeypatch):
    source = data_dir(tmp_path / "src", audio=True)
    (source / "wav.scp").write_text("".join(f"{u} src/{u}.wav\n" for u in TEXT))
    monkeypatch.chdir(tmp_path)
    take(source, tmp_path / "out", max_bad=0, max_utts=2, nj=1)
    data = read_data_dir(tmp_path / "out")
    # a limit is spread over the speakers
    assert len(data.utts) == 2 and len({u.speaker for u in data.utts.values()}) == 2
    assert all(u.wav == str(source / f"{u.id}.wav") for u in data.utts.values())


def test_a_finished_split_is_skipped_until_audio_changes(tmp_path, capsys):
    source = data_dir(tmp_path / "src", audio=True)
    options = dict(max_bad=0, max_utts=None, nj=1)
    take(source, tmp_path / "out", **options)
    take(source, tmp_path / "out", **options)
    assert "is done" in capsys.readouterr().out
    tone(source / f"{min(TEXT)}.wav", seconds=0.9)
    take(source, tmp_path / "out", **options)
    assert read_data_dir(tmp_path / "out").durations[min(TEXT)] == pytest.approx(0.9, abs=0.001)


def test_refuses_to_overwrite_its_source(tmp_path, capsys):
    data_dir(tmp_path / "train", audio=True)
    with pytest.raises(SystemExit):
        main(["--corpus", str(tmp_path), "--out", str(tmp_path), "--splits", "train"])
    assert "same data dir" in capsys.readouterr().err
