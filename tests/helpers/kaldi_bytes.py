"""Writes Kaldi's binary format byte by byte, independently of the code under test."""

import gzip
import shutil
import struct


def word(token: str) -> bytes:
    return token.encode() + b" "


def i4(n: int) -> bytes:
    return b"\x04" + struct.pack("<i", n)


def u4(n: int) -> bytes:
    return b"\xfc" + struct.pack("<I", n)


def f4(x: float) -> bytes:
    return b"\x04" + struct.pack("<f", x)


def ints(values) -> bytes:
    return b"\x04" + struct.pack(f"<i{len(values)}i", len(values), *values)


def floats(values) -> bytes:
    return word("FV") + i4(len(values)) + struct.pack(f"<{len(values)}f", *values)


def doubles(values) -> bytes:
    return word("DV") + i4(len(values)) + struct.pack(f"<{len(values)}d", *values)


def table(key, *entries) -> bytes:
    return word("TE") + i4(key) + u4(len(entries)) + word("(") + b"".join(entries) + word(")")


def question(key, yes, then, otherwise) -> bytes:
    return word("SE") + i4(key) + ints(yes) + word("{") + then + otherwise + word("}")


def leaf(pdf) -> bytes:
    return word("CE") + i4(pdf)


NULL = word("NULL")


def tree(width, central, whole, before=b"") -> bytes:
    return (b"\0B" + word("ContextDependency") + i4(width) + i4(central) + before + word("ToPdf") + whole
            + word("EndContextDependency"))


def model(phones, entry_of, entries, tuples, log_probs, after=b"", numbers=floats) -> bytes:
    """A transition model.

    Args:
        entries: HMMs, each a list of states (pdf-class, [(destination, probability)]), or (pdf-class, pdf-class of the
            self-loop, [(destination, probability)]).
    """
    has_loop_class = len(entries[0][0]) == 3
    out = b"\0B" + word("<TransitionModel>") + word("<Topology>") + ints(phones) + ints(entry_of)
    out += (i4(-1) if has_loop_class else b"") + i4(len(entries))
    for states in entries:
        out += i4(len(states))
        for *classes, arcs in states:
            out += b"".join(map(i4, classes)) + i4(len(arcs)) + b"".join(i4(to) + f4(p) for to, p in arcs)
    name = "Tuples" if has_loop_class else "Triples"
    out += word("</Topology>") + word(f"<{name}>") + i4(len(tuples)) + b"".join(i4(x) for t in tuples for x in t)
    out += word(f"</{name}>") + word("<LogProbs>") + numbers(log_probs) + word("</LogProbs>")
    return out + word("</TransitionModel>") + after


def gzipped_ark(vectors: dict) -> bytes:
    return gzip.compress(b"".join(
        word(utt) + b"\0B" + i4(len(v)) + b"".join(map(i4, v)) for utt, v in vectors.items()))


# Phone 1 has one state, phones 2 and 3 have two, and each state has its own pdf. This tree was written by Kaldi's own
# code (kaldi_hmm_gmm 1.1.4, monophone_context_dependency_shared, ContextDependency.write in binary and in text form).
MONO_TREE = (
    b'\x00BContextDependency \x04\x01\x00\x00\x00\x04\x00\x00\x00\x00ToPdf TE \x04\x00\x00\x00\x00\xfc\x04\x00\x00\x00'
    b'( NULL TE \x04\xff\xff\xff\xff\xfc\x01\x00\x00\x00( CE \x04\x00\x00\x00\x00) TE \x04\xff\xff\xff\xff\xfc\x02\x00'
    b'\x00\x00( CE \x04\x01\x00\x00\x00CE \x04\x02\x00\x00\x00) TE \x04\xff\xff\xff\xff\xfc\x02\x00\x00\x00( CE \x04'
    b'\x03\x00\x00\x00CE \x04\x04\x00\x00\x00) ) EndContextDependency ')
