"""Downloads LibriSpeech from OpenSLR: 31 (mini_librispeech), 12 (the 1000 hours) and 11 (lexicon and language models).

An interrupted download is resumed. A complete one is checked against the published MD5 sum and renamed into place.
Archives are unpacked to a temporary folder, then the split is moved to ``<out>/LibriSpeech/<split>``. Other files go to
``<out>``.
"""

import argparse
import fcntl
import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from lstmp import files
from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError, command, naming
from lstmp.log import progress, say, warn

BASE_URL = "https://www.openslr.org/resources"
BLOCK = 1 << 20
ATTEMPTS = 5
_MAX_RATIO, _MIN_LIMIT = 10, 64 << 20  # an archive may grow this many-fold, or to this many bytes if more
_RESERVED = 16 << 20  # bytes of disk space that unpacking leaves free

# Name → (OpenSLR resource, MD5 according to OpenSLR's md5sum.txt).
SPLITS = {
    "train-clean-5": (31, "5df7d4e78065366204ca6845bb08f490"),
    "dev-clean-2": (31, "6d7ab67ac6a1d2c993d050e16d61080d"),
    "dev-clean": (12, "42e2234ba48799c1f50f24a7926300a1"),
    "dev-other": (12, "c8d0bcc9cca99d4f8b62fcc847357931"),
    "test-clean": (12, "32fa31d27d2e1cad72775fee3f4849a9"),
    "test-other": (12, "fb5a50374b501bb3bac4815ee91d3135"),
    "train-clean-100": (12, "2a93770f6d5c6c964bc36631d331a522"),
    "train-clean-360": (12, "c0e676e450a7ff2f54aeade5171606fa"),
    "train-other-500": (12, "d1a0fd59409feb2c614ce4d30c387708"),
}
FILES = {
    "librispeech-lexicon.txt": (11, "28f72663f6bfed7cd346283c064c315b"),
    "3-gram.pruned.3e-7.arpa.gz": (11, "8f67ec741827742eee05799ab7605b50"),  # tgsmall
    "3-gram.pruned.1e-7.arpa.gz": (11, "9a0f1325bcaf3a0f7b7be4be10823c2a"),  # tgmed
    "3-gram.arpa.gz": (11, "74cbb837e582378c26c602e1c8cbcb9c"),  # tglarge
    "4-gram.arpa.gz": (11, "6abdcd5b055bd482e4f9defe91d40408"),  # fglarge
}
OFFLINE = "check the network and run the same command again to resume, or give a local copy with --corpus DIR"


def md5sum(path) -> str:
    """Return the MD5 sum of a file in hexadecimal digits."""
    h = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as f:
        while block := f.read(BLOCK):
            h.update(block)
    return h.hexdigest()


def fetch(url: str, path, md5: str):
    """Download ``url`` to ``path`` unless it exists with the right MD5 sum; a partial download is resumed.

    Raises:
        UserError: the network is down, the server does not have the file, or the sum is wrong
            (the download is then removed).
    """
    path = Path(path)
    if path.exists():
        if md5sum(path) == md5:
            say(f"{path} exists, its MD5 is right")
            return
        warn(f"{path}: its MD5 is not {md5}, downloading it again")
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with naming(part), open(part, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it when the process ends
        except BlockingIOError:
            raise UserError("another process is downloading it", file=part, hint="wait until it has finished") from None
        _fetch(url, path, part, md5)


def _fetch(url: str, path: Path, part: Path, md5: str):
    for attempt in range(1, ATTEMPTS + 1):
        previous_size = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part)
            break
        except urllib.error.HTTPError as e:
            raise UserError(f"the server answers {e.code} {e.reason}", file=url,
                            hint="check --url, or give a local copy with --corpus DIR") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as e:
            reason = getattr(e, "reason", None) or e or type(e).__name__
            made_progress = (part.stat().st_size if part.exists() else 0) > previous_size
            if attempt == ATTEMPTS or not made_progress:
                raise UserError(f"cannot be downloaded: {reason}", file=url, hint=OFFLINE) from None
            warn(f"{url}: {reason}; resuming")
    actual = md5sum(part)
    if actual != md5:
        part.unlink()
        raise UserError(f"damaged during download: MD5 {actual}, not {md5}", file=url,
                        hint="run the same command again; if the error persists, choose another mirror with --url")
    os.replace(part, path)


