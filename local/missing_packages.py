"""Which pinned packages of the given requirement files are not, or not completely, installed? One line each.

    .venv/bin/python local/missing_packages.py requirements.txt …

Used by local/env.sh, with what comes with pip only. A line whose marker is not for this Python or machine is left out.
Complete means: the pinned version, its record written (installers do so last), and every file of the record there with
its size, so that a killed installation is seen. A build of that version counts as well: 2.13.0+cpu for torch==2.13.0.
"""

import csv
import os
import sys
from importlib import metadata

from pip._vendor.packaging.requirements import Requirement


def is_complete(requirement: Requirement) -> bool:
    try:
        package = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    record = package.read_text("RECORD")  # package.files, from Python 3.12 on, leaves out what is not there
    if package.version not in requirement.specifier or not record or package.read_text("INSTALLER") is None:
        return False
    for name, _, size in csv.reader(record.splitlines()):
        if size and not name.endswith(".pyc"):  # numpy ships some, and pip compiles them again
            try:
                if os.stat(package.locate_file(name)).st_size != int(size):
                    return False
            except OSError:
                return False
    return True


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as f:
            for line in f:
                line = line.split("#")[0].strip()
                if not line:
                    continue
                requirement = Requirement(line.split(" --hash=")[0])
                if (requirement.marker is None or requirement.marker.evaluate()) and not is_complete(requirement):
                    print(line.split(";")[0])


main()
