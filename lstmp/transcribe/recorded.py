"""Finds what a network was trained and decoded with, from the records in its folder: graph, configurations, GMM …"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from lstmp import config
from lstmp.decode.config import DecodeConfig
from lstmp.errors import UserError
from lstmp.features.about import read_about
from lstmp.paths import ROOT

_GIVE = "give --{0}"
_IGNORED_KEYS = ("max_bad", "dither")  # keys of a feature configuration that may differ


@dataclass
class RecordedInputs:
    """The records in the folder of a network.

    Attributes:
        model: the folder of the network.
        decodings: its decode dirs, except rescored ones: folder → content of decode.json.
    """

    model: Path
    decodings: dict[Path, dict]

    @classmethod
    def of(cls, model: Path) -> "RecordedInputs":
        """Read the records in the folder of a network."""
        records = {p.parent: config.read_json(p, "decode again") for p in sorted(model.glob("decode_*/decode.json"))}
        return cls(model, {d: about for d, about in records.items() if "rescored" not in about})

    def graph(self) -> Path:
        """The graph that the network was decoded with.

        Raises:
            UserError: there is none, or several.
        """
        scored = {d: a for d, a in self.decodings.items() if (d / "score.json").is_file()} or self.decodings
        graphs = sorted({str(a["graph"]) for a in scored.values() if "graph" in a})
        if not graphs:
            raise UserError("it has not been decoded yet", file=self.model, hint="run steps/decode.sh, or give --graph")
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
        """The configuration of the features in training and decoding; None if it is not known.

        Raises:
            UserError: several configurations were used.
        """
        trained = config.read_json(self.model / "train.json", "train the network again").get("features")
        configs = [trained] if trained else []
        for about in self.decodings.values():
            features = self._features(about)
            if "transforms" in features:  # adapted features: computed from those that the GMM decoded
                path = self._found(features["transforms"])
                record = path and path / "decode.json"
                decoded = config.read_json(record, "decode again") if record and record.is_file() else {}
                features = self._features(decoded)
            configs += [features["config"]] if features.get("config") else []
        for other in configs[1:]:
            check_same(configs[0], other, self.model, "its features were extracted in two ways")
        return configs[0] if configs else None

    def _features(self, about: dict) -> dict:
        data = self._found(about["data"]) if "data" in about else None
        return read_about(data) or {} if data else {}

    def decode_config(self, graph: Path) -> dict | None:
        """The configuration with which the network was decoded with this graph, when the LM weight was chosen."""
        return next((a.get("config") for a in self.decodings.values() if Path(a.get("graph", "")).name == graph.name),
                    None)

    def conf(self) -> Path:
        """The folder of configurations of the recipe's run; if there is none, the defaults of the package."""
        folder = self.model.absolute().parent / "conf"
        return folder if folder.is_dir() else ROOT / "conf"

    def _found(self, recorded: str) -> Path | None:
        """Find a recorded path, which is relative to the folder where the step ran.

        It is looked for below the working folder, the checkout, and all folders above the network's.
        """
        candidates = [Path(recorded), ROOT / recorded, *(above / recorded for above in self.model.resolve().parents)]
        return next((p for p in candidates if p.exists()), None)

    def located(self, recorded: str, option: str) -> Path:
        """Find a recorded path, which must exist.

        Args:
            recorded: the path.
            option: the option with which the user can give it instead.

        Raises:
            UserError: it does not exist.
        """
        path = self._found(recorded)
        if path is None:
            raise UserError(f"it was made with {recorded}, which does not exist", file=self.model,
                            hint=_GIVE.format(option))
        return path


def check_same(expected: dict, given: dict, file, what: str):
    """Compare two feature configurations.

    Raises:
        UserError: they differ; the message is ``what`` and the first key whose values differ.
    """
    for key in sorted(set(expected) | set(given)):
        a, b = expected.get(key), given.get(key)
        if a != b and key not in _IGNORED_KEYS:
            raise UserError(f"{what}: `{key}` is {b}, and {a} before", file=file,
                            hint="use one configuration for all features, or give --conf the one of the training")


def write_conf(recorded: RecordedInputs, graph: Path, feature_type: str, cls: type, out: Path, given: Path | None):
    """Write the configurations of features and decoding: the recorded ones, or those of ``given`` if they agree.

    Args:
        recorded: the records of the network.
        graph: graph dir.
        feature_type: fbank or mfcc.
        cls: dataclass of its configuration.
        out: folder to write to.
        given: folder of configurations that the user has given, or None.

    Raises:
        UserError: the configurations of ``given`` differ from those of the training, or none are known.
    """
    features, search = recorded.features(), recorded.decode_config(graph)
    path = (given or recorded.conf()) / f"{feature_type}.yaml"
    if given or features is None:
        if not path.is_file():
            raise UserError("no such file", file=path, hint="check --conf, or leave it out")
        values = config.to_dict(config.load(path, cls))
        if features is not None:
            check_same(features, values, path, "not the features that the network was trained on")
        features = values
    path = (given or recorded.conf()) / "decode.yaml"
    if given and path.is_file():
        values = config.to_dict(config.load(path, DecodeConfig))
        if search and search.get("acoustic_scale") != values["acoustic_scale"]:
            raise UserError(f"`acoustic_scale` is {values['acoustic_scale']}, and {search.get('acoustic_scale')} where "
                            "the LM weight was chosen", file=path, hint="decode and score with this configuration")
        search = values
    for name, noted, config_class in ((feature_type, features, cls), ("decode", search, DecodeConfig)):
        if noted is not None:
            values = config.to_dict(config.build(noted, config_class, file=recorded.model))
            config.write_text(out / f"{name}.yaml", yaml.safe_dump(values, sort_keys=False))
