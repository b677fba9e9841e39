"""Scratch environments: which releases of a package an index has, and an interpreter with one of them, made by uv.

uv reads the user's own settings (UV_INDEX, UV_FIND_LINKS, uv.toml, ...), so every index that serves the user serves
here; ``--find-links`` and ``--index-url`` go to it as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import TwinbenchError, UsageError

#: A name as in PEP 508.
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
#: An index with more releases between two versions is asked for no more.
MOST_RELEASES = 500
LIMIT_S = 1800.0
#: In the folder of an environment that was finished.
COMPLETE = "complete"


class NotMade(TwinbenchError):
    """An environment that uv could not make; the message is uv's own."""


@dataclass(frozen=True)
class Uv:
    """uv, and where it looks for packages beyond its own settings."""

    program: str
    find_links: tuple[str, ...] = ()
    index_url: str | None = None
    prereleases: bool = False

    def run(self, *arguments: str, stdin: str = "") -> str:
        """uv's standard output.

        Raises:
            NotMade: it failed, or took half an hour; with the end of what it said.
        """
        environment = {"UV_PYTHON_DOWNLOADS": "never", **os.environ}
        try:
            done = subprocess.run(
                [self.program, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                env=environment,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise NotMade(f"uv {arguments[0]} took more than {LIMIT_S:g} s") from None
        if done.returncode:
            raise NotMade(" ".join(done.stderr.split())[-600:] or f"uv ended with {done.returncode}")
        return done.stdout

    @property
    def sources(self) -> list[str]:
        """The options that say where packages come from."""
        links = [option for link in self.find_links for option in ("--find-links", link)]
        index = ["--index-url", self.index_url] if self.index_url else []
        return links + index + (["--prerelease", "allow"] if self.prereleases else [])


def find_uv(find_links: Sequence[str] = (), index_url: str | None = None, prereleases: bool = False) -> Uv:
    """uv: the one installed beside this Python, else the one on the PATH.

    Raises:
        UsageError: there is none.
    """
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise UsageError("scratch environments need uv, which is not here: pip install uv")
    return Uv(program, tuple(find_links), index_url, prereleases)


def releases(uv: Uv, package: str, good: str, bad: str, python: str) -> list[str]:
    """The versions from ``good`` to ``bad`` that this Python can have, oldest first.

    Asked one by one, each time for the newest below the last: every index answers that, and what has no wheel for this
    Python or was yanked does not come up.

    Raises:
        UsageError: no such package name, or one of the two versions is not to be had.
    """
    if NAME.fullmatch(package) is None:
        raise UsageError(f"--package takes the name of a distribution, got {package!r}")
    found: list[str] = []
    bound = f"<={bad}"
    while len(found) < MOST_RELEASES:
        version = _newest(uv, f"{package}>={good},{bound}", package, python)
        if version is None:
            break
        found.append(version)
        # A bound with a local label ("+cpu") is no specifier.
        bound = f"<{version.partition('+')[0]}"
    for word, version in (("good", good), ("bad", bad)):
        if not any(_same(version, one) for one in found):
            raise UsageError(
                f"{package} {version} (--{word}) is not to be had for {python}; "
                f"found between the two: {', '.join(reversed(found)) or 'nothing'}"
            )
    return found[::-1]


def _newest(uv: Uv, requirement: str, package: str, python: str) -> str | None:
    """The newest version that fits; None where none does.

    Raises:
        NotMade: uv failed for another reason than that.
    """
    arguments = ("pip", "compile", "-", "--no-deps", "--no-header", "--no-annotate", "--quiet", "--python", python)
    try:
        text = uv.run(*arguments, *uv.sources, stdin=requirement)
    except NotMade as error:
        if "No solution found" in str(error) or "no solution found" in str(error):
            return None
        raise
    lines = (line.partition("==") for line in text.splitlines())
    return next((version.split()[0].partition(";")[0] for name, pinned, version in lines if pinned), None)


def _same(a: str, b: str) -> bool:
    """Whether two spellings are one version: ``1.0`` is ``1.0.0``, and ``2.13.0+cpu`` is a 2.13.0."""
    if "+" not in a or "+" not in b:
        a, b = a.partition("+")[0], b.partition("+")[0]
    return re.sub(r"(\.0+)+$", "", a) == re.sub(r"(\.0+)+$", "", b)


def packages(uv: Uv, python: str) -> list[str]:
    """What is installed in ``python``, as ``name==version``; what did not come from an index is left out."""
    text = uv.run("pip", "freeze", "--quiet", "--python", python)
    return [line for line in text.splitlines() if "==" in line and not line.startswith("#")]


def interpreter(uv: Uv, folder: Path, requirements: Sequence[str], base: str) -> Path:
    """A Python of the same version as ``base`` with ``requirements`` in it, below ``folder``; made where it is missing.

    Raises:
        NotMade: uv's reason.
    """
    place = _place(uv, folder, requirements, base)
    python = place / "bin" / "python"
    if is_made(uv, folder, requirements, base):
        return python
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    uv.run("venv", "--quiet", "--python", base, str(place))
    uv.run("pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *uv.sources, *requirements)
    (place / COMPLETE).touch()  # last, so that an interrupted installation is done again
    return python


def is_made(uv: Uv, folder: Path, requirements: Sequence[str], base: str) -> bool:
    """Whether ``interpreter`` has nothing to do."""
    place = _place(uv, folder, requirements, base)
    return (place / COMPLETE).exists() and (place / "bin" / "python").exists()


def _place(uv: Uv, folder: Path, requirements: Sequence[str], base: str) -> Path:
    wanted = "\n".join([base, *uv.sources, *sorted(requirements)])
    return folder.resolve() / hashlib.sha256(wanted.encode()).hexdigest()[:16]
