"""Kaldi's ``final.mdl``, read and written: the transition model at its head, and the Gaussian mixtures after it.

    <TransitionModel>  topology  <Triples> n (phone state pdf) … </Triples>  <LogProbs> vector </LogProbs>
    </TransitionModel>  <DIMENSION> D <NUMPDFS> P  P × <DiagGMM> …, or a network

Where Kaldi's states have a pdf of their own for the self-loop (its "chain" models), ``<Tuples>`` of four stand in place
of the triples. Transition-ids are not in the file: they count the arcs over the sorted triples, as ours do.
"""

from itertools import pairwise

import numpy as np
import torch

from lstmp import config
from lstmp.corpus.topology import State, Topology
from lstmp.errors import UserError
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.transition import TransitionModel
from lstmp.kaldi.stream import KaldiReader, reals_text

_MOST_STATES = 100  # of a phone; some three are usual
_ALIGN_AGAIN = "align with a GMM of plain left-to-right or ergodic HMMs, such as Kaldi's train_deltas.sh makes"


def read_transition_model(path) -> TransitionModel:
    """Read the transition model of a ``final.mdl``, text or binary, of a GMM or a network.

    Raises:
        UserError: no such file, not a model, cut off, or HMMs that :class:`~lstmp.corpus.topology.Topology` cannot
            express: states without a pdf, pdf-classes that are not the states' numbers, pdfs for self-loops alone.
    """
    return _read_transitions(KaldiReader(path))


def read_gmm(path) -> tuple[TransitionModel, DiagGmms]:
    """Read a ``final.mdl`` of a GMM with diagonal covariances, text or binary.

    Raises:
        UserError: as :func:`read_transition_model`, or there are no mixtures, or not such that can be.
    """
    reader = KaldiReader(path)
    transitions = _read_transitions(reader)
    if reader.peek() != "<DIMENSION>":
        raise reader.fault("no Gaussian mixtures in it", hint="give the final.mdl of a GMM, such as tri1's, not of a "
                           "network")
    reader.token()
    dim = reader.integer()
    reader.token("<NUMPDFS>")
    mixtures = [_read_mixture(reader, dim, pdf) for pdf in range(reader.integer())]
    sizes = torch.tensor([len(m[0]) for m in mixtures])
    weights, means, variances = (torch.from_numpy(np.concatenate(x)) for x in zip(*mixtures, strict=True))
    return transitions, DiagGmms(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), weights, means, variances)


