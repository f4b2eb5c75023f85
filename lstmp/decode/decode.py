"""Decode a data dir: features → acoustic scores → search → lattices → best paths for a grid of LM weights.

    python -m lstmp.decode.decode --model DIR --graph DIR --data DIR --out DIR --config conf/decode.yaml --nj 2

The utterances are sorted by length, longest first, and split into jobs. Each job writes one file
``lat.NNNN.safetensors``; after a kill, the next run does only the missing jobs. Processes are forked after the graph is
loaded, so that they share one copy of it. ``decode.json`` records the settings, counts and computing time; ``scoring/``
holds the hypotheses.
"""

import argparse
import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from lstmp import config, distributed
from lstmp.aliases import Json
from lstmp.corpus.datadir import read_table
from lstmp.decode.acoustic_scorer import AcousticScorer, is_network, load_acoustic_scorer
from lstmp.decode.adapted import SpeakerAdapter, rescore_jobs
from lstmp.decode.best_path import write_hypotheses
from lstmp.decode.config import LATER_OPTIONS, DecodeConfig
from lstmp.decode.jobs import check_failed, job_paths, plan, remove, search_jobs, summary
from lstmp.decode.search import choose_engine, load_graph
from lstmp.device import for_processes
from lstmp.errors import UserError, command
from lstmp.features.load import Features, data_inputs
from lstmp.gmm.adapt import read_transforms, write_transforms
from lstmp.gmm.model import AcousticModel
from lstmp.graph.graph_file import NAME
from lstmp.log import say
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.front import front_files
from lstmp.program import program_name
from lstmp.stage import Stage, digest

_GRID = ("lm_weights", "word_penalties", "max_failed", "fmllr")  # settings that do not affect the lattices


def check_same_model(graph_dir: Path, model_dir: Path, num_pdfs: int) -> Json:
    """Check that the graph was made from the model's decision tree. Returns the contents of ``graph.json``.

    Raises:
        UserError: the graph was made from another tree, or ``graph.json`` is missing or damaged.
    """
    path = graph_dir / "graph.json"
    if not path.is_file():
        hint = "give a graph dir, or run steps/make_graph.sh"
        if (graph_dir / "HCLG.fst").is_file():
            hint = "if Kaldi made this graph, import it with steps/import_kaldi_model.sh --graph"
        raise UserError("no such file", file=path, hint=hint)
    try:
        graph_info: Json = config.json_value(path.read_text(encoding="utf-8"))
        pdfs, tree = graph_info["num_pdfs"], graph_info["tree"]
    except (ValueError, KeyError, TypeError):
        raise UserError("not written by make_graph, or damaged", file=path,
                        hint="run steps/make_graph.sh again") from None
    if pdfs != num_pdfs:
        raise UserError(f"the graph is for a model with {pdfs} pdfs, {model_dir} has {num_pdfs}", file=path,
                        hint="give the graph of this model")
    if tree != digest(model_dir / "tree.json"):
        raise UserError(f"the graph was not made from the decision tree of {model_dir}", file=path,
                        hint="give the graph of this model, or make it again")
    return graph_info


def search_settings(cfg: DecodeConfig) -> Json:
    """The configuration as it is recorded for a stage.

    ``engine: auto`` is left out, because the engine that it chooses depends on the machine and does not change the
    hypotheses; so are options that did not exist in earlier versions, which had no choice, at the value that they had.
    """
    left_out = {"engine": "auto", **LATER_OPTIONS}
    return {k: v for k, v in config.to_dict(cfg).items() if left_out.get(k) != v}


@functools.cache
def _on_device(model_dir: str, device: str, speaker_independent: bool) -> AcousticScorer:
    return load_acoustic_scorer(model_dir, device, speaker_independent)


def decode(model_dir: Path | str, graph_dir: Path | str, data_dir: Path | str, out: Path | str, cfg: DecodeConfig,
           nj: int, device: str) -> None:
    """Decode ``data_dir`` into ``out``; see the module's docstring.

    Raises:
        UserError: bad input, or a share of more than ``cfg.max_failed`` of the utterances fails.
    """
    torch.set_num_threads(1)
    flush_denormals()
    task = Task(Path(model_dir), Path(graph_dir), Path(data_dir), cfg, nj, device)
    out = Path(out)
    if task.scorer.speaker_adapted:
        _decode_adapted(task, out)
    else:
        task.search(out, task.cfg)
    distributed.on_first(write_hypotheses, out, task.graph_dir / "words.txt", cfg, nj)


