"""Reads and writes OpenFst files, with clear errors and atomic writing, and converts FSTs to and from numpy arrays.

Adding a million arcs through Python calls takes seconds, whereas converting from arrays takes almost no time. A binary
VectorFst consists of a header and of one record per state: the final weight (float32), the number of arcs (int64) and
the arcs (ilabel, olabel, weight, nextstate; four bytes each). Therefore arrays can be copied directly to the file and
back. A ConstFst, the format in which Kaldi's mkgraph.sh writes HCLG, contains first all states (final weight, first
arc, three arc counts; four bytes each), then all arcs. Symbol tables after the header are skipped.
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
_ALIGNED = 4  # flag of a file in which states and arcs begin at multiples of 16 bytes
_LONGEST_SYMBOL = 1 << 20  # bytes
_DETERMINIZE = """import resource, sys, kaldifst
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]),) * 2)
fst = kaldifst.StdVectorFst.read(sys.argv[1])
kaldifst.determinize_star(fst, use_log=True)
kaldifst.minimize_encoded(fst)
sys.exit(not fst.write(sys.argv[1]))"""
_EXPANDED_MUTABLE = 3  # the two property bits that are set in every VectorFst; the other bits are left unset


def read_fst(path) -> kaldifst.StdVectorFst:
    """Read a VectorFst<StdArc> or ConstFst as VectorFst. Raises UserError if the file is missing or damaged."""
    arrays = FstArrays.read(path)  # kaldifst does not check the numbers in the header
    if (header := _check_header(path)).fst_type == "const" or header.symbols:
        return arrays.to_fst()
    return _read(path)


def _read(path) -> kaldifst.StdVectorFst:
    with naming(path):
        fst = kaldifst.StdVectorFst.read(str(path))
    if fst is None:
        raise _damaged(path)
    return fst


def write_fst(fst, path):
    """Write an FST atomically (temporary file and rename)."""
    path = Path(path)
    with files.replacing(path) as tmp:
        open(tmp, "wb").close()  # raises an OSError (read-only, disk full …), which kaldifst would not report
        if not fst.write(str(tmp)):
            raise UserError("the file cannot be written", file=path, hint="check the free disk space and run again")


def determinize(fst, seconds: int, megabytes: int) -> kaldifst.StdVectorFst | None:
    """Determinize and minimize an acceptor in the log semiring.

    This runs in a separate process, because kaldifst cannot be interrupted.

    Args:
        fst: the acceptor.
        seconds: limit of CPU time.
        megabytes: limit of memory.

    Returns:
        The new acceptor; None if a limit was exceeded, which happens if the acceptor is not determinizable.
    """
    with files.temporary_folder() as tmp:
        path = tmp / "fst"
        write_fst(fst, path)
        job = subprocess.run([sys.executable, "-c", _DETERMINIZE, str(path), str(seconds), str(megabytes << 20)],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return _read(path) if job.returncode == 0 else None


@dataclass
class FstArrays:
    """An FST over the tropical semiring as arrays. States are 0 … S−1; arcs are sorted by source state.

    Attributes:
        start: the start state, −1 if the FST is empty.
        final: float32 [S], final cost (negative log-probability) of each state; inf if the state is not final.
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
        """Read a binary VectorFst<StdArc> or ConstFst directly into arrays, about 10 million arcs per second.

        Raises:
            UserError: the file is missing or damaged; negative labels and weights of −inf or NaN count as damage.
        """
        header = _check_header(path)
        start, num_states = header.start, header.num_states
        if header.fst_type == "const":
            return cls._read_const(path, header)
        with naming(path):
            raw = np.fromfile(path, dtype=np.int32, offset=header.length)
        if not 0 <= 3 * num_states <= len(raw):  # checked before an array of this size is allocated
            raise _damaged(path)
        words = raw.data
        first = np.empty(num_states, np.int64)  # start of each state's record, which depends on the previous record
        position, end = 0, len(raw)
        for s in range(num_states):
            if position + 3 > end:
                raise _damaged(path)
            first[s] = position
            position += 3 + 4 * (words[position + 1] if words[position + 1] >= 0 else end)
        if position != end or (num_states and (raw[first + 2] != 0).any()):
            raise _damaged(path)
        counts = raw[first + 1]
        is_arc = np.ones(end, bool)
        for k in range(3):
            is_arc[first + k] = False
        return cls._of_parts(path, start, raw[first], counts, raw[is_arc].reshape(-1, 4))

    @classmethod
    def _read_const(cls, path, header: "_Header") -> "FstArrays":
        states_offset, arcs_offset = header.length, header.length + 20 * header.num_states
        if header.aligned:
            states_offset += -states_offset % 16
            arcs_offset = states_offset + 20 * header.num_states
            arcs_offset += -arcs_offset % 16
        size = arcs_offset + 16 * header.num_arcs
        if header.num_states < 0 or header.num_arcs < 0 or Path(path).stat().st_size != size:
            raise _damaged(path)
        states = np.fromfile(path, np.int32, 5 * header.num_states, offset=states_offset).reshape(-1, 5)
        arcs = np.fromfile(path, np.int32, 4 * header.num_arcs, offset=arcs_offset).reshape(-1, 4)
        counts = states[:, 2]
        valid = (counts >= 0).all() and (states[:, 1] == np.cumsum(counts, dtype=np.int64) - counts).all()
        if not valid or counts.sum(dtype=np.int64) != len(arcs):
            raise _damaged(path)
        return cls._of_parts(path, header.start, states[:, 0].copy(), counts, arcs)

    @classmethod
    def _of_parts(cls, path, start: int, final: np.ndarray, counts: np.ndarray, arcs: np.ndarray) -> "FstArrays":
        """Build the FST from the parts of a file, and check them.

        Args:
            path: the file, for messages.
            start: start state.
            final: int32 [S], the bits of the final weights.
            counts: [S], number of arcs of each state.
            arcs: int32 [A, 4], arcs as in the file.
        """
        src = np.repeat(np.arange(len(final), dtype=np.int32), counts)
        ilabel, olabel, weight, dst = (arcs[:, k].copy() for k in range(4))
        final, weight = final.view(np.float32), weight.view(np.float32)
        if not -1 <= start < len(final) or (
                len(arcs) and not (0 <= arcs[:, [0, 1, 3]].min() and dst.max() < len(final))):
            raise _damaged(path)
        if not (final > -np.inf).all() or not (weight > -np.inf).all():  # false for NaN as well
            raise _damaged(path)
        return cls(start, final, src, ilabel, olabel, weight, dst)

    @classmethod
    def of(cls, fst) -> "FstArrays":
        """Convert a kaldifst FST, through a temporary file."""
        with files.temporary_folder() as tmp:
            write_fst(fst, tmp / "fst")
            return cls.read(tmp / "fst")

    def to_fst(self) -> kaldifst.StdVectorFst:
        """Convert to a kaldifst VectorFst, through a temporary file."""
        with files.temporary_folder() as tmp:
            self.write(tmp / "fst")
            return _read(tmp / "fst")

    def write(self, path):
        """Write a binary VectorFst<StdArc> atomically (temporary file and rename)."""
        num_states, num_arcs = len(self.final), len(self.src)
        if num_arcs and (np.diff(self.src) < 0).any():
            raise ValueError("arcs must be sorted by their source state")
        counts = np.bincount(self.src, minlength=num_states)
        first = 3 * np.arange(num_states) + 4 * (np.cumsum(counts) - counts)
        out = np.zeros(3 * num_states + 4 * num_arcs, np.int32)
        out[first] = self.final.astype(np.float32).view(np.int32)
        out[first + 1] = counts
        arc = 3 * (self.src.astype(np.int64) + 1) + 4 * np.arange(num_arcs)  # position of each arc
        out[arc], out[arc + 1], out[arc + 3] = self.ilabel, self.olabel, self.dst
        out[arc + 2] = self.weight.astype(np.float32).view(np.int32)
        header = struct.pack("<i", _MAGIC)
        for name in (b"vector", b"standard"):
            header += struct.pack("<i", len(name)) + name
        header += struct.pack("<iiQqqq", 2, 0, _EXPANDED_MUTABLE, self.start, num_states, num_arcs)
        with files.replacing(path) as tmp, open(tmp, "wb") as f:
            f.write(header)
            f.write(out.data.cast("B"))


