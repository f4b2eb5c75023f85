"""The sections of conf/: overridden by recipe and options, and checked as the steps that read them will check them."""

import re
from types import GenericAlias

from lstmp import config
from lstmp.errors import UserError


def override(values: dict, key: str, value, *, what: str, file=None, lines: dict[str, int] | None = None):
    """Set ``values[key]``, which must exist, to ``value``, which must be of its type.

    Args:
        what: its dotted name, for errors.
        file, lines: where the value comes from, and the line of each dotted name.
    """
    at = {"file": file, "line": (lines or {}).get(what)}
    if key not in values:
        raise config.unknown(what, key, sorted(values), **at)
    old = values[key]
    if isinstance(old, dict):
        for k, v in config.group(value, what, **at).items():
            override(old, k, v, what=f"{what}.{k}", file=file, lines=lines)
        return
    if old is None or type(old) is int and isinstance(value, float):  # the step's own dataclass decides
        values[key] = value
    elif isinstance(old, list) and not old and isinstance(value, list):  # of what, the step's own dataclass knows
        values[key] = value
    elif isinstance(old, list):
        values[key] = config.coerce(value, GenericAlias(list, (type(old[0]) if old else str,)), what, **at)
    else:
        values[key] = config.coerce(value, type(old), what, **at)


def check_sections(sections: dict[str, dict], networks: list[str], origin):
    """Build each section's dataclass, as its step will.

    Args:
        networks: sections that are those of a network.
        origin: (section, dotted key) → where its value comes from: (file, line) or the name of an option.

    Raises:
        UserError: a value out of its range, at its origin.
    """
    known = _types()
    for section, values in sections.items():
        cls = known.get("tri" if section.startswith("tri") else "lstmp" if section in networks else section)
        if cls is None:  # a file of the user's own
            continue
        try:
            config.build(values, cls)
        except UserError as e:
            named = re.search("`([^`]+)`", e.what)
            found = origin(section, named[1] if named else "")
            if isinstance(found, str):
                raise UserError(f"option {found}: {e.what}", hint=e.hint) from None
            raise UserError(e.what, file=found[0], line=found[1], hint=e.hint) from None


def _types() -> dict[str, type]:
    """Section → the dataclass that it is read as. Imported here: with what they import they take a second."""
    from lstmp.alignment.check import CheckConfig
    from lstmp.decode.config import DecodeConfig
    from lstmp.decode.live import LiveConfig
    from lstmp.features.extract import FbankConfig, MfccConfig
    from lstmp.gmm.adapt import FmllrConfig
    from lstmp.gmm.shard import AlignConfig
    from lstmp.gmm.train_mono import MonoConfig
    from lstmp.gmm.train_tri import TriConfig
    from lstmp.nnet.config import LstmpConfig
    from lstmp.score.score import ScoreConfig
    from lstmp.transcribe.pauses import CutConfig

    return {"align": AlignConfig, "check_alignment": CheckConfig, "decode": DecodeConfig, "fbank": FbankConfig,
            "fmllr": FmllrConfig, "live": LiveConfig, "lstmp": LstmpConfig, "mfcc": MfccConfig, "mono": MonoConfig,
            "score": ScoreConfig, "transcribe": CutConfig, "tri": TriConfig}
