"""Puts libmlos into the package: the one that $MLOS_LIBRARY names, or one built from this repository by cargo."""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

REPOSITORY = Path(__file__).resolve().parents[2]


def library() -> Path:
    named = os.environ.get("MLOS_LIBRARY")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    command = ["cargo", "build", "--release", "-p", "mlos-c", "--target-dir", str(target)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return target / "release" / "libmlos.so"


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        package = Path(self.build_lib) / "mlos"
        package.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library(), package / "libmlos.so")


class ForAnyPython(bdist_wheel):
    """The library is not Python's: one wheel serves every version on this kind of machine."""

    def get_tag(self) -> "tuple[str, str, str]":
        return "py3", "none", super().get_tag()[2]


class Binary(Distribution):
    """Says that the wheel is for this kind of machine."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"bdist_wheel": ForAnyPython, "build_py": BuildWithLibrary}, distclass=Binary)
