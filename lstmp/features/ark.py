"""Reads and writes Kaldi archives: ``.ark`` files of matrices or integer vectors, and ``.scp`` indexes of byte offsets.

Files are compatible with Kaldi; matrices are written with ``kaldi_io``. Pipes are not opened. A damaged file is an
error that names it. Gzipped files are decompressed. An ``.scp`` line is ``utt path:offset``, optionally with a range of
rows and columns, ``[0:99,0:12]``. A relative path is resolved against the current folder, as in Kaldi; if there is no
such file, against the folder of the ``.scp``; otherwise its last part is looked up in that folder.
"""

import contextlib
import gzip
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lstmp import config
from lstmp.aliases import Array
from lstmp.corpus.datadir import read_table
from lstmp.corpus.textlines import odd_characters
from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError, is_memory, naming
from lstmp.features.matrix import NotAMatrix, compress, read_exactly, read_matrix, select_range
from lstmp.files import replacing

with contextlib.redirect_stderr(io.StringIO()):  # importing it prints a banner and extends PATH for Kaldi's programs
    _environment = {name: os.environ.get(name) for name in ("KALDI_ROOT", "PATH")}
    import kaldi_io

    for _name, _value in _environment.items():
        os.environ.pop(_name, None) if _value is None else os.environ.__setitem__(_name, _value)

_MAX_KEY = 4096  # bytes; without a space among them, the file is not an archive
_MAX_LINE = 1 << 26  # maximum bytes of a vector in text form
_INTEGER = re.compile(rb"[-+]?[0-9]{1,10}")
_ELEMENT = np.dtype([("size", "i1"), ("value", "<i4")])  # one element of a binary integer vector
_HINT = "copy it again, or delete it and run the stage that makes it"


def read_scp(path: Path | str) -> dict[str, str]:
    """Read an ``.scp`` index: utterance (or speaker) → ``path:offset``, for :func:`read_mat`.

    Raises:
        UserError: there is no such file, a line is malformed or duplicate, or an entry is a pipe.
    """
    index, folder = {}, Path(path).parent
    for number, (key, rx) in enumerate(read_table(path).items(), 1):
        if rx.endswith("|") or rx.startswith("|"):
            raise UserError(f"`{key}` is a command, {rx!r}, and commands are not run", file=path, line=number,
                            hint="write its output to an archive, such as with `copy-feats scp:feats.scp "
                                 "ark,scp:new.ark,new.scp`; a line must be `id file.ark:offset`")
        name = _split(rx)[0]
        if not os.path.isabs(name) and not os.path.exists(name):
            for candidate in (folder / name, folder / Path(name).name):
                if candidate.exists():
                    rx = f"{candidate}{rx[len(name):]}"
                    break
        index[key] = rx
    return index


def archives_of(rxs: Iterable[str]) -> list[Path]:
    """List the archives that values of :func:`read_scp` refer to, sorted, without duplicates."""
    return [Path(name) for name in sorted({_split(rx)[0] for rx in rxs})]


def position(rx: str) -> tuple[str, int]:
    """The archive that a value of :func:`read_scp` refers to, and the offset in it."""
    return _split(rx)[:2]


def read_mat(rx: str, *, dim: int | None = None, dtype: type[np.floating[Any]] = np.float32) -> Array:
    """Read the matrix ``[T, D]`` at ``path:offset``, or the range of it at ``path:offset[rows,columns]``.

    Args:
        rx: a value of :func:`read_scp`.
        dim: D that the matrix must have; None: any.
        dtype: np.float32, or np.float64 for statistics.

    Raises:
        UserError: there is no such file or range, the file is truncated or damaged, the matrix does not have ``dim``
            columns, or a value is NaN or infinite.
    """
    path, offset, range_text = _split(rx)
    mat = _parse(read_matrix, path, offset)
    if range_text is not None:
        try:
            mat = select_range(mat, range_text)
        except NotAMatrix as e:
            raise UserError(f"the range of {rx}: {e}", file=path, hint="correct the line of the .scp") from None
    if dim is not None and mat.shape[1] != dim:
        raise UserError(f"the matrix at byte {offset} has {mat.shape[1]} columns, {dim} expected", file=path,
                        hint="make all features with one configuration")
    if not np.isfinite(mat).all():
        row = int(np.argwhere(~np.isfinite(mat))[0, 0])
        raise UserError(f"NaN or infinity in frame {row} of the matrix at byte {offset}", file=path,
                        hint="check the audio of this utterance, then make the features again")
    return np.array(mat, dtype=dtype, order="C")


