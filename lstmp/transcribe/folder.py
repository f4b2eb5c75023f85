"""Reads and writes a model folder, which contains everything that recognition needs and can be copied elsewhere.

    model.json    description of the model, and the size of every other file
    README.md     the model card
    network/      weights and configuration of the network
    hmm/          topology, tree and transitions; their states are the network's outputs
    graph/        the decoding graph and its words
    lang/         lexicon and phones, for the times of words and for grammars
    adapt/        the GMM that adapts features to the speaker, if the network uses such features
    conf/         configurations of features, decoding, alignment
"""

import dataclasses
import json
import typing
from dataclasses import dataclass
from pathlib import Path, PurePath

from lstmp import config
from lstmp.errors import UserError
from lstmp.files import hidden_folder

FORMAT = "lstmp model 1"
_HINT = "copy the whole folder again, or make it again with steps/export_model.sh"


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose model.json has been read and checked.

    Attributes:
        path: the folder.
        feature: type of the network's features: mfcc, fbank or fmllr.
        adapts: whether its features are adapted to the speaker by the GMM in ``adapt/``.
        live: whether it can recognize online.
        lm_weight, word_penalty: LM weight and word insertion penalty that were chosen on a development set.
        silent: the pdf-ids of the silence phones.
        stamp: distinguishes it from another model that replaces it at the same path.
    """

    path: Path
    feature: str
    adapts: bool
    live: bool
    lm_weight: float
    word_penalty: float
    silent: list[int]
    stamp: tuple = ()

    @property
    def extracted(self) -> str:
        """Type of the features that are computed from audio; adapted features are computed from MFCCs."""
        return "mfcc" if self.adapts else self.feature

    @classmethod
    def load(cls, path) -> "ModelFolder":
        """Read model.json, and check that all files are complete.

        Raises:
            UserError: no such folder, not a model, or files are missing or truncated.
        """
        path = Path(path)
        if hidden_folder(path):
            raise UserError("its replacement by another model was interrupted", file=path,
                            hint="run steps/export_model.sh again")
        stamp = _stamp(path)
        about = config.read_json(path / "model.json", "give a folder made by steps/export_model.sh")
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise UserError(f"not a model in the format `{FORMAT}`", file=path / "model.json", hint=_HINT)
        type_hints = typing.get_type_hints(cls)
        try:
            folder = cls(path, stamp=stamp, **{
                f.name: config.coerce(about[f.name], type_hints[f.name], f.name, file=path / "model.json")
                for f in dataclasses.fields(cls) if f.name not in ("path", "stamp")})
            files = about["files"].items()
        except (KeyError, AttributeError):
            raise UserError("a part of the description is missing", file=path / "model.json", hint=_HINT) from None
        for name, size in files:
            parts = PurePath(name).parts
            if not parts or PurePath(name).is_absolute() or ".." in parts or "\0" in name:
                raise UserError(f"{name!r} among its files is not in the folder", file=path / "model.json", hint=_HINT)
            present = (path / name).stat().st_size if (path / name).is_file() else None
            if present != size:
                raise UserError("no such file" if present is None else f"{present} of {size} bytes", file=path / name,
                                hint=_HINT)
        return folder

    def check_unchanged(self):
        """Check that the folder still contains the model that was loaded; an export may replace it while it is in use.

        Raises:
            UserError: it has been replaced.
        """
        if self.stamp != _stamp(self.path):
            raise UserError("it was replaced by another model while it was in use", file=self.path,
                            hint="run the same command again")

    def __post_init__(self):
        if self.feature not in ("mfcc", "fbank", "fmllr"):
            raise UserError(f"features of unknown type {self.feature!r}", file=self.path / "model.json", hint=_HINT)
        if not (0 < self.lm_weight < float("inf") and 0 <= self.word_penalty < float("inf")):
            raise UserError(f"an LM weight of {self.lm_weight:g} and a word penalty of {self.word_penalty:g}",
                            file=self.path / "model.json", hint="the weight must be above 0, the penalty 0 or more")

    def check_live(self):
        """Check that the model can recognize online.

        Raises:
            UserError: it cannot.
        """
        if not self.live:
            raise UserError("its network needs whole recordings, so it cannot be used with --stream", file=self.path,
                            hint="export a unidirectional one with feature.kind online_fmllr, such as lstmp_live of "
                                 "mini_librispeech, or fbank with cmvn online_mean or none; or leave --stream out")

    def write(self, **more):
        """Write model.json for the files in the folder; ``more`` holds additional entries for human readers."""
        files = {str(f.relative_to(self.path)): f.stat().st_size for f in sorted(self.path.rglob("*"))
                 if f.is_file() and f.name != "model.json"}
        about = {"format": FORMAT, "feature": self.feature, "adapts": self.adapts, "live": self.live,
                 "lm_weight": self.lm_weight, "word_penalty": self.word_penalty, **more, "silent": self.silent,
                 "files": files}
        config.write_text(self.path / "model.json", json.dumps(about, indent=1) + "\n")


def _stamp(path: Path) -> tuple:
    try:
        state = (path / "model.json").stat()
    except OSError:
        return ()
    return state.st_dev, state.st_ino, state.st_mtime_ns
