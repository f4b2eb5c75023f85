"""Make the report of an experiment, or of several side by side: report/index.html, to be opened in a browser.

    steps/make_report.sh exp/tiny
    steps/make_report.sh exp/tiny exp/wider --out exp/compared

docs/report.md explains the page. What has been made and has not changed is kept; what is missing, such as lattices that
were deleted, is noted on the page.
"""

import argparse
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.aliases import Json
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.nnet.learning_curves import write_curves
from lstmp.parallel import run_jobs
from lstmp.paths import root
from lstmp.program import program_name
from lstmp.report import page, stages, suspicious
from lstmp.report.audio import SetAudio
from lstmp.report.comparison import comparison
from lstmp.report.experiment import Decoding, Experiment, ScoredSet, detailed_systems, read_experiment, share_sets
from lstmp.report.lexicons import read_lexicons
from lstmp.report.notes import Notes, reason
from lstmp.report.options import ReportConfig
from lstmp.report.tallies import word_counts
from lstmp.report.utterances import DecodingPages, chosen, in_shards
from lstmp.shards import write_shard
from lstmp.stage import Stage

VERSION = 1


@dataclass
class Report:
    """A report that is being made."""

    out: Path
    cfg: ReportConfig
    nj: int
    allow_commands: bool
    notes: Notes

    def write(self, experiments: list[Experiment]) -> list[Path]:
        """Write everything; returns the files of the page itself."""
        several = len(experiments) > 1
        prefix = {e.name: f"{e.name}." if several else "" for e in experiments}
        checks = {e.name: suspicious.read_checks(e.dir, self.notes, prefix[e.name]) for e in experiments}
        write_curves(self.out, {prefix[e.name]: e.dir for e in experiments})
        shards, sounds = self._write_sound([s for e in experiments for s in e.sets],
                                           [d for e in experiments for d in e.decodings],
                                           [c.test_set for of_exp in checks.values() for c in of_exp])
        for e in experiments:
            self._write_decodings(e, shards, sounds)
        self._write_checks(experiments, checks, shards)
        decodings = [d for e in experiments for d in e.decodings]
        write_shard(self.out, "comparison", {"items": comparison(decodings, self.cfg, self.nj)})
        calls = {e.name: stages.read_calls(e.dir / "log") for e in experiments}
        write_shard(self.out, "stages", {"stages": [
            {**stage, **({"experiment": name} if several else {})}
            for name, of_exp in calls.items() for stage in stages.stages(of_exp)]})
        rows = [{**row, "system": prefix[e.name] + str(row["system"]), **({"experiment": e.name} if several else {})}
                for e in experiments for row in e.rows]
        return page.write_page(self.out, self._about(experiments, calls, prefix), {"rows": rows})

    def _write_sound(self, sets: list[ScoredSet], decodings: list[Decoding], checked: list[ScoredSet]) \
            -> tuple[dict[str, list[list[str]]], dict[str, dict[str, Json]]]:
        shown: dict[str, set[str]] = {}
        for d in decodings:
            shown.setdefault(d.set, set()).update(chosen(d, self.cfg.max_utterances))
        for test_set in checked:
            shown[test_set.name] = set(test_set.refs)
        shards = {name: in_shards(utts, self.cfg.utterances_per_file) for name, utts in shown.items()}
        sounds = {}
        for name, test_set in {s.name: s for s in [*sets, *checked]}.items():
            audio = SetAudio(self.out, test_set, self.cfg, self.allow_commands)
            sounds[name] = audio.write(shards[name], self.nj, self.notes)
        return shards, sounds

    def _write_decodings(self, e: Experiment, shards: dict[str, list[list[str]]],
                         sounds: dict[str, dict[str, Json]]) -> None:
        detailed = detailed_systems(e, self.cfg.detailed)
        lexicons = read_lexicons([d for d in e.decodings if d.system in detailed], self.out, self.nj)
        pages = DecodingPages(self.out, self.cfg, lexicons, self._training_words(e), sounds, shards)
        # those that take long first, so that no process waits for the last one
        order = sorted(e.decodings, key=lambda d: d.system not in detailed)
        for notes in run_jobs(lambda d: pages.write(d, d.system in detailed), order, self.nj, "decodings", "decoding"):
            for note in notes:
                self.notes.add(note)

    def _training_words(self, e: Experiment) -> Counter[str] | None:
        if not e.results:
            return None  # this is noted already
        folders = e.results.get("train_data")
        try:
            if not isinstance(folders, list) or not folders:
                raise UserError("it names no training data", file=e.dir / "results.json", hint="run stage 11 again")
            return sum((word_counts(Path(str(f)) / "text") for f in folders), Counter[str]())
        except (UserError, OSError) as problem:
            self.notes.add(f"no errors by word frequency: {reason(problem)}")
            return None

    def _write_checks(self, experiments: list[Experiment], checks: dict[str, list[suspicious.Check]],
                      shards: dict[str, list[list[str]]]) -> None:
        items = []
        for e in experiments:
            for check in checks[e.name]:
                try:
                    times = suspicious.word_times(e.dir, check, self.out)
                except (UserError, OSError) as problem:
                    self.notes.add(f"{check.test_set.name}: no times of the words: {reason(problem)}")
                    times = {}
                of_shard = {u: i for i, utts in enumerate(shards[check.test_set.name]) for u in utts}
                items += [{**item, "words": suspicious.transcript(check.test_set.refs[u], times.get(u)),
                           "shard": str(of_shard[u])} for item in check.items for u in [item["utt"]]]
        write_shard(self.out, "suspicious", {"items": items})

    def _about(self, experiments: list[Experiment], calls: dict[str, list[Json]], prefix: dict[str, str]) -> Json:
        """The shard ``experiment``."""
        first, several = experiments[0], len(experiments) > 1
        rows = [(prefix[e.name], row) for e in experiments for row in e.rows]
        run = stages.about(calls[first.name])
        title = " and ".join(e.name for e in experiments) if several else str(first.results.get("title") or first.name)
        commands = [stages.run_command(stages.about(calls[e.name])["command"]) for e in experiments]
        commands.append(stages.quoted("steps/make_report.sh", *(str(e.dir) for e in experiments),
                                      *(["--out", str(self.out)] if several else [])))
        detailed = {e.name: detailed_systems(e, self.cfg.detailed) for e in experiments}
        new = page.new_experiment(first.dir, title)
        return {
            **new, "commit": first.results.get("commit") or run["commit"] or new["commit"],
            "machine": run["machine"] or new["machine"], "versions": run["versions"],
            "commands": list(dict.fromkeys(c for c in commands if c)),
            "config": [{**value, **({"experiment": e.name} if several else {})}
                       for e in experiments for value in page.configuration(e.dir, e.systems, self.notes)],
            "notes": [*(str(n) for e in experiments for n in e.results.get("notes", [])), *self.notes.texts],
            "sets": list(dict.fromkeys(str(row["set"]) for _, row in rows)),
            "systems": list(dict.fromkeys(p + str(row["system"]) for p, row in rows)),
            "lms": list(dict.fromkeys(str(row["lm"]) for _, row in rows)),
            "several": several, "parts": [{"name": e.name, "exp": str(e.dir)} for e in experiments],
            "decodings": [{"system": d.system, "lm": d.lm, "set": d.set, "path": d.name,
                           "detailed": d.system in detailed[e.name]} for e in experiments for d in e.decodings]}


