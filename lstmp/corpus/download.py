"""Downloads LibriSpeech from OpenSLR: 31 (mini_librispeech), 12 (the 1000 hours) and 11 (lexicon and language models).

A download is resumed where it broke off, checked against the published MD5 sum, and renamed into place. An archive is
unpacked to a temporary folder and its split renamed to ``<out>/LibriSpeech/<split>``; the other files go to ``<out>``.
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
from lstmp.errors import UserError, command, naming
from lstmp.log import progress, say, warn

BASE_URL = "https://www.openslr.org/resources"
BLOCK = 1 << 20
ATTEMPTS = 5

# Name → (OpenSLR resource, MD5 as OpenSLR's md5sum.txt has it).
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
OFFLINE = "check the network and run the same command again to go on, or give a local copy with --corpus DIR"


def md5sum(path) -> str:
    """MD5 of a file as hexadecimal digits."""
    h = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as f:
        while block := f.read(BLOCK):
            h.update(block)
    return h.hexdigest()


def fetch(url: str, path, md5: str):
    """Download ``url`` to ``path`` unless it is there with the right sum. What came before a break is kept and resumed.

    Raises:
        UserError: no network, the server does not have it, or the sum is wrong (the download is then removed).
    """
    path = Path(path)
    if path.exists():
        if md5sum(path) == md5:
            say(f"{path} is here, its MD5 is right")
            return
        warn(f"{path}: its MD5 is not {md5}, it is downloaded again")
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with naming(part), open(part, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed when its process ends, however it does
        except BlockingIOError:
            raise UserError("another process is downloading it", file=part, hint="wait for that one") from None
        _fetch(url, path, part, md5)


def _fetch(url: str, path: Path, part: Path, md5: str):
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part)
            break
        except urllib.error.HTTPError as e:
            raise UserError(f"the server answers {e.code} {e.reason}", file=url,
                            hint="check --url, or give a local copy with --corpus DIR") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as e:
            reason = getattr(e, "reason", None) or e or type(e).__name__
            came = (part.stat().st_size if part.exists() else 0) > before
            if attempt == ATTEMPTS or not came:
                raise UserError(f"cannot be downloaded: {reason}", file=url, hint=OFFLINE) from None
            warn(f"{url}: {reason}; resuming")
    found = md5sum(part)
    if found != md5:
        part.unlink()
        raise UserError(f"damaged on the way: MD5 {found}, not {md5}", file=url,
                        hint="run the same command again; if it stays so, choose another mirror with --url")
    os.replace(part, path)


def _receive(url: str, part: Path):
    """Append what ``part`` lacks of ``url``; begins anew where the server does not resume."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as e:
        if e.code == 416 and have:  # nothing lies beyond what we have: it is whole, or not of this file
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
    """Unpack a ``.tar.gz`` below ``out``: plain files and folders only, none of them outside.

    Raises:
        UserError: a member that is a link or device or would lie outside; an archive that is cut off or damaged.
    """
    archive, out = Path(archive), Path(out)
    try:
        # gzip's own module, because tarfile's stream of "r|gz" does not look at the checksum
        with gzip.open(archive) as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
            for member in progress(tar, f"unpacking {archive.name}", unit="file"):
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                    raise UserError(f"member `{member.name}` is a link or lies outside the archive's folder",
                                    file=archive, hint="do not trust this archive; download it from OpenSLR")
                target = out / name
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with naming(target), open(target, "wb") as f:
                    content = tar.extractfile(member)
                    assert content is not None
                    shutil.copyfileobj(content, f, BLOCK)
            while raw.read(BLOCK):  # to its end, where the checksum is
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise UserError(f"cannot be unpacked: {e}", file=archive,
                        hint="delete it and run the same command again") from None


def get_split(split: str, out, base_url: str = BASE_URL, keep: bool = False):
    """Download and unpack a split to ``<out>/LibriSpeech/<split>``; nothing is done if it is there.

    Raises:
        UserError: as :func:`fetch` and :func:`unpack`; a split that OpenSLR does not have.
    """
    out = Path(out)
    if split not in SPLITS:
        raise UserError(f"OpenSLR has no split `{split}`",
                        hint=f"choose among {', '.join(SPLITS)}, or give a local copy with --corpus DIR")
    target = out / "LibriSpeech" / split
    if target.is_dir():
        say(f"{target} is here")
        return
    resource, md5 = SPLITS[split]
    archive = out / f"{split}.tar.gz"
    fetch(f"{base_url}/{resource}/{archive.name}", archive, md5)
    with files.temporary_folder(out) as tmp:
        unpack(archive, tmp)
        inner = tmp / "LibriSpeech" / split
        if not inner.is_dir():
            raise UserError(f"holds no LibriSpeech/{split}", file=archive, hint="delete it and download it again")
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
        UserError: as :func:`fetch`; a name that is not in :data:`FILES`.
    """
    if name not in FILES:
        raise UserError(f"OpenSLR 11 has no file `{name}` that is known here", hint=f"choose among {', '.join(FILES)}")
    resource, md5 = FILES[name]
    fetch(f"{base_url}/{resource}/{name}", Path(out) / name, md5)


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="download_librispeech", description=__doc__.split("\n\n")[0])
    p.add_argument("--out", type=Path, default=Path("downloads"), help="folder to download to (default: downloads)")
    p.add_argument("--splits", nargs="*", default=[], metavar="SPLIT",
                   help=f"any of {', '.join(SPLITS)}; joined by + too")
    p.add_argument("--files", nargs="*", default=[], metavar="FILE", help=f"any of {', '.join(FILES)}")
    p.add_argument("--url", default=BASE_URL, help=f"where OpenSLR's resources are, a mirror (default: {BASE_URL})")
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
