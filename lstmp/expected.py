"""How long the steps of a run will take: from the times of earlier calls, or from the amount of data and known speeds.

The speeds were measured on two cores of an Intel Xeon (2.5 GHz, with AMX) in the recipes tiny and mini_librispeech. On
another machine they are wrong by a factor; :mod:`lstmp.progress` corrects it by the steps that have run.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml

from lstmp.aliases import Json
from lstmp.past_calls import Call
from lstmp.progress_text import NETWORK_TRAINING, folder_of

START = 1.2  # seconds until Python has started and a step's modules are imported
SKIP = 1.5  # seconds of a step that finds its work done
# script → its seconds besides those per hour of speech, core seconds per hour of speech
_SPEECH = {
    "prepare_tiny": (2, 30), "prepare_librispeech": (1, 2), "take_data_dirs": (1, 2), "validate_data_dir": (1, 12),
    "check_text": (1, 1), "make_mfcc": (1, 15), "make_fbank": (1, 18), "perturb_data_dir": (1, 60),
    "train_mono": (4, 55), "train_tri": (9, 16), "align": (4, 5), "get_prons": (1, 2), "make_fmllr": (2, 6),
    "lmrescore": (2, 45), "score": (1, 1)}
# script → seconds per MB of the file that it reads: the lexicon, text or ARPA model, G.fst
_MB = {"prepare_dict": 1.5, "prepare_lang": 3.0, "add_pron_probs": 1.0, "prepare_lm": 10.0, "make_graph": 2.0}
_WORDS_MB = 20.0  # seconds of make_graph per MB of words.txt
_DOWNLOAD = 600.0  # seconds
_UTTERANCE = {"prepare_tiny": 2.8, "prepare_librispeech": 12.5, "take_data_dirs": 8.0}  # mean seconds of speech
_SHORTEST = 0.4  # share of the speech that the shortest utterances are, which the monophones are trained on
_RTF, _RTF_GROWTH = 0.012, 0.28  # decoding on one core: real-time factor with a G.fst of 1 MB; exponent of its size
_PASSES = 3.0  # decoding with adaptation takes this many times as long
# training: seconds per chunk of a layer, seconds per frame and parameter
_CHUNK, _PARAMETER, _PARAMETER_AMX, _ON_GPU = 6e-3, 1 / 1e10, 1 / 8e10, 0.1
_LATTICE = 3e-4  # seconds per frame for the lattices of sequence training
_WHOLE = 1000  # frames of a chunk that is a whole utterance


def option(command: list[str], name: str, default: str = "") -> str:
    """The value of an option in a command."""
    return command[command.index(name) + 1] if name in command[:-1] else default


def script(command: list[str]) -> str:
    """The name of a command's script: ``align`` for steps/align.sh."""
    return Path(command[0]).stem


def last_call(command: list[str], calls: Iterable[Call]) -> tuple[Call | None, Call | None]:
    """The last successful call of a step that did its work, and the last call of all; calls are in order.

    The options of a script are among the arguments of the module that it calls.
    """
    wanted, worked, last = Counter(command[1:]), None, None
    for call in calls:
        if wanted <= Counter(call.command[1:]):
            last = call
            if not call.status and not call.skipped:
                worked = call
    return worked, last


def will_be_skipped(command: list[str], last: Call | None, changed: set[Path]) -> bool:
    """Whether a step will probably find its work done.

    It will if its last call was successful, its configuration files have not been written since, its output has a mark,
    and none of the folders ``changed``, which steps before it will write, is among its arguments.
    """
    folder = folder_of(command)
    if last is None or last.status or not folder or not any(Path(folder).glob(".done.*.json")):
        return False
    for argument in map(Path, command[1:]):
        if argument.suffix == ".yaml" and argument.is_file() and argument.stat().st_mtime > last.ended + 1:
            return False
        if changed & {argument, *argument.parents}:
            return False
    return True


