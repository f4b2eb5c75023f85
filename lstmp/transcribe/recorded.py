"""What training and decoding have noted beside a network: the graph, the configurations and all that belongs to it."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from lstmp import config
from lstmp.decode.config import DecodeConfig
from lstmp.errors import UserError
from lstmp.features.about import extraction
from lstmp.paths import ROOT

_GIVE = "give --{0}"
_NOT_THE_RESULT = ("max_bad", "dither")  # keys of a feature configuration that change no feature


@dataclass
class Recorded:
    """Of a network's folder.

    Attributes:
        model: the folder.
        decodings: its decode dirs with a graph of their own: folder → decode.json.
    """

    model: Path
    decodings: dict[Path, dict]

    @classmethod
    def of(cls, model: Path) -> "Recorded":
        """Look through a network's folder."""
        found = {p.parent: config.read_json(p, "decode again") for p in sorted(model.glob("decode_*/decode.json"))}
        return cls(model, {d: about for d, about in found.items() if "rescored" not in about})

    def graph(self) -> Path:
        """The graph that it was decoded with.

        Raises:
            UserError: none, or several.
        """
        scored = {d: a for d, a in self.decodings.items() if (d / "score.json").is_file()} or self.decodings
        graphs = sorted({str(a["graph"]) for a in scored.values() if "graph" in a})
        if not graphs:
            raise UserError("it was not decoded yet", file=self.model, hint="run steps/decode.sh, or give --graph")
        if len(graphs) > 1:
            raise UserError(f"it was decoded with several graphs: {', '.join(graphs)}", file=self.model,
                            hint="give one of them with --graph")
        return self.located(graphs[0], "graph")

    def lang(self, graph: Path) -> Path:
        """The lang folder that a graph was made from."""
        about = config.read_json(graph / "graph.json", "make the graph again")
        if "lang" not in about:
            raise UserError("it does not name its lang folder", file=graph / "graph.json", hint=_GIVE.format("lang"))
        return self.located(about["lang"], "lang")

    def adapt(self) -> Path:
        """The GMM that adapted the features."""
        about = next((f for f in map(self._features, self.decodings.values()) if "model" in f), {})
        if not about:
            raise UserError("no decoded data dir names the GMM that adapted its features", file=self.model,
                            hint=_GIVE.format("adapt"))
        return self.located(about["model"], "adapt")

    def features(self) -> dict | None:
        """The configuration by which the features of training and decoding were extracted; None if it is not known.

        Raises:
            UserError: they differ.
        """
        trained = config.read_json(self.model / "train.json", "train the network again").get("features")
        found = [trained] if trained else []
        for about in self.decodings.values():
            features = self._features(about)
            if "transforms" in features:  # adapted: made of those that the GMM decoded
                path = self._found(features["transforms"])
                below = path and path / "decode.json"
                features = self._features(config.read_json(below, "decode again")) if below and below.is_file() else {}
            found += [features["config"]] if features.get("config") else []
        for other in found[1:]:
            check_same(found[0], other, self.model, "its features were extracted in two ways")
        return found[0] if found else None

    def _features(self, about: dict) -> dict:
        data = self._found(about["data"]) if "data" in about else None
        return extraction(data) or {} if data else {}

    def decode_config(self, graph: Path) -> dict | None:
        """The configuration of the decoding with a graph, on which the LM weight was chosen."""
        return next((a.get("config") for a in self.decodings.values() if Path(a.get("graph", "")).name == graph.name),
                    None)

    def conf(self) -> Path:
        """The configurations of the recipe's run; those of the package where there are none."""
        folder = self.model.absolute().parent / "conf"
        return folder if folder.is_dir() else ROOT / "conf"

    def _found(self, noted: str) -> Path | None:
        """A path as it was noted, relative to where the step ran: here, the checkout, or above the network's folder."""
        places = [Path(noted), ROOT / noted, *(above / noted for above in self.model.resolve().parents)]
        return next((p for p in places if p.exists()), None)

    def located(self, noted: str, option: str) -> Path:
        """The same, which must be there; ``option`` gives another."""
        found = self._found(noted)
        if found is None:
            raise UserError(f"it was made with {noted}, which is not there", file=self.model, hint=_GIVE.format(option))
        return found


def check_same(expected: dict, given: dict, file, what: str):
    """Compare two feature configurations.

    Raises:
        UserError: ``what``, with the first key whose values differ.
    """
    for key in sorted(set(expected) | set(given)):
        a, b = expected.get(key), given.get(key)
        if a != b and key not in _NOT_THE_RESULT:
            raise UserError(f"{what}: `{key}` is {b}, and {a} before", file=file,
                            hint="make all features with one configuration, or give --conf that of the training")


def write_conf(recorded: Recorded, graph: Path, kind: str, cls: type, out: Path, given: Path | None):
    """Write the configurations of features and decoding: those noted, or of the folder ``given`` if they agree.

    Args:
        kind: fbank or mfcc; ``cls`` is its configuration.

    Raises:
        UserError: the folder's are not those of the training, or nothing is known.
    """
    features, search = recorded.features(), recorded.decode_config(graph)
    path = (given or recorded.conf()) / f"{kind}.yaml"
    if given or features is None:
        if not path.is_file():
            raise UserError("no such file", file=path, hint="check --conf, or leave it out")
        values = config.to_dict(config.load(path, cls))
        if features is not None:
            check_same(features, values, path, "not the features that the network knows")
        features = values
    path = (given or recorded.conf()) / "decode.yaml"
    if given and path.is_file():
        values = config.to_dict(config.load(path, DecodeConfig))
        if search and search.get("acoustic_scale") != values["acoustic_scale"]:
            raise UserError(f"`acoustic_scale` is {values['acoustic_scale']}, and {search.get('acoustic_scale')} where "
                            "the LM weight was chosen", file=path, hint="decode and score with this configuration")
        search = values
    for name, noted, kinds in ((kind, features, cls), ("decode", search, DecodeConfig)):
        if noted is not None:
            values = config.to_dict(config.build(noted, kinds, file=recorded.model))
            config.write_text(out / f"{name}.yaml", yaml.safe_dump(values, sort_keys=False))