def bypass(fst: FstArrays, useless: np.ndarray) -> FstArrays:
    """Remove arcs that are the only arc of their state, and redirect the arcs that enter these states.

    Args:
        fst: the FST; the useless arcs must not form a cycle.
        useless: bool [A], the arcs to remove. Each must be the only arc of its state, and this state must be neither
            final nor the start state. Their labels are dropped. Arcs that enter such a state lead to the destination
            of the useless arc instead, and its weight is added to theirs.

    Returns:
        The FST with the same states; the bypassed states have become unreachable.
    """
    target, cost = np.arange(len(fst.final)), np.zeros(len(fst.final))
    target[fst.src[useless]], cost[fst.src[useless]] = fst.dst[useless], fst.weight[useless]
    while (target[target] != target).any():  # each iteration halves the length of the remaining chains
        cost, target = cost + cost[target], target[target]
    keep = ~useless
    dst = fst.dst[keep]
    return FstArrays(fst.start, fst.final, fst.src[keep], fst.ilabel[keep], fst.olabel[keep],
                     (fst.weight[keep] + cost[dst]).astype(np.float32), target[dst].astype(np.int32))


def sole_exits(fst: FstArrays) -> np.ndarray:
    """Return a mask, bool [A], of the arcs that are the only arc of a state that is neither final nor the start."""
    degree = np.bincount(fst.src, minlength=len(fst.final))
    return (degree[fst.src] == 1) & ~np.isfinite(fst.final[fst.src]) & (fst.src != fst.start)


