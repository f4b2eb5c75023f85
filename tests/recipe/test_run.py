"""run.sh, test.sh and the scripts of steps/ and local/, called as a user does: help, and wrong options."""

import importlib
import os
import re
import shlex
import shutil
import subprocess

import pytest
from helpers import ROOT

from lstmp import lock, run_plan

SOURCED = ("path.sh", "choose_env.sh", "install_packages.sh", "begin_run.sh")  # by the other scripts
SCRIPTS = sorted(str(p.relative_to(ROOT)) for folder in ("steps", "local") for p in (ROOT / folder).glob("*.sh")
                 if p.name not in SOURCED)


def program_of(script):
    """(module, options) that a script calls; (None, []) if it calls none, or does more."""
    lines = [line for line in (ROOT / script).read_text().splitlines() if not line.startswith("#")]
    found = re.fullmatch(r'(?:exec python -m|on_machines \d) ([\w.]+) ?(.*?) ?"\$@"', lines[-1])
    return (found[1], found[2].split()) if found and len(lines) == 2 else (None, [])


# one of each kind, and those that do more than to call a program
CALLED = ["steps/score.sh", "steps/decode.sh", "steps/train_mono.sh", *(s for s in SCRIPTS if not program_of(s)[0])]


def call(*command, cwd=ROOT):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_an_unknown_option_is_an_error_that_lists_the_known_ones(tmp_path):
    done = call("./run.sh", "--epochs", "3", "--exp", str(tmp_path / "exp"), "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: unknown option --epochs; "), done.stderr
    assert "did you mean `--lstmp.epochs`" in lines[0] or "--lstmp.epochs" in lines[0]
    assert not (tmp_path / "exp").exists() and not (tmp_path / "data").exists()