def read_int_vector(rx: str) -> Array:
    """Read the integer vector np.int32 [T] at ``path:offset``.

    Raises:
        UserError: there is no such file, or it is truncated or damaged.
    """
    path, offset, _ = _split(rx)
    return _parse(_read_int_vector, path, offset)


def vector_index(path: Path | str) -> dict[str, str]:
    """Where each vector of an ``.ark`` or ``.scp`` is: utterance → ``path:offset`` for :func:`read_int_vector`.

    Raises:
        UserError: as for :func:`read_int_vectors`.
    """
    if not str(path).endswith(".scp"):
        return {utt: f"{path}:{offset}" for utt, offset, _ in _read_ark(path)}
    index = read_scp(path)
    for utt, rx in index.items():
        if (range_text := _split(rx)[2]) is not None:
            raise UserError(f"`{utt}` has a range, [{range_text}], of a vector", file=path,
                            hint="only matrices can have ranges; write the whole vector to an archive")
    return index


def read_int_vectors(path: Path | str) -> Iterator[tuple[str, Array]]:
    """Iterate over the integer vectors of an ``.ark`` (also ``.ark.gz``) or ``.scp``: (utterance, np.int32 [T]).

    Raises:
        UserError: there is no such file, it is truncated or damaged, or an utterance occurs twice.
    """
    if str(path).endswith(".scp"):
        yield from ((utt, read_int_vector(rx)) for utt, rx in vector_index(path).items())
    else:
        yield from ((utt, vector) for utt, _, vector in _read_ark(path))


def _read_ark(path: Path | str) -> Iterator[tuple[str, int, Array]]:
    """(utterance, offset of its vector, vector) of each integer vector of an archive."""
    keys: set[str] = set()
    with _open(path) as f:
        while True:
            start = f.tell()
            try:
                if start == 0 and f.peek(3)[:3] == b"\xef\xbb\xbf":  # byte order mark
                    f.seek(3)
                key = _read_key(f)
                offset = f.tell()
                vector = None if key is None else _read_int_vector(f)
            except Exception as e:
                raise _damaged(path, start, e) from None
            if key is None or vector is None:
                return
            if key in keys:
                raise UserError(f"`{key}` occurs twice, again at byte {start}", file=path,
                                hint="remove one of them")
            keys.add(key)
            yield key, offset, vector


def write_int_vectors(path: Path | str, vectors: Iterable[tuple[str, Array]]) -> None:
    """Write (utterance, integers [T]) pairs to the archive ``path`` and its index, the same path with ``.scp``."""
    path = Path(path)
    with ArkWriter(path, path.with_suffix(".scp")) as writer:
        for key, vector in vectors:
            writer.write(key, vector)


def write_gzipped_int_vectors(path: Path | str, vectors: Iterable[tuple[str, Array]]) -> None:
    """Write (utterance, integers [T]) pairs as Kaldi's ``ali.1.gz``: a gzipped archive, without an index."""
    with replacing(path) as tmp, open(tmp, "wb") as raw:
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as f:  # no time stamp: reproducible bytes
            for key, vector in vectors:
                f.write(f"{key} ".encode() + _int_vector_bytes(vector))


class ArkWriter:
    """Context manager that writes an archive and its index; existing files are replaced at the end of the block.

    With ``compressed``, matrices take a quarter of the space and lose precision, see
    :func:`lstmp.features.matrix.compress`.
    After an exception the existing files are unchanged and temporary files are removed.
    """

    def __init__(self, ark_path: Path | str, scp_path: Path | str, compressed: bool = False):
        self._compressed = compressed
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
                            hint="give each a unique id without spaces")
        self._keys.add(key)
        self._ark_file.write(f"{key} ".encode())
        self._scp_file.write(f"{key} {self.ark}:{self._ark_file.tell()}\n")
        array = np.asarray(array)
        if array.ndim == 2 and self._compressed:
            self._ark_file.write(compress(array))
        elif array.ndim == 2:
            mat = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
            kaldi_io.write_mat(self._ark_file, mat)
        else:
            self._ark_file.write(_int_vector_bytes(array))

    def __enter__(self) -> "ArkWriter":
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.__exit__(*exc_info)


