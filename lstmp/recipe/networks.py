"""The networks of a recipe: each a variant of conf/lstmp.yaml, on its own variant of the training data."""

import copy
import dataclasses
from dataclasses import dataclass

from lstmp import config
from lstmp.conf_files import leaves
from lstmp.errors import UserError
from lstmp.recipe.keys import Recipe
from lstmp.recipe.sections import override

_DATA = ("speeds", "volumes", "mp3_kbps")


@dataclass(frozen=True)
class Network:
    """A network to train.

    Attributes:
        name: of its folder and of its configuration.
        config: the values of conf/lstmp.yaml with its own.
        speeds, volumes, mp3_kbps: what is done to its training data, see :class:`lstmp.recipe.keys.Recipe`.
        gmm_mp3_kbps: what was done to the data of the GMMs, which align it.
    """

    name: str
    config: dict
    speeds: list[float]
    volumes: list[float]
    mp3_kbps: int
    gmm_mp3_kbps: int = 0

    @property
    def varied(self) -> str:
        """What is added to the names of training data and alignment: they differ where what was done to them does.

        Two networks of a recipe with unlike speeds, volumes or bit rates get unlike names. Where the GMMs heard coded
        speech, the training data as it is are a variant too, to be aligned for itself.
        """
        parts = ([] if self.speeds == [1.0] else ["sp", *self._unless(self.speeds, [0.9, 1.0, 1.1])])
        parts += ["vol", *map("{:g}".format, self.volumes)] if self.volumes else []
        parts += ["mp3", *self._unless([self.mp3_kbps], [24])] if self.mp3_kbps else []
        parts = parts or (["plain"] if self.gmm_mp3_kbps else [])
        return "".join(f"_{p}" for p in parts)

    @staticmethod
    def _unless(values, usual) -> list[str]:
        return [] if values == usual else [f"{v:g}" for v in values]


def networks(recipe: Recipe, base: dict, *, file=None, lines: dict[str, int]) -> list[Network]:
    """The networks of a recipe.

    Args:
        base: the section `lstmp`, which all start from.
        file, lines: where they are from, and the line of each key by its dotted name.

    Raises:
        UserError: an unknown key, or a value of the wrong type or range.
    """
    found = []
    for name, own in recipe.networks.items():
        if own is not None and not isinstance(own, dict):
            raise UserError(f"`networks.{name}` must be a group of keys, not {own!r}", file=file,
                            line=lines.get(f"networks.{name}"),
                            hint=f"write `{name}: {{}}` for the network as conf/lstmp.yaml and the recipe have it")
        own, section = dict(own or {}), copy.deepcopy(base)
        heard = {key: own.pop(key) for key in _DATA if key in own}
        for key, value in own.items():
            override(section, key, value, what=f"networks.{name}.{key}", file=file, lines=lines)
        data = config.build({**dataclasses.asdict(recipe), **heard}, Recipe, file=file, lines={
            key: lines.get(f"networks.{name}.{key}") for key in heard})
        found.append(Network(name, section, data.speeds, data.volumes, data.mp3_kbps, recipe.gmm_mp3_kbps))
    return found


def describe(found: list[Network], defaults: dict, gmm_mp3_kbps: int = 0) -> str:
    """For the page of results: what GMMs and networks hear, and where a network's configuration is its own."""
    lines = [f"The GMMs hear the training data after MP3 coding at {gmm_mp3_kbps} kbit/s."] if gmm_mp3_kbps else []
    for n in found:
        heard = [f"at speeds {', '.join(f'{s:g}' for s in n.speeds)}"] if n.speeds != [1.0] else []
        heard += [f"at volumes {n.volumes[0]:g} to {n.volumes[1]:g}"] if n.volumes else []
        heard += [f"after MP3 coding at {n.mp3_kbps} kbit/s" if n.mp3_kbps else "without MP3 coding"]
        changed = [f"{key} {value}" for key, value in leaves(n.config).items() if leaves(defaults).get(key) != value]
        lines.append(f"`{n.name}` hears the training data{' '.join(['', *heard])}; changed in conf/lstmp.yaml: "
                     f"{', '.join(changed) or 'nothing'}.")
    return "  \n".join(lines)
