"""When is a stage done? When its mark says so: same inputs, same configuration, outputs as they were left.

A mark is a small JSON file ``<dir>/.done.<name>.json``, written last and renamed into place. It holds the digest of
the inputs' contents and of the configuration, and size and time of each output. Anything that differs, and the stage
runs again; the reason is printed.
"""

import hashlib
import json
from pathlib import Path

from lstmp import config
from lstmp.log import say

_digests: dict[tuple, str] = {}


def digest(path) -> str:
    """Content digest of a file, or of all files below a folder by relative name (marks and hidden files left out)."""
    path = Path(path)
    if path.is_dir():
        h = hashlib.blake2b(digest_size=16)
        for p in sorted(path.rglob("*")):
            if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts):
                h.update(f"{p.relative_to(path)}={digest(p)};".encode())
        return h.hexdigest()
    if not path.exists():
        return "absent"
    stat = path.stat()
    key = (str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        h = hashlib.blake2b(digest_size=16)
        with open(path, "rb") as f:
            while block := f.read(1 << 22):
                h.update(block)
        _digests[key] = h.hexdigest()
    return _digests[key]


class Stage:
    """A unit of work that is skipped when it is already done.

    Args:
        directory: where its outputs and its mark lie; made if absent.
        name: short name, part of the mark's file name.
        inputs: files or folders whose contents the result depends on.
        settings: everything else that it depends on: a JSON-able value (``config.to_dict(cfg)``, seed …), not ``nj``.

    Use::

        stage = Stage(out, "mfcc", inputs=[data / "wav.scp"], settings=config.to_dict(cfg))
        if stage.is_done():
            return
        ... work ...
        stage.mark(outputs=[out / "feats.scp", out / "feats.ark"])
    """

    def __init__(self, directory, name: str, inputs, settings):
        self.directory, self.name = Path(directory), name
        self.path = self.directory / f".done.{name}.json"
        self.inputs = [Path(p) for p in inputs]
        self.settings = json.loads(json.dumps(settings, sort_keys=True, default=str))

    def _state(self) -> dict:
        return {"inputs": {str(p): digest(p) for p in self.inputs}, "settings": self.settings}

    def why_not(self) -> str | None:
        """None if done, else the reason in a few words."""
        if not self.path.is_file():
            return "not made yet"
        try:
            mark = config.json_value(self.path.read_bytes())
        except FileNotFoundError:  # another process has just removed it
            return "not made yet"
        except ValueError:
            return "its mark is damaged"
        if not isinstance(mark, dict) or "settings" not in mark or not all(
                isinstance(mark.get(name), dict) for name in ("inputs", "outputs")):
            return "its mark is damaged"
        state = self._state()
        if mark["settings"] != state["settings"]:
            return "its configuration changed"
        if list(mark["inputs"].values()) != list(state["inputs"].values()):
            changed = [n for n, d in state["inputs"].items() if d not in mark["inputs"].values()]
            return f"{', '.join(changed) or 'an input'} changed"
        for name, stamp in mark["outputs"].items():
            p = self.directory / name
            if not p.exists() or _stamp(p) != stamp:
                return f"{p} is missing or was changed"
        return None

    def is_done(self) -> bool:
        """True if the mark fits; says which. A stale mark is removed, so that a killed rerun is not taken as done."""
        reason = self.why_not()
        if reason is None:
            say(f"{self.directory}: {self.name} is done, inputs and configuration unchanged")
            return True
        if reason != "not made yet":
            say(f"{self.directory}: {self.name} runs again, {reason}")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        return False

    def mark(self, outputs):
        """Write the mark. ``outputs`` are files or folders that must exist."""
        stamps = {}
        for p in map(Path, outputs):
            try:
                name = str(p.relative_to(self.directory))
            except ValueError:
                name = str(p.resolve())
            stamps[name] = _stamp(p)
        config.write_text(self.path, json.dumps({**self._state(), "outputs": stamps}, indent=1) + "\n")


def _stamp(path: Path):
    if path.is_dir():
        return ["folder"]
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