def _receive(url: str, part: Path):
    """Append the rest of ``url`` to ``part``; start again if the server does not support ranges."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as e:
        if e.code == 416 and have:  # no bytes beyond ours: the download is complete, or of another file
            size = e.headers.get("Content-Range", "").rpartition("/")[2]
            if size == str(have):
                return
            part.unlink()
            return _receive(url, part)
        raise
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length and length.isdigit() else None
        blocks = iter(lambda: response.read(BLOCK), b"")
        with open(part, "ab" if resumed else "wb") as f:
            count = total // BLOCK + 1 if total else None
            for block in progress(blocks, part.stem, total=count, unit="MiB"):
                with naming(part):
                    f.write(block)
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"the connection broke off at {part.stat().st_size} of {total} bytes")


def unpack(archive, out):
    """Unpack a ``.tar.gz`` into ``out``. Only plain files and folders inside ``out`` are allowed.

    Compressed audio hardly grows when it is unpacked, so an archive that grows more than
    ``_MAX_RATIO``-fold is rejected. Free disk space is checked before each file.

    Raises:
        UserError: a member is a link or device or lies outside ``out``; or the archive is truncated, damaged, unpacks
            to too many bytes, or needs more disk space than there is.
    """
    archive, out = Path(archive), Path(out)
    max_bytes = max(_MIN_LIMIT, _MAX_RATIO * archive.stat().st_size)
    try:
        # not tarfile's mode "r|gz", which does not verify the checksum
        with open_gzip(archive, max_bytes) as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
            for member in progress(tar, f"unpacking {archive.name}", unit="file"):
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                    raise UserError(f"member `{member.name}` is a link or lies outside the archive's folder",
                                    file=archive, hint="do not trust this archive; download it from OpenSLR")
                target = out / name
                _check_size(archive, member, max_bytes, out)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with naming(target), open(target, "wb") as f:
                    content = tar.extractfile(member)
                    assert content is not None
                    shutil.copyfileobj(content, f, BLOCK)
            while raw.read(BLOCK):  # to the end, so that the checksum is verified
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise UserError(f"cannot be unpacked: {e}", file=archive,
                        hint="delete it and run the same command again") from None


def _check_size(archive: Path, member: tarfile.TarInfo, max_bytes: int, out: Path):
    """Raise UserError if a member is larger than the limit for its archive, or than the free disk space."""
    if member.size > max_bytes:
        raise UserError(f"member `{member.name}` has {member.size} bytes; all of the archive may have "
                        f"{max_bytes >> 20} MB", file=archive,
                        hint="do not trust this archive; download it from OpenSLR")
    free = shutil.disk_usage(next(p for p in (out, *out.absolute().parents) if p.exists())).free
    if member.size > free - _RESERVED:
        raise UserError(f"disk full: `{member.name}` needs {member.size >> 20} MB, but only {free >> 20} MB "
                        "are free", file=archive, hint="free some disk space and run the same command again")


def get_split(split: str, out, base_url: str = BASE_URL, keep: bool = False):
    """Download and unpack a split to ``<out>/LibriSpeech/<split>``; do nothing if it exists.

    Raises:
        UserError: as for :func:`fetch` and :func:`unpack`; or OpenSLR has no such split.
    """
    out = Path(out)
    if split not in SPLITS:
        raise UserError(f"OpenSLR has no split `{split}`",
                        hint=f"choose among {', '.join(SPLITS)}, or give a local copy with --corpus DIR")
    target = out / "LibriSpeech" / split
    if target.is_dir():
        say(f"{target} exists")
        return
    resource, md5 = SPLITS[split]
    archive = out / f"{split}.tar.gz"
    fetch(f"{base_url}/{resource}/{archive.name}", archive, md5)
    with files.temporary_folder(out) as tmp:
        unpack(archive, tmp)
        inner = tmp / "LibriSpeech" / split
        if not inner.is_dir():
            raise UserError(f"contains no LibriSpeech/{split}", file=archive, hint="delete it and download it again")
        target.parent.mkdir(parents=True, exist_ok=True)
        for text in sorted((tmp / "LibriSpeech").glob("*.TXT")):
            os.replace(text, target.parent / text.name)
        os.replace(inner, target)
    if not keep:
        archive.unlink()
    say(f"{target}: downloaded and unpacked")


def get_file(name: str, out, base_url: str = BASE_URL):
    """Download a file of OpenSLR 11, the lexicon or a language model, to ``<out>/<name>``.

    Raises:
        UserError: as for :func:`fetch`; or ``name`` is not in ``FILES``.
    """
    if name not in FILES:
        raise UserError(f"unknown file `{name}` of OpenSLR 11", hint=f"choose among {', '.join(FILES)}")
    resource, md5 = FILES[name]
    fetch(f"{base_url}/{resource}/{name}", Path(out) / name, md5)


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="local/download_librispeech.sh", description=__doc__.split("\n\n")[0])
    p.add_argument("--out", type=Path, default=Path("downloads"), help="folder to download to (default: downloads)")
    p.add_argument("--splits", nargs="*", default=[], metavar="SPLIT",
                   help=f"any of {', '.join(SPLITS)}; may be joined by +")
    p.add_argument("--files", nargs="*", default=[], metavar="FILE", help=f"any of {', '.join(FILES)}")
    p.add_argument("--url", default=BASE_URL, help=f"base URL of OpenSLR or a mirror (default: {BASE_URL})")
    p.add_argument("--keep", action="store_true", help="keep the archives after unpacking")
    a = p.parse_args(argv)
    splits = [s for joined in a.splits for s in joined.split("+")]
    if not splits and not a.files:
        raise UserError("nothing to download", hint="name --splits or --files; --help lists them")
    for name in a.files:
        get_file(name, a.out, a.url.rstrip("/"))
    for split in splits:
        get_split(split, a.out, a.url.rstrip("/"), a.keep)


if __name__ == "__main__":
    main()
