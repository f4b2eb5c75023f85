"""When a network is trained again: files that training reads and writes, and settings that its result depends on."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import yaml

from lstmp import config
from lstmp.features.load import data_inputs
from lstmp.gmm.align import states_inputs
from lstmp.gmm.ivector import NAME as IVECTORS
from lstmp.gmm.online_fmllr import NAME as ONLINE_FMLLR
from lstmp.nnet import initial as initial_network
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.criterion import Source
from lstmp.nnet.front import front_files
from lstmp.stage import Stage

MODEL_FILES = ("tree.json", "transitions.safetensors")  # of the HMM
_OUTPUTS = ("final.safetensors", "config.yaml", "train.json", "log.jsonl", "curve.png")
_FOR_DECODING = ("repeat_scores", "acoustic_factor")  # on them training does not depend, except on lattices


def network_inputs(data, ali, valid, valid_ali, align_model, source: Source | None = None, initial=None,
                   ivectors=None, online_fmllr=None) -> list[Path]:
    """The files that training reads; the arguments are those of :func:`lstmp.nnet.train.train`."""
    inputs = [*data_inputs(data), *(data_inputs(valid) if Path(valid).is_dir() else [Path(valid)])]
    for folder in filter(None, (ali, valid_ali)):
        states, *more = states_inputs(folder)
        inputs += [states, Path(folder) / "num_pdfs", *more]
    inputs += source.inputs([Path(folder) for folder in filter(None, (ali, valid_ali))]) if source else []
    inputs += [Path(initial) / name for name in initial_network.FILES] if initial else []
    inputs += [Path(ivectors) / IVECTORS] if ivectors else []
    inputs += [Path(online_fmllr) / ONLINE_FMLLR] if online_fmllr else []
    return inputs + [Path(align_model) / name for name in MODEL_FILES]


def network_outputs(out: Path) -> list[Path]:
    """The files of a finished network in the folder ``out``."""
    topo = [out / "topo"] if (out / "topo").is_file() else []
    return [*(out / name for name in (*_OUTPUTS, *MODEL_FILES, "frame_shift")), *topo, *front_files(out)]


def result_settings(cfg: LstmpConfig, source: Source | None = None) -> dict:
    """The settings that the weights depend on, without options at their defaults and options of the run alone."""
    defaults = _defaults(cfg)
    # lattices are made with the scores of decoding
    without = {"checkpoint_minutes", "timeout_minutes", *(() if cfg.on_lattices else _FOR_DECODING)}
    settings = {k: v for k, v in config.to_dict(cfg).items() if k not in without and v != defaults[k]}
    return settings | _versions(cfg) | (source.settings() if source else {})


def _versions(cfg: LstmpConfig) -> dict:
    """Versions of parts of the code, for the networks that have these parts alone, so that others are not trained again
    when one of them computes something else than before."""
    masks = cfg.feature.deltas > 0 and cfg.freq_masks > 0
    return ({"convolutions": 2} if cfg.conv_maps else {}) | ({"masks_of_derivatives": 2} if masks else {})


def decoding_options(cfg: LstmpConfig) -> dict:
    """The options that decoding depends on, but not the weights, without those at their defaults."""
    defaults = _defaults(cfg)
    return {name: getattr(cfg, name) for name in _FOR_DECODING if getattr(cfg, name) != defaults[name]}


def _defaults(cfg: LstmpConfig) -> dict:
    return {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in dataclasses.fields(cfg)}


def renew_decoding_options(cfg: LstmpConfig, stage: Stage, out: Path):
    """Write the options that only decoding depends on to the files of a finished network, if they have changed."""
    options = {name: getattr(cfg, name) for name in _FOR_DECODING}
    trained = config.load(out / "config.yaml", LstmpConfig)
    if options != {name: getattr(trained, name) for name in _FOR_DECODING}:
        # first without the two files, so that a run that is killed before the end leaves a finished network
        stage.mark([path for path in network_outputs(out) if path.name not in ("config.yaml", "train.json")])
        values = config.to_dict(replace(trained, **options))
        report = config.read_json(out / "train.json", "train the network again") | {"config": values}
        config.write_text(out / "train.json", json.dumps(report, indent=1) + "\n")
        config.write_text(out / "config.yaml", yaml.safe_dump(values, sort_keys=False))  # last: it is what is compared
        stage.mark(network_outputs(out))
