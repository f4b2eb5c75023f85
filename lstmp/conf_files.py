"""A folder of configurations, conf/ or <exp>/conf, as nested values: one section for each file."""

from pathlib import Path

from lstmp import config


def read_sections(folder) -> dict[str, dict]:
    """The default configurations: file name without ``.yaml`` → its values, for every file of ``conf/``."""
    return {p.stem: config.read_yaml(p)[0] for p in sorted(Path(folder).glob("*.yaml"))}


def leaves(values: dict, prefix: str = "") -> dict:
    """Nested groups as one, with dotted names."""
    out: dict = {}
    for key, value in values.items():
        out |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


def changed(folder, defaults, networks) -> dict[str, list]:
    """Every value of a run's configurations that is not the default: ``section.key`` → [value, default].

    Args:
        folder: <exp>/conf.
        defaults: conf/.
        networks: names of sections whose defaults are those of ``lstmp``; others that ``defaults`` lacks do not count.
    """
    usual = read_sections(defaults)
    found: dict[str, list] = {}
    for section, values in read_sections(folder).items():
        if section not in usual and section not in networks:
            continue
        default = leaves(usual.get(section, usual["lstmp"]))
        found |= {f"{section}.{key}": [value, default.get(key)] for key, value in leaves(values).items()
                  if value != default.get(key)}
    return found
