"""Fuzzing of all readers: seeds are damaged, and whatever a reader then does but read, or refuse in one line, is told.

    tests/fuzz/run.sh                 10,000 damages; --count N --begin N --seed N --readers NAME … for others
    tests/fuzz/run.sh --only 4711     that one again, with its traceback; the damaged file is kept

Each damage is drawn from the seed and its number alone. Damages are tried in worker processes; one that crashes, takes
more than 10 s of a processor (60 s by the clock) or more than 1 GB of memory is a fault too, and costs itself alone.
"""

import argparse
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from fuzz.mutations import mutated
from fuzz.readers import READERS, copy_configs, draw
from fuzz.seeds import make

from lstmp.errors import UserError
from lstmp.log import quiet

CPU_SECONDS, WALL_SECONDS, MEMORY = 10, 60, 1 << 30


def damage(root: Path, n: int, seed: int, names: list[str]) -> tuple[str, Path, bytes, bytes]:
    """What number ``n`` is: the reader, the file, its bytes before and after."""
    rng = np.random.default_rng((seed, n))
    name = draw(rng, names)
    paths = [p for pattern in READERS[name].files for p in sorted(root.glob(pattern)) if p.is_file()]
    path = paths[rng.integers(len(paths))]
    sound, others = path.read_bytes(), [p.read_bytes() for p in paths[:20]]
    return name, path, sound, mutated(sound, rng, others)


def attempt(root: Path, n: int, seed: int, names: list[str]) -> dict:
    """Try number ``n``. Returns ``reader``, ``file`` and ``outcome``: taken, refused, or fault with ``what``."""
    name, path, sound, bad = damage(root, n, seed, names)
    told = {"n": n, "reader": name, "file": str(path.relative_to(root))}
    path.write_bytes(bad)
    try:
        READERS[name].read(root)
        return told | {"outcome": "taken"}
    except UserError as e:
        one_line = str(e).isprintable() and len(str(e)) < 5000
        return told | ({"outcome": "refused"} if one_line else {"outcome": "fault", "what": f"line: {str(e)[:200]!r}"})
    except BaseException as e:  # whatever it is: the command would end with a traceback
        if isinstance(e, OSError) and e.errno and e.filename:  # of which the command makes a line
            return told | {"outcome": "refused"}
        return told | {"outcome": "fault", "what": traceback.format_exc()[-3000:]}
    finally:
        path.write_bytes(sound)
        shutil.rmtree(root / "out", ignore_errors=True)


def _work(root: Path, numbers, seed: int, names: list[str], out: int):
    """In a process of its own: try ``numbers``, and say so line by line."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    for n in numbers:
        os.write(out, f"{json.dumps({'n': n, 'outcome': 'begun'})}\n".encode())
        spent = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent.ru_utime + spent.ru_stime) + CPU_SECONDS + 1, -1))
        os.write(out, f"{json.dumps(attempt(root, n, seed, names))}\n".encode())


def _start(root: Path, numbers, seed: int, names) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, -1))
            _work(root, numbers, seed, names, write)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    return pid, read


def run(root: Path, numbers: list[int], seed: int, names: list[str]):
    """Yield what became of each of ``numbers``."""
    while numbers:
        pid, pipe = _start(root, numbers, seed, names)
        rest, at, stuck = b"", None, False
        while True:
            if not select.select([pipe], [], [], WALL_SECONDS)[0]:
                stuck = True
                os.kill(pid, signal.SIGKILL)
            if not (data := os.read(pipe, 1 << 16)):
                break
            *lines, rest = (rest + data).split(b"\n")
            for told in map(json.loads, lines):
                if told["outcome"] == "begun":
                    at = told["n"]
                else:
                    yield told
                    numbers, at = [n for n in numbers if n > told["n"]], None
        os.close(pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if at is not None:  # the file is still damaged
            name, path, sound, _ = damage(fresh(root), at, seed, names)
            shutil.copytree(fresh(root), root, dirs_exist_ok=True)
            what = "hangs" if stuck or status == -signal.SIGXCPU else f"ends the process ({status})"
            file = str(path.relative_to(fresh(root)))
            yield {"n": at, "reader": name, "file": file, "outcome": "fault", "what": what}
            numbers = [n for n in numbers if n > at]
        elif status:
            raise RuntimeError(f"a worker ended with {status}")


def fresh(root: Path) -> Path:
    """The untouched copy of the seeds."""
    return root.with_name("untouched")


def prepared(folder: Path) -> Path:
    """The seeds below ``folder``, each of which its reader takes as it is."""
    torch.set_num_threads(1)
    root = folder / "seeds"
    with quiet():
        make(root)
        copy_configs(root)
        for name, reader in READERS.items():
            try:
                reader.read(root)
            except UserError as e:
                raise RuntimeError(f"the seeds of {name} are not sound: {e}") from e
            shutil.rmtree(root / "out", ignore_errors=True)
    shutil.copytree(root, fresh(root))
    return root


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=10_000)
    p.add_argument("--begin", type=int, default=0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    p.add_argument("--only", type=int, metavar="N")
    a = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lstmp-fuzz-"))
    root = prepared(folder)
    if a.only is not None:
        name, path, _, bad = damage(root, a.only, a.seed, a.readers)
        print(f"{name}: {path}, {len(bad)} bytes, kept")
        path.write_bytes(bad)
        READERS[name].read(root)
        return
    start, counts, faults = time.monotonic(), Counter(), []
    for told in run(root, list(range(a.begin, a.begin + a.count)), a.seed, a.readers):
        counts[told["reader"], told["outcome"]] += 1
        if told["outcome"] == "fault":
            faults.append(told)
            print(f"--only {told['n']}: {told['reader']}, {told['file']}: {told['what']}", flush=True)
    for name in a.readers:
        print(f"{name:15}" + "".join(f"  {counts[name, o]:6,} {o}" for o in ("taken", "refused", "fault")))
    print(f"{a.count:,} damages, {len(faults)} faults, {time.monotonic() - start:.0f} s")
    shutil.rmtree(folder)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
