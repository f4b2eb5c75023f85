"""Makes the shell code for run.sh: variables of the run, and the function ``settings_of`` for those of one system."""

import dataclasses
import shlex
from pathlib import Path

from lstmp.recipe.keys import Recipe
from lstmp.recipe.networks import Network, describe


def run_variables(run: dict, recipe: Recipe, systems: list[str], networks: list[Network], defaults: dict) -> dict:
    """Variables of the whole run: the options, the keys of the recipe, and values derived from them.

    Args:
        run: values of the options of the run itself.
        recipe: the recipe, with existing paths, or "" for none.
        systems: names of the systems to decode.
        networks: the networks to train.
        defaults: conf/lstmp.yaml, to describe how the networks differ from it.

    Returns:
        name → text, number, truth value or list, for :func:`assignments`. Besides the options and keys:
        `last` (triphone system with the transforms that adapt the networks' input), `aligners` (systems that align
        copies of the training data), `graph_models` (systems to make a graph for), `gmm_train`, `training_note`, and
        options of steps: `dict_source`, `lm_source`, `wav_options`, `feats_options`, `limit_train`, `limit_test`,
        `held_out_options`, `downloads`.
    """
    train_text = Path(run["data"]) / recipe.train / "text"
    from_spelling = ["--spell", str(train_text.parent), *filter(None, (recipe.arpa, recipe.lm_text))]
    lm_source: list[str | int]
    if recipe.arpa:
        lm_source = ["--arpa", recipe.arpa]
    elif recipe.lm_text:
        lm_source = ["--text", recipe.lm_text, "--order", recipe.lm_order]
    else:
        lm_source = ["--text", str(train_text), "--skip-id", "--order", recipe.lm_order]
    last, gmms = recipe.triphones[-1], ["mono", *recipe.triphones]
    wav_options = ["--allow-commands"] if recipe.allow_commands else []
    return {
        **run, **dataclasses.asdict(recipe), "systems": systems,
        "combinations": list(combination_variables(run, recipe, systems)),
        "networks": [n.name for n in networks], "last": last,
        "aligners": sorted({last, recipe.targets}),
        "graph_models": [m for m in gmms if m in systems or m == recipe.targets],
        "gmm_train": recipe.gmm_train, "training_note": describe(networks, defaults, recipe.gmm_mp3_kbps),
        "dict_source": ["--lexicon", recipe.lexicon] if recipe.lexicon else from_spelling,
        "lm_source": lm_source,
        "wav_options": wav_options,
        "feats_options": [*wav_options, *(["--compressed"] if recipe.compressed_feats else [])],
        "limit_train": ["--max-utts", recipe.train_utterances] if recipe.train_utterances else [],
        "held_out_options": ["--held-out-speakers", recipe.held_out_speakers] if recipe.held_out_speakers else
                            ["--held-out", recipe.held_out],
        "limit_test": ["--max-utts", recipe.test_utterances] if recipe.test_utterances else [],
        "downloads": [Path(f).name for f in (recipe.lexicon, recipe.arpa, recipe.rescore_arpa) if f],
    }


