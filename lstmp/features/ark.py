"""Kaldi archives: matrices and integer vectors in one ``.ark`` file, with an ``.scp`` index of byte offsets beside it.

It reads what Kaldi writes and writes what Kaldi reads, with ``kaldi_io`` for vectors as text, opens no pipes, and turns
every damaged file into one line that names it. An ``.scp`` line is ``utt path:offset``, perhaps with a range of rows
and columns, ``[0:99,0:12]``. A relative path is relative to the current folder, as in Kaldi, and where that does not
exist, to the folder of the ``.scp`` itself, or the file lies beside it. What ends in ``.gz`` is unpacked.
"""

import contextlib
import gzip
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lstmp import config
from lstmp.aliases import Array
from lstmp.corpus.datadir import read_table
from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError, is_memory, naming
from lstmp.features.matrix import NotAMatrix, part_of, read_matrix, take
from lstmp.files import replacing

with contextlib.redirect_stderr(io.StringIO()):  # on import it prints a banner and extends PATH for Kaldi's programs
    _environment = {name: os.environ.get(name) for name in ("KALDI_ROOT", "PATH")}
    import kaldi_io

    for _name, _value in _environment.items():
        os.environ.pop(_name, None) if _value is None else os.environ.__setitem__(_name, _value)

_LONGEST_KEY = 4096  # bytes; where no space comes, it is not an archive
_NUMBER = np.dtype([("size", "i1"), ("value", "<i4")])  # of a binary integer vector
_HINT = "copy it again, or delete it and run the stage that makes it"


def read_scp(path: Path | str) -> dict[str, str]:
    """Read an ``.scp`` index: utterance (or speaker) → ``path:offset``, for :func:`read_mat`.

    Raises:
        UserError: no such file, a malformed or duplicate line, or a pipe in place of a path.
    """
    index, folder = {}, Path(path).parent
    for number, (key, rx) in enumerate(read_table(path).items(), 1):
        if rx.endswith("|") or rx.startswith("|"):
            raise UserError(f"`{key}` is a command, {rx!r}, which is not run", file=path, line=number,
                            hint="write what it gives to an archive, such as by `copy-feats scp:feats.scp "
                                 "ark,scp:new.ark,new.scp`; `id file.ark:offset` is read")
        name = _split(rx)[0]
        if not os.path.isabs(name) and not os.path.exists(name):
            for there in (folder / name, folder / Path(name).name):
                if there.exists():
                    rx = f"{there}{rx[len(name):]}"
                    break
        index[key] = rx
    return index


def archives_of(rxs: Iterable[str]) -> list[Path]:
    """The files of values of :func:`read_scp`, each once, sorted."""
    return [Path(name) for name in sorted({_split(rx)[0] for rx in rxs})]


def read_mat(rx: str, *, dim: int | None = None, dtype: type[np.floating[Any]] = np.float32) -> Array:
    """Read the matrix ``[T, D]`` at ``path:offset``, or its part at ``path:offset[rows,columns]``.

    Args:
        rx: a value of :func:`read_scp`.
        dim: the D to insist on.
        dtype: np.float32, or np.float64 for statistics.

    Raises:
        UserError: no such file, cut off or damaged, no such part, not ``dim`` wide, NaN or infinity within.
    """
    path, offset, span = _split(rx)
    mat = _parse(read_matrix, path, offset)
    if span is not None:
        try:
            mat = part_of(mat, span)
        except NotAMatrix as e:
            raise UserError(f"the range of {rx}: {e}", file=path, hint="correct the line of the .scp") from None
    if dim is not None and mat.shape[1] != dim:
        raise UserError(f"the matrix at byte {offset} is {mat.shape[1]} wide, {dim} expected", file=path,
                        hint="make all features with one configuration")
    if not np.isfinite(mat).all():
        row = int(np.argwhere(~np.isfinite(mat))[0, 0])
        raise UserError(f"NaN or infinity in frame {row} of the matrix at byte {offset}", file=path,
                        hint="check the audio of this utterance, then make the features again")
    return np.array(mat, dtype=dtype, order="C")


def read_int_vectors(path: Path | str) -> Iterator[tuple[str, Array]]:
    """Iterate over the integer vectors of an ``.ark`` (also ``.ark.gz``) or ``.scp``: (utterance, np.int32 [T]).

    Raises:
        UserError: no such file, cut off or damaged.
    """
    if str(path).endswith(".scp"):
        for key, rx in read_scp(path).items():
            name, offset, span = _split(rx)
            if span is not None:
                raise UserError(f"`{key}` has a range, [{span}], of a vector", file=path,
                                hint="ranges are of matrices; write the vector itself to an archive")
            yield key, _parse(_read_int_vector, name, offset)
        return
    with _open(path) as f:
        while True:
            start = f.tell()
            try:
                found = _read_key(f)
                vector = None if found is None else _read_int_vector(f)
            except Exception as e:  # kaldi_io raises whatever its parsing trips over
                raise _damaged(path, start, e) from None
            if found is None or vector is None:
                return
            yield found, vector


