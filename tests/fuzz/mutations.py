"""Small random damages to the bytes of a file, such as bad disks, editors and attackers cause."""

import gzip
import json
import re
import struct

import numpy as np

NUMBERS = [-(2**63), -(2**31), -2, -1, 0, 1, 2, 255, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40,
           2**63 - 1]
FLOATS = [0.0, -1.0, 1e-45, 3e38, float("inf"), -float("inf"), float("nan")]
TEXTS = [b"", b"-1", b"0", b"1e400", b"nan", b"inf", b"99999999999999999999", b"9" * 5000, b"1.5", b"null", b"true",
         b"[]", b"{}", b'"x"', b"../../x", b"/etc/passwd", b"\xef\xbb\xbf", b"\0", b"\xff\xfe", b"\xc2\xa0", b"\r\n",
         b"\n\n", b"\t", b"\xe2\x80\x8c", b"e\xcc\x81", b"[" * 3000, b"(" * 3000, b"{" * 3000, b"x" * 70_000, b"|",
         b"&", b"<eps>", b"#0", b"<s>", b"*", b"*a", b"&a [*a]", b"!!python/object:os.system", b"A B C D E F G H",
         b"\x1b[31m"]
LEAVES = [None, True, False, -1, 0, 1, 2, 3, 255, 2**31, 2**40, 10**30, -5, 0.5, 1e308, float("nan"), float("inf"), "",
          "x", "../../x", "/etc/passwd", "x" * 5000, "\0", "F32", "I64", "F64", "BF16", "U8", [], {}, [0], [-1],
          [1, 2, 3], [[]], {"a": 1}, ["x"], [None], [2**62, 2]]
WORD = re.compile(rb"[^\s\"',:\[\]{}<>=;|()]+")
NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def mutated(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Apply one to three damages; a gzip file is damaged in its stream or its content. ``others`` are mixed in."""
    if data[:2] == b"\x1f\x8b" and rng.random() < 0.6:
        return gzip.compress(mutated(gzip.decompress(data), rng, others), 1)
    if rng.random() < 0.5 and (within := _within(data, rng, others)) is not None:
        return within
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = KINDS[rng.integers(len(KINDS))](data, rng, others)
    return data


def _within(data: bytes, rng, others) -> bytes | None:
    """Damage the values of a JSON or binary file but not its structure; None for files of other formats."""
    if data[8:9] == b"{":
        size = int.from_bytes(data[:8], "little")
        if rng.random() < 0.4 and (header := _odd_leaf(data[8:8 + size], rng)) is not None:
            return len(header).to_bytes(8, "little") + header + data[8 + size:]
        body = data[8 + size:]
        for _ in range(rng.integers(1, 4)):
            body = (_flip, _binary_number)[rng.integers(2)](body, rng, others)[:len(body)]
        return data[:8 + size] + body
    if b"\0" in data[:100]:  # another binary file
        return (_flip, _binary_number)[rng.integers(2)](data, rng, others)[:len(data)]
    return _odd_leaf(data, rng)


def _odd_leaf(text: bytes, rng) -> bytes | None:
    """Replace or remove one value in JSON, also in JSON inside strings; None if it is not JSON."""
    try:
        whole = [json.loads(text)]
    except ValueError:
        return None
    holder, key = whole, 0
    while isinstance(value := holder[key], (list, dict)) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        holder, key = value, keys[rng.integers(len(keys))]
    if isinstance(value, str) and value[:1] in ("{", "[") and (inner := _odd_leaf(value.encode(), rng)) is not None:
        holder[key] = inner.decode("utf-8", "replace")
    elif holder is not whole and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = LEAVES[rng.integers(len(LEAVES))]
    return json.dumps(whole[0]).encode()


def _position(data: bytes, rng, maximum: int | None = None) -> int:
    """Draw a position, half of the time near the beginning, where headers are."""
    size = len(data) if maximum is None else maximum
    return int(rng.integers(min(size, 200) + 1 if rng.random() < 0.5 else size + 1)) if size > 0 else 0


def _flip(data, rng, others):
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if out:
            out[_position(data, rng, len(out) - 1)] ^= 1 << rng.integers(8)
    return bytes(out)


def _cut(data, rng, others):
    return data[:_position(data, rng)]


def _delete(data, rng, others):
    at = _position(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 40)):]


def _double(data, rng, others):
    at, size = _position(data, rng), int(rng.integers(1, 200))
    return data[:at] + data[at:at + size] * int(rng.choice([2, 2, 3, 50])) + data[at + size:]


def _insert(data, rng, others):
    at, text = _position(data, rng), TEXTS[rng.integers(len(TEXTS))]
    return data[:at] + text + data[at:]


def _bytes(data, rng, others):
    at = _position(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at + int(rng.integers(9)):]


def _binary_number(data, rng, others):
    at = _position(data, rng)
    at -= at % 4 if rng.random() < 0.5 else 0
    number = NUMBERS[rng.integers(len(NUMBERS))]
    form, mask = (("<I", 2**32 - 1), ("<Q", 2**64 - 1), ("<H", 2**16 - 1))[rng.integers(3)]
    new = struct.pack(form, number & mask) if rng.random() < 0.7 else struct.pack(
        "<f", np.float32(FLOATS[rng.integers(len(FLOATS))]))
    return data[:at] + new + data[at + len(new):]


def _replace(pattern):
    def change(data, rng, others):
        found = [m.span() for m in pattern.finditer(data[:100_000])]
        if not found:
            return _bytes(data, rng, others)
        a, b = found[rng.integers(len(found))]
        return data[:a] + TEXTS[rng.integers(len(TEXTS))] + data[b:]
    return change


def _near_number(data, rng, others):
    found = [m.span() for m in re.finditer(rb"\d+", data[:100_000])]
    if not found:
        return _flip(data, rng, others)
    a, b = found[rng.integers(len(found))]
    new = int(data[a:b][:15]) + int(rng.choice([-1, 1, 2, 1000, -1000]))
    return data[:a] + str(new).encode() + data[b:]


def _lines(data, rng, others):
    lines = data.split(b"\n")
    a, b = rng.integers(len(lines), size=2)
    match rng.integers(4):
        case 0:
            lines[a], lines[b] = lines[b], lines[a]
        case 1:
            del lines[a]
        case 2:
            lines[a:a] = [lines[b]] * int(rng.choice([1, 2, 1000]))
        case 3:
            lines[a] = b" ".join(reversed(lines[a].split(b" ")))
    return b"\n".join(lines)


def _splice(data, rng, others):
    other = others[rng.integers(len(others))]
    at, b = _position(data, rng), _position(other, rng)
    return data[:at] + other[b:b + int(rng.integers(1, 2000))] + data[at + int(rng.integers(0, 100)):]


KINDS = [_flip, _cut, _delete, _double, _insert, _bytes, _binary_number, _binary_number, _replace(WORD),
         _replace(NUMBER), _near_number, _lines, _splice]
