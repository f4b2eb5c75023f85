"""Kill all steps from speech to a transcript again and again, and compare the final files.

    python tests/kill/kill_run.py FOLDER [--kills 100] [--seed 1]

The steps are ./run.sh on a small `tiny`, with its compilations, then an export of the network and a transcription. They
run once undisturbed. Then they run again, and each time all processes are killed (`kill -9`) after a random time, or at
a random change of a file (sitecustomize.py in this folder). Sometimes they are started with other options in between,
or one of the files is damaged. The same command must then end with the same bytes, except times, and leave no temporary
file. FOLDER contains the state: the same command continues where it was stopped.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
SMALL = """--train_utterances 120 --test_utterances 10 --mono_utterances 60 --nj 2
    --mono.em.num_iters 6 --mono.em.realign [1,2,3,4,5] --mono.em.num_gaussians 150 --mono.em.grow_until 4
    --tri1.tree.max_leaves 60 --tri1.em.num_iters 5 --tri1.em.realign [3] --tri1.em.num_gaussians 150
    --tri1.em.grow_until 4 --lstmp.cells 48 --lstmp.recurrent_projection 24 --lstmp.streams 4 --lstmp.epochs 6
    --lstmp.lr_initial 0.01 --lstmp.lr_final 0.001 --lstmp.dropout 0 --lstmp.checkpoint_minutes 0.02
    --decode.max_active 500 --decode.min_active 50 --decode.utts_per_job 3
    --score.replicates 200""".split()
OTHER = [["--lstmp.epochs", "2"], ["--tri1.tree.max_leaves", "40"], ["--mfcc.num_ceps", "12"], ["--seed", "2"],
         ["--decode.search_beam", "9"]]
MEASURED = {"rtf", "minutes", "cpu_minutes", "seconds", "cpu_seconds", "core_seconds", "frames_per_second", "command",
            "audio_seconds", "peak_memory_gib", "processes", "version", "commit", "time", "machine"}
NOT_COMPARED = re.compile(r"(^|/)(tensorboard|log)/|RESULTS\.md$|README\.md$|\.log$|-curve\.png$")


def way(folder: Path, other: list[str] = ()) -> list[str]:
    """The command for all steps from speech to a transcript."""
    exp, model = folder / "exp", folder / "model"
    run = ["./run.sh", "--exp", str(exp), "--data", str(folder / "data"), *SMALL, *other]
    return ["bash", "-ec", f'''"$@"
steps/export_model.sh {exp}/lstmp --out {model}
./transcribe.sh --model {model} --nj 1 --out {folder}/transcripts {folder}/data/audio/test/*.wav''', "bash", *run]


def start(folder: Path, other: list[str] = (), at: int | None = None) -> subprocess.Popen:
    """Start the steps in a new process group, to be killed at file change number ``at``."""
    env = os.environ | {"TORCH_EXTENSIONS_DIR": str(folder / "compiled"), "TMPDIR": str(folder / "tmp"),
                        "OMP_NUM_THREADS": "1"}
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    if at is not None:
        count = folder.parent / "changes"
        count.unlink(missing_ok=True)
        env |= {"PYTHONPATH": str(Path(__file__).parent), "LSTMP_KILL_BELOW": str(folder),
                "LSTMP_KILL_COUNT": str(count), "LSTMP_KILL_AT": str(at)}
    with open(folder.parent / "last.log", "w") as log:
        return subprocess.Popen(way(folder, other), cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT,
                                start_new_session=True)


def finish(folder: Path, at: int | None = None) -> float:
    """Run to the end. Returns the seconds."""
    began, process = time.monotonic(), start(folder, at=at)
    if process.wait():
        raise SystemExit(f"it failed:\n{(folder.parent / 'last.log').read_text()[-3000:]}")
    return time.monotonic() - began


def result(folder: Path) -> dict[str, str]:
    """Digest the content of each file without times; the marks of stages contain times of files."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if NOT_COMPARED.search(name) or name.startswith(("compiled/", "tmp/")) or path.name.startswith(
                (".done", ".lock")):
            continue
        found[name] = hashlib.blake2b(_content(path), digest_size=8).hexdigest()
    return found


