"""Decides whether a stage is already done: its mark must show unchanged inputs, configuration, code and outputs.

A mark is a small JSON file ``<dir>/.done.<name>.json``, written last and renamed into place. It contains the digest of
the inputs' contents from before the work began, the configuration, the version of the stage's code, and the size and
modification time of each output. If anything differs, the stage runs again, and the reason is printed.
"""

import glob
import hashlib
import json
import re
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lstmp import config, lock, progress
from lstmp.config import Json
from lstmp.log import say

SKIPPED = "is done, inputs and configuration unchanged"  # the end of the line that says that nothing is to be done
_MAX_KEYS, _MAX_WIDTH = 5, 60  # changed keys that are named, and characters of a value
_digests: dict[tuple[str, int, int, int], str] = {}


def digest(path: Path | str) -> str:
    """Digest the contents of a file, or of all files below a folder with their relative names.

    Hidden files, marks among them, are left out.
    """
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
        directory: folder of its outputs and its mark; made if absent. While a stage is running, no other process can
            start one there (:mod:`lstmp.lock`).
        name: short name, part of the mark's file name.
        inputs: files or folders whose contents the result depends on.
        settings: everything else that the result depends on, as a value that JSON can hold (``config.to_dict(cfg)``,
            seed …); not ``nj``.
        version: version of the code. Raise it with every change of the code that changes results, so that they are
            made again.

    Use::

        stage = Stage(out, "mfcc", inputs=[data / "wav.scp"], settings=config.to_dict(cfg))
        if stage.is_done():
            return
        ... work ...
        stage.mark(outputs=[out / "feats.scp", out / "feats.ark"])
    """

    def __init__(self, directory: Path | str, name: str, inputs: Iterable[Path | str], settings: Any, version: int = 1):
        self.directory, self.name, self.version = Path(directory), name, version
        self.path = self.directory / f".done.{name}.json"
        self.inputs = [Path(p) for p in inputs]
        self.settings = json.loads(json.dumps(settings, sort_keys=True, default=str))
        self._begun: Json | None = None  # the state when the work began
        self._keeps = False
        self._kept: Path | None = None
        self._unlock: Callable[[], object] = lambda: None

    def _state(self) -> Json:
        return {"version": self.version, "inputs": {str(p): digest(p) for p in self.inputs}, "settings": self.settings}

    def key(self) -> str:
        """A digest of everything that the result depends on, in the state that :meth:`is_done` found if it was called.
        """
        return _key(self._begun or self._state())

    def why_not(self) -> str | None:
        """None if the stage is done, else the reason in a few words."""
        return self._differs(self._state())

    def _differs(self, state: Json) -> str | None:
        if not self.path.is_file():
            return "not made yet"
        if (mark := self._read_mark()) is None:
            return "its mark is damaged"
        if mark["settings"] != state["settings"]:
            return f"its configuration changed: {_differences(mark['settings'], state['settings'])}"
        if list(mark["inputs"].values()) != list(state["inputs"].values()):
            changed = [n for n, d in state["inputs"].items() if d not in mark["inputs"].values()]
            return f"{', '.join(changed) or 'an input'} changed"
        if mark["version"] != state["version"]:
            return f"its code changed, version {mark['version']} to {state['version']}"
        for name, stamp in mark["outputs"].items():
            p = self.directory / name
            if not p.exists() or _stamp(p) != stamp:
                return f"{p} is missing or was changed"
        return None

    def _read_mark(self) -> Json | None:
        """Read the mark; None if it is missing or damaged. A mark without a version is from version 1."""
        try:
            mark = {"version": 1, **json.loads(self.path.read_bytes())}
            complete = {"inputs", "settings", "outputs"} <= set(mark) and all(
                isinstance(mark[part], dict) for part in ("inputs", "outputs"))
            return mark if complete else None
        except (OSError, ValueError, TypeError, RecursionError):  # TypeError: not an object
            return None

    def _lock(self) -> None:
        """Lock the directory until :meth:`mark`; or, after an error, until this object is freed."""
        self._unlock()
        lock.hold(self.directory)
        self._unlock = weakref.finalize(self, lock.release, self.directory)

    def is_done(self) -> bool:
        """Return True if the mark is up to date; what was found is printed.

        A stale mark is removed, so that a killed rerun is not taken as done.

        Raises:
            UserError: the stage is not done, and another process is at work in its directory.
        """
        self._begun = self._state()
        reason = self._differs(self._begun)
        if reason is not None:
            self._lock()
            reason = self._differs(self._begun)  # another process may have finished it just before the lock
        if reason is None:
            self._unlock()
            say(f"{self.directory}: {self.name} {SKIPPED}")
            progress.note_work(needed=False)
            return True
        if reason != "not made yet":
            say(f"{self.directory}: {self.name} runs again, {reason}")
        self.path.unlink(missing_ok=True)
        progress.note_work(needed=True)
        return False

    def keep_previous(self) -> None:
        """Keep what a rerun would overwrite, such as a trained network; to be called before :meth:`is_done`.

        If the stage was done with another configuration or other inputs, its folder and everything below is renamed to
        ``<directory>.<key>`` and stays there until :meth:`mark`. If there is such a folder for the present
        configuration, it is renamed back.
        """
        self._keeps = True
        reason = self.why_not()
        if reason is None or reason == "not made yet" and not self._sibling(self.key()).is_dir():
            return
        self._lock()
        try:
            mark = self._read_mark()
            if mark and all((self.directory / name).exists() for name in mark["outputs"]):
                old = self._sibling(_key(mark))
                shutil.rmtree(old, ignore_errors=True)
                self.directory.rename(old)
                self._kept = old
                say(f"{old}: the previous {self.name} is kept here until the new one is done ({reason})")
            wanted = self._sibling(self.key())
            if Stage(wanted, self.name, self.inputs, self.settings, self.version).why_not() is None:
                shutil.rmtree(self.directory, ignore_errors=True)  # a later one that was not finished
                wanted.rename(self.directory)
                say(f"{self.directory}: the {self.name} of this configuration is restored from {wanted}")
        finally:
            self._unlock()

    def give_back(self, unless: str) -> None:
        """After an error, restore what :meth:`keep_previous` has moved, unless the new one has a file ``unless``.

        That file shows that the new one was begun.
        """
        if self._kept and not (self.directory / unless).exists():
            shutil.rmtree(self.directory, ignore_errors=True)
            self._kept.rename(self.directory)
            say(f"{self.directory}: the previous {self.name} is restored")

    def _sibling(self, key: str) -> Path:
        return self.directory.with_name(f"{self.directory.name}.{key[:12]}")

    def mark(self, outputs: Iterable[Path | str]) -> None:
        """Write the mark. ``outputs`` are files or folders, which must exist."""
        stamps = {}
        for p in map(Path, outputs):
            try:
                name = str(p.relative_to(self.directory))
            except ValueError:
                name = str(p.resolve())
            stamps[name] = _stamp(p)
        state = self._begun or self._state()
        config.write_text(self.path, json.dumps({**state, "outputs": stamps}, indent=1) + "\n")
        if self._keeps:
            for p in self.directory.parent.glob(f"{glob.escape(self.directory.name)}.*"):
                if re.fullmatch("[0-9a-f]{12}", p.suffix[1:]) and (p / self.path.name).is_file():
                    shutil.rmtree(p, ignore_errors=True)
        self._unlock()


def same_inputs(directory: Path | str, name: str) -> bool:
    """Whether a stage has a mark, and its inputs have the contents that they had when it was done."""
    mark = Stage(directory, name, [], None)._read_mark()
    return mark is not None and all(digest(file) == content for file, content in mark["inputs"].items())


def _key(state: Json) -> str:
    """The key of a state or a mark; it does not depend on the names of the inputs."""
    parts = [state["version"], list(state["inputs"].values()), state["settings"]]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _differences(old: Any, new: Any) -> str:
    """Describe which keys of a configuration differ, with both values."""
    changes = list(_changed(old, new, ""))
    more = f" and {len(changes) - _MAX_KEYS} more" if len(changes) > _MAX_KEYS else ""
    return ", ".join(changes[:_MAX_KEYS]) + more


def _changed(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if old.get(key, _ABSENT) != new.get(key, _ABSENT):
                yield from _changed(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{name}.{key}" if name else key)
    else:
        yield f"{f'`{name}` ' if name else ''}{_short(old)} → {_short(new)}"


_ABSENT = object()


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "none"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _MAX_WIDTH:
        return text
    return f"({len(value)} values)" if isinstance(value, (list, dict)) else f"{text[:_MAX_WIDTH]}…"


def _stamp(path: Path) -> list[Any]:
    if path.is_dir():
        return ["folder"]
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
