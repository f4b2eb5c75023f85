"""The command `lstmp`, and the working folder that `lstmp run` makes."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from lstmp import __version__, cli, kit, paths, program
from lstmp.recipe import working_folder

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("LSTMP_")} | {"PYTHONPATH": str(ROOT)}


def lstmp(*options, cwd=ROOT, env=CLEAN):
    done = subprocess.run([sys.executable, "-m", "lstmp", *map(str, options)], cwd=cwd, env=env, capture_output=True,
                          text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_help_and_version(capsys):
    for arguments in ([], ["--help"], ["-h"]):
        cli.main(arguments)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[-len(cli.COMMANDS):]] == list(cli.COMMANDS)
        assert all(len(line) <= 120 for line in lines)
    assert lstmp("--version") == (0, f"lstmp {__version__}\n", "")


def test_an_unknown_command_gives_one_line():
    status, out, err = lstmp("trian")
    assert (status, out) == (1, "")
    assert err.startswith("error: unknown command `lstmp trian`; did you mean `train`? known are: run, progress, ")
    assert err.count("\n") == 1


def test_it_starts_without_torch():
    code = "import sys, lstmp.cli; import lstmp.recipe.working_folder; "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=CLEAN, timeout=60).returncode == 0


@pytest.mark.parametrize("name", [c for c in cli.COMMANDS if c != "run"])
def test_every_command_is_the_main_of_its_module(name, monkeypatch, capsys):
    monkeypatch.setattr(program, "_subcommand", None)
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0 and capsys.readouterr().out.startswith(f"usage: lstmp {name} ")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, with a `bash` on PATH that prints its arguments instead of running the stages."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bash").write_text('#!/bin/sh\necho "$@"\necho "python ${LSTMP_PYTHON:-none}"\n')
    (tmp_path / "bin/bash").chmod(0o755)
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def run(folder, *options):
    path = f"{folder.parent / 'bin'}:{os.environ['PATH']}"
    return lstmp("run", *options, cwd=folder, env=CLEAN | {"PATH": path})


def test_a_working_folder_is_made_only_once(folder):
    (folder / "conf").mkdir()
    (folder / "conf/lstmp.yaml").write_text("mine: true\n")
    status, out, err = run(folder, "--stop-stage", "5")
    assert status == 0, err
    assert "laid out as a working folder of lstmp" in out and f"{folder}/run.sh --stop-stage 5\npython none\n" in out
    assert err == "warning: 1 existing files are kept: conf/lstmp.yaml\n"
    assert (folder / "conf/lstmp.yaml").read_text() == "mine: true\n"
    for name in kit.kit_files(ROOT):
        assert (folder / name).is_file()
        assert os.access(folder / name, os.X_OK) == (folder / name).read_bytes().startswith(b"#!"), name
    assert not list(folder.rglob("*.png")) and not list(folder.rglob("records")) and not (folder / "lstmp").exists()
    (folder / "run.sh").write_text("echo mine\n")
    status, out, err = run(folder)
    assert (status, err) == (0, "") and "laid out" not in out and (folder / "run.sh").read_text() == "echo mine\n"


def test_the_scripts_of_a_working_folder_use_its_conf(folder):
    assert run(folder)[0] == 0
    (folder / "recipes/mine").mkdir()
    (folder / "recipes/mine/recipe.yaml").write_text((folder / "recipes/tiny/recipe.yaml").read_text())
    (folder / "conf/lstmp.yaml").write_text((folder / "conf/lstmp.yaml").read_text().replace("layers: 2", "layers: 7"))
    command = '. local/path.sh; echo "$LSTMP_ROOT"; command -v python; '
    command += f'python -m lstmp.recipe --recipe mine --exp {folder}/e'
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=CLEAN, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith(f"{folder}\n{folder}/.lstmp/bin/python\nrecipe=mine\n")
    assert "layers: 7" in next((folder / "e").glob(".conf.*/lstmp.yaml")).read_text()
    done = subprocess.run(["bash", "./run.sh", "--help"], cwd=folder, env=CLEAN, capture_output=True, text=True)
    assert "--lstmp.{" in done.stdout, done.stderr
    python = folder / ".lstmp/bin/python"
    python.write_text(python.read_text().replace(sys.executable, "/gone/python"))
    done = subprocess.run([python, "-c", ""], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: /gone/python: no such Python; call lstmp run here")
    assert f"runs with {sys.executable} from now on" in run(folder)[1]


def test_a_folder_of_another_version_gives_a_warning(folder, capsys):
    assert run(folder)[0] == 0
    (folder / ".lstmp/version").write_text("0.0.9\n")
    working_folder.warn_of_another_version(folder)
    assert f"was laid out by lstmp 0.0.9, and this is lstmp {__version__}" in capsys.readouterr().err
    command = f". local/path.sh; python -m lstmp.recipe --exp {folder}/e"
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=CLEAN, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "laid out by lstmp 0.0.9" in done.stderr


def test_a_wrong_option_or_help_copies_nothing(folder):
    status, out, err = run(folder, "--recpie", "tiny")
    assert status == 1 and "did you mean `--recipe`?" in err
    assert run(folder, "--help")[:2] == (0, f"{ROOT}/run.sh --help\npython {sys.executable}\n")
    assert not list(folder.iterdir())


def test_a_run_sh_of_another_program_is_not_run(folder):
    (folder / "run.sh").write_text("echo kaldi\n")
    status, out, err = run(folder)
    assert (status, out) == (1, "") and "run.sh: it does not belong to lstmp; call `lstmp run` in another folder" in err


def test_in_a_checkout_the_python_of_lstmp_is_used():
    assert working_folder.prepare(ROOT, []) == {"LSTMP_PYTHON": sys.executable}
    assert not (ROOT / ".lstmp").exists()


def test_path_sh_names_what_is_missing(tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "local/path.sh").write_text((ROOT / "local/path.sh").read_text())
    for env, message in (({}, "no environment here; call `lstmp run` in this folder"),
                         ({"LSTMP_PYTHON": "/gone/python"}, "LSTMP_PYTHON: /gone/python is no Python")):
        done = subprocess.run(["bash", "-c", ". local/path.sh"], cwd=tmp_path, env=CLEAN | env, capture_output=True,
                              text=True)
        assert done.returncode == 1 and message in done.stderr
        done = subprocess.run(["bash", "--norc", "-ic", ". local/path.sh; echo still open"], cwd=tmp_path,
                              env=CLEAN | env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert message in done.stderr and done.stdout == "still open\n"


def test_path_sh_ends_a_script_at_a_failing_command_but_not_a_terminal():
    for options, output in (["-c"], ""), (["--norc", "-ic"], "still open\n"):
        done = subprocess.run(["bash", *options, ". local/path.sh; false; echo still open"], cwd=ROOT, text=True,
                              env=CLEAN | {"LSTMP_PYTHON": sys.executable}, capture_output=True,
                              stdin=subprocess.DEVNULL)
        assert done.stdout == output and (done.returncode == 0) == bool(output), done.stderr


def test_lstmp_root_sets_the_folder_of_conf(monkeypatch, tmp_path):
    monkeypatch.delenv("LSTMP_ROOT", raising=False)
    assert paths.root() == paths.kit() == ROOT == paths.ROOT
    monkeypatch.setenv("LSTMP_ROOT", str(tmp_path))
    assert paths.root() == tmp_path
