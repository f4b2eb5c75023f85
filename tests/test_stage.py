"""Stages: finished work is skipped, and any change of inputs or settings makes a stage run again."""

import os

import pytest

from lstmp import lock
from lstmp.stage import Stage, digest


@pytest.fixture
def work(tmp_path):
    """A folder with two inputs, in non-alphabetical order, and a function that makes an output from them."""
    (tmp_path / "z.txt").write_text("z")
    (tmp_path / "a.txt").write_text("a")
    out = tmp_path / "out"

    def run(settings=None, inputs=("z.txt", "a.txt")):
        stage = Stage(out, "join", [tmp_path / i for i in inputs], settings or {"n": 1})
        if stage.is_done():
            return "skipped"
        (out / "joined.txt").write_text("".join((tmp_path / i).read_text() for i in inputs))
        (out / "folder").mkdir(exist_ok=True)
        stage.mark([out / "joined.txt", out / "folder"])
        return "ran"
    return tmp_path, run


def test_a_stage_that_is_done_is_skipped(work, capsys):
    _, run = work
    assert [run(), run(), run()] == ["ran", "skipped", "skipped"]
    assert "join is done" in capsys.readouterr().out


@pytest.mark.parametrize("change, reason", [
    (lambda d: (d / "a.txt").write_text("b"), "a.txt changed"),
    (lambda d: (d / "a.txt").unlink(), "a.txt changed"),
    (lambda d: (d / "out/joined.txt").unlink(), "joined.txt is missing or was changed"),
    (lambda d: (d / "out/joined.txt").write_text("cut"), "joined.txt is missing or was changed"),
    (lambda d: os.rmdir(d / "out/folder"), "folder is missing"),
    (lambda d: (d / "out/.done.join.json").write_text("{"), "mark is damaged"),
    (lambda d: (d / "out/.done.join.json").write_text("[]"), "mark is damaged"),
    (lambda d: (d / "out/.done.join.json").write_bytes(b"\xff"), "mark is damaged"),
    (lambda d: (d / "out/.done.join.json").write_text("[" * 100_000), "mark is damaged"),
    (lambda d: (d / "out/.done.join.json").write_text('{"inputs": 1, "settings": 1, "outputs": {}}'),
     "mark is damaged"),
    (lambda d: (d / "out/.done.join.json").write_text('{"inputs": {}, "settings": {"n": 1}, "outputs": []}'),
     "mark is damaged"),
])
def test_any_change_makes_a_stage_run_again(work, capsys, change, reason):
    folder, run = work
    run()
    capsys.readouterr()
    change(folder)
    stage = Stage(folder / "out", "join", [folder / "z.txt", folder / "a.txt"], {"n": 1})
    assert reason in stage.why_not()
    assert not stage.is_done() and reason in capsys.readouterr().out
    assert not stage.path.exists()  # so that a rerun that is killed is not taken as done


def test_changed_settings_and_swapped_inputs_are_noticed(work):
    _, run = work
    run()
    assert run({"n": 2}) == "ran"
    assert run({"n": 2}) == "skipped"
    assert run({"n": 2}, ("a.txt", "z.txt")) == "ran"


def test_inputs_are_compared_by_content_not_by_time(work):
    folder, run = work
    run()
    os.utime(folder / "a.txt", ns=(5, 5))
    assert run() == "skipped"


def test_settings_that_json_changes_still_match(work):
    _, run = work
    for settings in ({"t": (1, 2), "p": os.devnull}, {3: 0.1, 10: 0.2}):
        assert [run(settings), run(settings)] == ["ran", "skipped"]


def test_a_missing_output_is_an_error(tmp_path):
    stage = Stage(tmp_path / "out", "x", [], {})
    assert not stage.is_done()
    with pytest.raises(FileNotFoundError):
        stage.mark([tmp_path / "out" / "never"])
    assert not stage.path.exists()


