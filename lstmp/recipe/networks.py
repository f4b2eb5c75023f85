"""The networks of a recipe: each has a variant of conf/lstmp.yaml and a variant of the training data."""

import copy
import dataclasses
from dataclasses import dataclass

from lstmp import config
from lstmp.conf_files import leaves
from lstmp.errors import UserError
from lstmp.gmm.transition import BEGIN_FRAMES
from lstmp.recipe.keys import Recipe
from lstmp.recipe.sections import override

_DATA_KEYS = ("speeds", "volumes", "mp3_kbps", "speaker_minutes")


@dataclass(frozen=True)
class Network:
    """A network to train.

    Attributes:
        name: name of its folder and of its configuration.
        config: the values of conf/lstmp.yaml with the changes of this network.
        speeds, volumes, mp3_kbps, speaker_minutes: perturbation of its training data, see
            :class:`lstmp.recipe.keys.Recipe`.
        gmm_mp3_kbps: MP3 coding of the training data of the GMMs, which align the network's data.
        first: the network whose weights its training starts from; None: random weights.
        aligner: the network that aligns its training data; None: the GMMs of the recipe's `targets`.
        weak_lm_order: for sequence training, order of the language model of the lattices.
        biphones: whether its states are those of LF-MMI, which depend on the phone and the one before it,
            whatever its criterion.
    """

    name: str
    config: dict
    speeds: list[float]
    volumes: list[float]
    mp3_kbps: int
    gmm_mp3_kbps: int = 0
    first: "Network | None" = None
    weak_lm_order: int = 1
    aligner: "Network | None" = None
    speaker_minutes: float = 0.0
    biphones: bool = False

    @property
    def suffix(self) -> str:
        """Suffix of the names of training data and alignment, which depends on the perturbation of the data.

        Networks of a recipe with different speeds, volumes, bit rates or divided speakers have different suffixes. If
        the GMMs were trained on coded speech, the unchanged training data are a variant too, because they need their
        own alignment.
        """
        parts = ([] if self.speeds == [1.0] else ["sp", *self._unless_usual(self.speeds, [0.9, 1.0, 1.1])])
        parts += ["vol", *map("{:g}".format, self.volumes)] if self.volumes else []
        parts += ["mp3", *self._unless_usual([self.mp3_kbps], [24])] if self.mp3_kbps else []
        parts += [f"spk{self.speaker_minutes:g}"] if self.speaker_minutes else []
        parts = parts or (["plain"] if self.gmm_mp3_kbps else [])
        return "".join(f"_{p}" for p in parts)

    @property
    def lfmmi(self) -> bool:
        """Whether it is trained by LF-MMI."""
        return self.config.get("criterion") == "lfmmi"

    @property
    def on_lattices(self) -> bool:
        """Whether it is trained by a criterion on lattices."""
        return _on_lattices(self.config)

    @property
    def online_fmllr(self) -> bool:
        """Whether its input is adapted by what was heard before."""
        return self.config["feature"]["kind"] == "online_fmllr"

    @property
    def needs_ivectors(self) -> bool:
        """Whether an i-vector extractor is trained for it; a network that it starts from has one."""
        return bool(self.config.get("ivector_dim")) and not self.first

    @property
    def without_priors(self) -> bool:
        """Whether its training began with LF-MMI, so that its scores have no priors in them."""
        return self.lfmmi or self.on_lattices and bool(self.first and self.first.without_priors)

    @property
    def init(self) -> str:
        """Name of the network whose weights its training starts from, or ""."""
        return self.first.name if self.first else ""

    @property
    def align_by(self) -> str:
        """Name of the network that aligns its training data, or ""."""
        return self.aligner.name if self.aligner else ""

    @property
    def grows_tree(self) -> bool:
        """Whether the alignment of its training data is converted to states of biphones for it."""
        return self.biphones and not (self.aligner and self.aligner.biphones)

    def states(self, targets: str) -> str:
        """Name of the alignment that it is trained on, and whose states it predicts; ``targets``: the recipe's."""
        if not self.grows_tree:
            return self.alignment(targets)
        return f"{targets}_biphones{f'_by_{self.align_by}' if self.align_by else ''}{self.suffix}"

    def alignment(self, targets: str) -> str:
        """Name of the alignment of its training data by the GMMs or the network that align it."""
        return f"{self.align_by or targets}_ali{self.suffix}"

    def graph_model(self, targets: str) -> str:
        """Name of the system whose decoding graph it uses."""
        if self.grows_tree:
            return self.states(targets)
        return self.aligner.graph_model(targets) if self.aligner else targets

    @staticmethod
    def _unless_usual(values, usual) -> list[str]:
        return [] if values == usual else [f"{v:g}" for v in values]


