"""Pages of Ogg files (RFC 3533): where each stream of a chained file begins, and whether the last one is whole."""


def look_through(f, size: int) -> tuple[list[tuple[int, int]], bool]:
    """Walk through a file by the headers of its pages.

    Args:
        f: opened in binary mode.
        size: of the file.

    Returns:
        (begin, end) of the streams that follow each other, as a rule one; whether the last page is whole and ends it.
    """
    at, begins, starting, ended = 0, [], False, False
    while at < size:
        f.seek(at)
        head = f.read(27 + 255)
        if len(head) < 27 or head[:4] != b"OggS":
            if (found := _next_page(f, at + 1, size)) is None:
                break
            at = found
            continue
        first, segments = bool(head[5] & 2), head[26]
        if first and not starting:  # streams that are interleaved begin together
            begins.append(at)
        starting = first
        length = 27 + segments + sum(head[27:27 + segments])
        ended = bool(head[5] & 4) and len(head) >= 27 + segments and at + length <= size
        at += length
    begins = begins or [0]
    return [*zip(begins, [*begins[1:], size], strict=True)], ended


def _next_page(f, at: int, size: int) -> int | None:
    while at < size:
        f.seek(at)
        data = f.read(1 << 16)
        if (found := data.find(b"OggS")) >= 0:
            return at + found
        at += max(len(data) - 3, 1)
    return None
