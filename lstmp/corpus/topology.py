"""HMM topologies: which states a phone has, and how likely each transition is at the start of training.

A state is a tuple of ``(destination, probability)`` transitions; its pdf-class is its index. The final, non-emitting
state has the index that follows the last one. The text form is Kaldi's ``topo``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError

State = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Topology:
    """The HMM of every phone: ``entries[phone id]`` is the tuple of its emitting states, in order."""

    entries: dict[int, tuple[State, ...]]

    @classmethod
    def bakis(cls, *, nonsilence, silence, nonsilence_states: int = 3, silence_states: int = 5) -> "Topology":
        """Kaldi's default: left-to-right without skips for speech, an ergodic middle for silence.

        Args:
            nonsilence, silence: phone ids.
            nonsilence_states: each stays with 0.75 and steps to the next with 0.25.
            silence_states: the first goes to any but the last, the middle ones to any but the first, all with equal
                probability; the last stays with 0.75 and leaves with 0.25.
        """
        speech = tuple(((s, 0.75), (s + 1, 0.25)) for s in range(nonsilence_states))
        n = silence_states
        pause: tuple[State, ...]
        if n < 2:
            pause = tuple(((s, 0.75), (s + 1, 0.25)) for s in range(n))
        else:
            p = 1.0 / (n - 1)
            first: State = tuple((d, p) for d in range(n - 1))
            middle: State = tuple((d, p) for d in range(1, n))
            pause = (first, *[middle] * (n - 2), ((n - 1, 0.75), (n, 0.25)))
        return cls({**dict.fromkeys(nonsilence, speech), **dict.fromkeys(silence, pause)})

    def num_states(self, phone: int) -> int:
        """Number of emitting states (equally, of pdf-classes) of a phone."""
        return len(self.entries[phone])

    def text(self) -> str:
        """Kaldi's ``topo`` text, one entry for each group of phones that share their states."""
        groups: dict[tuple[State, ...], list[int]] = {}
        for phone, states in sorted(self.entries.items()):
            groups.setdefault(states, []).append(phone)
        lines = ["<Topology>"]
        for states, phones in groups.items():
            lines += ["<TopologyEntry>", "<ForPhones>", " ".join(map(str, phones)), "</ForPhones>"]
            for s, transitions in enumerate(states):
                arcs = " ".join(f"<Transition> {d} {p!r}" for d, p in transitions)
                lines.append(f"<State> {s} <PdfClass> {s} {arcs} </State>")
            lines += [f"<State> {len(states)} </State>", "</TopologyEntry>"]
        return "\n".join([*lines, "</Topology>"]) + "\n"

    def write(self, path):
        """Write :meth:`text` to a file."""
        config.write_text(path, self.text())

    @classmethod
    def read(cls, path) -> "Topology":
        """Read Kaldi's ``topo`` text.

        Raises:
            UserError: an unknown token, a state out of order, a destination that does not exist, or probabilities
                that are not positive or do not sum to one.
        """
        return _Reader(path).topology()


class _Reader:
    """Tokens of a topo file with their line numbers, and the grammar over them."""

    def __init__(self, path):
        self.path = Path(path)
        self.tokens = [(n, t) for n, line in numbered_lines(path) for t in re.findall(r"<[^>]*>|[^\s<>]+", line)]
        self.at = 0

    def fault(self, what: str) -> UserError:
        line = self.tokens[min(self.at, len(self.tokens)) - 1][0] if self.tokens else None
        return UserError(what, file=self.path, line=line,
                         hint="write it as Kaldi's gen_topo does, or run stage 2 again")

    def take(self, expected: str | None = None) -> str:
        token = self.tokens[self.at][1] if self.at < len(self.tokens) else "the end of the file"
        self.at += 1
        if expected is not None and token != expected:
            raise self.fault(f"expected {expected}, found {token}")
        return token

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else "the end of the file"

    def number(self, kind: type):
        token = self.take()
        try:
            return kind(token)
        except ValueError:
            raise self.fault(f"expected a number, found {token}") from None

    def topology(self) -> Topology:
        entries: dict[int, tuple[State, ...]] = {}
        self.take("<Topology>")
        while self.peek() != "</Topology>":
            self.take("<TopologyEntry>")
            self.take("<ForPhones>")
            phones = []
            while self.peek() != "</ForPhones>":
                phones.append(self.number(int))
            self.take()
            states = self.states()
            for phone in phones:
                if phone in entries:
                    raise self.fault(f"phone {phone} has two topologies")
                entries[phone] = states
        return Topology(entries)

    def states(self) -> tuple[State, ...]:
        states: list[State] = []
        while True:
            self.take("<State>")
            if self.number(int) != len(states):
                raise self.fault(f"expected state {len(states)}")
            if self.peek() == "</State>":
                break
            self.take("<PdfClass>")
            if self.number(int) != len(states):
                raise self.fault(f"the pdf-class of state {len(states)} must be {len(states)}")
            transitions = []
            while self.peek() == "<Transition>":
                self.take()
                transitions.append((self.number(int), self.number(float)))
            self.take("</State>")
            if any(p <= 0 for _, p in transitions) or abs(sum(p for _, p in transitions) - 1) > 0.01:
                raise self.fault(f"the transitions of state {len(states)} must be positive and sum to 1")
            states.append(tuple(transitions))
        self.take("</State>")
        self.take("</TopologyEntry>")
        if not states or any(not 0 <= d <= len(states) for s in states for d, _ in s):
            raise self.fault("a transition leads to a state that does not exist")
        return tuple(states)
