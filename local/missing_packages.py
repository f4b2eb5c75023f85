"""Which pinned packages of the given requirement files are not, or not completely, installed? One line each.

    .venv/bin/python local/missing_packages.py requirements.txt …

Used by local/env.sh, with the standard library only. Complete means: the pinned version, its record written (pip does
so last), and every file of the record there with its size, so that a killed installation is seen.
"""

import os
import re
import sys
from importlib import metadata


def is_complete(name: str, version: str) -> bool:
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    if package.version != version or not package.files or package.read_text("INSTALLER") is None:
        return False
    for file in package.files:
        if file.size is not None and file.suffix != ".pyc":  # numpy ships some that pip compiles anew
            try:
                if os.stat(file.locate()).st_size != file.size:
                    return False
            except OSError:
                return False
    return True


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as f:
            for line in f:
                line = line.split("#")[0].strip()
                if match := re.match(r"([\w.-]+)==(\S+)", line):
                    if not is_complete(*match.groups()):
                        print(line)


main()
