"""The denominator graph of LF-MMI: phone language model, context and HMM as one graph of pdfs, without epsilons.

It is the HMM of all that could have been said (Povey et al. 2016, "Purely sequence-trained neural networks for ASR
based on lattice-free MMI"). A phone in context is one state with a self-loop. Each arc from another phone into the
state emits one pdf, that of the beginning of the phone; the self-loop emits the pdf of the other frames, which is the
same if the topology has one state for each phone. So the pdfs belong to the states: forward and backward passes then
add over arcs, and multiply with the network's output only twice per state.

A state of the graph is a phone in context, after a history of the phone language model. If the tree asks about the next
phone, there is a state for each group of next phones that share its pdfs; the probability of the group is moved to the
arcs into the state. So the arcs that leave a state sum to 1, with the probability that the utterance ends there.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp.errors import UserError
from lstmp.gmm.model import AcousticModel
from lstmp.graph.phone_lm import BEGIN, PhoneLm
from lstmp.tensors import are, opened, write_tensors

NAME = "denominator.safetensors"
_STEPS = 100  # frames over which initial probabilities are averaged, as in the paper
_HINT = "remove it and run steps/make_denominator.sh again"


@dataclass(frozen=True)
class Denominator:
    """A graph of S states and A arcs. State 0 is the begin of an utterance, and no arc leads to it.

    Attributes:
        pdf, loop_pdf: int64 [S], what is emitted when a state is entered, and by its self-loop; 0 for state 0.
        phone: int64 [S], the phone that a state belongs to; 0 for state 0.
        initial: float64 [S], log-probability of being in a state before the first frame of a chunk, which may be cut
            from an utterance at any frame: the average over the first 100 frames of utterances.
        final: float64 [S], log-probability that the utterance ends in this state, −inf if none does. Chunks may end in
            every state, so the criterion does not use it.
        stay: float64 [S], log-probability of the self-loop, −inf for state 0.
        source, target: int64 [A], the arcs from phone to phone, sorted by target. One may lead from a state to itself,
            which begins the same phone again.
        weight: float64 [A], their log-probabilities: phone language model and HMM.
        num_pdfs: number of pdfs of the tree, at least the highest of ``pdf`` + 1.
    """

    pdf: np.ndarray
    loop_pdf: np.ndarray
    phone: np.ndarray
    initial: np.ndarray
    final: np.ndarray
    stay: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    num_pdfs: int

    def arcs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Source, target, pdf and weight of all arcs, self-loops and those from phone to phone, sorted by target."""
        loops = np.arange(1, len(self.pdf))
        target = np.concatenate([self.target, loops])
        order = np.argsort(target, kind="stable")
        return (np.concatenate([self.source, loops])[order], target[order],
                np.concatenate([self.pdf[self.target], self.loop_pdf[1:]])[order],
                np.concatenate([self.weight, self.stay[1:]])[order])

    def write(self, path):
        """Write a safetensors file, atomically."""
        arrays = {name: x for name, x in vars(self).items() if name != "num_pdfs"}
        write_tensors(path, {name: torch.from_numpy(x) for name, x in arrays.items()},
                      {"num_pdfs": str(self.num_pdfs)})

    @classmethod
    def read(cls, path) -> "Denominator":
        """Read a file of :meth:`write`, or that of a folder of ``steps/make_denominator.sh``.

        Raises:
            UserError: it is missing or damaged.
        """
        path = Path(path)
        path = path / NAME if path.is_dir() else path
        names = ("pdf", "phone", "initial", "final", "stay", "source", "target", "weight")
        with opened(path, "not a denominator graph, or cut off", _HINT,
                    ("no such file", "run steps/make_denominator.sh"), framework="np") as f:
            arrays = {name: f.get_tensor(name) for name in names}
            loop_pdf = f.get_tensor("loop_pdf") if "loop_pdf" in f.keys() else arrays["pdf"]  # before it was written
            graph = cls(**arrays, loop_pdf=loop_pdf, num_pdfs=int(f.metadata()["num_pdfs"]))
        if not graph.is_consistent():
            raise UserError("its arrays are not consistent with each other", file=path, hint=_HINT)
        return graph

    def is_consistent(self) -> bool:
        """Whether shapes, dtypes and values fit together; compiled code does not check them."""
        if not (are("int64", self.pdf, self.loop_pdf, self.phone, self.source, self.target)
                and are("float64", self.initial, self.final, self.stay, self.weight)):
            return False
        states = len(self.pdf)
        of_states = (self.loop_pdf, self.phone, self.initial, self.final, self.stay)
        if states < 2 or any(len(x) != states for x in of_states):
            return False
        if not len(self.source) == len(self.target) == len(self.weight) > 0:
            return False
        with np.errstate(over="ignore"):
            total = np.exp(self.initial).sum()
        return bool(
            0 <= self.pdf.min() and self.pdf.max() < self.num_pdfs and 0 <= self.loop_pdf.min()
            and self.loop_pdf.max() < self.num_pdfs and 0 == self.source.min()
            and self.source.max() < states and 1 <= self.target.min() and self.target.max() < states
            and (np.diff(self.target) >= 0).all() and np.isfinite(self.weight).all()
            and np.isfinite(self.stay[1:]).all() and self.stay[0] == -np.inf
            and not np.isnan(self.final).any() and abs(total - 1) < 1e-3)


