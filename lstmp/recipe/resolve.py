"""What is to be run: conf/*.yaml, overridden by recipes/<name>/recipe.yaml, overridden by the options of run.sh."""

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
        (values of the run options, the recipe, section name → values, the networks, each with a section of its name)

    Raises:
        UserError: for an unknown recipe, option or key, or a value of the wrong type or out of its range.
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
    values |= {k: v for k, v in chosen.items() if k in RECIPE_KEYS}

    for section in sections.values():  # one seed for all, unless a section's own is set below
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
    file, at = (None, {}) if "networks" in chosen else (path, lines)
    for network in (found := networks(recipe, sections["lstmp"], file=file, lines=at)):
        if network.name in sections and network.name != "lstmp":
            raise UserError(f"network `{network.name}` bears the name of a file of conf/", file=path,
                            line=lines.get(f"networks.{network.name}"), hint="name it otherwise")
    names = [n.name for n in found]

    def origin(section: str, key: str):
        own = key.split(".")[0] in (recipe.networks.get(section) or {})
        if section in names and own:
            return "--networks" if "networks" in chosen else (path, lines.get(f"networks.{section}.{key}"))
        section = "lstmp" if section in names else section
        if f"{section}.{key}" in chosen:
            return f"--{section}.{key}"
        if f"{section}.{key}" in lines:
            return path, lines[f"{section}.{key}"]
        file = Path(root) / f"conf/{section}.yaml"
        return file, config.read_yaml(file)[1].get(key)

    sections |= {n.name: n.config for n in found}
    check_sections(sections, names, origin)
    return run, recipe, sections, found


def _recipe(values: dict, path: Path, lines: dict[str, int], chosen: dict) -> Recipe:
    """The recipe's own keys; an error names the option that a value comes from, or the line of the recipe."""
    try:
        return config.build(values, Recipe, file=path, lines=lines)
    except UserError as e:
        named = re.match("`([^`]+)`", e.what)
        if named and named[1] in chosen:
            raise UserError(f"option --{named[1]}: {e.what}", hint=e.hint) from None
        raise


def choose_layout(layouts: dict, run: dict, *, file, line) -> dict:
    """The keys of the first layout all of whose splits are in the corpus; without --corpus, those of `download`.

    A corpus may be had in several forms, with other names of splits and files: `layouts: {name: {key: value}}`.

    Raises:
        UserError: no layout fits the corpus.
    """
    for name, keys in layouts.items():
        if not isinstance(keys, dict) or not {"train", "dev", "tests"} <= set(keys) <= set(RECIPE_KEYS):
            raise UserError(f"layout `{name}` must give train, dev and tests, and else keys of the recipe", file=file,
                            line=line, hint="see recipes/mini_librispeech/recipe.yaml")
        for key, kind in (("train", str), ("dev", str), ("tests", list[str])):
            config.coerce(keys[key], kind, f"layouts.{name}.{key}", file=file, line=line)
        splits = [*keys["train"].split("+"), keys["dev"], *keys["tests"]]
        here = [Path(run["corpus"]) / "LibriSpeech", Path(run["corpus"])]
        if any(all((d / s).is_dir() for s in splits) for d in here) if run["corpus"] else name == "download":
            return keys
    if layouts:
        known = "; ".join(f"{n}: {k['train']}, {k['dev']}{''.join(f', {t}' for t in k['tests'])}"
                          for n, k in layouts.items())
        raise UserError("the splits of the recipe are not all there", file=run["corpus"],
                        hint=f"it needs the folders of one of these layouts: {known}")
    return {}


def find_file(name: str, run: dict, recipe: Recipe) -> str:
    """Where a file is that the recipe names by its place in the corpus.

    It is looked for in the corpus and the folder above, and in their `lm` folders. The corpus `tiny` has it in
    <data>/local; a file of a download need not be there yet.

    Raises:
        UserError: it is not in --corpus.
    """
    if not name:
        return ""
    if recipe.source == "tiny":
        corpus = Path(run["data"]) / "local"
    else:
        corpus = Path(run["corpus"] or "downloads")
    base = Path(name).name
    places = [c / n for c in (corpus, corpus.parent) for n in (name, f"lm/{base}", base)]
    for place in [*places, Path(name)]:
        if place.is_file():
            return str(place)
    if recipe.source == "datadirs" or run["corpus"] and recipe.source != "tiny":
        raise UserError("no such file", file=places[0], hint=f"put it there, or in {places[1].parent}")
    return str(places[0])
