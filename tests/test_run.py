"""run.sh, test.sh and the scripts of steps/ and local/ from outside: help, and options that do not exist."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCED = ("path.sh", "choose_env.sh", "install_packages.sh")  # by the others
SCRIPTS = sorted(str(p.relative_to(ROOT)) for folder in ("steps", "local") for p in (ROOT / folder).glob("*.sh")
                 if p.name not in SOURCED)


def call(*command, cwd=ROOT):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_unknown_option_dies_with_the_known_ones(tmp_path):
    done = call("./run.sh", "--epochs", "3", "--exp", str(tmp_path / "exp"), "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: unknown option --epochs; "), done.stderr
    for known in ("--recipe", "--stage", "--seed", "--lstmp.epochs", "--mono.em.num_iters"):
        assert known in lines[0]
    assert not (tmp_path / "exp").exists() and not (tmp_path / "data").exists()


@pytest.mark.parametrize(("options", "words"), [
    (["--recipe", "tinny"], ["tinny", "tiny"]),
    (["--stage", "twelve"], ["--stage", "0 to 11"]),
    (["--corpus", "no/such/folder"], ["no/such/folder"]),
    (["--lstmp.epochs", "many"], ["--lstmp.epochs", "many"]),
    (["--nj"], ["--nj", "no value"]),
])
def test_wrong_values(options, words, tmp_path):
    done = call("./run.sh", "--exp", str(tmp_path / "exp"), *options)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_help_names_every_option():
    done = call("./run.sh", "--help")
    assert done.returncode == 0
    for word in ("--recipe", "--corpus", "--stop-stage", "--device", "epochs", "high_freq"):
        assert word in done.stdout


def test_paths_are_those_of_the_caller(tmp_path):
    """run.sh works from any folder; --exp is relative to the folder that it is called in."""
    done = call(str(ROOT / "run.sh"), "--stop-stage", "0", "--exp", "here", "--data", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "conf" / "lstmp.yaml").is_file()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help_and_works_from_anywhere(script, tmp_path):
    done = call(str(ROOT / script), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 10
    assert os.access(ROOT / script, os.X_OK)


def test_folders_of_any_name(tmp_path):
    """An & stands for what was replaced in bash 5.2's ${x/#/&}; the names of data dirs are made so."""
    folder = tmp_path / "a & b|'\"\\c $x"
    done = call("./run.sh", "--exp", f"{folder}/exp", "--data", f"{folder}/data", "--stop-stage", "1", "--nj", "1",
                "--train_utterances", "44", "--test_utterances", "9")
    assert done.returncode == 0, done.stderr
    for name in ("train", "dev", "test"):
        assert (folder / "data" / name / ".done.validated.json").is_file()


def test_run_sh_calls_scripts_that_exist():
    text = (ROOT / "run.sh").read_text()
    called = {word.strip('"') for word in text.split() if word.strip('"').startswith(("steps/", "local/"))}
    called = {c for c in called if c.endswith(".sh")}
    assert len(called) > 10
    assert called <= set(SCRIPTS) | {f"local/{name}" for name in SOURCED}
    assert len(text.splitlines()) <= 170  # the whole story on one page


@pytest.mark.parametrize("script", sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("recipes/**/run.sh")))
def test_recipes_with_a_script_of_their_own_have_help(script, tmp_path):
    done = call(str(ROOT / script), "--help", cwd=tmp_path)
    assert done.returncode == 0 and script in done.stdout and "set -" not in done.stdout, done.stderr


@pytest.mark.parametrize(("recipe", "options", "words"), [
    ("letters", ["--corpus"], ["--corpus has no value"]),
    ("letters", ["--lstmp.epochs=many"], ["--lstmp.epochs", "whole number"]),
    ("mp3", ["--exp", "mine"], ["--exp would change what is compared"]),
])
def test_variants_of_mini_librispeech_refuse_what_they_cannot_take(recipe, options, words, tmp_path):
    done = call(str(ROOT / f"recipes/mini_librispeech/{recipe}/run.sh"), *options, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("error: ") == 1
    assert all(word in done.stderr for word in words), done.stderr