def networks(recipe: Recipe, base: dict, sequence: dict, *, file=None, lines: dict[str, int]) -> list[Network]:
    """Build the networks of a recipe.

    A network with `init` is a variant of that network, trained on the same data and alignment unless it says
    otherwise. If its criterion is smbr or mmi, it also has the values of conf/sequence.yaml for training.

    Args:
        recipe: the recipe.
        base: the section `lstmp`, which every other network is a variant of.
        sequence: the section `sequence`.
        file, lines: the file of the recipe, and the line of each key by its dotted name.

    Raises:
        UserError: an unknown key, or a value of the wrong type or range.
    """
    built: dict[str, Network] = {}
    for name, own in recipe.networks.items():
        if own is not None and not isinstance(own, dict):
            raise UserError(f"`networks.{name}` must be a group of keys, not {own!r}", file=file,
                            line=lines.get(f"networks.{name}"),
                            hint=f"write `{name}: {{}}` for the network of conf/lstmp.yaml and the recipe")
        own = dict(own or {})
        aligner = _named(recipe, str(name), "align_by", own, built, _place(name, "align_by", file, lines))
        init = _first(recipe, str(name), own, built, file, lines)
        aligner = aligner or (init.aligner if init else None)
        biphones = _biphones(str(name), own, init, aligner, base, file, lines)
        section = copy.deepcopy(init.config if init else base)
        data_values = {key: getattr(init, key) for key in _DATA_KEYS} if init else {}
        data_values |= {key: own.pop(key) for key in _DATA_KEYS if key in own}
        training = {}
        if _on_lattices(own):
            from lstmp.nnet.config import continued  # not at the top: see sections.py

            section, training = continued(section), sequence["training"]
        for key, value in training.items():
            override(section, key, value, what=f"sequence.training.{key}", file=file, lines=lines)
        for key, value in own.items():
            override(section, key, value, what=f"networks.{name}.{key}", file=file, lines=lines)
        if biphones and section["criterion"] != "lfmmi" and (
                section["subsampling"] != BEGIN_FRAMES or section["repeat_scores"]):
            raise UserError(f"`networks.{name}` has `biphones`, so it needs `subsampling: {BEGIN_FRAMES}`, without "
                            "`repeat_scores`", file=file, line=lines.get(f"networks.{name}"),
                            hint="these states are for such a frame rate")
        data = config.build({**dataclasses.asdict(recipe), **data_values}, Recipe, file=file, lines={
            key: lines.get(f"networks.{name}.{key}") for key in data_values})
        built[str(name)] = network = Network(
            name, section, data.speeds, data.volumes, data.mp3_kbps, recipe.gmm_mp3_kbps, init,
            sequence["weak_lm_order"], aligner, data.speaker_minutes, biphones)
        if init:
            _check_data(network, init, recipe.targets, _place(name, "init", file, lines))
    return list(built.values())


def _on_lattices(values: dict) -> bool:
    return values.get("criterion") in ("smbr", "mmi")


def _place(name: str, key: str, file, lines: dict[str, int]) -> dict:
    """Where ``key`` of a network is set, or else the network, for :class:`lstmp.errors.UserError`."""
    return {"file": file, "line": lines.get(f"networks.{name}.{key}", lines.get(f"networks.{name}"))}


def _named(recipe: Recipe, name: str, key: str, own: dict, built: dict[str, Network], where: dict) -> Network | None:
    """The network that ``key`` of ``own`` names, which is removed; None if there is no such key.

    Raises:
        UserError: there is no such network before this one, or it is not trained in this run.
    """
    other = own.pop(key, None)
    if other is None:
        return None
    if other not in built:
        raise UserError(f"`networks.{name}.{key}`: no network `{other}` before it", **where,
                        hint=f"name one of {', '.join(built)}" if built else "list that network first")
    if recipe.systems and name in recipe.systems and other not in recipe.systems:
        raise UserError(f"`networks.{name}` needs `{other}`, which is not one of `systems`", **where,
                        hint=f"add {other} to `systems`")
    return built[other]


