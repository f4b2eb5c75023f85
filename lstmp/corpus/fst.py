"""OpenFst files: reading with a clear error, atomic writing, and the way between FSTs and numpy arrays.

Adding a million arcs through Python calls takes seconds; arrays take none. A binary VectorFst is a header and, state
by state, its final weight (float32), its number of arcs (int64) and the arcs (ilabel, olabel, weight, nextstate; four
bytes each), so that arrays and file map onto each other directly. A ConstFst, as Kaldi's mkgraph.sh writes HCLG, has
all states first (final weight, first arc, three numbers of arcs; four bytes each), then all arcs. Symbol tables behind
the header are skipped.
"""

import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np

from lstmp import files
from lstmp.errors import UserError, naming

_MAGIC, _SYMBOLS_MAGIC = 2125659606, 2125658996
_ALIGNED = 4  # the flag of a file whose parts begin at multiples of 16
_LONGEST_SYMBOL = 1 << 20  # bytes
_DETERMINIZE = """import resource, sys, kaldifst
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]),) * 2)
fst = kaldifst.StdVectorFst.read(sys.argv[1])
kaldifst.determinize_star(fst, use_log=True)
kaldifst.minimize_encoded(fst)
sys.exit(not fst.write(sys.argv[1]))"""
_EXPANDED_MUTABLE = 3  # the two property bits that hold for every VectorFst; the rest is left unknown


def read_fst(path) -> kaldifst.StdVectorFst:
    """Read a VectorFst<StdArc>, or a ConstFst into one. Raises UserError if it is absent or damaged."""
    arrays = FstArrays.read(path)  # kaldifst would take its header's numbers on trust
    if (header := _check_header(path)).kind == "const" or header.symbols:
        return arrays.to_fst()
    return _read(path)


def _read(path) -> kaldifst.StdVectorFst:
    with naming(path):
        fst = kaldifst.StdVectorFst.read(str(path))
    if fst is None:
        raise _damaged(path)
    return fst


def write_fst(fst, path):
    """Write an FST by a temporary name and a rename."""
    path = Path(path)
    with files.replacing(path) as tmp:
        open(tmp, "wb").close()  # raises the OSError (read-only, disk full …) that kaldifst would keep to itself
        if not fst.write(str(tmp)):
            raise UserError("cannot be written", file=path, hint="check the free disk space and run again")


