"""Reads a folder of configurations, conf/ or <exp>/conf, as nested dictionaries: one section per file."""

from pathlib import Path

from lstmp import config


def read_sections(folder) -> dict[str, dict]:
    """Read every YAML file of ``folder``: file name without ``.yaml`` → its values."""
    return {p.stem: config.read_yaml(p)[0] for p in sorted(Path(folder).glob("*.yaml"))}


def leaves(values: dict, prefix: str = "") -> dict:
    """Flatten nested groups into one dictionary with dotted keys."""
    out: dict = {}
    for key, value in values.items():
        out |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


def changed(folder, defaults, networks) -> dict[str, list]:
    """Find every value in a run's configurations that is not the default: ``section.key`` → [value, default].

    Args:
        folder: <exp>/conf.
        defaults: conf/.
        networks: names of the sections whose defaults are those of the section ``lstmp``. Other sections that
            ``defaults`` lacks are ignored.
    """
    default_sections = read_sections(defaults)
    differing: dict[str, list] = {}
    for section, values in read_sections(folder).items():
        if section not in default_sections and section not in networks:
            continue
        default = leaves(default_sections.get(section, default_sections["lstmp"]))
        differing |= {f"{section}.{key}": [value, default.get(key)] for key, value in leaves(values).items()
                      if value != default.get(key)}
    return differing