@pytest.mark.parametrize(("options", "words"), [
    (["--recipe", "tinny"], ["tinny", "tiny"]),
    (["--stage", "twelve"], ["--stage", "0 to 11"]),
    (["--corpus", "no/such/folder"], ["no/such/folder"]),
    (["--lstmp.epochs", "many"], ["--lstmp.epochs", "many"]),
    (["--nj"], ["--nj", "no value"]),
])
def test_a_wrong_value_gives_one_error(options, words, tmp_path):
    done = call("./run.sh", "--exp", str(tmp_path / "exp"), *options)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_dry_run_prints_the_commands_and_writes_nothing(tmp_path):
    done = call("./run.sh", "--dry-run", "--exp", str(tmp_path / "exp &1"), "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert {c[0] for c in commands} > {"local/prepare_tiny.sh", "steps/train_mono.sh", "steps/make_results.sh"}
    assert str(tmp_path / "exp &1/mono") in {word for c in commands for word in c}
    assert not list(tmp_path.iterdir())


def test_a_second_run_in_a_folder_stops_before_it_changes_anything(tmp_path):
    """The error names the first run."""
    (tmp_path / "exp/conf").mkdir(parents=True)
    (tmp_path / "exp/conf/mono.yaml").write_text("of the first")
    with open(tmp_path / "exp/.lock", "a+b") as file:
        lock.take(file, tmp_path / "exp", "./run.sh --first")
        done = call("./run.sh", "--exp", str(tmp_path / "exp"), "--data", str(tmp_path / "data"))
    assert done.returncode == 1 and "./run.sh --first" in done.stderr and "is at work here" in done.stderr
    assert (tmp_path / "exp/conf/mono.yaml").read_text() == "of the first"
    assert sorted(p.name for p in (tmp_path / "exp").iterdir()) == [".lock", "conf"]


def test_help_names_every_option():
    done = call("./run.sh", "--help")
    assert done.returncode == 0
    for word in ("--recipe", "--corpus", "--stop-stage", "--device", "epochs", "high_freq"):
        assert word in done.stdout


def test_paths_are_relative_to_the_folder_of_the_caller(tmp_path):
    """run.sh works from any folder; --exp is relative to the folder that it is called in."""
    done = call(str(ROOT / "run.sh"), "--stop-stage", "0", "--exp", "here", "--data", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "conf" / "lstmp.yaml").is_file()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help(script, capsys):
    """The help of its program, called here: to start Python for each of them takes minutes."""
    assert os.access(ROOT / script, os.X_OK)
    module, options = program_of(script)
    if module is None:
        assert script in CALLED
        return
    with pytest.raises(SystemExit) as e:
        importlib.import_module(module).main([*options, "--help"])
    out = capsys.readouterr().out
    assert not e.value.code and out.startswith(f"usage: {script}") and len(out.split()) >= 10, out


@pytest.mark.parametrize("script", CALLED)
def test_scripts_work_from_anywhere(script, tmp_path):
    done = call(str(ROOT / script), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 10
    if done.stdout.startswith("usage: "):
        assert done.stdout.startswith(f"usage: {script}"), done.stdout


def test_the_part_of_run_sh_that_replaces_the_configuration_does_not_run_alone(tmp_path):
    (tmp_path / "kept").write_text("")
    done = call("bash", str(ROOT / "local/begin_run.sh"), "--help", cwd=tmp_path)
    assert done.returncode == 1 and "run.sh" in done.stderr and os.listdir(tmp_path) == ["kept"]


def test_folders_may_have_any_name(tmp_path):
    """In bash 5.2, & in ${x/#/&} means the matched text; run.sh makes the names of data dirs in this way."""
    folder = tmp_path / "a & b|'\"\\c $x"
    done = call("./run.sh", "--exp", f"{folder}/exp", "--data", f"{folder}/data", "--stop-stage", "1", "--nj", "1",
                "--train_utterances", "44", "--test_utterances", "9")
    assert done.returncode == 0, done.stderr
    for name in ("train", "dev", "test"):
        assert (folder / "data" / name / ".done.validated.json").is_file()


def test_run_sh_calls_scripts_that_exist():
    text = (ROOT / "run.sh").read_text()
    called = {word.strip('"') for word in text.split() if word.strip('"').startswith(("steps/", "local/"))}
    called = {c for c in called if c.endswith(".sh") and "*" not in c}
    assert len(called) > 10
    assert called <= set(SCRIPTS) | {f"local/{name}" for name in SOURCED}


@pytest.mark.parametrize("script", sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("recipes/**/run.sh")))
def test_recipes_with_another_script_have_help(script, tmp_path):
    done = call(str(ROOT / script), "--help", cwd=tmp_path)
    assert done.returncode == 0 and script in done.stdout and "set -" not in done.stdout, done.stderr


@pytest.mark.parametrize(("recipe", "options", "words"), [
    ("letters", ["--corpus"], ["--corpus has no value"]),
    ("means", ["--corpus"], ["--corpus has no value"]),
    ("open_vocabulary", ["--text"], ["--text has no value"]),
    ("open_vocabulary", ["--corpus", ".", "--exp", "mine"], ["--exp is not an option here"]),
    ("letters", ["--lstmp.epochs=many"], ["--lstmp.epochs", "whole number"]),
    ("mp3", ["--exp", "mine"], ["--exp would change what is compared"]),
])
def test_variants_of_mini_librispeech_refuse_wrong_options(recipe, options, words, tmp_path):
    done = call(str(ROOT / f"recipes/mini_librispeech/{recipe}/run.sh"), *options, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("error: ") == 1
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize(("options", "start"), [
    (["--corpus", "mine"], "error: mine: no set `test`; "), ([], "error: --corpus is missing: no set `test`; ")])
def test_the_papers_grid_needs_a_corpus_with_test(options, start, tmp_path):
    for name in ("options.sh", "sak2014/run.sh"):
        (tmp_path / "recipes/sak2014").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "recipes" / name, tmp_path / "recipes" / name)
    (tmp_path / "mine/LibriSpeech/dev-clean-2").mkdir(parents=True)
    done = call(str(tmp_path / "recipes/sak2014/run.sh"), *options, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(start) and done.stderr.count("\n") == 1, done.stderr


def test_recipes_with_another_script_parse_the_command_line_in_the_same_way(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/options.sh").write_bytes((ROOT / "recipes/options.sh").read_bytes())
    (tmp_path / "called from").mkdir()
    script = ('. ../recipes/options.sh; take_options "--text" "$@"; '
              'printf "%s|" "$PWD" "$corpus" "$text" "${options[@]}"')
    options = ["--only", "a", "b", "--corpus=x y", "--dry-run", "--text", "t"]
    done = subprocess.run(["bash", "-euc", script, "bash", *options], cwd=tmp_path / "called from", capture_output=True,
                          text=True)
    assert done.stdout == f"{tmp_path}|called from/x y|called from/t|--only|a|b|--dry-run|", done.stderr


def test_the_plan_of_a_run_calls_only_its_steps(tmp_path):
    """What a user adds to run.sh must not be executed twice, at the same time even."""
    for folder in ("steps", "local"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "local/begin_run.sh", tmp_path / "local")
    (tmp_path / "steps/one.sh").write_text("touch called\n")
    (tmp_path / "run.sh").write_text("""set -euo pipefail
    . local/begin_run.sh
    steps/one.sh --out "a b"
    touch added
    /usr/bin/env touch added
    echo more > written
    steps/one.sh --note "it's
    in two lines"
    """)
    done = call("bash", "-euc", "dry_run=true; . local/begin_run.sh; cat <(plan 2> /dev/null)", cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert shlex.split(first) == ["steps/one.sh", "--out", "a b"]
    assert run_plan.words(second) == ["steps/one.sh", "--note", "it's\n    in two lines"]
    assert sorted(os.listdir(tmp_path)) == ["local", "run.sh", "steps"]
