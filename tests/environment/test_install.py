"""The builds of torch and k2 that local/install_packages.sh installs."""

import shutil
import subprocess

import pytest

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
    """Run a function of local/install_packages.sh with fake pip and uv. Returns the process, and their calls."""
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


def test_torch_is_installed_from_the_index_of_the_users_pip(machine):
    done, calls = installs(machine, "install_torch torch==2.13.0", "*) ;;")
    assert done.stdout.endswith("build cpu\n") and len(calls) == 1 and calls[0].endswith("torch==2.13.0+cpu")


def test_torch_is_installed_from_pytorchs_index_by_uv(machine):
    done, calls = installs(machine, "install_torch torch==2.13.0", NO_CPU, uv="exit 0")
    assert done.stdout.endswith("build cpu\n")
    assert [c for c in calls if c.startswith("uv ")][0].endswith("--no-deps --torch-backend=cpu torch==2.13.0")


@pytest.mark.parametrize("said, reason", [
    ("error: Request failed\n  cause: error sending request for url", "PyTorch's own index cannot be reached"),
    ("error: no wheel for this machine", "error: no wheel for this machine"),
])
def test_torch_of_pips_index_is_used_if_no_other_build_is_available(machine, said, reason):
    done, calls = installs(machine, "install_torch torch==2.13.0", NO_CPU, uv=f"echo '{said}'; exit 2")
    assert f"that build is not to be had: {reason}\n" in done.stdout
    assert "recorded build index\n" in done.stdout and done.stdout.endswith("build index\n")


def test_torch_without_a_network_is_an_error(machine):
    done, calls = installs(machine, "install_torch torch==2.13.0", "*) echo 'NewConnectionError: refused'; exit 1 ;;")
    assert done.returncode == 1 and len(calls) == 1
    assert done.stderr.startswith("error: no connection to the package index while installing torch==2.13.0; ")


def test_torch_is_installed_for_a_gpu(machine):
    machine.command("nvidia-smi", "exit 0")
    done, calls = installs(machine, "install_torch torch==2.13.0", "*) ;;", uv="exit 0", build="gpu")
    assert done.stdout.endswith("build gpu\n")
    assert "--torch-backend=auto torch==2.13.0" in calls[1] and "--no-deps" not in calls[1]


def test_torch_is_installed_from_a_given_index(machine):
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
def test_k2_fits_the_installed_torch(machine, torch, loads, version, said):
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