def _first(recipe: Recipe, name: str, own: dict, built: dict[str, Network], file, lines) -> Network | None:
    """The network that the key `init` of ``own`` names, which is removed; None if there is no such key.

    Raises:
        UserError: there is no such network before this one, it is not trained in this run, it has another input or
            was trained by LF-MMI and this one is by cross entropy, or sequence training lacks it.
    """
    where = _place(name, "init", file, lines)
    init = _named(recipe, name, "init", own, built, where)
    if init is None:
        if _on_lattices(own):
            raise UserError(f"`networks.{name}`: `criterion: {own['criterion']}` needs the key `init`", **where,
                            hint="name the network whose training it continues, such as `init: lstmp`")
        return None
    criterion = own.get("criterion", init.config.get("criterion"))
    if init.without_priors and criterion == "cross_entropy":
        raise UserError(f"`networks.{name}.init`: the training of `{init.name}` began with LF-MMI, so its scores are "
                        "not probabilities", **where, hint="start from a network trained by cross entropy")
    dim = init.config["ivector_dim"]
    if own.get("ivector_dim", dim) != dim:
        raise UserError(f"`networks.{name}.init`: `{init.name}` has `ivector_dim` {dim}", **where,
                        hint="leave out `ivector_dim`")
    return init


def _biphones(name: str, own: dict, init: Network | None, aligner: Network | None, base: dict, file, lines) -> bool:
    """The key `biphones` of ``own``, which is removed; without it, that of the network that it starts from or else
    is aligned by, or true for LF-MMI.

    Raises:
        UserError: it is not true or false, is false for LF-MMI or with an ``aligner`` that has such states, or is not
            that of the network that it starts from.
    """
    lfmmi = own.get("criterion", (init.config if init else base).get("criterion")) == "lfmmi"
    other = init or aligner
    value = own.pop("biphones", lfmmi or bool(other and other.biphones))
    if not isinstance(value, bool) or lfmmi and not value:
        raise UserError(f"`networks.{name}.biphones` must be true{'' if lfmmi else ' or false'}, not {value!r}",
                        **_place(name, "biphones", file, lines),
                        hint="LF-MMI needs the states of left biphones" if lfmmi else "true: the states of LF-MMI")
    if init and value != init.biphones:
        raise UserError(f"`networks.{name}.init`: its states are not those of `{init.name}`",
                        **_place(name, "init", file, lines),
                        hint="with LF-MMI, and with `biphones: true`, states are for a low frame rate: start from a "
                             "network with the same states")
    if aligner and aligner.biphones and not value:
        raise UserError(f"`networks.{name}.align_by`: `{aligner.name}` predicts states of biphones",
                        **_place(name, "align_by", file, lines),
                        hint="align by a network with the states of the triphones")
    return value


def _check_data(network: Network, init: Network, targets: str, where: dict) -> None:
    """Check that a network has the states of the one that it starts from, and with online fMLLR the same training data.

    Raises:
        UserError: it has not.
    """
    copies = network.suffix != init.suffix and network.align_by == init.align_by
    of, hint = ("of other training data", f"give `{network.name}` the same `speeds`, `volumes`, `mp3_kbps` and "
                "`speaker_minutes`") if copies else ("of another alignment", "leave out `align_by`")
    if network.graph_model(targets) != init.graph_model(targets):
        raise UserError(f"`networks.{network.name}.init`: the states of `{init.name}` are {of}",
                        hint=f"{hint}, or write `align_by: {init.name}`", **where)
    if network.online_fmllr and network.states(targets) != init.states(targets):
        raise UserError(f"`networks.{network.name}.init`: online fMLLR of `{init.name}` is {of}", hint=hint, **where)


def describe(trained: list[Network], defaults: dict, gmm_mp3_kbps: int = 0) -> str:
    """Describe, for the page of results, what GMMs and networks are trained on, and each network's configuration.

    Args:
        trained: the networks.
        defaults: conf/lstmp.yaml; only differences from it are listed.
        gmm_mp3_kbps: MP3 coding of the training data of the GMMs, 0 for none.
    """
    lines = [f"The GMMs are trained on the training data after MP3 coding at {gmm_mp3_kbps} kbit/s."] \
        if gmm_mp3_kbps else []
    for n in trained:
        data = [f"at speeds {', '.join(f'{s:g}' for s in n.speeds)}"] if n.speeds != [1.0] else []
        data += [f"at volumes {n.volumes[0]:g} to {n.volumes[1]:g}"] if n.volumes else []
        data += [f"after MP3 coding at {n.mp3_kbps} kbit/s" if n.mp3_kbps else "without MP3 coding"]
        data += [f"with speakers of {n.speaker_minutes:g} minutes"] if n.speaker_minutes else []
        data += ["with states of biphones"] if n.biphones else []
        data += [f"aligned by `{n.align_by}`"] if n.align_by else []
        data += [f"from the weights of `{n.init}`"] if n.init else []
        changed = [f"{key} {value}" for key, value in leaves(n.config).items() if leaves(defaults).get(key) != value]
        lines.append(f"`{n.name}` is trained on the training data{' '.join(['', *data])}; changed in conf/lstmp.yaml: "
                     f"{', '.join(changed) or 'nothing'}.")
    return "  \n".join(lines)
