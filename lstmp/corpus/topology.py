"""HMM topologies: the states of each phone, and the initial probabilities of their transitions.

A state is a tuple of ``(destination, probability)`` transitions; its pdf-class is its index. The index of the final,
non-emitting state is the number of emitting states. The file format is Kaldi's ``topo``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError

State = tuple[tuple[int, float], ...]
_CHAIN: tuple[State, State] = (((1, 0.5), (2, 0.5)), ((1, 0.5), (2, 0.5)))


@dataclass(frozen=True)
class Topology:
    """The HMM of every phone: ``entries[phone id]`` is the tuple of its emitting states, in order."""

    entries: dict[int, tuple[State, ...]]

    @classmethod
    def bakis(cls, *, nonsilence, silence, nonsilence_states: int = 3, silence_states: int = 5) -> "Topology":
        """Build Kaldi's default topology: left-to-right without skips for speech, ergodic inner states for silence.

        Args:
            nonsilence, silence: phone ids.
            nonsilence_states: number of states of nonsilence phones. Each state has a self-loop with the probability
                0.75 and a transition to the next state with 0.25.
            silence_states: number of states of silence phones. The first state leads to all states except the last, and
                the inner states lead to all states except the first, with equal probabilities. The last state has a
                self-loop with the probability 0.75 and leads to the final state with 0.25.
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

    @classmethod
    def one_state(cls, phones) -> "Topology":
        """One emitting state for each phone id, for networks with a low frame rate: a phone takes one frame or more.

        Self-loop and exit both have the probability 0.5. So every frame of every path contributes the same factor, and
        durations are left to the network, as in Povey et al. 2016.
        """
        return cls(dict.fromkeys(phones, (((0, 0.5), (1, 0.5)),)))

    @classmethod
    def chain(cls, phones) -> "Topology":
        """Two emitting states for each phone id: one for its first frame, one for all others, if there are any.

        As in :meth:`one_state`, a phone takes one frame or more, and every frame contributes the factor 0.5. But the
        first frame tells that a phone begins. (Kaldi's topology of chain models, with one HMM state that has a
        ForwardPdfClass and a SelfLoopPdfClass, allows the same sequences of pdfs; Povey et al. 2016, section 2.4.)
        """
        return cls(dict.fromkeys(phones, _CHAIN))

    @property
    def has_one_state(self) -> bool:
        """Whether every phone has a single emitting state."""
        return all(len(states) == 1 for states in self.entries.values())

    @property
    def is_chain(self) -> bool:
        """Whether every phone has the states of :meth:`chain`."""
        return all(states == _CHAIN for states in self.entries.values())

    @property
    def for_low_rate(self) -> bool:
        """Whether every phone may be as short as one frame: it has one state, or those of :meth:`chain`."""
        return self.has_one_state or self.is_chain

    def self_loop_scale(self, usual: float) -> float:
        """The scale of the log-probabilities of staying in and of leaving a state; ``usual`` is that of GMMs.

        With the topology of chain models it is 1, so that all frames contribute the same factor.
        """
        return 1.0 if self.is_chain else usual

    def fits(self, lang: "Topology") -> bool:
        """Whether a model with this topology can be used with a lang folder: both are equal, or this is a topology for
        low frame rates with the same phones."""
        return self == lang or self.for_low_rate and self.entries.keys() == lang.entries.keys()

    def num_states(self, phone: int) -> int:
        """Return the number of emitting states of a phone, which is also its number of pdf-classes."""
        return len(self.entries[phone])

    def text(self) -> str:
        """Return the text of Kaldi's ``topo`` file, with one entry for each group of phones with equal states."""
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
        """Read Kaldi's ``topo`` file.

        Raises:
            UserError: the file has an unknown token, a state out of order, a destination that does not exist, or
                probabilities that are not positive or do not sum to 1.
        """
        return _Reader(path).topology()


class _Reader:
    """A recursive-descent parser of a topo file; its tokens have line numbers."""

    def __init__(self, path):
        self.path = Path(path)
        self.tokens = [(n, t) for n, line in numbered_lines(path) for t in re.findall(r"<[^>]*>|[^\s<>]+", line)]
        self.position = 0

    def error(self, what: str) -> UserError:
        line = self.tokens[min(self.position, len(self.tokens)) - 1][0] if self.tokens else None
        return UserError(what, file=self.path, line=line,
                         hint="use the format of Kaldi's gen_topo, or run stage 2 again")

    def take(self, expected: str | None = None) -> str:
        token = self.tokens[self.position][1] if self.position < len(self.tokens) else "the end of the file"
        self.position += 1
        if expected is not None and token != expected:
            raise self.error(f"expected {expected}, found {token}")
        return token

    def peek(self) -> str:
        return self.tokens[self.position][1] if self.position < len(self.tokens) else "the end of the file"

    def number(self, number_type: type):
        token = self.take()
        try:
            return number_type(token)
        except ValueError:
            raise self.error(f"expected a number, found {token}") from None

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
                    raise self.error(f"phone {phone} has two topologies")
                entries[phone] = states
        return Topology(entries)

    def states(self) -> tuple[State, ...]:
        states: list[State] = []
        while True:
            self.take("<State>")
            if self.number(int) != len(states):
                raise self.error(f"expected state {len(states)}")
            if self.peek() == "</State>":
                break
            self.take("<PdfClass>")
            if self.number(int) != len(states):
                raise self.error(f"the pdf-class of state {len(states)} must be {len(states)}")
            transitions = []
            while self.peek() == "<Transition>":
                self.take()
                transitions.append((self.number(int), self.number(float)))
            self.take("</State>")
            if any(p <= 0 for _, p in transitions) or abs(sum(p for _, p in transitions) - 1) > 0.01:
                raise self.error(f"the transitions of state {len(states)} must be positive and sum to 1")
            states.append(tuple(transitions))
        self.take("</State>")
        self.take("</TopologyEntry>")
        if not states or any(not 0 <= d <= len(states) for s in states for d, _ in s):
            raise self.error("a transition leads to a state that does not exist")
        return tuple(states)