def _content(path: Path) -> bytes:
    if path.suffix == ".safetensors":
        with safe_open(str(path), "pt") as f:
            return b"".join(name.encode() + f.get_tensor(name).numpy().tobytes() for name in sorted(f.keys()))
    if path.suffix in (".json", ".jsonl"):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        return json.dumps([_timeless(json.loads(line)) for line in lines]).encode()
    return path.read_bytes()


def _timeless(value):
    if isinstance(value, dict):  # model.json has the sizes of files, train.json among them
        return {k: _timeless(v) for k, v in value.items() if k not in MEASURED | {"files"}}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def left_over(folder: Path) -> list[str]:
    """List the temporary files and folders."""
    return [str(p) for p in folder.rglob("*") if re.search(r"\.(tmp|old)$", p.name)] + [
        str(p) for p in (folder / "tmp").iterdir() if p.name.startswith("lstmp-")]


def damage(folder: Path, rng: random.Random) -> str:
    """Cut one file in half; not one of a training in progress, where the error says which file to delete."""
    files = sorted(p for part in ("data", "exp") for p in (folder / part).rglob("*")
                   if p.is_file() and p.stat().st_size > 1 and not p.name.startswith(".")
                   and "/conf/" not in str(p) and not re.match(r"(last|best|epoch\d+)\.safetensors", p.name))
    if not files:
        return ""
    path = rng.choice(files)
    os.truncate(path, path.stat().st_size // 2) if path.stat().st_nlink == 1 else path.unlink()
    return str(path.relative_to(folder))


def campaign(place: Path, kills: int, seed: int, damaging: bool = True) -> dict:
    """Kill ``kills`` times in all. Returns the state, with the differences at the end of each round."""
    place.mkdir(parents=True, exist_ok=True)
    folder, path = place.resolve() / "run", place / "state.json"
    state = json.loads(path.read_text()) if path.is_file() else {}
    if not state:
        shutil.rmtree(folder, ignore_errors=True)
        seconds = finish(folder, at=0)
        state = {"seconds": seconds, "changes": (place / "changes").stat().st_size, "expected": result(folder),
                 "kills": [], "rounds": [], "differ": []}
        shutil.rmtree(folder)
        path.write_text(json.dumps(state))
    rng = random.Random(f"{seed} {len(state['kills'])}")
    while len(state["kills"]) < kills:
        kill, other = {}, rng.choice(OTHER) if rng.random() < 0.15 else []
        at = rng.randint(1, max(2, state["changes"] // 4)) if rng.random() < 0.6 else None
        moment = None if at else rng.uniform(0.02, 0.6) * state["seconds"]
        process = start(folder, other, at)
        try:
            status = process.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        kill = {"at": at, "seconds": moment, "other": other, "status": status,
                "last": (place / "last.log").read_text().strip().splitlines()[-1:]}
        if status == -signal.SIGKILL:
            state["kills"].append(kill)
            if damaging and rng.random() < 0.2:
                kill["damaged"] = damage(folder, rng)
        elif status:
            state["differ"].append({"failed": (place / "last.log").read_text()[-1500:], **kill})
            shutil.rmtree(folder)
        if not status or len(state["kills"]) >= kills:  # it has reached the end, or must do so
            finish(folder)
            found = result(folder)
            differ = sorted(n for n in {*found, *state["expected"]} if found.get(n) != state["expected"].get(n))
            state["rounds"].append(len(state["kills"]))
            if differ or left_over(folder):
                state["differ"].append({"files": differ, "left": left_over(folder)})
            shutil.rmtree(folder)  # start again, because there are more kills to do
        path.write_text(json.dumps(state))
        print(len(state["kills"]), kill, len(state["differ"]), flush=True)
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    state = campaign(args.folder, args.kills, args.seed)
    print(f"{len(state['kills'])} kills in {len(state['rounds'])} rounds, {state['changes']} changes of files in a run "
          f"of {state['seconds']:.0f} s: {len(state['differ'])} rounds ended differently")
    print(json.dumps(state["differ"], indent=1))
    sys.exit(bool(state["differ"]))


if __name__ == "__main__":
    main()
