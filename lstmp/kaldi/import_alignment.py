"""Take over an alignment that Kaldi made: ``ali.*.gz``, ``tree`` and ``final.mdl``, read without Kaldi.

The folder that is written is one of ours, as ``lstmp.gmm.align`` writes it, so that a network can be trained from it.
Where the phone table beside the alignment numbers the same phones otherwise than the lang folder does, everything is
renumbered by the phones' names.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.corpus.lang import Lang, read_symbols
from lstmp.errors import UserError, command
from lstmp.features.ark import read_int_vectors
from lstmp.features.frame_shift import frame_shift
from lstmp.gmm.align import write_states
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import Node, Tree
from lstmp.kaldi.model import read_transition_model
from lstmp.kaldi.tree import read_tree
from lstmp.log import say
from lstmp.stage import Stage

_TOGETHER = "give the tree and the final.mdl that the alignment was made with (--model)"
_OUTPUTS = ("ali.ark", "pdf.ark", "phones.ctm", "num_pdfs", "tree.json", "topo", "transitions.safetensors")


def is_kaldi_alignment(directory) -> bool:
    """Whether a folder holds an alignment in Kaldi's files and none in ours."""
    directory = Path(directory)
    return any(directory.glob("ali.*.gz")) and not any((directory / n).is_file() for n in ("pdf.scp", "pdf.ark"))


def import_alignment(kaldi, out, *, model=None, lang=None):
    """Write the alignment folder ``out`` from Kaldi's folder ``kaldi``, unless that is already done.

    Args:
        kaldi: folder with ali.1.gz, ali.2.gz …, and where Kaldi's scripts left them num_jobs and phones.txt.
        model: folder with tree and final.mdl; ``kaldi`` if None.
        lang: lang folder whose phone numbers to use; None leaves Kaldi's.

    Raises:
        UserError: a file is missing, damaged or does not belong to the others, HMMs or phones that cannot be taken
            over, frames of another rate.
    """
    kaldi, model = Path(kaldi), Path(model or kaldi)
    parts = _parts(kaldi)
    names = next((d / "phones.txt" for d in (kaldi, model) if (d / "phones.txt").is_file()), None)
    inputs = [*parts, model / "tree", model / "final.mdl", *([names] if names else []),
              *([Path(lang) / "phones.txt"] if lang else [])]
    stage = Stage(out, "import", inputs, {"parts": len(parts)})
    if stage.is_done():
        return
    tree, transitions = read_model(model)
    alignment = _read_parts(parts, transitions, model)
    entries = transitions.topology.entries
    table = phones_of(transitions, names)
    if lang is not None:
        new_number = phone_numbers(transitions, table, names, Lang.load(lang))
        tree, transitions, new_tid = renumber(tree, transitions, new_number)
        alignment = {utt: new_tid[tids] for utt, tids in alignment.items()}
        table = read_symbols(Path(lang) / "phones.txt")
    phone_names = {i: name for name, i in table.items()} or {i: str(i) for i in entries}
    write_states(Path(out), alignment, transitions, phone_names, frame_shift(model))
    AcousticModel(transitions, tree, None, None).save(out)
    stage.mark([Path(out) / name for name in _OUTPUTS])
    say(f"{out}: {len(alignment)} utterances, {sum(map(len, alignment.values())):,} frames, {tree.num_pdfs} pdfs, "
        f"from {kaldi}")


def phones_of(transitions: TransitionModel, names) -> dict[str, int]:
    """Name → number of the model's phones, by the phone table ``names``; empty without one.

    Raises:
        UserError: the model has phones that the table lacks.
    """
    entries = transitions.topology.entries
    table = {name: i for name, i in (read_symbols(names) if names else {}).items() if i in entries}
    if names and len(table) < len(entries):
        raise UserError(f"{len(entries) - len(table)} phones of final.mdl are not in it", file=names,
                        hint="give the phone table that the model was trained with")
    return table


def read_model(directory) -> tuple[Tree, TransitionModel]:
    """Read ``tree`` and ``final.mdl`` of a Kaldi folder and check that they belong together.

    Raises:
        UserError: they do not, or one of them cannot be read.
    """
    path, tree_path = Path(directory) / "final.mdl", Path(directory) / "tree"
    transitions = read_transition_model(path)
    entries = transitions.topology.entries
    tree, num_pdfs = read_tree(tree_path, {phone: len(states) for phone, states in entries.items()})
    if num_pdfs != transitions.num_pdfs:
        raise UserError(f"{transitions.num_pdfs} pdfs, but the tree beside it has {num_pdfs}", file=path,
                        hint=_TOGETHER)
    expected = TransitionModel.from_tree(transitions.topology, tree, entries).tuples.tolist()
    if expected != transitions.tuples.tolist():
        odd = min({*map(tuple, expected)} ^ {*map(tuple, transitions.tuples.tolist())})
        raise UserError("it does not fit the tree beside it: only one of them knows phone {}, state {}, pdf {}"
                        .format(*odd), file=path, hint=_TOGETHER)
    return tree, transitions


