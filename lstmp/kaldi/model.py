"""Reads and writes Kaldi's ``final.mdl``: the transition model, followed by Gaussian mixtures.

    <TransitionModel>  topology  <Triples> n (phone state pdf) … </Triples>  <LogProbs> vector </LogProbs>
    </TransitionModel>  <DIMENSION> D <NUMPDFS> P  P × <DiagGMM> …, or a network

In models whose states have a separate pdf for the self-loop ("chain" models), there are ``<Tuples>`` of four numbers
instead of triples. Transition-ids are not in the file: as in lstmp, they number the arcs over the sorted triples.
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

_MAX_STATES = 100  # states per phone; about three are usual
_ALIGN_AGAIN = "align with a GMM of plain left-to-right or ergodic HMMs, such as those of Kaldi's train_deltas.sh"


def read_transition_model(path) -> TransitionModel:
    """Read the transition model of a ``final.mdl``, text or binary, of a GMM or a network.

    Raises:
        UserError: the file is missing, cut off or not a model, or has HMMs that
            :class:`~lstmp.corpus.topology.Topology` cannot express: states without a pdf, pdf-classes that are not the
            numbers of the states, or separate pdfs for self-loops.
    """
    return _read_transitions(KaldiReader(path))


def read_gmm(path) -> tuple[TransitionModel, DiagGmms]:
    """Read a ``final.mdl`` of a GMM with diagonal covariances, text or binary.

    Raises:
        UserError: as for :func:`read_transition_model`, or there are no mixtures, or invalid ones.
    """
    reader = KaldiReader(path)
    transitions = _read_transitions(reader)
    if reader.peek() != "<DIMENSION>":
        raise reader.error("no Gaussian mixtures in it", hint="give the final.mdl of a GMM, such as tri1, not of a "
                           "network")
    reader.token()
    dim = reader.integer()
    reader.token("<NUMPDFS>")
    mixtures = [_read_mixture(reader, dim, pdf) for pdf in range(reader.integer())]
    sizes = torch.tensor([len(m[0]) for m in mixtures])
    weights, means, variances = (torch.from_numpy(np.concatenate(x)) for x in zip(*mixtures, strict=True))
    return transitions, DiagGmms(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), weights, means, variances)


def _read_mixture(reader: KaldiReader, dim: int, pdf: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read weights [K], means and variances [K, D] of a pdf."""
    if reader.token("<DiagGMM>", "<DiagGMMBegin>", "<FullGMM>") == "<FullGMM>":
        raise reader.error("Gaussians with full covariances are not supported",
                           hint="give a model with diagonal covariances")
    if reader.token("<GCONSTS>", "<WEIGHTS>") == "<GCONSTS>":
        reader.reals()
        reader.token("<WEIGHTS>")
    weights = reader.reals()
    reader.token("<MEANS_INVVARS>")
    scaled_means = reader.matrix()
    reader.token("<INV_VARS>")
    inverse = reader.matrix()
    reader.token("</DiagGMM>", "<DiagGMMEnd>")
    if not scaled_means.shape == inverse.shape == (len(weights), dim) or not len(weights):
        raise reader.error(f"pdf {pdf} has {len(weights)} weights, means {scaled_means.shape} and variances "
                           f"{inverse.shape}, in {dim} dimensions")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        means, variances = (scaled_means / inverse).astype(np.float32), (1 / inverse).astype(np.float32)
    valid = np.isfinite(means).all() and np.isfinite(variances).all() and (variances > 0).all()
    if not valid or not (weights > 0).all() or abs(weights.sum() - 1) > 0.01:
        raise reader.error(f"the mixture of pdf {pdf} is invalid: weights must be above 0 and sum to 1, variances must "
                           "be above 0, and all values must be finite")
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
        raise reader.error("its transition log-probabilities are not finite, or above 0")
    try:
        model = TransitionModel(topology, tuples, torch.from_numpy(log_prob))
    except UserError as e:
        raise reader.error(e.what) from None
    position = reader.position
    if reader.peek() == "<DIMENSION>":  # a GMM follows: check its number of pdfs
        reader.token()
        reader.integer()
        reader.token("<NUMPDFS>")
        mixtures = reader.integer()
        if mixtures != model.num_pdfs:
            raise reader.error(f"{mixtures} mixtures for transitions over {model.num_pdfs} pdfs")
    reader.position = position
    return model


