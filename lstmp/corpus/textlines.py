"""The lines of a text file, plain or gzipped, with the faults of such files said in one line."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError


def numbered_lines(path) -> Iterator[tuple[int, str]]:
    """Yield (1-based line number, line without its newline) of a UTF-8 file; gzip is known by the file's first bytes.

    Raises:
        UserError: no such file, text that is not UTF-8 (with its line), or a gzip stream that is cut off or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", file=path, mend="check the path, or run the stage that makes it")
    with open(path, "rb") as f:
        zipped = f.read(2) == b"\x1f\x8b"
    n = 0
    with open_gzip(path) if zipped else open(path, "rb") as f:
        lines = iter(f)
        while True:
            n += 1
            try:
                line = next(lines).decode("utf-8")
            except StopIteration:
                return
            except UnicodeDecodeError:
                raise UserError("not UTF-8 text", file=path, line=n, mend="convert the file to UTF-8") from None
            except gzip.BadGzipFile as e:
                raise UserError(f"the gzip file is cut off or damaged: {e}", file=path, line=n,
                                mend="fetch it again") from None
            yield n, line.rstrip("\r\n")