@dataclass(frozen=True)
class _Header:
    """The header of an OpenFst file.

    Attributes:
        fst_type: vector or const.
        start, num_states, num_arcs: numbers as in the file.
        length: bytes before the states, including symbol tables.
        aligned: whether states and arcs begin at multiples of 16 bytes.
        symbols: whether there are symbol tables.
    """

    fst_type: str
    start: int
    num_states: int
    num_arcs: int
    length: int
    aligned: bool
    symbols: bool


def _check_header(path) -> _Header:
    if not Path(path).is_file():
        raise UserError("no such file", file=path, hint="run the stage that creates it")
    with open(path, "rb") as f:
        head = f.read(128)
        try:
            position = 4
            names = []
            for _ in range(2):
                (n,) = struct.unpack_from("<I", head, position)
                names.append(head[position + 4 : position + 4 + n])
                position += 4 + n
            version, flags, _, start, num_states, num_arcs = struct.unpack_from("<iiQqqq", head, position)
        except (struct.error, IndexError):
            raise _damaged(path) from None
        if struct.unpack_from("<i", head)[0] != _MAGIC:
            raise _damaged(path)
        if (names[0], version) not in ((b"vector", 2), (b"const", 1), (b"const", 2)) or names[1] != b"standard":
            shown = " ".join(name.decode("ascii", "replace")[:20] for name in names)
            raise UserError(f"an FST of the type `{shown}` cannot be read, only vector or const with standard arcs",
                            file=path, hint="convert it with `fstconvert --fst_type=vector`, or run again the stage "
                                            "that creates it")
        f.seek(position + struct.calcsize("<iiQqqq"))
        try:
            for table in (1, 2):
                if flags & table:
                    _skip_symbols(f)
        except (struct.error, ValueError, OverflowError):
            raise _damaged(path) from None
        return _Header(names[0].decode(), start, num_states, num_arcs, f.tell(), version == 1 or bool(flags & _ALIGNED),
                       bool(flags & 3))


def _skip_symbols(f):
    """Skip a symbol table: magic number, name, next free id, number of symbols, and each symbol with its id."""
    def read(format_: str) -> int:
        return struct.unpack(format_, f.read(struct.calcsize(format_)))[0]

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
    return UserError("not a valid OpenFst file", file=path,
                     hint="remove it and run again the stage that creates it")