def _read_topology(reader: KaldiReader) -> Topology:
    """Read the topology. In binary form it has vectors of phones and of entry numbers instead of the text's tokens."""
    reader.token("<Topology>")
    entries: dict[int, tuple[State, ...]] = {}
    if reader.binary:
        phones, entry_of = reader.integers(), reader.integers()
        count = reader.integer()
        has_loop_class = count == -1  # Kaldi's mark that each state has a second pdf-class, for its self-loop
        if has_loop_class:
            count = reader.integer()
        hmms = [[_read_state(reader, has_loop_class) for _ in range(reader.count())] for _ in range(count)]
        for phone in phones:
            if not 0 <= phone < len(entry_of) or not 0 <= entry_of[phone] < len(hmms):
                raise reader.error(f"phone {phone} has no topology")
            entries[phone] = _to_entry(reader, phone, hmms[entry_of[phone]])
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
        raise reader.error("the topology has no phones, or phone 0")
    return Topology(entries)


def _read_state(reader: KaldiReader, has_loop_class: bool):
    """Read (pdf-class, pdf-class of the self-loop, transitions) of a state; pdf-class −1 means none."""
    forward = reader.integer()
    loop = reader.integer() if has_loop_class else forward
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
    """The emitting states of an HMM; in Kaldi's file a final state without pdf and transitions follows them."""
    if len(states) > _MAX_STATES:
        raise reader.error(f"phone {phone} has {len(states)} states")
    if len(states) < 2 or states[-1] != (-1, -1, ()):
        raise reader.error(f"the HMM of phone {phone} does not end in a final state")
    for s, (forward, loop, transitions) in enumerate(states[:-1]):
        if forward != loop:
            raise reader.error(f"state {s} of phone {phone} has a separate pdf-class for its self-loop, as in chain "
                               "models", hint=_ALIGN_AGAIN)
        if forward != s:
            what = "no pdf-class" if forward < 0 else f"pdf-class {forward}"
            raise reader.error(f"state {s} of phone {phone} has {what}, but only {s} is supported",
                               hint=_ALIGN_AGAIN)
        if not transitions or any(not 0 <= to < len(states) or not 0 < p <= 1.01 for to, p in transitions):
            raise reader.error(f"state {s} of phone {phone} has impossible transitions")
    return tuple(transitions for _, _, transitions in states[:-1])


def _read_tuples(reader: KaldiReader) -> list[tuple[int, int, int]]:
    four = reader.token("<Triples>", "<Tuples>") == "<Tuples>"
    tuples = []
    for _ in range(reader.count()):
        phone, state, pdf = reader.integer(), reader.integer(), reader.integer()
        if four and reader.integer() != pdf:
            raise reader.error(f"phone {phone}, state {state} has a separate pdf for its self-loop, as in chain models",
                               hint=_ALIGN_AGAIN)
        tuples.append((phone, state, pdf))
    reader.token("</Tuples>" if four else "</Triples>")
    return tuples


def _check_tuples(reader: KaldiReader, topology: Topology, tuples):
    for phone, state, pdf in tuples:
        if not 0 <= state < len(topology.entries.get(phone, ())) or pdf < 0:
            raise reader.error(f"its topology has no phone {phone} with state {state}, or pdf {pdf} is negative")
    if not tuples or any(a >= b for a, b in pairwise(tuples)):
        raise reader.error("its (phone, state, pdf) triples are not sorted, or there are none")


def write_model(path, transitions: TransitionModel, gmms: DiagGmms | None):
    """Write ``final.mdl`` in Kaldi's text form; only the transition model if ``gmms`` is None."""
    lines = ["<TransitionModel> \n", transitions.topology.text(), f"<Triples> {len(transitions.tuples)} \n"]
    lines += [f"{phone} {state} {pdf} \n" for phone, state, pdf in transitions.tuples.tolist()]
    lines += ["</Triples> \n<LogProbs> \n", reals_text(transitions.log_prob.clamp(max=0)),
              "</LogProbs> \n</TransitionModel> \n"]
    if gmms is not None:
        lines.append(f"<DIMENSION> {gmms.dim} <NUMPDFS> {gmms.num_pdfs} ")
        lines += [_mixture_text(gmms, p) for p in range(gmms.num_pdfs)]
    config.write_text(path, "".join(lines))


def _mixture_text(gmms: DiagGmms, pdf: int) -> str:
    """Kaldi's DiagGmm: constants of the log-likelihoods, weights, means divided by variances, inverse variances."""
    rows = slice(int(gmms.offsets[pdf]), int(gmms.offsets[pdf + 1]))
    coefficients, constants = gmms.linear()
    return (f"<DiagGMM> \n<GCONSTS> {reals_text(constants[rows])}<WEIGHTS> {reals_text(gmms.weights[rows])}"
            f"<MEANS_INVVARS> {_matrix_text(coefficients[rows, :gmms.dim])}"
            f"<INV_VARS> {_matrix_text(1.0 / gmms.variances[rows])}</DiagGMM> \n")


def _matrix_text(rows) -> str:
    return " [\n" + "\n".join("  " + " ".join(map(str, row)) for row in rows.numpy()) + " ]\n"
