"""Combines ``conf/*.yaml``, the overrides of recipes/<name>/recipe.yaml, and the overrides of run.sh's options."""

import re
from pathlib import Path

from lstmp import config
from lstmp.conf_files import read_sections
from lstmp.errors import UserError
from lstmp.paths import ROOT
from lstmp.recipe.keys import RECIPE_KEYS, Recipe
from lstmp.recipe.networks import Network, networks
from lstmp.recipe.options import FLAGS, RUN_OPTIONS, known_options, parse_value, run_values
from lstmp.recipe.sections import check_sections, override


def resolve(options: dict[str, str], root=ROOT) -> tuple[dict, Recipe, dict[str, dict], list[Network]]:
    """Combine ``conf/``, the recipe and the options.

    Returns:
        (values of the run options, the recipe, section name → values, the networks); each network has a section with
        its name

    Raises:
        UserError: an unknown recipe, option or key, or a value of the wrong type or out of range.
    """
    name = options.get("recipe", "tiny")
    path = Path(root) / "recipes" / name / "recipe.yaml"
    if not path.is_file():
        known = [p.parent.name for p in sorted(Path(root).glob("recipes/*/recipe.yaml"))]
        raise config.unknown(f"recipe `{name}`", name, known)
    run = run_values(options, name)
    sections = read_sections(Path(root) / "conf")
    values, lines = config.read_yaml(path)
    for key in values:
        if key not in sections and key not in (*RECIPE_KEYS, "layouts"):
            raise config.unknown(f"key `{key}`", key, [*RECIPE_KEYS, "layouts", *sections], file=path, line=lines[key])
    layouts = config.group(values.pop("layouts", None) or {}, "layouts", file=path, line=lines.get("layouts"))
    layout = choose_layout(layouts, run, file=path, line=lines.get("layouts"))
    for n in [f"layouts.{name}." for name, keys in layouts.items() if keys is layout]:
        lines |= {key.removeprefix(n): line for key, line in lines.items() if key.startswith(n)}
    values |= layout
    chosen = {}
    for option, text in options.items():
        if option in RUN_OPTIONS or option in FLAGS:
            continue
        if option not in RECIPE_KEYS and ("." not in option or option.split(".")[0] not in sections):
            known = [f"--{k}" for k in known_options(sections)]
            raise config.unknown(f"option --{option}", f"--{option}", known)
        chosen[option] = parse_value(option, text)
    if "networks" in chosen:
        for key in ("systems", "combinations"):  # the recipe names its own networks there
            values.pop(key, None)
    values |= {k: v for k, v in chosen.items() if k in RECIPE_KEYS}

    for section in sections.values():  # one seed for all sections, unless it is overridden below
        if "seed" in section and "seed" in values:
            section["seed"] = config.coerce(values["seed"], int, "seed", file=path, line=lines.get("seed"))
    for key in [k for k in values if k in sections]:
        override(sections, key, values.pop(key), what=key, file=path, lines=lines)
    for option, value in chosen.items():
        if option not in RECIPE_KEYS:
            first, *deeper = option.split(".")
            for key in reversed(deeper):
                value = {key: value}
            override(sections, first, value, what=f"--{first}")
    recipe = _recipe(values, path, lines, chosen)
    if absent := [name for name in recipe.triphones if name not in sections]:
        raise config.unknown(f"system `{absent[0]}`", absent[0], [s for s in sections if s.startswith("tri")],
                             file=path, line=lines.get("triphones"))
    file, network_lines = (None, {}) if "networks" in chosen else (path, lines)
    for network in (recipe_networks := networks(recipe, sections["lstmp"], sections["sequence"], file=file,
                                                 lines=network_lines)):
        if network.name in sections and network.name != "lstmp":
            raise UserError(f"network `{network.name}` has the name of a file of conf/", file=path,
                            line=lines.get(f"networks.{network.name}"), hint="choose another name")
    by_name = {n.name: n for n in recipe_networks}
    names = list(by_name)

    def origin(section: str, key: str):
        first = key.split(".")[0]
        if section in names and first in (recipe.networks.get(section) or {}):
            return "--networks" if "networks" in chosen else (path, lines.get(f"networks.{section}.{key}"))
        if section in names and by_name[section].on_lattices and first in sections["sequence"]["training"]:
            section, key = "sequence", f"training.{key}"
        elif section in names and by_name[section].init:
            return origin(by_name[section].init, key)
        section = "lstmp" if section in names else section
        if f"{section}.{key}" in chosen:
            return f"--{section}.{key}"
        if f"{section}.{key}" in lines:
            return path, lines[f"{section}.{key}"]
        file = Path(root) / f"conf/{section}.yaml"
        return file, config.read_yaml(file)[1].get(key)

    sections |= {n.name: n.config for n in recipe_networks}
    check_sections(sections, names, origin)
    for network in recipe_networks:
        if network.config["ivector_dim"] not in (0, sections["ivector"]["dim"]):
            raise UserError(f"network `{network.name}`: `ivector_dim` {network.config['ivector_dim']} is not `dim` "
                            f"{sections['ivector']['dim']} of conf/ivector.yaml", hint="make them equal",
                            file=file, line=network_lines.get(f"networks.{network.name}"))
        if network.online_fmllr:
            _check_online_fmllr(network, recipe, sections, file, network_lines.get(f"networks.{network.name}"))
    return run, recipe, sections, recipe_networks


