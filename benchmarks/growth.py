"""Measures how the time and the memory of each stage grow with the amount of training speech.

    python -m benchmarks.growth --corpus DIR --hours 0.5 1.3 2.7 5.3 53 --out exp/growth

For each amount, the recipe is run to the end of the training of its networks (``--stop-stage 10`` to include
decoding), in a separate folder, and the logs of its steps are read. For more hours than the corpus has, the features
of the data are used several times, under new ids of utterances and speakers; the audio is not copied, so stages 1 to 4
are not measured there. What has been run is kept, and a run that was interrupted continues. Prints a table of core
minutes (processor time) and GiB of the largest process, the exponents fitted to the core minutes of the larger half of
the amounts, and what they mean for 100, 960 and 60,000 hours. ``growth.json`` also has the minutes that passed.
"""

import argparse
import json
import math
import subprocess
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.corpus.datadir import read_table
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.paths import ROOT
from lstmp.report.stages import TITLES, read_calls, stages

PROJECTED = (100, 960, 60_000)  # hours
TRAINING = "train-clean-5"
MONO = 300  # different utterances for the monophones, if there is more speech than the corpus has


def run(out: Path, options: list[str]):
    """Run the recipe with its data and results in ``out``."""
    done = subprocess.run(["./run.sh", "--recipe", "mini_librispeech", "--exp", str(out / "exp"), "--data",
                           str(out / "data"), *options], cwd=ROOT, check=False)
    if done.returncode:
        raise UserError("the recipe has failed", file=out, hint="see its error message above")


def multiply(data: Path, times: int):
    """Make each utterance and speaker of a data dir with features occur several times; the archives stay the same."""
    for name in ("feats.scp", "text", "utt2num_frames", "utt2dur", "cmvn.scp", "utt2spk", "wav.scp"):
        if not (data / name).is_file():
            continue
        rows = read_table(data / name)
        if next(iter(rows)).startswith("x000-"):
            continue  # done before
        lines = [f"x{n:03d}-{key} {f'x{n:03d}-{value}' if name == 'utt2spk' else value}\n"
                 for n in range(times) for key, value in rows.items()]
        config.write_text(data / name, "".join(sorted(lines)))
    speakers: dict[str, list[str]] = {}
    for utt, speaker in read_table(data / "utt2spk").items():
        speakers.setdefault(speaker, []).append(utt)
    config.write_text(data / "spk2utt", "".join(f"{s} {' '.join(utts)}\n" for s, utts in sorted(speakers.items())))


def measure(out: Path, hours: float, available: float, utterances: int, last_stage: int, options: list[str]) -> dict:
    """Run one amount. Returns stage → minutes, core minutes, GiB of the largest process."""
    if hours <= 1.02 * available:
        count = min(utterances, round(hours / available * utterances))
        run(out, [*options, "--train_utterances", str(count), "--stop-stage", str(last_stage)])
    else:
        times, multiplied = round(hours / available), out / "data" / "multiplied"
        if not multiplied.is_file():  # stages 1 to 4 would make the data dirs anew
            run(out, [*options, "--stop-stage", "4"])
            for name in (TRAINING, f"{TRAINING}_fbank"):
                multiply(out / "data" / name, times)
            config.write_text(multiplied, f"{times}\n")
        # the shortest utterances are copies of each other: as many different ones as MONO
        run(out, [*options, "--stage", "5", "--stop-stage", str(last_stage), "--mono_utterances", str(times * MONO)])
    first = 1 if hours <= 1.02 * available else 5
    return {s["stage"]: {"minutes": s["seconds"] / 60, "core_minutes": (s["cpu_seconds"] or 0) / 60,
                         "gib": (s["peak_mib"] or 0) / 1024}
            for s in stages(read_calls(out / "exp" / "log")) if s["stage"] >= first}


def exponent(hours: list[float], minutes: list[float]) -> tuple[float, float]:
    """Fit core minutes = a · hours^b; returns (a, b)."""
    b, log_a = np.polyfit(np.log(hours), np.log(np.maximum(minutes, 1e-3)), 1)
    return math.exp(log_a), float(b)


def table(results: dict[float, dict]) -> str:
    """The measurements, exponents and projections as Markdown."""
    amounts = sorted(results)
    head = [f"{h:g} h" for h in amounts]
    lines = ["| stage | " + " | ".join(head) + " | exponent | " + " | ".join(f"{h:,} h" for h in PROJECTED) + " |",
             "|---|" + "---:|" * (len(head) + 1 + len(PROJECTED))]
    for stage in sorted({s for r in results.values() for s in r}):
        measured = [h for h in amounts if stage in results[h]]
        cells = [f"{results[h][stage]['core_minutes']:.1f} min, {results[h][stage]['gib']:.1f} GiB" if h in measured
                 else "–" for h in amounts]
        larger = measured[len(measured) // 2 - (len(measured) > 1):] if len(measured) > 2 else measured
        if len(larger) > 1:
            a, b = exponent(larger, [results[h][stage]["core_minutes"] for h in larger])
            cells += [f"{b:.2f}", *(f"{a * h ** b / 60:,.1f} h" for h in PROJECTED)]
        else:
            cells += ["–"] * (1 + len(PROJECTED))
        lines.append(f"| {stage} {TITLES[stage]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@command
def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="Options after -- are passed to run.sh.")
    p.add_argument("--corpus", type=Path, required=True, help="folder of the corpus, as for run.sh")
    p.add_argument("--hours", type=float, nargs="+", default=[0.5, 1.3, 2.7, 5.3, 53], help="(%(default)s)")
    p.add_argument("--available", type=float, default=5.31, help="hours of training speech (%(default)s)")
    p.add_argument("--utterances", type=int, default=1519, help="number of training utterances (%(default)s)")
    p.add_argument("--stop-stage", type=int, default=8, help="last stage (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("exp/growth"), help="folder to work in (%(default)s)")
    p.add_argument("options", nargs="*", help=argparse.SUPPRESS)
    a = p.parse_args(argv)
    fixed = ["--corpus", str(a.corpus.resolve()), "--networks", "{lstmp: {}}", "--speeds", "[1.0]", "--volumes", "[]",
             "--mp3_kbps", "0", *a.options]
    results = {}
    for hours in sorted(a.hours):
        out = a.out.resolve() / f"{hours:g}h"
        results[hours] = measure(out, hours, a.available, a.utterances, a.stop_stage, fixed)
        config.write_text(a.out / "growth.json", json.dumps(results, indent=1) + "\n")
    text = table(results)
    config.write_text(a.out / "growth.md", text)
    say(f"in {a.out / 'growth.md'}:\n{text}")


if __name__ == "__main__":
    main()