@dataclasses.dataclass
class Task:
    """A decoding: model, graph, data and settings. They are checked when the object is created.

    Attributes:
        scorer: the model; the first pass of a speaker-adapted decoding uses another one, see :meth:`search`.
        utts: all utterances of the data dir.
        shift: frame shift in seconds.
    """

    model_dir: Path
    graph_dir: Path
    data_dir: Path
    cfg: DecodeConfig
    nj: int
    device: str

    def __post_init__(self) -> None:
        if self.device != "cpu" or not is_network(self.model_dir):
            self.cfg = dataclasses.replace(self.cfg, network_weights="fp32")  # nothing else is used there
        self.scorer = load_acoustic_scorer(self.model_dir, "cpu", network_weights=self.cfg.network_weights)
        if not self.scorer.listen:
            self.cfg = dataclasses.replace(self.cfg, speaker_history=False)
        self.graph_info = check_same_model(self.graph_dir, self.model_dir, self.scorer.num_pdfs)
        self.shift = self.features().frame_shift
        self.utts = sorted(read_table(self.data_dir / "utt2spk"))
        if not self.utts:
            raise UserError("no utterance in it", file=self.data_dir / "utt2spk",
                            hint="give a data dir with utterances")

    def features(self, adapted: dict[str, torch.Tensor] | None = None) -> Features:
        """The model's input features of the data dir, with the speakers' transforms applied if given."""
        features = Features(self.data_dir, self.scorer.feature, self.scorer.transform, adapted)
        if features.dim != self.scorer.input_dim:
            raise UserError(f"features of {features.dim} dimensions, the model expects {self.scorer.input_dim}",
                            file=self.data_dir / "feats.scp",
                            hint="make them with the configuration of the training data")
        return features

    def inputs(self) -> list[Path]:
        """The files that the lattices depend on."""
        return [self.model_dir / "final.safetensors", self.model_dir / "config.yaml", self.graph_dir / NAME,
                self.graph_dir / "words.txt", *data_inputs(self.data_dir), *front_files(self.model_dir)]

    def search(self, out: Path, cfg: DecodeConfig, *, speaker_independent: bool = False,
               transforms: Path | None = None) -> list[Path]:
        """Search all utterances, unless the lattices are up to date. Returns the lattice files.

        Args:
            out: folder for the lattices and decode.json.
            cfg: beams and limits of this pass.
            speaker_independent: use the speaker-independent mixtures of the model.
            transforms: folder with the speakers' transforms, trans.ark.
        """
        settings = {k: v for k, v in search_settings(cfg).items() if k not in _GRID} | {"utts": self.utts}
        inputs = self.inputs() + ([transforms / "trans.ark"] if transforms else [])
        paths = job_paths(out, len(self.utts), cfg.utts_per_job)
        stage = Stage(out, "decode", inputs, settings)
        if distributed.on_first(stage.is_done):
            return paths
        scorer = load_acoustic_scorer(self.model_dir, speaker_independent=True) if speaker_independent else self.scorer
        features = self.features(read_transforms(transforms) if transforms else None)
        graph = functools.partial(_load_graph, self.graph_dir, scorer.num_pdfs, choose_engine(cfg.engine))
        jobs = plan(paths, features, self.utts, cfg.utts_per_job, distributed.on_first(stage.key),
                    cfg.speaker_history)
        search_jobs(jobs, graph, features,
                    scorer if self.device == "cpu" else
                    functools.partial(_on_device, str(self.model_dir), self.device, speaker_independent), cfg, self.nj)
        distributed.on_first(self.report, out, paths, cfg)
        distributed.on_first(stage.mark, [out / "decode.json", *paths])
        return paths

    def report(self, out: Path, jobs: list[Path], cfg: DecodeConfig, *earlier_jobs: list[Path]) -> None:
        """Write decode.json from the lattice files; of ``earlier_jobs`` (earlier passes) only the time is added.

        Raises:
            UserError: too many utterances failed.
        """
        report = summary(jobs, self.nj * distributed.world_size(), self.shift, *earlier_jobs) | {
            "engine": choose_engine(cfg.engine), "model": str(self.model_dir), "graph": str(self.graph_dir),
            "data": str(self.data_dir), "subsampling": self.scorer.subsampling,
            "config": config.to_dict(cfg)}
        check_failed(jobs, len(self.utts), cfg.max_failed)
        config.write_text(out / "decode.json", json.dumps(report, indent=1) + "\n")
        say(f"{out}: {len(self.utts)} utterances, {report['audio_seconds'] / 60:.1f} minutes of audio, real-time "
            f"factor {report['rtf']:.3f} on one core, {report['failed']} failed")