class Sizes:
    """The hours of speech of data dirs, of those too that the run will make.

    Args:
        commands: the steps of the run, in order.
        read: folder → when its utt2dur was written, and its hours; what is read is added.
    """

    def __init__(self, commands: list[list[str]], read: dict[str, list[float]]):
        self._hours: dict[str, float | None] = {}
        self._read = read
        self.lang_of_graph = {option(c, "--out"): option(c, "--lang") for c in commands if script(c) == "make_graph"}
        for command in commands:
            with contextlib.suppress(ValueError, IndexError):
                self._add_outputs(script(command), command)

    def __call__(self, folder: str) -> float | None:
        """The hours of speech in a data dir; None: not known."""
        if folder not in self._hours:
            self._hours[folder] = self._in_file(folder)
        return self._hours[folder]

    def _in_file(self, folder: str) -> float | None:
        path = Path(folder) / "utt2dur"
        try:
            if self._read.get(folder, [0])[0] != path.stat().st_mtime:
                with open(path, encoding="utf-8") as file:
                    hours = sum(float(line.split()[1]) for line in file) / 3600
                self._read[folder] = [path.stat().st_mtime, hours]
            return self._read[folder][1]
        except (OSError, ValueError, IndexError):
            return None

    def _add_outputs(self, name: str, command: list[str]):
        made: dict[str, float | None] = {}
        out = option(command, "--out")
        if name == "prepare_tiny":
            made = {f"{out}/{split}": int(option(command, f"--{split}")) * _UTTERANCE[name] / 3600
                    for split in ("train", "dev", "test")}
        elif name in _UTTERANCE and (count := option(command, "--max-utts")):
            splits = command[command.index("--splits") + 1:command.index("--max-utts")]
            made = {f"{out}/{split}": int(count) * _UTTERANCE[name] / 3600 for split in splits}
        elif name == "subset_data_dir":
            share = float(option(command, "--held-out", str(_SHORTEST)))
            made = {command[2]: _times(share, self(command[1]))}
        elif name == "perturb_data_dir":
            speeds = command[command.index("--speeds") + 1:command.index("--mp3")]
            made = {command[2]: _times(sum(1 / float(s) for s in speeds), self(command[1]))}
        elif name == "make_fbank":
            made = {out: self(command[-1])}
        elif name == "make_fmllr":
            made = {out: self(option(command, "--data"))}
        for folder, hours in made.items():
            self._hours[folder] = self._in_file(folder) or hours

    def of(self, command: list[str]) -> float | None:
        """The hours of speech that a step processes."""
        name = script(command)
        if name in ("prepare_tiny", "prepare_librispeech", "take_data_dirs", "validate_data_dir"):
            out = option(command, "--out")
            folders = [f for f in self._hours if f.startswith(f"{out}/")] if out else command[3:]
        elif name == "perturb_data_dir":
            folders = [command[2]]
        else:
            data = option(command, "--data") or option(command, "--train") or option(command, "--in")
            folders = [data or command[-1]]
        found = [h for h in map(self, folders) if h is not None]
        return sum(found) if found else max((h for h in self._hours.values() if h), default=None)


def _times(factor: float, hours: float | None) -> float | None:
    return None if hours is None else factor * hours


def _megabytes(path: str, inside: str = "") -> float:
    """The size of a file or of a file in a folder; if there is none yet, half a megabyte."""
    file = Path(path) / inside
    return file.stat().st_size / 1e6 if path and file.is_file() else 0.5


def seconds(command: list[str], sizes: Sizes, nj: int) -> float | None:
    """The expected seconds of a step, on a machine like that of the table; None: the amount of data is not known."""
    name = script(command)
    if name == "download_librispeech":
        return _DOWNLOAD
    if name in _MB:
        files = {"prepare_dict": (option(command, "--lexicon"),),
                 "prepare_lang": (option(command, "--dict"), "lexicon.txt"),
                 "add_pron_probs": (option(command, "--dict"), "lexicon.txt"),
                 "prepare_lm": (option(command, "--text") or option(command, "--arpa"),),
                 "make_graph": (option(command, "--lang"), "G.fst")}
        more = _WORDS_MB * _megabytes(option(command, "--lang"), "words.txt") if name == "make_graph" else 0.0
        return START + more + _MB[name] * _megabytes(*files[name])
    if name not in (*_SPEECH, "decode", *NETWORK_TRAINING):
        return START
    hours = sizes.of(command)
    if hours is None:
        return None
    if name == "decode":
        graph = option(command, "--graph")
        size = _megabytes(sizes.lang_of_graph.get(graph, ""), "G.fst") if graph in sizes.lang_of_graph else \
            _megabytes(graph, "HCLG.fst") / 15
        passes = _PASSES if "tri3" in Path(option(command, "--model")).name else 1
        return START + 1 + 3600 * hours / nj * passes * _RTF * size ** _RTF_GROWTH
    if name in NETWORK_TRAINING:
        return _training(command, hours, nj)
    fixed, per_hour = _SPEECH[name]
    jobs = 1 if name in ("get_prons", "make_fmllr", "check_text", "score") else nj
    return START + fixed + per_hour * hours / jobs


def _training(command: list[str], hours: float, nj: int) -> float:
    with open(option(command, "--config"), encoding="utf-8") as file:
        cfg = yaml.safe_load(file)
    layers, cells, r, p = (cfg[key] for key in ("layers", "cells", "recurrent_projection", "projection"))
    pdfs = 3000
    with contextlib.suppress(OSError, ValueError):
        pdfs = int((Path(option(command, "--ali")) / "num_pdfs").read_text())
    out = r + p or cells
    params = layers * cells * (4 * (out + (r or cells)) + out) + out * pdfs + _convolution_products(cfg)
    amx = cfg.get("precision") != "fp32" and "amx_tile" in _cpu_flags()
    frame = layers * _CHUNK / (cfg["streams"] * (cfg["chunk"] or _WHOLE))
    frame += params * (_PARAMETER_AMX if amx else _PARAMETER)
    if option(command, "--device") != "cpu" and os.path.isdir("/proc/driver/nvidia/gpus"):
        frame *= _ON_GPU
    frames = 360_000 * hours / cfg.get("subsampling", 1)  # of the output
    frame += _LATTICE if script(command) == "train_sequence" else 0.0
    return START + 3 + frames * cfg["epochs"] * frame * 2 / max(2, nj)


def _convolution_products(cfg: Json, bands: int = 40) -> int:
    """Products per frame of the convolutions, which use each weight once for each filter."""
    products, inputs = 0, 1
    for maps in cfg.get("conv_maps", []):
        products += inputs * maps * cfg.get("conv_time", 3) * cfg.get("conv_freq", 5) * bands
        inputs, bands = maps, bands // cfg.get("conv_pool", 2)
    return products


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
