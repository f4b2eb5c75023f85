"""Builds the package: a wheel carries in lstmp/kit what lies beside the package in a checkout (lstmp/kit.py)."""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
kit_files = runpy.run_path(str(HERE / "lstmp/kit.py"))["kit_files"]


class BuildWithKit(build_py):
    """Copies the kit as well; an editable install finds it in the checkout."""

    def run(self):
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(Path(self.build_lib) / "lstmp", ignore_errors=True)  # files of an earlier build, since removed
        super().run()
        target = Path(self.build_lib) / "lstmp/kit"
        for name in kit_files(HERE):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / name, target / name)  # with its mode


setup(cmdclass={"build_py": BuildWithKit})