def _decode_adapted(task: Task, out: Path) -> None:
    """The passes of :mod:`lstmp.decode.adapted`."""
    if "silence" not in task.graph_info:
        raise UserError("the silence phones are missing in it", file=task.graph_dir / "graph.json",
                        hint="delete the folder and make the graph again")
    cfg, on_first = task.cfg, distributed.on_first
    settings = {k: v for k, v in search_settings(cfg).items() if k not in ("lm_weights", "word_penalties")}
    stage = Stage(out, "adapted", task.inputs(), settings)
    if distributed.on_first(stage.is_done):
        return
    model = AcousticModel.load(task.model_dir)
    adapter = SpeakerAdapter(model, task.features(), task.graph_info["silence"], cfg, task.nj)
    pass_folders = {f"adapted{number}" for number in range(2, cfg.fmllr.passes + 1)}
    on_first(_remove_other_passes, out, pass_folders)
    transforms_dir, earlier_jobs = out / "si", []
    jobs = task.search(transforms_dir, cfg.first_pass(), speaker_independent=True)
    on_first(lambda: write_transforms(transforms_dir, adapter.transforms(jobs, None, "pass 1")))
    for number in range(2, cfg.fmllr.passes + 1):
        earlier_jobs.append(jobs)
        jobs = task.search(out / f"adapted{number}", cfg.second_pass(), transforms=transforms_dir)
        features = task.features(read_transforms(transforms_dir))
        transforms = on_first(adapter.transforms, jobs, features, f"pass {number}")
        transforms_dir = out / f"adapted{number}" if number < cfg.fmllr.passes else out
        on_first(write_transforms, transforms_dir, transforms)
    on_first(remove, out.glob("lat.*.safetensors"))
    rescore_jobs(jobs, out, task.features(transforms), model, task.nj)
    jobs = [out / path.name for path in jobs]
    on_first(task.report, out, jobs, cfg, *earlier_jobs)
    on_first(stage.mark, [out / "decode.json", out / "trans.ark", out / "trans.scp", *jobs])


def _remove_other_passes(out: Path, pass_folders: set[str]) -> None:
    """Remove what an earlier decoding with more passes has left."""
    for folder in out.glob("adapted*"):
        if folder.name not in pass_folders:
            shutil.rmtree(folder)


def _load_graph(graph_dir: Path, num_pdfs: int, engine: str) -> Any:
    path = graph_dir / NAME
    state = path.stat() if path.is_file() else None
    return _graph(graph_dir, num_pdfs, engine, state and (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=1)
def _graph(graph_dir: Path, num_pdfs: int, engine: str, _state: tuple[int, ...] | None) -> Any:
    """Load the graph; it is cached for the next pass. ``_state`` (time and size) tells apart versions of the file."""
    return load_graph(graph_dir, num_pdfs, engine)


@command
def main(argv: list[str] | None = None) -> None:
    """Decode a data dir with a model and its graph; write lattices, and hypotheses for a grid of LM weights."""
    parser = argparse.ArgumentParser(prog=program_name("steps/decode.sh"), description=main.__doc__)
    parser.add_argument("--model", required=True, help="folder of a GMM or a network")
    parser.add_argument("--graph", required=True, help="graph dir, made from the same decision tree")
    parser.add_argument("--data", required=True, help="data dir with the features that the model was trained on")
    parser.add_argument("--out", required=True, help="folder for lattices and hypotheses")
    parser.add_argument("--config", default="conf/decode.yaml", help="beams and grid (%(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (%(default)s)")
    parser.add_argument("--device", default="cpu", type=for_processes, help="where the acoustic model runs, cpu or "
                        "cuda; the search runs on the CPU (%(default)s)")
    args = parser.parse_args(argv)
    distributed.together(decode, args.model, args.graph, args.data, args.out, config.load(args.config, DecodeConfig),
                         args.nj, args.device)


if __name__ == "__main__":
    main()
