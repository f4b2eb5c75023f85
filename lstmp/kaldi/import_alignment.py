"""Import a Kaldi alignment (``ali.*.gz``, ``tree``, ``final.mdl``), without Kaldi.

The output is an alignment folder as ``lstmp.gmm.align`` writes it, which networks can be trained on. If Kaldi's phone
table and the lang folder have different numbers for the phones, phones are matched by name and renumbered.
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
from lstmp.gmm.align import alignment_files, write_states
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import Node, Tree
from lstmp.kaldi.model import read_transition_model
from lstmp.kaldi.tree import read_tree
from lstmp.log import say
from lstmp.stage import Stage

_TOGETHER = "give the tree and the final.mdl that the alignment was made with (--model)"


def is_kaldi_alignment(directory) -> bool:
    """Whether a folder has Kaldi's alignment files and none of lstmp."""
    directory = Path(directory)
    return any(directory.glob("ali.*.gz")) and not any((directory / n).is_file() for n in ("pdf.scp", "pdf.ark"))


def import_alignment(kaldi, out, *, model=None, lang=None):
    """Write the alignment folder ``out`` from Kaldi's folder ``kaldi``, unless this has been done already.

    Args:
        kaldi: folder with ali.1.gz, ali.2.gz, … and, as Kaldi's scripts write them, num_jobs and phones.txt.
        model: folder with tree and final.mdl; ``kaldi`` if None.
        lang: lang folder whose phone numbers to use; None keeps Kaldi's numbers.

    Raises:
        UserError: a file is missing or damaged, or does not belong to the others; HMMs or phones are not supported; or
            the alignment has another frame rate than the features (frame_subsampling_factor).
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
    stage.mark(alignment_files(out))
    say(f"{out}: {len(alignment)} utterances, {sum(map(len, alignment.values())):,} frames, {tree.num_pdfs} pdfs, "
        f"from {kaldi}")


def phones_of(transitions: TransitionModel, names) -> dict[str, int]:
    """Name → number of each phone of the model, from the phone table ``names``; empty if ``names`` is None.

    Raises:
        UserError: a phone of the model is not in the table.
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
        raise UserError(f"{transitions.num_pdfs} pdfs, but the tree in the same folder has {num_pdfs}", file=path,
                        hint=_TOGETHER)
    expected = TransitionModel.from_tree(transitions.topology, tree, entries).tuples.tolist()
    if expected != transitions.tuples.tolist():
        different = min({*map(tuple, expected)} ^ {*map(tuple, transitions.tuples.tolist())})
        raise UserError("it does not fit the tree in the same folder: only one of them has phone {}, state {}, pdf {}"
                        .format(*different), file=path, hint=_TOGETHER)
    return tree, transitions


def renumber(tree: Tree, transitions: TransitionModel, new_number: dict[int, int]):
    """Renumber the phones of a tree and a transition model.

    Args:
        new_number: phone of the topology → its new number.

    Returns:
        The new tree and transition model, and int32 [num_tids + 1], old transition-id → new transition-id.
    """
    keep = {0: 0, **new_number}
    copies: dict[int, Node] = {}  # by id of the original node

    def copy(node: Node) -> Node:
        if node.then is None:
            return node
        if id(node) not in copies:
            yes = node.yes if node.key < 0 else frozenset(keep[p] for p in node.yes if p in keep)
            copies[id(node)] = Node(key=node.key, yes=yes, then=copy(node.then), otherwise=copy(node.otherwise))
        return copies[id(node)]

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
    """Kaldi's phone number → phone number of the lang folder.

    Args:
        transitions: Kaldi's transition model.
        table: see :func:`phones_of`.
        names: path of the phone table, or None; without it both must have the same phone numbers.
        lang: the lang folder.

    Raises:
        UserError: the lang folder has other phones.
    """
    ours = {lang.phone_names[p]: p for p in lang.silence + lang.nonsilence}
    hint = f"give the lang folder with the phones that the alignment was made with, instead of {lang.dir}"
    if names is None:
        if set(transitions.topology.entries) != set(ours.values()):
            raise UserError(f"the model has {len(transitions.topology.entries)} phones, {lang.dir} has {len(ours)} or "
                            "other numbers for them, and there is no phones.txt next to final.mdl",
                            hint="copy the phones.txt of Kaldi's lang folder to the folder of final.mdl")
        return {p: p for p in ours.values()}
    for name in sorted(table.keys() ^ ours.keys()):
        raise UserError(f"phone {name} is {'not in it' if name in ours else 'not a phone of the lang folder'}",
                        file=names, hint=hint)
    return {i: ours[name] for name, i in table.items()}


def _parts(kaldi: Path) -> list[Path]:
    """The files ali.1.gz to ali.N.gz. N comes from ``num_jobs``, or else is the largest number of an existing file."""
    files = {int(number): p for p in kaldi.glob("ali.*.gz") if config.is_count(number := p.name[4:-3])}
    jobs = kaldi / "num_jobs"
    if jobs.is_file():
        text = jobs.read_text(encoding="utf-8", errors="replace").strip()
        if not config.is_count(text) or int(text) == 0:
            raise UserError(f"{text[:40]!r} is not a number of jobs", file=jobs, line=1, hint="copy it again")
        count = int(text)
    else:
        count = max(files, default=1)
    for n in range(1, count + 1):
        if n not in files:
            raise UserError(f"no such file, although the alignment has {count} parts", file=kaldi / f"ali.{n}.gz",
                            hint="copy all ali.*.gz and num_jobs of Kaldi's alignment folder")
    factor = kaldi / "frame_subsampling_factor"
    if factor.is_file() and factor.read_text(errors="replace").strip() not in ("", "1"):
        raise UserError("the alignment has subsampled frames", file=factor,
                        hint="align with a GMM, not with a chain model")
    return [files[n] for n in range(1, count + 1)]


def _read_parts(parts: list[Path], transitions: TransitionModel, model: Path) -> dict[str, np.ndarray]:
    alignment: dict[str, np.ndarray] = {}
    for path in parts:
        try:
            for utt, tids in read_int_vectors(path):
                if utt in alignment:
                    raise UserError(f"utterance {utt} occurs twice in the alignment",
                                    hint="copy the ali.*.gz of one alignment only")
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
    p.add_argument("--lang", type=Path, help="lang folder that the network will be used with; its phones must have "
                   "Kaldi's names (default: keep Kaldi's phone numbers)")
    p.add_argument("--out", type=Path, required=True, help="alignment folder to write")
    args = p.parse_args(argv)
    import_alignment(args.kaldi, args.out, model=args.model, lang=args.lang)


if __name__ == "__main__":
    main()
