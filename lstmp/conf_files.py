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


def compared(folder, defaults, networks) -> dict[str, dict[str, list]]:
    """Set every value of a run's configurations beside its default: section → dotted key → [value, default].

    Args:
        folder: <exp>/conf.
        defaults: conf/.
        networks: names of the sections whose defaults are those of the section ``lstmp``. Other sections that
            ``defaults`` lacks are left out.
    """
    default_sections = read_sections(defaults)
    both: dict[str, dict[str, list]] = {}
    for section, values in read_sections(folder).items():
        if section in default_sections or section in networks:
            default = leaves(default_sections.get(section, default_sections["lstmp"]))
            both[section] = {key: [value, default.get(key)] for key, value in leaves(values).items()}
    return both


def changed(folder, defaults, networks) -> dict[str, list]:
    """Find every value in a run's configurations that is not the default: ``section.key`` → [value, default].

    The arguments are those of :func:`compared`.
    """
    return {f"{section}.{key}": pair for section, values in compared(folder, defaults, networks).items()
            for key, pair in values.items() if pair[0] != pair[1]}
