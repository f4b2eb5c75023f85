"""Fuzzing of all readers: seed files are damaged; a reader must read the damaged file, or refuse it in one line.

    tests/fuzz/run.sh                 10,000 damages; --count N --begin N --seed N --readers NAME … for others
    tests/fuzz/run.sh --only 4711     repeat one damage, with its traceback; the damaged file is kept

A damage depends only on the seed and its number. Damages are tried in worker processes. It is a failure too if one
crashes, takes more than 10 s of processor time (60 s of wall-clock time), or needs more than 1 GB of memory; the others
are still tried.
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
    """Make damage number ``n``: the reader, the file, its original bytes, and its damaged bytes."""
    rng = np.random.default_rng((seed, n))
    name = draw(rng, names)
    paths = [p for pattern in READERS[name].files for p in sorted(root.glob(pattern)) if p.is_file()]
    path = paths[rng.integers(len(paths))]
    original, others = path.read_bytes(), [p.read_bytes() for p in paths[:20]]
    return name, path, original, mutated(original, rng, others)


def attempt(root: Path, n: int, seed: int, names: list[str]) -> dict:
    """Try damage number ``n``. Returns ``reader``, ``file`` and ``outcome``: read, refused, or failed with ``what``."""
    name, path, original, bad = damage(root, n, seed, names)
    report = {"n": n, "reader": name, "file": str(path.relative_to(root))}
    path.write_bytes(bad)
    try:
        READERS[name].read(root)
        return report | {"outcome": "read"}
    except UserError as e:
        one_line = str(e).isprintable() and len(str(e)) < 5000
        if one_line:
            return report | {"outcome": "refused"}
        return report | {"outcome": "failed", "what": f"line: {str(e)[:200]!r}"}
    except BaseException as e:  # of any type: the command would end with a traceback
        if isinstance(e, OSError) and e.errno and e.filename:  # the command prints one line for it
            return report | {"outcome": "refused"}
        return report | {"outcome": "failed", "what": traceback.format_exc()[-3000:]}
    finally:
        path.write_bytes(original)
        shutil.rmtree(root / "out", ignore_errors=True)


def _work(root: Path, numbers, seed: int, names: list[str], out: int):
    """Try ``numbers``, in a separate process, and write a report as a line of JSON for each."""
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
    """Try ``numbers`` and yield the report of each."""
    while numbers:
        pid, pipe = _start(root, numbers, seed, names)
        rest, current, stuck = b"", None, False
        while True:
            if not select.select([pipe], [], [], WALL_SECONDS)[0]:
                stuck = True
                os.kill(pid, signal.SIGKILL)
            if not (data := os.read(pipe, 1 << 16)):
                break
            *lines, rest = (rest + data).split(b"\n")
            for report in map(json.loads, lines):
                if report["outcome"] == "begun":
                    current = report["n"]
                else:
                    yield report
                    numbers, current = [n for n in numbers if n > report["n"]], None
        os.close(pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if current is not None:  # the file is still damaged
            name, path, *_ = damage(fresh(root), current, seed, names)
            shutil.copytree(fresh(root), root, dirs_exist_ok=True)
            what = "hangs" if stuck or status == -signal.SIGXCPU else f"ends the process ({status})"
            file = str(path.relative_to(fresh(root)))
            yield {"n": current, "reader": name, "file": file, "outcome": "failed", "what": what}
            numbers = [n for n in numbers if n > current]
        elif status:
            raise RuntimeError(f"a worker ended with {status}")


def fresh(root: Path) -> Path:
    """The folder of the unchanged copy of the seed files."""
    return root.with_name("untouched")


def prepared(folder: Path) -> Path:
    """Make the seed files below ``folder``, and check that their readers accept them."""
    torch.set_num_threads(1)
    root = folder / "seeds"
    with quiet():
        make(root)
        copy_configs(root)
        for name, reader in READERS.items():
            try:
                reader.read(root)
            except UserError as e:
                raise RuntimeError(f"the seed files of {name} are not valid: {e}") from e
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
    start, counts, failures = time.monotonic(), Counter(), []
    for report in run(root, list(range(a.begin, a.begin + a.count)), a.seed, a.readers):
        counts[report["reader"], report["outcome"]] += 1
        if report["outcome"] == "failed":
            failures.append(report)
            print(f"--only {report['n']}: {report['reader']}, {report['file']}: {report['what']}", flush=True)
    for name in a.readers:
        print(f"{name:15}" + "".join(f"  {counts[name, o]:6,} {o}" for o in ("read", "refused", "failed")))
    print(f"{a.count:,} damages, {len(failures)} failures, {time.monotonic() - start:.0f} s")
    shutil.rmtree(folder)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
