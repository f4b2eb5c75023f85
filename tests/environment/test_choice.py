"""The Python and packages that local/env.sh chooses on each machine, and its errors if nothing fits."""

import shutil

import pytest
from helpers.other_machine import DEBIAN_12


@pytest.mark.parametrize("pythons, variables, expected", [
    ("3.11", {}, ("python3.11", "k2", "1.13.1")),
    ("3.11", {"LSTMP_GPU": "yes"}, ("python3.11", "current", "gpu")),
    ("3.11", {"LSTMP_ENV": "current"}, ("python3.11", "current", "cpu")),
    ("3.11", {"LSTMP_TORCH_INDEX": "file:///wheels"}, ("python3.11", "current", "cpu")),
    ("3.11", {"LSTMP_ENV": "k2", "LSTMP_GPU": "yes"}, ("python3.11", "k2", "1.13.1")),
    ("3.12 3.11", {}, ("python3.11", "k2", "1.13.1")),
    ("3.12 3.11", {"LSTMP_GPU": "yes"}, ("python3", "current", "gpu")),
    ("3.12 3.11", {"LSTMP_ENV": "current"}, ("python3", "current", "cpu")),
    ("3.12 3.11", {"PYTHON": "python3.12"}, ("python3.12", "current", "cpu")),
    ("3.14", {}, ("python3", "current", "cpu")),
    ("3.9 3.10", {}, ("python3.10", "current", "cpu")),
    ("3.15 3.14 3.13", {}, ("python3.13", "current", "cpu")),
])
def test_the_choice_depends_on_pythons_and_variables(machine, pythons, variables, expected):
    """`pythons` are the installed versions; python3 is the first one."""
    for version in pythons.split():
        machine.python(f"python{version}", version)
    machine.python("python3", pythons.split()[0])
    if pythons == "3.11":
        (machine.bin / "python3").unlink()
    assert machine.choice(**variables) == expected


def test_there_is_no_k2_on_aarch64(machine):
    machine.python("python3.11", "3.11")
    machine.command("uname", "echo aarch64")
    assert machine.choice() == ("python3.11", "current", "cpu")
    assert "this is aarch64" in machine.error(LSTMP_ENV="k2")


def test_without_libpython_the_set_is_current(machine):
    machine.python("python3.11", "3.11", library=False)
    done = machine.env_sh("--explain")
    assert "\nset current\n" in done.stdout and "apt-get install libpython3.11" in done.stdout
    assert "k2 needs libpython3.11.so.1.0" in machine.error(LSTMP_ENV="k2")


def test_a_gpu_driver_is_noticed(machine):
    machine.python("python3.11", "3.11")
    machine.command("nvidia-smi", "exit 0")
    assert machine.choice(LSTMP_GPU="") == ("python3.11", "current", "gpu")


def test_a_python_without_venv_is_skipped(machine):
    machine.python("python3.11", "3.11", venv=False)
    machine.python("python3", "3.13")
    assert machine.choice() == ("python3", "current", "cpu")


@pytest.mark.parametrize("python, why", [
    ("python3.9", "is Python 3.9, not one from 3.10 to 3.14"),
    ("pypy3", "is Python pypy-3.11, not one from 3.10 to 3.14"),
    ("python3.13", "Python 3.13 without its venv module"),
    ("cat", "does not run as Python"),
    ("/nowhere/python3", "not found"),
])
def test_a_chosen_python_that_does_not_work_is_an_error(machine, python, why):
    machine.python("python3.9", "3.9")
    machine.python("pypy3", "pypy-3.11")
    machine.python("python3.13", "3.13", venv=False)
    machine.python("python3.11", "3.11")  # which fits, but was not chosen
    assert machine.error(PYTHON=python).startswith(f"error: PYTHON={python}: {why}; ")