MONO_TREE_TEXT = """ContextDependency 1 0 ToPdf TE 0 4 ( NULL TE -1 1 ( CE 0 )\x20
TE -1 2 ( CE 1 CE 2 )\x20
TE -1 2 ( CE 3 CE 4 )\x20
)\x20
EndContextDependency\x20"""
ONE_STATE = [(0, [(0, 0.5), (1, 0.5)]), (-1, [])]
TWO_STATES = [(0, [(0, 0.75), (1, 0.25)]), (1, [(1, 0.7), (2, 0.3)]), (-1, [])]
TRIPLES = [(1, 0, 0), (2, 0, 1), (2, 1, 2), (3, 0, 3), (3, 1, 4)]
# the result of Kaldi's code for this topology and tree: id2pdf_id and log_probs, by transition-id
MONO_TID_PDF = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
MONO_LOG_PROBS = [0.0, -0.6931471824645996, -0.6931471824645996, -0.28768208622932434, -1.3862943649291992,
                  -0.3566749691963196, -1.2039728164672852, -0.28768208622932434, -1.3862943649291992,
                  -0.3566749691963196, -1.2039728164672852]
MONO_MODEL = model([1, 2, 3], [-1, 0, 1, 1], [ONE_STATE, TWO_STATES], TRIPLES, MONO_LOG_PROBS)
MONO_MODEL_TEXT = """<TransitionModel>\x20
<Topology>\x20
<TopologyEntry>\x20
<ForPhones>\x20
1\x20
</ForPhones>\x20
<State> 0 <PdfClass> 0 <Transition> 0 0.5 <Transition> 1 0.5 </State>\x20
<State> 1 </State>\x20
</TopologyEntry>\x20
<TopologyEntry>\x20
<ForPhones>\x20
2 3\x20
</ForPhones>\x20
<State> 0 <PdfClass> 0 <Transition> 0 0.75 <Transition> 1 0.25 </State>\x20
<State> 1 <PdfClass> 1 <Transition> 1 0.7 <Transition> 2 0.3 </State>\x20
<State> 2 </State>\x20
</TopologyEntry>\x20
</Topology>\x20
<Triples> 5\x20
1 0 0\x20
2 0 1\x20
2 1 2\x20
3 0 3\x20
3 1 4\x20
</Triples>\x20
<LogProbs>\x20
 [ 0 -0.6931472 -0.6931472 -0.2876821 -1.386294 -0.356675 -1.203973 -0.2876821 -1.386294 -0.356675 -1.203973 ]
</LogProbs>\x20
</TransitionModel>\x20
"""


def matrix(rows, number_type: str = "f") -> bytes:
    return (word("FM" if number_type == "f" else "DM") + i4(len(rows)) + i4(len(rows[0]))
            + b"".join(struct.pack(f"<{len(row)}{number_type}", *row) for row in rows))


def mixtures(dim: int, pdfs, number_type: str = "f") -> bytes:
    """Kaldi's AmDiagGmm, which follows the transition model; ``pdfs`` has (weights, means, variances) of each pdf."""
    out = word("<DIMENSION>") + i4(dim) + word("<NUMPDFS>") + i4(len(pdfs))
    for weights, means, variances in pdfs:
        scaled_means = [[m / v for m, v in zip(*row, strict=True)] for row in zip(means, variances, strict=True)]
        out += word("<DiagGMM>") + word("<GCONSTS>") + floats([0.0] * len(weights)) + word("<WEIGHTS>")
        out += floats(weights) + word("<MEANS_INVVARS>") + matrix(scaled_means, number_type) + word("<INV_VARS>")
        out += matrix([[1 / v for v in row] for row in variances], number_type) + word("</DiagGMM>")
    return out


# Five pdfs with one or two Gaussians in two dimensions, for MONO_MODEL.
FIVE_PDFS = [([1.0], [[p, -p]], [[0.5, 2.0]]) if p % 2 else ([0.25, 0.75], [[p, 0], [0, p]], [[1, 2], [0.25, 4]])
             for p in range(5)]


def lang_folder(source, target):
    """Copy a lang folder without the files that Kaldi's lang folders do not have."""
    shutil.copytree(source, target)
    for name in ("lexiconp.txt", "silprob.txt"):
        (target / name).unlink()
    return target
