"""local/env.sh: what it chooses on which machine, what it says where nothing fits, what it takes for installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
CHECK = ROOT / "local" / "missing_packages.py"
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TOOLS = "awk bash cat cut df dirname du grep head mv rm sed sha256sum tail touch tr uname".split()
DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\n'


# What is installed

@pytest.fixture
def package(tmp_path):
    """A folder with one installed package `toy` 1.0 of two files, and a requirements file that asks for it."""
    site = tmp_path / "site"
    info = site / "toy-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy.py").write_text("answer = 42\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("toy.py,,12\ntoy-1.0.dist-info/METADATA,,\ntoy-1.0.dist-info/RECORD,,\n")
    (tmp_path / "requirements.txt").write_text("# a comment\ntoy==1.0  # pinned\nother==2.0 --hash=sha256:ab\n")
    return tmp_path


def missing(folder) -> list[str]:
    done = subprocess.run([sys.executable, str(CHECK), str(folder / "requirements.txt")], check=True, text=True,
                          capture_output=True, env={"PYTHONPATH": str(folder / "site")})
    return done.stdout.splitlines()


def test_complete_package_is_not_missing(package):
    assert missing(package) == ["other==2.0 --hash=sha256:ab"]


@pytest.mark.parametrize("spoil", [
    lambda site: (site / "toy.py").unlink(),
    lambda site: (site / "toy.py").write_text("ans"),
    lambda site: (site / "toy-1.0.dist-info" / "INSTALLER").unlink(),
    lambda site: (site / "toy-1.0.dist-info" / "METADATA").write_text("Name: toy\nVersion: 1.1\n"),
], ids=["file gone", "file cut off", "killed before the end", "another version"])
def test_incomplete_package_is_missing(package, spoil):
    spoil(package / "site")
    assert missing(package)[0] == "toy==1.0"


@pytest.mark.parametrize("version, complete", [("1.0+cpu", True), ("1.0+cu128", True), ("1.0.1+cpu", False)])
def test_a_build_of_the_pinned_version_counts(package, version, complete):
    (package / "site" / "toy-1.0.dist-info" / "METADATA").write_text(f"Name: toy\nVersion: {version}\n")
    assert ("toy==1.0" not in missing(package)) == complete


def test_only_lines_for_this_python_count(package):
    (package / "requirements.txt").write_text('toy==1.0; python_version >= "3"\ntoy==0.9; python_version < "3"\n'
                                              'new==5; python_version >= "3"\n')
    assert missing(package) == ["new==5"]


def lines(name: str) -> list[Requirement]:
    texts = [line.split("#")[0].split("--hash")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(text) for text in texts if text]


FILES = sorted(p.name for p in ROOT.glob("requirements*.txt"))


@pytest.mark.parametrize("name", FILES)
def test_requirements_are_pinned_for_every_python(name):
    """One exact release each; where a line is for some versions of Python only, others cover the rest or none does."""
    only_old = {"six", "exceptiongroup", "tomli"}  # which newer ones bring or do without
    for requirement in lines(name):
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
    for version in VERSIONS:
        names = [r.name for r in lines(name) if r.marker is None or r.marker.evaluate({"python_version": version})]
        assert len(names) == len(set(names))
        assert set(names) | only_old == {r.name for r in lines(name)} | only_old, version


def test_a_set_pins_no_package_twice():
    current = ("requirements-current.txt", "requirements-cuda.txt", "requirements-gpu.txt")
    for parts in (("requirements-k2.txt",), current):
        names = [{r.name for r in lines(name)} for name in ("requirements.txt", "requirements-test.txt", *parts)]
        assert sum(map(len, names)) == len(set().union(*names))


# What is chosen

class Machine:
    """A checkout, and a PATH of a few real tools and of Pythons that only say what local/choose_env.sh asks them."""

    def __init__(self, folder: Path):
        self.root, self.bin = folder / "a check out", folder / "bin"
        shutil.copytree(ROOT / "local", self.root / "local")
        for name in (*FILES, "pyproject.toml"):
            shutil.copy(ROOT / name, self.root)
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.command("uname", "echo x86_64")
        self.release = folder / "os-release"
        self.release.write_text(DEBIAN_12)

    def command(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        path.chmod(0o755)
        return path

    def python(self, name: str, version: str, venv: bool = True, library: bool = True) -> Path:
        return self.command(name, f"""case "$2" in
          *_base_executable*) echo "{version} {self.bin / name}"; {'echo venv' if venv else 'exit 1'} ;;
          *ctypes*) {'true' if library else 'false'} ;;
          *LIBDIR*) echo ;;
          *sys.prefix*) echo "$PWD/.venv" ;;
          *) echo "$*" >> "$CALLS" ;;
        esac""")

    def env_sh(self, *options: str, **variables: str) -> subprocess.CompletedProcess:
        env = {"PATH": str(self.bin), "LSTMP_OS_RELEASE": str(self.release), "LSTMP_GPU": "no", **variables}
        return subprocess.run(["bash", "local/env.sh", *options], cwd=self.root, env=env, text=True,
                              capture_output=True)

    def choice(self, **variables: str) -> tuple[str, str, str]:
        """Its Python's name, the set, and torch with its build."""
        done = self.env_sh("--explain", **variables)
        assert done.returncode == 0, done.stderr
        said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        return Path(said["python"].split(" ", 1)[1]).name, said["set"], said["torch"].split(" ", 1)[-1]

    def error(self, **variables: str) -> str:
        done = self.env_sh("--explain", **variables)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and not done.stdout
        return done.stderr


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


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
def test_the_rule(machine, pythons, variables, expected):
    """`pythons` are versions; python3 is the first of them."""
    for version in pythons.split():
        machine.python(f"python{version}", version)
    machine.python("python3", pythons.split()[0])
    if pythons == "3.11":
        (machine.bin / "python3").unlink()
    assert machine.choice(**variables) == expected