def test_impossible_sets_are_errors(machine):
    machine.python("python3", "3.12")
    assert machine.error(LSTMP_ENV="kaldi") == "error: LSTMP_ENV=kaldi: no such set; there are k2 and current\n"
    assert "k2 1.23.4 needs Python 3.11, and" in machine.error(LSTMP_ENV="k2")
    assert "uv python install 3.11" in machine.error(LSTMP_ENV="k2")
    assert "leave one of them out" in machine.error(LSTMP_ENV="k2", LSTMP_TORCH_INDEX="file:///wheels")
    assert machine.error(LSTMP_GPU="2") == "error: LSTMP_GPU=2: neither yes nor no\n"


@pytest.mark.parametrize("release, command", [
    (DEBIAN_12, "apt-get install python3.11 python3.11-venv libpython3.11"),
    ('ID=debian\nVERSION_ID="13"\n', "apt-get install python3.13 python3.13-venv"),
    ('ID=debian\nVERSION_CODENAME=forky\n', "apt-get install python3 python3-venv"),
    ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\n', "apt-get install python3.10 python3.10-venv"),
    ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "apt-get install python3.12 python3.12-venv"),
    ('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22.1"\n', "apt-get install python3 python3-venv"),
    ('ID=fedora\nVERSION_ID=42\n', "dnf install python3"),
    ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.5"\n', "dnf install python3.12"),
    ('ID=rhel\nID_LIKE="fedora"\nVERSION_ID="9.5"\n', "dnf install python3.12"),
    ('ID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\n', "dnf install python3.11"),
    ('ID=arch\nBUILD_ID=rolling\n', "pacman -S python"),
    ('ID=manjaro\nID_LIKE=arch\n', "pacman -S python"),
    ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n', "zypper install python311"),
    ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\nVERSION_ID="20260901"\n', "zypper install python313"),
    ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="20.04"\n', None),
    ('ID=debian\nVERSION_ID="11"\n', None),
    ('ID=nixos\nVERSION_ID="25.05"\n', None),
    ('', None),
])
def test_without_a_python_the_error_gives_the_distributions_command(machine, release, command):
    machine.release.write_text(release)
    machine.python("python3", "3.9")
    first, *ways = machine.error().splitlines()
    assert first == ("error: no Python from 3.10 to 3.14 with its venv module is here "
                     "(python3: is Python 3.9, not one from 3.10 to 3.14); install one")
    assert ways[:-1] == ([f"  on this distribution, as root: {command}"] if command else [])
    assert 'uv python install 3.12; PYTHON="$(uv python find 3.12)" ./run.sh' in ways[-1]


def test_the_choice_is_kept_unless_a_variable_changes_it(machine):
    """Neither a new driver nor another Python changes an existing environment."""
    machine.python("python3.11", "3.11")
    machine.python("python3.12", "3.12")
    inside = machine.root / ".venv" / "bin" / "python"
    inside.parent.mkdir(parents=True)
    shutil.copy(machine.bin / "python3.12", inside)
    (machine.root / ".venv" / ".choice").write_text(
        f"python {machine.bin / 'python3.12'}\nversion 3.12\nset current\ngpu no\nbuild index\ntorch-index \n")
    assert machine.choice(LSTMP_GPU="") == ("python3.12", "current", "index")
    assert machine.choice(PYTHON="python3.12", LSTMP_ENV="current") == ("python3.12", "current", "index")
    assert machine.choice(PYTHON="python3.11", LSTMP_GPU="no") == ("python3.11", "k2", "1.13.1")
    assert machine.choice(LSTMP_GPU="yes", PYTHON="python3.12") == ("python3.12", "current", "gpu")
    assert machine.choice(LSTMP_ENV="k2") == ("python3.11", "k2", "1.13.1")
    assert "not found" in machine.error(PYTHON="python3.99")  # also if there is an environment
    inside.unlink()  # an environment that does not work is chosen again
    assert machine.choice() == ("python3.11", "k2", "1.13.1")