def _read_mixture(reader: KaldiReader, dim: int, pdf: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [K], means and variances [K, D] of a pdf."""
    if reader.token("<DiagGMM>", "<DiagGMMBegin>", "<FullGMM>") == "<FullGMM>":
        raise reader.fault("Gaussians with full covariances cannot be taken over",
                           hint="give a model with diagonal ones")
    if reader.token("<GCONSTS>", "<WEIGHTS>") == "<GCONSTS>":
        reader.reals()
        reader.token("<WEIGHTS>")
    weights = reader.reals()
    reader.token("<MEANS_INVVARS>")
    slopes = reader.matrix()
    reader.token("<INV_VARS>")
    inverse = reader.matrix()
    reader.token("</DiagGMM>", "<DiagGMMEnd>")
    if not slopes.shape == inverse.shape == (len(weights), dim) or not len(weights):
        raise reader.fault(f"pdf {pdf} has {len(weights)} weights, means {slopes.shape} and variances {inverse.shape}, "
                           f"in {dim} dimensions")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        means, variances = (slopes / inverse).astype(np.float32), (1 / inverse).astype(np.float32)
    good = np.isfinite(means).all() and np.isfinite(variances).all() and (variances > 0).all()
    if not good or not (weights > 0).all() or abs(weights.sum() - 1) > 0.01:
        raise reader.fault(f"the mixture of pdf {pdf} is none: weights must be above 0 and sum to 1, variances be "
                           "above 0, all be finite")
    return weights, means, variances


def _read_transitions(reader: KaldiReader) -> TransitionModel:
    reader.token("<TransitionModel>")
    topology = _read_topology(reader)
    tuples = _read_tuples(reader)
    _check_tuples(reader, topology, tuples)
    reader.token("<LogProbs>")
    log_prob = reader.reals()
    reader.token("</LogProbs>")
    reader.token("</TransitionModel>")
    if not np.isfinite(log_prob).all() or (log_prob[1:] > 1e-3).any():
        raise reader.fault("its transition log-probabilities are not finite, or above 0")
    try:
        model = TransitionModel(topology, tuples, torch.from_numpy(log_prob))
    except UserError as e:
        raise reader.fault(e.what) from None
    here = reader.at
    if reader.peek() == "<DIMENSION>":  # a GMM follows
        reader.token()
        reader.integer()
        reader.token("<NUMPDFS>")
        mixtures = reader.integer()
        if mixtures != model.num_pdfs:
            raise reader.fault(f"{mixtures} mixtures for transitions over {model.num_pdfs} pdfs")
    reader.at = here
    return model


def _read_topology(reader: KaldiReader) -> Topology:
    """The topology's own two forms: the binary one is a vector of phones and one of entries, not the text's tokens."""
    reader.token("<Topology>")
    entries: dict[int, tuple[State, ...]] = {}
    if reader.binary:
        phones, entry_of = reader.integers(), reader.integers()
        count = reader.integer()
        own_loops = count == -1  # Kaldi's mark that each state has a second pdf-class, of its self-loop
        if own_loops:
            count = reader.integer()
        kinds = [[_read_state(reader, own_loops) for _ in range(reader.count())] for _ in range(count)]
        for phone in phones:
            if not 0 <= phone < len(entry_of) or not 0 <= entry_of[phone] < len(kinds):
                raise reader.fault(f"phone {phone} has no topology")
            entries[phone] = _to_entry(reader, phone, kinds[entry_of[phone]])
    else:
        while reader.peek() == "<TopologyEntry>":
            reader.token()
            reader.token("<ForPhones>")
            phones = []
            while reader.peek() != "</ForPhones>":
                phones.append(reader.integer())
            reader.token()
            states = []
            while reader.peek() == "<State>":
                states.append(_read_text_state(reader))
            reader.token("</TopologyEntry>")
            entries.update({phone: _to_entry(reader, phone, states) for phone in phones})
    reader.token("</Topology>")
    if not entries or min(entries) < 1:
        raise reader.fault("the topology has no phones, or phone 0")
    return Topology(entries)


def _read_state(reader: KaldiReader, own_loops: bool):
    """(pdf-class, pdf-class of the self-loop, transitions); −1 stands for none."""
    forward = reader.integer()
    loop = reader.integer() if own_loops else forward
    return forward, loop, tuple((reader.integer(), reader.real()) for _ in range(reader.count()))


def _read_text_state(reader: KaldiReader):
    reader.token("<State>")
    reader.integer()
    forward = loop = -1
    transitions = []
    while (token := reader.token("<PdfClass>", "<ForwardPdfClass>", "<SelfLoopPdfClass>", "<Transition>",
                                 "</State>")) != "</State>":
        if token == "<Transition>":
            transitions.append((reader.integer(), reader.real()))
        elif token == "<SelfLoopPdfClass>":
            loop = reader.integer()
        else:
            forward = loop = reader.integer()
    return forward, loop, tuple(transitions)


def _to_entry(reader: KaldiReader, phone: int, states) -> tuple[State, ...]:
    """The emitting states; Kaldi has a final state after them, without pdf or transitions."""
    if len(states) > _MOST_STATES:
        raise reader.fault(f"phone {phone} has {len(states)} states")
    if len(states) < 2 or states[-1] != (-1, -1, ()):
        raise reader.fault(f"the HMM of phone {phone} does not end in a final state")
    for s, (forward, loop, transitions) in enumerate(states[:-1]):
        if forward != loop:
            raise reader.fault(f"state {s} of phone {phone} has a self-loop with a pdf-class of its own, as in chain "
                               "models",
                               hint=_ALIGN_AGAIN)
        if forward != s:
            what = "no pdf-class" if forward < 0 else f"pdf-class {forward}"
            raise reader.fault(f"state {s} of phone {phone} has {what}, where only {s} can be expressed",
                               hint=_ALIGN_AGAIN)
        if not transitions or any(not 0 <= to < len(states) or not 0 < p <= 1.01 for to, p in transitions):
            raise reader.fault(f"state {s} of phone {phone} has transitions that cannot be")
    return tuple(transitions for _, _, transitions in states[:-1])


def _read_tuples(reader: KaldiReader) -> list[tuple[int, int, int]]:
    four = reader.token("<Triples>", "<Tuples>") == "<Tuples>"
    tuples = []
    for _ in range(reader.count()):
        phone, state, pdf = reader.integer(), reader.integer(), reader.integer()
        if four and reader.integer() != pdf:
            raise reader.fault(f"phone {phone}, state {state} has another pdf for its self-loop, as in chain models",
                               hint=_ALIGN_AGAIN)
        tuples.append((phone, state, pdf))
    reader.token("</Tuples>" if four else "</Triples>")
    return tuples


def _check_tuples(reader: KaldiReader, topology: Topology, tuples):
    for phone, state, pdf in tuples:
        if not 0 <= state < len(topology.entries.get(phone, ())) or pdf < 0:
            raise reader.fault(f"its topology has no phone {phone} with state {state}, or pdf {pdf} is negative")
    if not tuples or any(a >= b for a, b in pairwise(tuples)):
        raise reader.fault("its (phone, state, pdf) triples are not sorted, or there are none")


def write_model(path, transitions: TransitionModel, gmms: DiagGmms | None):
    """Write ``final.mdl`` in Kaldi's text form; without ``gmms`` the transition model alone."""
    lines = ["<TransitionModel> \n", transitions.topology.text(), f"<Triples> {len(transitions.tuples)} \n"]
    lines += [f"{phone} {state} {pdf} \n" for phone, state, pdf in transitions.tuples.tolist()]
    lines += ["</Triples> \n<LogProbs> \n", reals_text(transitions.log_prob.clamp(max=0)),
              "</LogProbs> \n</TransitionModel> \n"]
    if gmms is not None:
        lines.append(f"<DIMENSION> {gmms.dim} <NUMPDFS> {gmms.num_pdfs} ")
        lines += [_mixture_text(gmms, p) for p in range(gmms.num_pdfs)]
    config.write_text(path, "".join(lines))


def _mixture_text(gmms: DiagGmms, pdf: int) -> str:
    """Kaldi's DiagGmm: the constants of the log-likelihoods, weights, means divided by variances, inverse variances."""
    rows = slice(int(gmms.offsets[pdf]), int(gmms.offsets[pdf + 1]))
    slopes, constants = gmms.linear()
    return (f"<DiagGMM> \n<GCONSTS> {reals_text(constants[rows])}<WEIGHTS> {reals_text(gmms.weights[rows])}"
            f"<MEANS_INVVARS> {_matrix_text(slopes[rows, :gmms.dim])}"
            f"<INV_VARS> {_matrix_text(1.0 / gmms.variances[rows])}</DiagGMM> \n")


def _matrix_text(rows) -> str:
    return " [\n" + "\n".join("  " + " ".join(map(str, row)) for row in rows.numpy()) + " ]\n"