def _split(rx: str) -> tuple[str, int, str | None]:
    """Split ``path:offset[range]`` into (path, offset, range or None)."""
    whole, range_text = rx, None
    if rx.endswith("]") and "[" in rx:
        whole, _, range_text = rx[:-1].rpartition("[")
    path, colon, offset = whole.rpartition(":")
    return (path, int(offset), range_text) if colon and config.is_count(offset, 18) else (whole, 0, range_text)


def _open(path: Path | str) -> Any:
    try:
        with open(path, "rb") as f:
            gzipped = f.read(2) == b"\x1f\x8b"
        return open_gzip(path) if gzipped else open(path, "rb")
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in its name
        raise UserError("no such archive", file=path, hint="check the path, or run the stage that makes it") from None


def _parse(read: Callable[[BinaryIO], Array], path: Path | str, offset: int) -> Array:
    with _open(path) as f:
        try:
            if isinstance(f.raw, io.FileIO) and offset >= os.stat(path).st_size:  # not gzip
                raise EOFError
            f.seek(offset)
            with naming(path):
                return read(f)
        except Exception as e:  # parsing damaged data may raise anything
            raise _damaged(path, offset, e) from None


def _damaged(path: Path | str, offset: int, e: Exception) -> Exception:
    if is_memory(e) or isinstance(e, OSError) and e.errno is not None:
        return e
    why = f": {e}" if isinstance(e, NotAMatrix) else ""
    return UserError(f"the archive is cut off or damaged at byte {offset}{why}", file=path, hint=_HINT)


def _read_key(f: BinaryIO) -> str | None:
    """Read the id before the next value, after optional white space; None at the end of the file."""
    key = bytearray()
    while (c := f.read(1)) not in (b"", b" ", b"\t", b"\r", b"\n") or c and not key:
        key += c.strip()
        if len(key) > _MAX_KEY:
            raise ValueError
    if c == b"" and key:
        raise EOFError
    name = key.decode()
    if bad := odd_characters([name]):
        raise NotAMatrix(f"the id `{name[:60]}` has {bad[0]} in it")
    if c and c in b"\r\n":
        raise NotAMatrix(f"`{name[:60]}` has nothing after it")
    return name or None


def _read_int_vector(f: Any) -> Array:
    if not (first := f.peek(1)[:1]):
        raise EOFError
    if first != b"\0":
        return _read_text_vector(f.readline(_MAX_LINE))
    head = read_exactly(f, 7)
    if head[:3] != b"\0B\4" or (size := int.from_bytes(head[3:], "little", signed=True)) < 0:
        raise ValueError
    numbers = np.frombuffer(read_exactly(f, size * _ELEMENT.itemsize), _ELEMENT)
    if (numbers["size"] != 4).any():
        raise ValueError
    return numbers["value"].astype(np.int32)


def _read_text_vector(line: bytes) -> Array:
    """Parse whole numbers, optionally in brackets."""
    fields = line.split()
    if fields[:1] == [b"["] and fields[-1] == b"]":
        fields = fields[1:-1]
    values = []
    for field in fields:
        if not _INTEGER.fullmatch(field) or not -2**31 <= (value := int(field)) < 2**31:
            raise NotAMatrix(f"`{field[:20].decode(errors='replace')}` is not a whole number of 32 bits")
        values.append(value)
    return np.array(values, np.int32)


def _int_vector_bytes(vector: Array) -> bytes:
    """Encode Kaldi's binary vector<int32>: each number follows a byte with its size. (Faster than kaldi_io.)"""
    vector = np.asarray(vector)
    if vector.ndim != 1 or vector.dtype.kind not in "iu":
        raise TypeError(f"an integer vector is expected, not {vector.dtype} {vector.shape}")
    body = np.empty(len(vector), _ELEMENT)
    body["size"], body["value"] = 4, vector
    return b"\0B\4" + np.int32(len(vector)).tobytes() + body.tobytes()