def system_variables(name: str, network: Network | None, run: dict, recipe: Recipe) -> dict:
    """Variables of one system.

    Args:
        name: name of a GMM system, or of ``network``.
        network: the network; None for a GMM system.
        run, recipe: see :func:`run_variables`.

    Returns:
        name → value, for :func:`assignments`:
        `lang` (its lexicon and phones; with the grammar of the language model it is ``${lang}_$lm``), `graph` (its
        decoding graph), `feature_type` (mfcc, fbank, fmllr or online_fmllr), `rescore` (whether its lattices are
        rescored), `lms` (language models that it is scored with); for a network also `copies` and `copies_suffix` (data
        dir of the perturbed copies of the training data, and the suffix that they add to the name of an alignment),
        `perturb_options` (how the copies are made), `train_feats` (data dir of its input), `align_by` (the network that
        aligns them, if any), `align_feats` and `aligner_states` (data dir of that network's input, and the alignment
        that it was trained on), `input_types` (types of the features of both), `alignment` (by the recipe's `targets`,
        or by that network), `states` (alignment that it is trained on), `grows_tree` (whether that is made from
        `alignment`, with states of biphones and a decoding graph for them), `tie_options` (of their tree), `lfmmi`
        (whether it is trained by LF-MMI, so that a denominator graph is made too), `graph_model` (the folder with the
        states of its graph), `on_lattices` (whether it is trained by sMBR or MMI), `weak_lm_order` and `weak_graph`
        (order of the language model of the graph that is made for that, and its folder), `ivectors` (folder of the
        i-vector extractor that is trained for it, if any), `online_fmllr` (folder of what online fMLLR needs, if its
        input is adapted so), and `train_options` (of its training).
    """
    exp, data, last = run["exp"], run["data"], recipe.triphones[-1]
    model = recipe.targets if network else name  # the system that defines its tied states
    rescore = bool(recipe.rescore_lm) and (network is not None or name == last)
    values = {
        "lang": f"{exp}/lang_{model}" if recipe.pron_probs and model == last else f"{data}/lang",
        "graph": f"{exp}/{model}/graph_{recipe.lm}", "feature_type": "mfcc", "rescore": rescore,
        "lms": [recipe.lm, recipe.rescore_lm] if rescore else [recipe.lm]}
    if network:
        aligner = network.aligner
        copies, feature_type = recipe.train + network.suffix, network.config["feature"]["kind"]
        aligner_type = aligner.config["feature"]["kind"] if aligner else feature_type

        states = f"{exp}/{network.states(recipe.targets)}"

        def feats_of(kind: str) -> str:
            places = {"fmllr": f"{exp}/fmllr/{copies}", "online_fmllr": f"{data}/{copies}"}
            return places.get(kind, f"{data}/{copies}_fbank")

        volume = ["--volume", *map("{:g}".format, network.volumes)] if network.volumes else []
        divided = ["--speaker-minutes", f"{network.speaker_minutes:g}"] if network.speaker_minutes else []
        values |= {
            "feature_type": feature_type, "copies": copies, "copies_suffix": network.suffix,
            "perturb_options": ["--speeds", *map("{:g}".format, network.speeds), "--mp3", network.mp3_kbps, *volume,
                                *divided],
            "train_feats": f"{states}/online_fmllr/train" if network.online_fmllr else feats_of(feature_type),
            "align_by": network.align_by, "align_feats": feats_of(aligner_type) if aligner else "",
            "aligner_states": f"{exp}/{aligner.states(recipe.targets)}" if aligner else "",
            "input_types": sorted({feature_type, aligner_type}),
            "alignment": f"{exp}/{network.alignment(recipe.targets)}",
            "states": states, "grows_tree": network.grows_tree,
            "tie_options": ["--leaves", recipe.biphone_leaves] if recipe.biphone_leaves else [],
            "online_fmllr": (online_fmllr := f"{states}/online_fmllr" if network.online_fmllr else ""),
            "lfmmi": network.lfmmi, "graph_model": (graph_model := f"{exp}/{network.graph_model(recipe.targets)}"),
            "graph": f"{graph_model}/graph_{recipe.lm}",
            "on_lattices": network.on_lattices, "weak_lm_order": network.weak_lm_order,
            "weak_graph": (weak := f"{graph_model}/graph_weak"),
            "ivectors": (ivectors := f"{exp}/ivectors{network.suffix}" if network.needs_ivectors else ""),
            "train_options": [
                *(["--init", f"{exp}/{network.init}"] if network.init else []),
                *(["--ivectors", ivectors] if ivectors else []),
                *(["--online-fmllr", online_fmllr] if online_fmllr and not network.init else []),
                *(["--denominator", f"{states}/denominator", "--mmi-config", f"{exp}/conf/mmi.yaml"]
                  if network.lfmmi else []),
                *(["--graph", weak, "--sequence-config", f"{exp}/conf/sequence.yaml"] if network.on_lattices else [])]}
    return values


def combination_variables(run: dict, recipe: Recipe, systems: list[str]) -> dict[str, dict]:
    """Variables of each combination of systems that are all decoded.

    Args:
        run, recipe, systems: see :func:`run_variables`.

    Returns:
        name → `combined` (the folders of its systems) and `lms` (language models that it is scored with).
    """
    lms = [recipe.lm, recipe.rescore_lm] if recipe.rescore_lm else [recipe.lm]
    return {name: {"combined": [f"{run['exp']}/{s}" for s in members], "lms": lms}
            for name, members in recipe.combinations.items() if set(members) <= set(systems)}


def assignments(values: dict) -> list[str]:
    """Write ``name=value`` for bash, quoted; lists become arrays, and `-` in names becomes `_`."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list):
            quoted = f"({shlex.join(map(str, value))})"
        else:
            quoted = shlex.quote(str(value).lower() if isinstance(value, bool) else str(value))
        lines.append(f"{name.replace('-', '_')}={quoted}")
    return lines


def settings_function(systems: dict[str, dict]) -> list[str]:
    """Write the bash function ``settings_of SYSTEM``, which sets the variables of a system.

    Args:
        systems: name → its variables.
    """
    cases = [f"    {shlex.quote(name)}) {' '.join(assignments(values))} ;;" for name, values in systems.items()]
    return ["settings_of() {", "  case $1 in", *cases,
            '    *) echo "error: no such system: $1" >&2; return 1 ;;', "  esac", "}"]