def determinized(fst, seconds: int, megabytes: int) -> kaldifst.StdVectorFst | None:
    """The deterministic and minimal form of an acceptor in the log semiring; None if it takes more time of the
    processor or more memory than this, as it does where there is no such form.

    It works in a process of its own: kaldifst cannot be stopped otherwise.
    """
    with files.temporary_folder() as tmp:
        path = tmp / "fst"
        write_fst(fst, path)
        job = subprocess.run([sys.executable, "-c", _DETERMINIZE, str(path), str(seconds), str(megabytes << 20)],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return _read(path) if job.returncode == 0 else None


@dataclass
class FstArrays:
    """An FST over the tropical semiring as arrays: states are 0 … S−1, arcs are sorted by source state.

    Attributes:
        start: the start state, −1 if the FST is empty.
        final: float32 [S], cost (negative log-probability) of ending there; inf where the state is not final.
        src, ilabel, olabel, dst: int32 [A].
        weight: float32 [A], costs.
    """

    start: int
    final: np.ndarray
    src: np.ndarray
    ilabel: np.ndarray
    olabel: np.ndarray
    weight: np.ndarray
    dst: np.ndarray

    @classmethod
    def read(cls, path) -> "FstArrays":
        """Read a binary VectorFst<StdArc> or ConstFst without going through objects: about 10 million arcs a second.

        Raises:
            UserError: it is absent or damaged, which includes labels below 0 and weights that are no costs.
        """
        header = _check_header(path)
        start, num_states = header.start, header.num_states
        if header.kind == "const":
            return cls._read_const(path, header)
        with naming(path):
            raw = np.fromfile(path, dtype=np.int32, offset=header.length)
        if not 0 <= 3 * num_states <= len(raw):  # before anything is made of such a size
            raise _damaged(path)
        words = raw.data
        first = np.empty(num_states, np.int64)  # where each state's record begins; each depends on the one before
        at, end = 0, len(raw)
        for s in range(num_states):
            if at + 3 > end:
                raise _damaged(path)
            first[s] = at
            at += 3 + 4 * (words[at + 1] if words[at + 1] >= 0 else end)
        if at != end or (num_states and (raw[first + 2] != 0).any()):
            raise _damaged(path)
        counts = raw[first + 1]
        is_arc = np.ones(end, bool)
        for k in range(3):
            is_arc[first + k] = False
        return cls._of_parts(path, start, raw[first], counts, raw[is_arc].reshape(-1, 4))

    @classmethod
    def _read_const(cls, path, header: "_Header") -> "FstArrays":
        first, arcs_at = header.length, header.length + 20 * header.num_states
        if header.aligned:
            first += -first % 16
            arcs_at = first + 20 * header.num_states
            arcs_at += -arcs_at % 16
        if header.num_states < 0 or header.num_arcs < 0 or Path(path).stat().st_size != arcs_at + 16 * header.num_arcs:
            raise _damaged(path)
        states = np.fromfile(path, np.int32, 5 * header.num_states, offset=first).reshape(-1, 5)
        arcs = np.fromfile(path, np.int32, 4 * header.num_arcs, offset=arcs_at).reshape(-1, 4)
        counts = states[:, 2]
        whole = (counts >= 0).all() and (states[:, 1] == np.cumsum(counts, dtype=np.int64) - counts).all()
        if not whole or counts.sum(dtype=np.int64) != len(arcs):
            raise _damaged(path)
        return cls._of_parts(path, header.start, states[:, 0].copy(), counts, arcs)

    @classmethod
    def _of_parts(cls, path, start: int, final: np.ndarray, counts: np.ndarray, arcs: np.ndarray) -> "FstArrays":
        """Bits of the final weights int32 [S], arcs of each state [S], and arcs as in the file, int32 [A, 4]."""
        src = np.repeat(np.arange(len(final), dtype=np.int32), counts)
        ilabel, olabel, weight, dst = (arcs[:, k].copy() for k in range(4))
        final, weight = final.view(np.float32), weight.view(np.float32)
        if not -1 <= start < len(final) or (
                len(arcs) and not (0 <= arcs[:, [0, 1, 3]].min() and dst.max() < len(final))):
            raise _damaged(path)
        if not (final > -np.inf).all() or not (weight > -np.inf).all():  # nor NaN
            raise _damaged(path)
        return cls(start, final, src, ilabel, olabel, weight, dst)

    @classmethod
    def of(cls, fst) -> "FstArrays":
        """The arrays of a kaldifst FST (by way of a temporary file)."""
        with files.temporary_folder() as tmp:
            write_fst(fst, tmp / "fst")
            return cls.read(tmp / "fst")

    def to_fst(self) -> kaldifst.StdVectorFst:
        """The same as a kaldifst VectorFst (by way of a temporary file)."""
        with files.temporary_folder() as tmp:
            self.write(tmp / "fst")
            return _read(tmp / "fst")

    def write(self, path):
        """Write a binary VectorFst<StdArc> by a temporary name and a rename."""
        num_states, num_arcs = len(self.final), len(self.src)
        if num_arcs and (np.diff(self.src) < 0).any():
            raise ValueError("arcs must be sorted by their source state")
        counts = np.bincount(self.src, minlength=num_states)
        first = 3 * np.arange(num_states) + 4 * (np.cumsum(counts) - counts)
        out = np.zeros(3 * num_states + 4 * num_arcs, np.int32)
        out[first] = self.final.astype(np.float32).view(np.int32)
        out[first + 1] = counts
        at = 3 * (self.src.astype(np.int64) + 1) + 4 * np.arange(num_arcs)
        out[at], out[at + 1], out[at + 3] = self.ilabel, self.olabel, self.dst
        out[at + 2] = self.weight.astype(np.float32).view(np.int32)
        header = struct.pack("<i", _MAGIC)
        for name in (b"vector", b"standard"):
            header += struct.pack("<i", len(name)) + name
        header += struct.pack("<iiQqqq", 2, 0, _EXPANDED_MUTABLE, self.start, num_states, num_arcs)
        with files.replacing(path) as tmp, open(tmp, "wb") as f:
            f.write(header)
            f.write(out.data.cast("B"))


def bypass(fst: FstArrays, useless: np.ndarray) -> FstArrays:
    """Lead arcs past states that have one way on and nothing else.

    Args:
        fst: may have no cycle of useless arcs.
        useless: bool [A], the arcs to take out; each must be the only arc of its state, and that state neither final
            nor the start. They are left out with their input and output labels; arcs that lead into them go straight
            on and take over their weights.

    Returns:
        the FST with the same states, those passed by now unreachable.
    """
    onward, cost = np.arange(len(fst.final)), np.zeros(len(fst.final))
    onward[fst.src[useless]], cost[fst.src[useless]] = fst.dst[useless], fst.weight[useless]
    while (onward[onward] != onward).any():  # each round halves the chains that are left
        cost, onward = cost + cost[onward], onward[onward]
    keep = ~useless
    dst = fst.dst[keep]
    return FstArrays(fst.start, fst.final, fst.src[keep], fst.ilabel[keep], fst.olabel[keep],
                     (fst.weight[keep] + cost[dst]).astype(np.float32), onward[dst].astype(np.int32))


def sole_exits(fst: FstArrays) -> np.ndarray:
    """bool [A]: the arcs that are the only way on from their state, which is neither final nor the start."""
    degree = np.bincount(fst.src, minlength=len(fst.final))
    return (degree[fst.src] == 1) & ~np.isfinite(fst.final[fst.src]) & (fst.src != fst.start)


@dataclass(frozen=True)
class _Header:
    """What stands before the states: ``kind`` is vector or const, ``length`` in bytes, with ``symbols`` tables."""

    kind: str
    start: int
    num_states: int
    num_arcs: int
    length: int
    aligned: bool
    symbols: bool


def _check_header(path) -> _Header:
    if not Path(path).is_file():
        raise UserError("no such file", file=path, hint="run the stage that makes it")
    with open(path, "rb") as f:
        head = f.read(128)
        try:
            at = 4
            names = []
            for _ in range(2):
                (n,) = struct.unpack_from("<I", head, at)
                names.append(head[at + 4 : at + 4 + n])
                at += 4 + n
            version, flags, _, start, num_states, num_arcs = struct.unpack_from("<iiQqqq", head, at)
        except (struct.error, IndexError):
            raise _damaged(path) from None
        if struct.unpack_from("<i", head)[0] != _MAGIC:
            raise _damaged(path)
        if (names[0], version) not in ((b"vector", 2), (b"const", 1), (b"const", 2)) or names[1] != b"standard":
            shown = " ".join(name.decode("ascii", "replace")[:20] for name in names)
            raise UserError(f"an FST of kind `{shown}`, where vector or const over the tropical semiring can be read",
                            file=path, hint="convert it by `fstconvert --fst_type=vector`, or run the stage that makes "
                                            "it again")
        f.seek(at + struct.calcsize("<iiQqqq"))
        try:
            for table in (1, 2):
                if flags & table:
                    _skip_symbols(f)
        except (struct.error, ValueError, OverflowError):
            raise _damaged(path) from None
        return _Header(names[0].decode(), start, num_states, num_arcs, f.tell(), version == 1 or bool(flags & _ALIGNED),
                       bool(flags & 3))


def _skip_symbols(f):
    """A symbol table: magic number, name, a number, how many there are, and each with its id."""
    def read(form: str) -> int:
        return struct.unpack(form, f.read(struct.calcsize(form)))[0]

    def skip_text():
        length = read("<i")
        if not 0 <= length <= _LONGEST_SYMBOL or len(f.read(length)) != length:
            raise ValueError

    if read("<i") != _SYMBOLS_MAGIC:
        raise ValueError
    skip_text()
    read("<q")
    for _ in range(read("<q")):
        skip_text()
        read("<q")


def _damaged(path) -> UserError:
    return UserError("not an OpenFst file, or cut off", file=path,
                     hint="remove it and run the stage that makes it again")
