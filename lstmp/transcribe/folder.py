"""A model in one folder: all that recognition needs, to be moved to another machine by copying.

    model.json    what it is, and the size of every file below
    README.md     the model card
    network/      weights and configuration of the network
    hmm/          topology, tree and transitions whose states it has learned
    graph/        the search graph, and its words
    lang/         lexicon and phones, for the times of words and for grammars
    adapt/        the GMM that adapts features to the speaker, for networks on such features
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
_HINT = "copy the whole folder again, or make it with steps/export_model.sh"


@dataclass(frozen=True)
class ModelFolder:
    """A folder that was looked through.

    Attributes:
        path: where it is.
        feature: kind of the network's features.
        adapts: whether its features are adapted to the speaker, by ``adapt/``.
        live: whether it can be used on speech that comes in.
        lm_weight, word_penalty: as chosen on a development set.
        silent: the pdf-ids of the silence phones.
        stamp: tells it from another model in the same place.
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
        """Kind of the features that are computed from audio; adapted ones are made of MFCCs."""
        return "mfcc" if self.adapts else self.feature

    @classmethod
    def load(cls, path) -> "ModelFolder":
        """Read model.json, and look whether everything is there.

        Raises:
            UserError: no such folder, not a model, or files that are missing or cut off.
        """
        path = Path(path)
        if hidden_folder(path):
            raise UserError("its replacing by another model was cut off", file=path,
                            hint="run steps/export_model.sh again")
        stamp = _stamp(path)
        about = config.read_json(path / "model.json", "give a folder made by steps/export_model.sh")
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise UserError(f"not a model of the form `{FORMAT}`", file=path / "model.json", hint=_HINT)
        kinds = typing.get_type_hints(cls)
        try:
            found = cls(path, stamp=stamp, **{
                f.name: config.coerce(about[f.name], kinds[f.name], f.name, file=path / "model.json")
                for f in dataclasses.fields(cls) if f.name not in ("path", "stamp")})
            files = about["files"].items()
        except (KeyError, AttributeError):
            raise UserError("a part of it is missing", file=path / "model.json", hint=_HINT) from None
        for name, size in files:
            parts = PurePath(name).parts
            if not parts or PurePath(name).is_absolute() or ".." in parts or "\0" in name:
                raise UserError(f"{name!r} among its files does not lie in it", file=path / "model.json", hint=_HINT)
            there = (path / name).stat().st_size if (path / name).is_file() else None
            if there != size:
                raise UserError("no such file" if there is None else f"{there} of {size} bytes", file=path / name,
                                hint=_HINT)
        return found

    def check_unchanged(self):
        """Insist on the model that was loaded: an export replaces a folder in one step, also while it is in use.

        Raises:
            UserError: another one is there.
        """
        if self.stamp != _stamp(self.path):
            raise UserError("it was replaced by another model meanwhile", file=self.path,
                            hint="run the same command again")

    def __post_init__(self):
        if self.feature not in ("mfcc", "fbank", "fmllr"):
            raise UserError(f"features of kind {self.feature!r}", file=self.path / "model.json", hint=_HINT)
        if not (0 < self.lm_weight < float("inf") and 0 <= self.word_penalty < float("inf")):
            raise UserError(f"an LM weight of {self.lm_weight:g} and a word penalty of {self.word_penalty:g}",
                            file=self.path / "model.json", hint="the one must be above 0, the other 0 or more")

    def check_live(self):
        """Insist on a model that can be used on speech that comes in.

        Raises:
            UserError: it cannot.
        """
        if not self.live:
            raise UserError("its network needs whole recordings, for --stream another one is needed", file=self.path,
                            hint="export a unidirectional one with feature.kind fbank and cmvn none, such as "
                                 "lstmp_live of mini_librispeech; or leave --stream out")

    def write(self, **more):
        """Write model.json, for the files that are there; ``more`` is for the reader."""
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
