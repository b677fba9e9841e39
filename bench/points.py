"""What a night leaves for the nights after it: one line a cell in ``results/<run>/points.jsonl``.

Small on purpose: a history of years is read without touching a record. Nothing is shared between nights, so a night is
copied, lost or deleted with its folder, and a damaged line costs one cell of one night.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

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


def read(folder: Path, problems: list[str], parse_line: Callable[[bytes], Point] = _decoder.decode) -> Iterator[Point]:
    """The points of a night; what cannot be read is skipped, with a sentence in ``problems``.

    ``parse_line``: another reader of a line, which gives the same points.
    """
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
            yield _checked(parse_line(line))
        except ValueError as error:
            problems.append(f"{path}:{number}: not a point: {error}")


def nights(results: Path) -> list[Path]:
    """The folders of finished nights, oldest first: a night without its points was interrupted."""
    return [folder for folder in store.runs(results) if (folder / POINTS).exists()]


def read_all(folders: Sequence[Path], problems: list[str]) -> list[Point]:
    """The points of several nights in the order in which they were taken; the same cell of a run counts once."""
    # By run, then by cell. The keys are words: tuples, Python's collector would visit again and again.
    found: dict[str, dict[str, Point]] = {}
    parse_line = _Shared().parse
    for folder in folders:
        for point in read(folder, problems, parse_line):
            found.setdefault(point.run, {})[f"{point.cell.id} {point.candidate}"] = point
    every = (point for run in found.values() for point in run.values())
    return sorted(every, key=lambda point: (point.started_at, point.run))


# --- what repeats ----------------------------------------------------------------------------------------------------


def _with(type_: type[Struct], name: str, kinds: dict[str, Any]) -> type[Struct]:
    """``type_`` with other types of some fields: Raw for what is to be left as text."""
    fields = [
        (one.name, kinds.get(one.name, one.type), msgspec.field(default=one.default)) for one in structs.fields(type_)
    ]
    return msgspec.defstruct(name, fields, frozen=True, gc=False)


_FingerprintText = _with(Fingerprint, "_FingerprintText", {"versions": Raw, "variables": Raw, "machine": Raw})
_Both = tuple[_FingerprintText, _FingerprintText]  # type: ignore[valid-type]  # made above, of the fields as they are
_PointText = _with(Point, "_PointText", {"cell": Raw, "fingerprints": _Both | None})
#: Places of fields in the tuple of a struct.
_RUN, _CELL, _CANDIDATE, _FINGERPRINTS = map(
    Point.__struct_fields__.index, ("run", "cell", "candidate", "fingerprints")
)
_VERSIONS, _VARIABLES, _MACHINE = map(Fingerprint.__struct_fields__.index, ("versions", "variables", "machine"))
_WEIGHTS, _INPUTS = map(Fingerprint.__struct_fields__.index, ("weights_sha256", "inputs_sha256"))


class _Once(dict[bytes, Any]):
    """Decodes a text the first time it is seen; after that, gives the same object again."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self._decode = msgspec.json.Decoder(kind).decode

    def __missing__(self, text: bytes) -> Any:
        found = self[text] = self._decode(text)
        return found


class _Shared:
    """Reads lines as ``_decoder`` does; what is the same night after night is decoded once, and once in memory.

    A history of years is a thousand times the same machine: nine tenths of a line are its cell and the two machines.
    """

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_PointText).decode
        self._cell, self._machine = _Once(Cell), _Once(dict[str, Any])
        self._versions, self._variables = _Once(dict[str, str]), _Once(dict[str, str])
        self._words: dict[str | None, str | None] = {}

    def parse(self, line: bytes) -> Point:
        """The point of a line.

        Raises:
            ValueError: it is none; in the words of the decoder that reads whole lines.
        """
        try:
            fields = list(structs.astuple(self._decode(line)))
            for place in (_RUN, _CANDIDATE):
                fields[place] = self._words.setdefault(fields[place], fields[place])
            fields[_CELL] = self._cell[bytes(fields[_CELL])]
            if fields[_FINGERPRINTS] is not None:
                pinned, newest = fields[_FINGERPRINTS]
                fields[_FINGERPRINTS] = (self._fingerprint(pinned), self._fingerprint(newest))
        except ValueError:
            return _decoder.decode(line)
        return Point(*fields)

    def _fingerprint(self, text: Struct) -> Fingerprint:
        fields = list(structs.astuple(text))
        fields[_VERSIONS] = self._versions[bytes(fields[_VERSIONS])]
        fields[_VARIABLES] = self._variables[bytes(fields[_VARIABLES])]
        fields[_MACHINE] = self._machine[bytes(fields[_MACHINE])]
        for place in (_WEIGHTS, _INPUTS):
            fields[place] = self._words.setdefault(fields[place], fields[place])
        return Fingerprint(*fields)


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
