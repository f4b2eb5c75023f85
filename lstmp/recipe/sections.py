"""The sections of conf/: overrides them by recipe and options, and checks them in the same way as the steps do."""

import re
from types import GenericAlias

from lstmp import config
from lstmp.errors import UserError


def override(values: dict, key: str, value, *, what: str, file=None, lines: dict[str, int] | None = None):
    """Set ``values[key]``, which must exist, to ``value``, which must have the same type.

    Args:
        values: a section or a group of it.
        key: the key to change.
        value: its new value; a mapping changes the keys of a group.
        what: dotted name of the key, for errors.
        file, lines: the file that the value comes from, and the line of each dotted name.
    """
    source = {"file": file, "line": (lines or {}).get(what)}
    if key not in values:
        raise config.unknown(what, key, sorted(values), **source)
    old = values[key]
    if isinstance(old, dict):
        for k, v in config.group(value, what, **source).items():
            override(old, k, v, what=f"{what}.{k}", file=file, lines=lines)
        return
    if old is None or type(old) is int and isinstance(value, float):  # the step's own dataclass decides
        values[key] = value
    elif isinstance(old, list) and not old and isinstance(value, list):  # the step's own dataclass checks its items
        values[key] = value
    elif isinstance(old, list):
        values[key] = config.coerce(value, GenericAlias(list, (type(old[0]) if old else str,)), what, **source)
    else:
        values[key] = config.coerce(value, type(old), what, **source)


def check_sections(sections: dict[str, dict], networks: list[str], origin):
    """Build each section's dataclass, as its step does.

    Args:
        sections: name → values.
        networks: names of the sections that belong to networks.
        origin: function of a section and a dotted key that says where the value comes from: (file, line), or the name
            of an option.

    Raises:
        UserError: a value is out of range; the error names its origin.
    """
    known = _types()
    for section, values in sections.items():
        cls = known.get("tri" if section.startswith("tri") else "lstmp" if section in networks else section)
        if cls is None:  # a file that the user has added
            continue
        try:
            config.build(values, cls)
        except UserError as e:
            named = re.search("`([^`]+)`", e.what)
            source = origin(section, named[1] if named else "")
            if isinstance(source, str):
                raise UserError(f"option {source}: {e.what}", hint=e.hint) from None
            raise UserError(e.what, file=source[0], line=source[1], hint=e.hint) from None


def _types() -> dict[str, type]:
    """Section → its dataclass. They are imported here, because the imports take about a second."""
    from lstmp.alignment.check import CheckConfig
    from lstmp.decode.config import DecodeConfig
    from lstmp.decode.live import LiveConfig
    from lstmp.features.extract import FbankConfig, MfccConfig
    from lstmp.gmm.adapt import FmllrConfig
    from lstmp.gmm.ivector import IvectorConfig
    from lstmp.gmm.online_fmllr import OnlineFmllrConfig
    from lstmp.gmm.shard import AlignConfig
    from lstmp.gmm.train_mono import MonoConfig
    from lstmp.gmm.train_tri import TriConfig
    from lstmp.graph.make_denominator import DenominatorConfig
    from lstmp.nnet.config import LstmpConfig
    from lstmp.nnet.mmi.config import MmiConfig
    from lstmp.report.options import ReportConfig
    from lstmp.score.score import ScoreConfig
    from lstmp.sequence.config import SequenceConfig
    from lstmp.transcribe.pauses import CutConfig

    return {"align": AlignConfig, "check_alignment": CheckConfig, "decode": DecodeConfig,
            "denominator": DenominatorConfig, "fbank": FbankConfig, "fmllr": FmllrConfig,
            "ivector": IvectorConfig, "live": LiveConfig, "lstmp": LstmpConfig, "mfcc": MfccConfig,
            "mmi": MmiConfig, "mono": MonoConfig, "online_fmllr": OnlineFmllrConfig,
            "report": ReportConfig, "score": ScoreConfig, "sequence": SequenceConfig,
            "transcribe": CutConfig, "tri": TriConfig}
