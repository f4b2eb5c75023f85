"""Checks that a run of run.sh that begins with a later stage has the files that the earlier stages make."""

from collections.abc import Iterator
from pathlib import Path

from lstmp.errors import UserError
from lstmp.recipe.keys import Recipe
from lstmp.recipe.networks import Network


def needs(stage: int, exp: Path, data: Path, recipe: Recipe, networks: list[Network],
          systems: list[str]) -> Iterator[tuple[int, Path]]:
    """Yield (stage that makes it, file) for the files that ``stage`` reads."""
    train, last, lang = data / recipe.train, recipe.triphones[-1], (2, data / "lang/words.txt")
    features = [(4, data / recipe.gmm_train / "feats.scp")]
    with_lm = (3, data / f"lang_{recipe.lm}/G.fst")
    if stage in (2, 3):
        yield 1, train / "text"
        yield from [lang] if stage == 3 else []
    elif stage == 4:
        yield from ((1, data / split / "wav.scp") for split in (recipe.train, recipe.dev, *recipe.tests))
    elif stage in (5, 6, 7):
        yield from [lang, *features]
        yield from [(5, exp / "mono/final.safetensors")] if stage == 6 else []
        yield from [(6, exp / last / "final.safetensors")] if stage == 7 else []
    elif stage == 8:
        for net in networks:
            yield 7, exp / f"{recipe.targets}_ali{net.suffix}" / "num_pdfs"
    elif stage == 9:
        yield from ((6, exp / tri / "final.safetensors") for tri in recipe.triphones)
        yield from ((8, exp / net.states(recipe.targets) / "num_pdfs") for net in networks if net.grows_tree)
        yield with_lm
    elif stage == 10:
        named = {n.name: n for n in networks}
        yield from ((4, data / split / "feats.scp") for split in (recipe.dev, *recipe.tests))
        for system in systems:
            yield 8 if system in named else 5 if system == "mono" else 6, exp / system / "final.safetensors"
            model = named[system].graph_model(recipe.targets) if system in named else system
            yield 9, exp / model / f"graph_{recipe.lm}/graph.json"
    elif stage == 11:
        for system in systems:
            yield 10, exp / system / f"decode_{recipe.lm}_{recipe.dev}/decode.json"


def check_predecessors(stage: int, *what):
    """Check that the files from earlier stages exist; the arguments are those of :func:`needs`.

    Raises:
        UserError: a file is missing.
    """
    for maker, path in needs(stage, *what):
        if not path.is_file():
            raise UserError(f"stage {stage} needs what stage {maker} makes", file=path,
                            hint=f"run that stage first: --stage {maker}")