def _check_online_fmllr(network: Network, recipe: Recipe, sections: dict, file, line: int | None) -> None:
    """Check that the triphones have what online fMLLR needs, and that it waits as long as the network does.

    Raises:
        UserError: they have not, or it does not.
    """
    from lstmp.nnet.config import LstmpConfig  # not at the top: see sections.py

    latest = config.build(network.config, LstmpConfig).known_after
    if not sections[recipe.triphones[-1]]["adapt"] or not any(sections[tri]["lda_dim"] for tri in recipe.triphones):
        raise UserError(f"network `{network.name}`: online fMLLR needs triphones with LDA and speaker adaptation",
                        file=file, line=line, hint="`triphones: [tri1, tri2b, tri3b]`, as in mini_librispeech")
    if sections["online_fmllr"]["delay"] < latest:
        raise UserError(f"network `{network.name}` knows a frame's states {latest} frames later, and `delay` of "
                        f"conf/online_fmllr.yaml is {sections['online_fmllr']['delay']}", file=file, line=line,
                        hint=f"set --online_fmllr.delay {latest}")


def _recipe(values: dict, path: Path, lines: dict[str, int], chosen: dict) -> Recipe:
    """Build the recipe. An error names the option that a value comes from, or the line of the recipe."""
    try:
        return config.build(values, Recipe, file=path, lines=lines)
    except UserError as e:
        named = re.match("`([^`]+)`", e.what)
        if named and named[1] in chosen:
            raise UserError(f"option --{named[1]}: {e.what}", hint=e.hint) from None
        raise


def choose_layout(layouts: dict, run: dict, *, file, line) -> dict:
    """Choose the first layout for which the corpus contains all splits; without --corpus, the layout `download`.

    A corpus may exist in several forms, with different names of splits and files: `layouts: {name: {key: value}}`.

    Returns:
        the keys of that layout

    Raises:
        UserError: no layout fits the corpus.
    """
    for name, keys in layouts.items():
        if not isinstance(keys, dict) or not {"train", "dev", "tests"} <= set(keys) <= set(RECIPE_KEYS):
            raise UserError(f"layout `{name}` must give train, dev and tests, and no unknown keys", file=file,
                            line=line, hint="see recipes/mini_librispeech/recipe.yaml")
        for key, expected in (("train", str), ("dev", str), ("tests", list[str])):
            config.coerce(keys[key], expected, f"layouts.{name}.{key}", file=file, line=line)
        splits = [*keys["train"].split("+"), keys["dev"], *keys["tests"]]
        folders = [Path(run["corpus"]) / "LibriSpeech", Path(run["corpus"])]
        if any(all((d / s).is_dir() for s in splits) for d in folders) if run["corpus"] else name == "download":
            return keys
    if layouts:
        known = "; ".join(f"{n}: {k['train']}, {k['dev']}{''.join(f', {t}' for t in k['tests'])}"
                          for n, k in layouts.items())
        raise UserError("it does not contain all splits of the recipe", file=run["corpus"],
                        hint=f"it needs the folders of one of these layouts: {known}")
    return {}


def find_file(name: str, run: dict, recipe: Recipe) -> str:
    """Find a file that the recipe names relative to the corpus.

    It is looked for in the corpus and its parent folder, and in their `lm` folders. For the corpus `tiny` it is in
    <data>/local. A file that is downloaded need not exist yet.

    Raises:
        UserError: --corpus does not contain it.
    """
    if not name:
        return ""
    if recipe.source == "tiny":
        corpus = Path(run["data"]) / "local"
    else:
        corpus = Path(run["corpus"] or "downloads")
    base = Path(name).name
    candidates = [c / n for c in (corpus, corpus.parent) for n in (name, f"lm/{base}", base)]
    for path in [*candidates, Path(name)]:
        if path.is_file():
            return str(path)
    if recipe.source == "datadirs" or run["corpus"] and recipe.source != "tiny":
        raise UserError("no such file", file=candidates[0], hint=f"put it there, or in {candidates[1].parent}")
    return str(candidates[0])