def renumber(tree: Tree, transitions: TransitionModel, new_number: dict[int, int]):
    """Give the phones other numbers.

    Args:
        new_number: phone of the topology → its new number.

    Returns:
        Tree and transition model, and int32 [num_tids + 1], old transition-id → new.
    """
    keep = {0: 0, **new_number}
    made: dict[int, Node] = {}

    def copy(node: Node) -> Node:
        if node.then is None:
            return node
        if id(node) not in made:
            yes = node.yes if node.key < 0 else frozenset(keep[p] for p in node.yes if p in keep)
            made[id(node)] = Node(key=node.key, yes=yes, then=copy(node.then), otherwise=copy(node.otherwise))
        return made[id(node)]

    roots = {(new_number[p], c): copy(root) for (p, c), root in tree.roots.items()}
    topology = type(transitions.topology)({new_number[p]: e for p, e in transitions.topology.entries.items()})
    tuples = [(new_number[p], s, pdf) for p, s, pdf in transitions.tuples.tolist()]
    order = sorted(range(len(tuples)), key=tuples.__getitem__)
    first = transitions.first_tid.tolist()
    old = np.concatenate([[0], *[np.arange(first[i], first[i + 1]) for i in order]]).astype(np.int64)
    new_tid = np.zeros(len(old), dtype=np.int32)
    new_tid[old] = np.arange(len(old))
    return (Tree(tree.context_width, tree.central_position, roots),
            TransitionModel(topology, [tuples[i] for i in order], transitions.log_prob[torch.from_numpy(old)]), new_tid)


def phone_numbers(transitions: TransitionModel, table: dict[str, int], names, lang: Lang) -> dict[int, int]:
    """Kaldi's phone number → the lang's."""
    ours = {lang.phone_names[p]: p for p in lang.silence + lang.nonsilence}
    hint = f"give the lang folder with the phones that the alignment was made with, instead of {lang.dir}"
    if names is None:
        if set(transitions.topology.entries) != set(ours.values()):
            raise UserError(f"a model of {len(transitions.topology.entries)} phones, where {lang.dir} has {len(ours)} "
                            "or numbers them otherwise, and no phones.txt beside it",
                            hint="copy the phones.txt of Kaldi's lang folder beside final.mdl")
        return {p: p for p in ours.values()}
    for name in sorted(table.keys() ^ ours.keys()):
        raise UserError(f"phone {name} is {'not in it' if name in ours else 'not a phone of the lang folder'}",
                        file=names, hint=hint)
    return {i: ours[name] for name, i in table.items()}


def _parts(kaldi: Path) -> list[Path]:
    """ali.1.gz to ali.N.gz, N from ``num_jobs`` or the largest number that is there."""
    found = {int(number): p for p in kaldi.glob("ali.*.gz") if config.is_count(number := p.name[4:-3])}
    jobs = kaldi / "num_jobs"
    if jobs.is_file():
        text = jobs.read_text(encoding="utf-8", errors="replace").strip()
        if not config.is_count(text) or int(text) == 0:
            raise UserError(f"{text[:40]!r} is not a number of jobs", file=jobs, line=1, hint="copy it again")
        count = int(text)
    else:
        count = max(found, default=1)
    for n in range(1, count + 1):
        if n not in found:
            raise UserError(f"no such part of the alignment, of {count}", file=kaldi / f"ali.{n}.gz",
                            hint="copy all ali.*.gz and num_jobs of Kaldi's alignment folder")
    factor = kaldi / "frame_subsampling_factor"
    if factor.is_file() and factor.read_text(errors="replace").strip() not in ("", "1"):
        raise UserError("the alignment has one state for several frames", file=factor,
                        hint="align with a GMM, not with a chain model")
    return [found[n] for n in range(1, count + 1)]


def _read_parts(parts: list[Path], transitions: TransitionModel, model: Path) -> dict[str, np.ndarray]:
    alignment: dict[str, np.ndarray] = {}
    for path in parts:
        try:
            for utt, tids in read_int_vectors(path):
                if utt in alignment:
                    raise UserError(f"{utt} is in it twice, or also in another part", hint="copy the ali.*.gz of one "
                                    "alignment")
                transitions.check(utt, tids, model=model / "final.mdl", hint=_TOGETHER)
                alignment[utt] = tids
        except UserError as e:
            raise UserError(e.what, file=path, hint=e.hint if e.file is None else "copy it again from Kaldi") from None
    if not alignment:
        raise UserError("no utterance in it", file=parts[0], hint="copy it again from Kaldi")
    return alignment


@command
def main(argv=None):
    """Command line; see ``--help``."""
    p = argparse.ArgumentParser(prog="steps/import_kaldi_alignment.sh", description=__doc__.split("\n")[0])
    p.add_argument("--kaldi", type=Path, required=True, help="Kaldi's alignment folder, with ali.*.gz")
    p.add_argument("--model", type=Path, help="folder with tree and final.mdl (default: --kaldi)")
    p.add_argument("--lang", type=Path, help="lang folder to use the network with; its phones are Kaldi's by name "
                   "(default: phone numbers stay Kaldi's)")
    p.add_argument("--out", type=Path, required=True, help="alignment folder to write")
    args = p.parse_args(argv)
    import_alignment(args.kaldi, args.out, model=args.model, lang=args.lang)


if __name__ == "__main__":
    main()