def test_no_k2_on_aarch64(machine):
    machine.python("python3.11", "3.11")
    machine.command("uname", "echo aarch64")
    assert machine.choice() == ("python3.11", "current", "cpu")
    assert "this is aarch64" in machine.error(LSTMP_ENV="k2")


def test_without_libpython_the_set_is_current(machine):
    machine.python("python3.11", "3.11", library=False)
    done = machine.env_sh("--explain")
    assert "\nset current\n" in done.stdout and "apt-get install libpython3.11" in done.stdout
    assert "k2 needs libpython3.11.so.1.0" in machine.error(LSTMP_ENV="k2")


def test_a_driver_is_seen(machine):
    machine.python("python3.11", "3.11")
    machine.command("nvidia-smi", "exit 0")
    assert machine.choice(LSTMP_GPU="") == ("python3.11", "current", "gpu")


def test_a_python_without_venv_is_passed_over(machine):
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
def test_a_python_asked_for_that_does_not_work_is_an_error(machine, python, why):
    machine.python("python3.9", "3.9")
    machine.python("pypy3", "pypy-3.11")
    machine.python("python3.13", "3.13", venv=False)
    machine.python("python3.11", "3.11")  # which fits, but is not what was asked for
    assert machine.error(PYTHON=python).startswith(f"error: PYTHON={python}: {why}; ")


def test_sets_that_cannot_be_are_errors(machine):
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
def test_no_python_is_told_in_the_distributions_words(machine, release, command):
    machine.release.write_text(release)
    machine.python("python3", "3.9")
    first, *ways = machine.error().splitlines()
    assert first == ("error: no Python from 3.10 to 3.14 with its venv module is here "
                     "(python3: is Python 3.9, not one from 3.10 to 3.14); install one")
    assert ways[:-1] == ([f"  on this distribution, as root: {command}"] if command else [])
    assert 'uv python install 3.12; PYTHON="$(uv python find 3.12)" ./run.sh' in ways[-1]


def test_the_choice_is_kept_unless_a_variable_asks_for_another(machine):
    """Neither a new driver nor another Python changes an environment that is there."""
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
    assert "not found" in machine.error(PYTHON="python3.99")  # also where an environment is there
    inside.unlink()  # one that does not work is chosen anew
    assert machine.choice() == ("python3.11", "k2", "1.13.1")


# Which build of torch, and k2 for it

INSTALL = """set -euo pipefail
cd "$(dirname "$0")"
VENV=.venv ROOM_INDEX=1 build={build} version=3.12 python=python3
die() {{ echo "error: $1" >&2; exit 1; }}
say() {{ echo "environment: $*"; }}
record() {{ echo "recorded $1 $2"; }}
room() {{ true; }}
. local/choose_env.sh
. local/install_packages.sh
{call}
echo "build $build"
"""


