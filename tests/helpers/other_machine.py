"""A checkout on a simulated machine."""

import shutil
import subprocess
from pathlib import Path

from helpers import ROOT

TOOLS = "awk bash cat cut df dirname du grep head mv rm sed sha256sum tail touch tr uname".split()
DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\n'


class Machine:
    """A checkout, and a PATH with a few real tools and fake Pythons that only answer local/choose_env.sh."""

    def __init__(self, folder: Path):
        self.root, self.bin = folder / "a check out", folder / "bin"
        shutil.copytree(ROOT / "local", self.root / "local")
        for name in (*(p.name for p in ROOT.glob("requirements*.txt")), "pyproject.toml"):
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
        """The chosen Python's name, set of packages, and torch with its build."""
        done = self.env_sh("--explain", **variables)
        assert done.returncode == 0, done.stderr
        choice = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        return Path(choice["python"].split(" ", 1)[1]).name, choice["set"], choice["torch"].split(" ", 1)[-1]

    def error(self, **variables: str) -> str:
        done = self.env_sh("--explain", **variables)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and not done.stdout
        return done.stderr
