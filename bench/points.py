"""What a night leaves for the nights after it: one line a cell in ``results/<run>/points.jsonl``.

Small on purpose: a history of years is read without touching a record. Nothing is shared between nights, so a night is
copied, lost or deleted with its folder, and a damaged line costs one cell of one night.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from bench import store
from bench.cell import Cell
from bench.record import Fingerprint

POINTS = "points.jsonl"
#: 1: the first.
POINTS_VERSION = 1


class Point(Struct, frozen=True, gc=False):
    """One cell of one night.

    ``cell`` is the pinned side's, ``candidate`` the other side's environment. ``log_ratio``: log(speed of the
    candidate / speed of the pinned), the mean over ``blocks`` blocks on ``clock``, and ``error`` its standard error;
    both None where ``outcome`` is not ``measured`` (``reason`` says why; where it is, why a doubted figure was not
    measured again). ``first`` is the log-ratio that was doubted
    and measured again, None where it was not; ``confirmed``: the second was as strange as the first. ``rates`` are
    items per second of the two sides, ``item`` the unit; ``fingerprints`` theirs, the pinned side's first.
    """

    schema: int
    run: str
    started_at: str
    cell: Cell
    candidate: str
    outcome: str
    reason: str = ""
    log_ratio: float | None = None
    error: float | None = None
    blocks: int = 0
    clock: str = "wall"
    first: float | None = None
    confirmed: bool = False
    item: str = ""
    rates: tuple[float, float] | None = None
    fingerprints: tuple[Fingerprint, Fingerprint] | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Point)


def write(folder: Path, points: Iterable[Point]) -> Path:
    """The night's file, whole or not at all."""
    path = folder / POINTS
    temporary = path.with_suffix(".part")
    temporary.write_bytes(b"".join(_encoder.encode(point) + b"\n" for point in points))
    os.replace(temporary, path)
    return path


def read(folder: Path, problems: list[str]) -> Iterator[Point]:
    """The points of a night; what cannot be read is skipped, with a sentence in ``problems``."""
    path = folder / POINTS
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _checked(_decoder.decode(line))
        except ValueError as error:
            problems.append(f"{path}:{number}: not a point: {error}")


def nights(results: Path) -> list[Path]:
    """The folders of finished nights, oldest first: a night without its points was interrupted."""
    return [folder for folder in store.runs(results) if (folder / POINTS).exists()]


def read_all(folders: Sequence[Path], problems: list[str]) -> list[Point]:
    """The points of several nights in the order in which they were taken; the same cell of a run counts once."""
    found: dict[tuple[str, Cell, str], Point] = {}
    shared = _Shared()
    for folder in folders:
        for point in map(shared.lean, read(folder, problems)):
            found[(point.run, point.cell, point.candidate)] = point
    return sorted(found.values(), key=lambda point: (point.started_at, point.run))


class _Shared:
    """What is the same night after night, once in memory: a history of years is a thousand times the same machine."""

    def __init__(self) -> None:
        self._last: dict[tuple[Cell, str], Point] = {}

    def lean(self, point: Point) -> Point:
        """The same point, with what the point before it of its cell has, where that is equal."""
        key = (point.cell, point.candidate)
        last = self._last.get(key)
        if last is not None:
            point = structs.replace(point, cell=last.cell, candidate=last.candidate)
            if last.fingerprints is not None and point.fingerprints is not None:
                pinned, newest = map(_shared, last.fingerprints, point.fingerprints)
                point = structs.replace(point, fingerprints=(pinned, newest))
        if last is None or point.fingerprints is not None:
            self._last[key] = point
        return point


def _shared(last: Fingerprint, one: Fingerprint) -> Fingerprint:
    return structs.replace(
        one,
        versions=last.versions if last.versions == one.versions else one.versions,
        variables=last.variables if last.variables == one.variables else one.variables,
        machine=last.machine if last.machine == one.machine else one.machine,
    )


def _checked(point: Point) -> Point:
    """What a type cannot say.

    Raises:
        ValueError: a later version's, or a measured point without figures.
    """
    if point.schema > POINTS_VERSION:
        raise ValueError(f"schema {point.schema} is newer than this twinbench reads ({POINTS_VERSION})")
    if point.outcome == "measured":
        numbers = (point.log_ratio, point.error)
        if None in numbers or not all(math.isfinite(number) for number in numbers if number is not None):
            raise ValueError(f"measured, but log_ratio is {point.log_ratio} and error {point.error}")
        if point.fingerprints is None or (point.error or 0) < 0:
            raise ValueError("measured, but without fingerprints or with a negative error")
    return point