def test_outputs_may_be_in_another_folder(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/f").write_text("1")
    stage = Stage(tmp_path / "out", "x", [], {})
    stage.is_done()
    stage.mark([tmp_path / "other/f"])
    assert stage.why_not() is None
    (tmp_path / "other/f").write_text("22")
    assert "was changed" in stage.why_not()


def test_the_digest_of_a_folder_depends_on_names_and_contents(tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("1")
    first = digest(tmp_path / "d")
    (tmp_path / "d/.hidden").write_text("mark")
    (tmp_path / "d/.tmp").mkdir()
    (tmp_path / "d/.tmp/g").write_text("x")
    assert digest(tmp_path / "d") == first
    (tmp_path / "d/e/f").rename(tmp_path / "d/e/g")
    assert digest(tmp_path / "d") != first
    assert digest(tmp_path / "none") == "absent"


def test_the_digest_notices_a_replaced_file_of_the_same_size_and_time(tmp_path):
    path = tmp_path / "f"
    path.write_text("1")
    os.utime(path, ns=(9, 9))
    first = digest(path)
    (tmp_path / "g").write_text("2")
    os.utime(tmp_path / "g", ns=(9, 9))
    os.replace(tmp_path / "g", path)
    assert digest(path) != first


def test_an_input_that_changes_during_the_work_makes_it_run_again(work):
    folder, run = work
    out = folder / "out"
    stage = Stage(out, "join", [folder / "a.txt"], {})
    assert not stage.is_done()
    used = (folder / "a.txt").read_text()
    (folder / "a.txt").write_text("changed during the work")
    (out / "joined.txt").write_text(used)
    stage.mark([out / "joined.txt"])
    assert "a.txt changed" in Stage(out, "join", [folder / "a.txt"], {}).why_not()
    (folder / "a.txt").write_text(used)
    assert Stage(out, "join", [folder / "a.txt"], {}).is_done()


def test_a_new_version_of_the_code_runs_again(tmp_path, capsys):
    old = Stage(tmp_path, "x", [], {})
    assert not old.is_done()
    old.mark([])
    text = old.path.read_text()
    assert not Stage(tmp_path, "x", [], {}, version=2).is_done()
    assert "its code changed, version 1 to 2" in capsys.readouterr().out
    old.path.write_text(text.replace('"version": 1,', ""))  # a mark from before versions is of the first
    assert Stage(tmp_path, "x", [], {}).is_done()


def test_what_changed_in_the_configuration_is_named(tmp_path):
    old = {"beam": 13.0, "em": {"iters": 40, "power": 0.25}, "utts": list(range(100)), "gone": True}
    stage = Stage(tmp_path, "x", [], old)
    stage.is_done()
    stage.mark([])
    new = {"beam": 15.0, "em": {"iters": 35, "power": 0.25}, "utts": list(range(99)), "added": "yes"}
    assert Stage(tmp_path, "x", [], new).why_not() == (
        "its configuration changed: `added` none → \"yes\", `beam` 13.0 → 15.0, `em.iters` 40 → 35, "
        "`gone` true → none, `utts` (100 values) → (99 values)")
    many = {f"k{i}": i for i in range(9)}
    assert Stage(tmp_path, "x", [], old | many).why_not().endswith("and 4 more")
    assert Stage(tmp_path, "x", [], [1]).why_not().startswith("its configuration changed: (4 values) → [1]")


class TestKeepPrevious:
    """A trained network is kept until another one has replaced it."""

    def train(self, out, rate, killed=False):
        stage = Stage(out, "net", [], {"rate": rate})
        stage.keep_previous()
        if stage.is_done():
            return "skipped"
        (out / "weights").write_text(f"weights {rate}")
        (out / "decode").mkdir(exist_ok=True)
        if not killed:
            stage.mark([out / "weights"])
        return "trained"

    def test_the_previous_one_is_kept_until_the_new_one_is_done(self, tmp_path, capsys):
        out = tmp_path / "net"
        self.train(out, 1)
        assert self.train(out, 2, killed=True) == "trained"
        kept = [p for p in tmp_path.iterdir() if p != out]
        assert [p.name.startswith("net.") for p in kept] == [True]
        assert (kept[0] / "weights").read_text() == "weights 1" and (kept[0] / "decode").is_dir()
        assert "`rate` 1 → 2" in capsys.readouterr().out
        assert self.train(out, 2, killed=True) == "trained" and kept[0].is_dir()  # a killed run, again
        assert self.train(out, 2) == "trained"
        assert [p.name for p in tmp_path.iterdir()] == ["net"]

    def test_the_previous_one_is_restored_with_its_configuration(self, tmp_path, capsys):
        out = tmp_path / "net"
        self.train(out, 1)
        self.train(out, 2, killed=True)
        assert self.train(out, 1) == "skipped"
        assert (out / "weights").read_text() == "weights 1" and [p.name for p in tmp_path.iterdir()] == ["net"]
        assert "is restored from" in capsys.readouterr().out

    def test_the_previous_one_is_restored_after_an_early_error(self, tmp_path, capsys):
        out = tmp_path / "net"
        self.train(out, 1)
        for begun in (False, True):
            stage = Stage(out, "net", [], {"rate": 2})
            stage.keep_previous()
            assert not stage.is_done() and not (out / "weights").exists()
            if begun:
                (out / "checkpoint").write_text("")
            stage.give_back(unless="checkpoint")
            assert (out / "weights").exists() == (not begun)
            lock.release(out)
        assert "is restored" in capsys.readouterr().out
        assert self.train(out, 1) == "skipped" and (out / "weights").read_text() == "weights 1"

    def test_other_folders_with_similar_names_are_kept(self, tmp_path):
        out, other = tmp_path / "net", tmp_path / "net.0123456789ab"
        other.mkdir()
        (other / "mine").write_text("")
        self.train(out, 1)
        self.train(out, 2)
        assert (other / "mine").is_file()