def write_int_vectors(path: Path | str, vectors: Iterable[tuple[str, Array]]) -> None:
    """Write (utterance, integers [T]) pairs to the archive ``path`` and its index, ``.scp`` in place of ``.ark``."""
    path = Path(path)
    with ArkWriter(path, path.with_suffix(".scp")) as writer:
        for key, vector in vectors:
            writer.write(key, vector)


def write_gzipped_int_vectors(path: Path | str, vectors: Iterable[tuple[str, Array]]) -> None:
    """Write (utterance, integers [T]) pairs as Kaldi's ``ali.1.gz``: a gzipped archive, without an index."""
    with replacing(path) as tmp, open(tmp, "wb") as raw:
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as f:  # the same bytes every time
            for key, vector in vectors:
                f.write(f"{key} ".encode() + _int_vector_bytes(vector))


class ArkWriter:
    """Write an archive and its index by temporary names, and rename both at the end of the ``with`` block.

    On an exception nothing is left behind, and what was there before stays.
    """

    def __init__(self, ark_path: Path | str, scp_path: Path | str):
        self.ark, self.scp = Path(ark_path), Path(scp_path)
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(replacing(p)) for p in (self.scp, self.ark)]  # .ark is renamed first
            self._scp_file = stack.enter_context(open(files[0], "w", encoding="utf-8"))
            self._ark_file = stack.enter_context(open(files[1], "wb"))
            self._stack = stack.pop_all()
        self._keys: set[str] = set()

    def write(self, key: str, array: Array) -> None:
        """Append a float matrix ``[T, D]`` or an integer vector ``[T]`` under ``key``."""
        if key in self._keys or not key or key.split() != [key]:
            raise UserError(f"{key!r} is not an id, or is written twice", file=self.ark,
                            hint="give each a name of its own, without spaces")
        self._keys.add(key)
        self._ark_file.write(f"{key} ".encode())
        self._scp_file.write(f"{key} {self.ark}:{self._ark_file.tell()}\n")
        array = np.asarray(array)
        if array.ndim == 2:
            mat = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
            kaldi_io.write_mat(self._ark_file, mat)
        else:
            self._ark_file.write(_int_vector_bytes(array))

    def __enter__(self) -> "ArkWriter":
        return self

    def __exit__(self, *fault: Any) -> None:
        self._stack.__exit__(*fault)


def _split(rx: str) -> tuple[str, int, str | None]:
    """(path, offset, range or None)."""
    whole, span = rx, None
    if rx.endswith("]") and "[" in rx:
        whole, _, span = rx[:-1].rpartition("[")
    path, colon, offset = whole.rpartition(":")
    return (path, int(offset), span) if colon and config.is_count(offset, 18) else (whole, 0, span)


def _open(path: Path | str) -> Any:
    try:
        return open_gzip(path) if str(path).endswith(".gz") else open(path, "rb")
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in its name
        raise UserError("no such archive", file=path, hint="check the path, or run the stage that makes it") from None


def _parse(read: Callable[[BinaryIO], Array], path: Path | str, offset: int) -> Array:
    with _open(path) as f:
        try:
            if offset >= os.stat(path).st_size and not str(path).endswith(".gz"):
                raise EOFError
            f.seek(offset)
            with naming(path):
                return read(f)
        except Exception as e:  # kaldi_io raises whatever its parsing trips over
            raise _damaged(path, offset, e) from None


def _damaged(path: Path | str, offset: int, e: Exception) -> Exception:
    if is_memory(e) or isinstance(e, OSError) and e.errno is not None:
        return e
    why = f": {e}" if isinstance(e, NotAMatrix) else ""
    return UserError(f"the archive is cut off or damaged at byte {offset}{why}", file=path, hint=_HINT)


def _read_key(f: BinaryIO) -> str | None:
    """The id before the next value, None at the end of the file. (kaldi_io's own takes ids for Latin-1.)"""
    key = bytearray()
    while (c := f.read(1)) not in (b"", b" ", b"\t"):
        key += c
        if len(key) > _LONGEST_KEY:
            raise ValueError
    if c == b"" and key.strip():
        raise EOFError
    return key.decode().strip() or None


def _read_int_vector(f: Any) -> Array:
    if not (first := f.peek(1)[:1]):
        raise EOFError
    if first != b"\0":
        return np.asarray(kaldi_io.read_vec_int(f), np.int32)  # text; of binary ones it believes the length
    head = take(f, 7)
    if head[:3] != b"\0B\4" or (size := int.from_bytes(head[3:], "little", signed=True)) < 0:
        raise ValueError
    numbers = np.frombuffer(take(f, size * _NUMBER.itemsize), _NUMBER)
    if (numbers["size"] != 4).any():
        raise ValueError
    return numbers["value"].astype(np.int32)


def _int_vector_bytes(vector: Array) -> bytes:
    """Kaldi's binary vector<int32>: each number behind a byte with its size. (kaldi_io writes them one by one.)"""
    vector = np.asarray(vector)
    if vector.ndim != 1 or vector.dtype.kind not in "iu":
        raise TypeError(f"an integer vector is expected, not {vector.dtype} {vector.shape}")
    body = np.empty(len(vector), _NUMBER)
    body["size"], body["value"] = 4, vector
    return b"\0B\4" + np.int32(len(vector)).tobytes() + body.tobytes()