def installs(machine, call: str, pip: str, uv: str = "exit 1", build: str = "cpu", **variables: str):
    """The outcome of a function of local/install_packages.sh, and the calls of pip and uv, which are stand-ins."""
    scripts = machine.root / ".venv" / "bin"
    scripts.mkdir(parents=True, exist_ok=True)
    machine.python("python3", "3.12")
    for name, text in (("python", f'echo "$*" >> "$CALLS"\ncase "$*" in {pip} esac'),
                       ("uv", f'echo "uv $*" >> "$CALLS"\n{uv}')):
        (scripts / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
        (scripts / name).chmod(0o755)
    (machine.root / ".venv" / ".libpython").write_text("\n")
    (machine.root / "call.sh").write_text(INSTALL.format(build=build, call=call))
    calls = machine.root / "calls"
    calls.write_text("")
    env = {"PATH": str(machine.bin), "CALLS": str(calls), "LSTMP_GPU": "no", **variables}
    done = subprocess.run(["bash", "call.sh"], cwd=machine.root, env=env, text=True, capture_output=True)
    return done, [c for c in calls.read_text().splitlines() if c.startswith(("-m pip", "uv"))]


NO_CPU = "*torch==2.13.0+cpu*) echo 'ERROR: No matching distribution found for torch'; exit 1 ;;"


def test_torch_from_where_the_users_pip_looks(machine):
    done, calls = installs(machine, "install_torch torch==2.13.0", "*) ;;")
    assert done.stdout.endswith("build cpu\n") and len(calls) == 1 and calls[0].endswith("torch==2.13.0+cpu")


def test_torch_from_pytorchs_index_by_uv(machine):
    done, calls = installs(machine, "install_torch torch==2.13.0", NO_CPU, uv="exit 0")
    assert done.stdout.endswith("build cpu\n")
    assert [c for c in calls if c.startswith("uv ")][0].endswith("--no-deps --torch-backend=cpu torch==2.13.0")


@pytest.mark.parametrize("said, reason", [
    ("error: Request failed\n  cause: error sending request for url", "PyTorch's own index cannot be reached"),
    ("error: no wheel for this machine", "error: no wheel for this machine"),
])
def test_torch_of_pips_index_where_no_other_is_to_be_had(machine, said, reason):
    done, calls = installs(machine, "install_torch torch==2.13.0", NO_CPU, uv=f"echo '{said}'; exit 2")
    assert f"that build is not to be had: {reason}\n" in done.stdout
    assert "recorded build index\n" in done.stdout and done.stdout.endswith("build index\n")


def test_torch_without_a_network_is_an_error(machine):
    done, calls = installs(machine, "install_torch torch==2.13.0", "*) echo 'NewConnectionError: refused'; exit 1 ;;")
    assert done.returncode == 1 and len(calls) == 1
    assert done.stderr.startswith("error: no connection to the package index while installing torch==2.13.0; ")


def test_torch_for_a_gpu(machine):
    machine.command("nvidia-smi", "exit 0")
    done, calls = installs(machine, "install_torch torch==2.13.0", "*) ;;", uv="exit 0", build="gpu")
    assert done.stdout.endswith("build gpu\n")
    assert "--torch-backend=auto torch==2.13.0" in calls[1] and "--no-deps" not in calls[1]


def test_torch_from_an_index_of_the_users(machine):
    done, calls = installs(machine, "install_torch torch==2.13.0", "*) exit 1 ;;", LSTMP_TORCH_INDEX="file:///wheels")
    assert done.returncode == 1 and "torch==2.13.0 of file:///wheels could not be installed" in done.stderr
    assert len(calls) == 1 and "--index-url file:///wheels torch==2.13.0" in calls[0]


VERSIONS_OF_K2 = ("1.24.4.dev20260815+cuda12.8.torch2.13.0, 1.24.4.dev20260715+cpu.torch2.13.0, "
                  "1.24.4.dev1+cpu.torch2.13.0")


@pytest.mark.parametrize("torch, loads, version, said", [
    ("cpu.torch2.13.0", True, "1.24.4.dev20260715+cpu.torch2.13.0", "k2 1.24.4.dev20260715+cpu.torch2.13.0"),
    ("cuda12.8.torch2.13.0", True, "1.24.4.dev20260815+cuda12.8.torch2.13.0", "k2 1.24.4.dev2026"),
    ("cpu.torch2.13.0", False, "1.24.4.dev20260715+cpu.torch2.13.0", "does not load: undefined symbol"),
    ("cpu.torch2.1", True, None, "going on without k2: wheels has none for cpu.torch2.1 and Python 3.12"),
])
def test_k2_for_the_torch_at_hand(machine, torch, loads, version, said):
    done, calls = installs(machine, "install_k2 wheels", f"""
      *" versions "*) echo 'k2 (1)'; echo 'Available versions: {VERSIONS_OF_K2}' ;;
      *"import torch"*) echo {torch} ;;
      *"import k2"*) {"true" if loads else "echo undefined symbol >&2; exit 1"} ;;""")
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    installed = [c.split("k2==")[1] for c in calls if "k2==" in c]
    assert installed == ([version] if version else [])
    assert any("uninstall" in c for c in calls) == (not loads)
    assert all("--no-index --find-links wheels" in c for c in calls if "uninstall" not in c)


# The container

def test_dockerfile_does_what_the_page_says():
    """The packages are those of the page, and the environment is made in the copy, by the user who uses it."""
    text = (ROOT / "Dockerfile").read_text()
    page = (ROOT / "docs" / "stage-00-environment.md").read_text()
    steps = re.findall(r"^([A-Z]+) (.*)$", re.sub(r"\\\n *", "", text), re.M)
    apt = next(value for name, value in steps if name == "RUN" and "apt-get" in value)
    packages = re.search(r"--no-install-recommends ([\w .+-]+?) *&&", apt).group(1)
    assert f"apt-get install {packages}\n" in page.replace("`", "\n")
    names = [name for name, _ in steps]
    made = steps.index(("RUN", "local/env.sh"))
    assert names.index("USER") < made and names.index("COPY") < made
    assert os.access(ROOT / "local/env.sh", os.X_OK)
    assert text.rstrip().endswith('CMD ["./run.sh"]')
    variables = {value.split("=")[0] for name, value in steps if name == "ARG"}
    assert variables == {"LSTMP_GPU", "LSTMP_TORCH_INDEX"}
    assert all(v in (ROOT / "local/env.sh").read_text() for v in variables)


def test_the_image_gets_no_results_and_no_environment():
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"}
    assert {".git", ".venv", "exp", "data", "downloads", "models"} <= ignored