def make_denominator(lm: PhoneLm, model: AcousticModel) -> Denominator:
    """Compose the phone language model with the tree and the HMMs of a model.

    Raises:
        UserError: the topology is not one for low frame rates, or the tree has no model for a phone.
    """
    transitions = model.transitions
    if not transitions.topology.for_low_rate:
        raise UserError("the denominator graph needs phones that may be as short as one frame",
                        hint="give a folder of steps/tie_states.sh --topology chain")
    last = 1 if transitions.topology.is_chain else 0  # the HMM state with the self-loop
    # in chain models a frame is as likely the last one of its phone in either state, so one probability is enough
    stay = transitions.self_loop_log_prob().double().numpy()
    leave = np.log1p(-np.exp(stay))
    following = _following(lm)
    states: dict[tuple, int] = {(0, (0, 0), ()): 0}  # (state of the LM, pdfs, next phones) → number
    mass, phones, tuples = [0.0], [0], [-1]
    entered: list[list[int]] = []  # for each arc of the LM the states that it leads to
    for source, phone, target in zip(lm.source.tolist(), lm.phone.tolist(), lm.target.tolist(), strict=True):
        entered.append([])
        for pdfs, nexts in _by_pdf(model, lm.histories[source][-1], phone, list(following[target]), last).items():
            key = target, pdfs, nexts
            if key not in states:
                states[key] = len(states)
                mass.append(np.logaddexp.reduce([following[target][p] for p in nexts]))
                phones.append(phone)
                tuples.append(transitions.tuple_index(phone, last, pdfs[1]))
            entered[-1].append(states[key])
    first = np.searchsorted(lm.source, np.arange(len(lm.histories) + 1))
    final = np.full(len(states), -np.inf)
    arcs = []
    for (at, _, nexts), state in states.items():
        out = 0.0 if state == 0 else leave[tuples[state]] - mass[state]
        if BEGIN in nexts:
            final[state] = lm.final[at] + out
        for arc in range(first[at], first[at + 1]):
            if state == 0 or int(lm.phone[arc]) in nexts:
                arcs += [(to, state, lm.log_prob[arc] + out + mass[to]) for to in entered[arc]]
    target, source, weight = (np.array(x) for x in zip(*sorted(arcs), strict=True))
    begins, others = np.array([p for _, p, _ in states]).T.copy()
    loops = np.append(-np.inf, stay[tuples[1:]])
    return Denominator(begins, others, np.array(phones), _initial(loops, source, target, weight), final, loops, source,
                       target, weight, model.tree.num_pdfs)


def _following(lm: PhoneLm) -> list[dict[int, float]]:
    """For each state of the LM the next phones, ``BEGIN`` for the end of the utterance, and their log-probabilities."""
    out: list[dict[int, float]] = [{} for _ in lm.histories]
    for source, phone, log_prob in zip(lm.source.tolist(), lm.phone.tolist(), lm.log_prob.tolist(), strict=True):
        out[source][phone] = log_prob
    for state in np.flatnonzero(np.isfinite(lm.final)).tolist():
        out[state][BEGIN] = float(lm.final[state])
    return out


def _by_pdf(model: AcousticModel, left: int, phone: int, nexts: list[int],
            last: int) -> dict[tuple[int, int], tuple[int, ...]]:
    """The next phones, grouped by the pdfs of ``phone`` before them; one group if the tree does not ask.

    The pdfs are those of the phone's first HMM state and of the state ``last``.
    """
    tree = model.tree

    def pdfs(after: int) -> tuple[int, int]:
        window = tree.window(left, phone, after)
        return tree.pdf(window, 0), tree.pdf(window, last)

    if tree.context_width < 3:
        return {pdfs(0): tuple(nexts)}
    groups: dict[tuple[int, int], tuple[int, ...]] = {}
    for after in nexts:
        both = pdfs(after)
        groups[both] = (*groups.get(both, ()), after)
    return groups


def _initial(stay: np.ndarray, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The average of the distributions over the states after 0, 1 … 99 frames, given that the utterance goes on."""
    prob, now, total = np.exp(weight), np.eye(1, len(stay))[0], np.zeros(len(stay))
    for _ in range(_STEPS):
        total += now
        now = now * np.exp(stay) + np.bincount(target, now[source] * prob, minlength=len(stay))
        now /= max(now.sum(), 1e-300)
    with np.errstate(divide="ignore"):
        return np.log(total / total.sum())