def inputs_of(e: Experiment) -> list[Path]:
    """The files that the report of an experiment depends on, except its logs."""
    files = [e.dir / "results.json", e.dir / "conf", *sorted(e.dir.glob("*/suspicious.txt")),
             *sorted(e.dir.glob("*/log.jsonl"))]
    for d in e.decodings:
        files += [d.dir / name for name in ("decode.json", "score.json", "best.txt")]
        files += [Path(str(d.info["data"])) / name for name in ("wav.scp", "segments", "text", "utt2spk")]
    return list(dict.fromkeys(files))


def names_of(folders: list[Path]) -> list[str]:
    """A short name for each folder: its last part, or if two have the same, its whole path."""
    names = [f.resolve().name for f in folders]
    return names if len(set(names)) == len(names) else [str(f).strip("/").replace("/", "-") for f in folders]


def make_report(folders: list[Path], out: Path, cfg: ReportConfig, nj: int, allow_commands: bool) -> None:
    """Make the report of one experiment, or of several, in the folder ``out``.

    Raises:
        UserError: there is no such folder, or one is given twice.
    """
    if len({f.resolve() for f in folders}) < len(folders):
        raise UserError("an experiment is given twice", hint="give different ones")
    notes = Notes()
    names = names_of(folders)
    experiments = [read_experiment(f, notes, f"{name}." if len(folders) > 1 else "")
                   for f, name in zip(folders, names, strict=True)]
    for e, name in zip(experiments, names, strict=True):
        e.name = name
    share_sets(experiments)
    stage = Stage(out, "report", [p for e in experiments for p in inputs_of(e)] + [page.TEMPLATES, page.ASSETS],
                  [config.to_dict(cfg), os.path.abspath(out), allow_commands], VERSION)
    if not stage.is_done():
        began = time.time()
        stage.mark(Report(out, cfg, nj, allow_commands, notes).write(experiments))
        say(f"{out}: the report was made in {time.time() - began:.1f} s")


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog=program_name("steps/make_report.sh"), description=__doc__.split("\n")[0])
    p.add_argument("exp", type=Path, nargs="+", help="folder of an experiment, such as exp/tiny; give several to see "
                   "them side by side")
    p.add_argument("--out", type=Path, help="folder of the report (default: EXP/report; of several: "
                   "report_<names> in the folder that has the first)")
    p.add_argument("--config", type=Path, help="default: EXP/conf/report.yaml, or conf/report.yaml")
    p.add_argument("--nj", type=int, default=len(os.sched_getaffinity(0)), help="number of processes (default: "
                   "%(default)s)")
    p.add_argument("--allow-commands", action="store_true", help="run the commands in wav.scp, for the sound")
    a = p.parse_args(argv)
    own = a.exp[0] / "conf" / "report.yaml"
    path = a.config or (own if own.is_file() else root() / "conf" / "report.yaml")
    several = a.exp[0].parent / f"report_{'_'.join(names_of(a.exp))}"
    out = a.out or (a.exp[0] / "report" if len(a.exp) == 1 else several)
    make_report(a.exp, out, config.load(path, ReportConfig), a.nj, a.allow_commands)
    print(f"report: {out}/index.html")


if __name__ == "__main__":
    main()
