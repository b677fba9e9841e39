"""What an audit of placement found of one cell, and the file in which a run keeps its audits. See bench/coverage.py.

results/<run>/coverage.jsonl    one audit a line, appended; the newest of a cell counts
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.cell import Cell

FILE = "coverage.jsonl"
#: History: 1  2026-11  first version.
SCHEMA_VERSION = 1


class Fallen(Struct, frozen=True):
    """An operator that ran elsewhere; ``calls`` in one iteration, None where nobody counts."""

    operator: str
    where: str
    calls: int | None
    evidence: str


class Coverage(Struct, frozen=True):
    """What one audit of one cell found.

    ``outcome``: audited, or how it ended otherwise (unsupported, failed, timed out), and then why. ``operators`` counts
    the calls of one iteration that were seen, None where they cannot be counted.
    """

    schema: int
    cell: Cell
    started_at: str
    outcome: str
    reason: str
    method: str
    operators: int | None
    fallbacks: list[Fallen]
    strict_error: str | None
    note: str
    versions: dict[str, str]
    variables: dict[str, str]
    device_name: str | None

    @property
    def finding(self) -> str:
        """One line for people."""
        if self.outcome != "audited":
            return f"{self.outcome}: {self.reason}"
        if self.fallbacks:
            return ", ".join(fallen_text(one) for one in self.fallbacks)
        seen = "" if self.operators is None else f" of {self.operators:,} calls"
        return self.note if self.cell.device == "cpu" and self.note else f"none{seen}"


def fallen_text(one: Fallen) -> str:
    """``aten::linalg_svd on cpu (7 calls)``."""
    calls = "" if one.calls is None else f" ({one.calls} call{'' if one.calls == 1 else 's'})"
    return f"{one.operator} on {one.where}{calls}"


def append(folder: Path, audits: Iterable[Coverage]) -> Path:
    """Add ``audits`` to a run's; on disk when it returns."""
    path = folder / FILE
    encoder = msgspec.json.Encoder()
    with path.open("ab") as file:
        file.write(b"".join(encoder.encode(one) + b"\n" for one in audits))
        file.flush()
        os.fsync(file.fileno())
    return path


def read(folders: Sequence[Path], problems: list[str]) -> list[Coverage]:
    """The newest audit of each cell of some runs, in the order of the cells; what cannot be read is skipped.

    ``problems`` collects a sentence for each skipped line.
    """
    newest: dict[Cell, Coverage] = {}
    for one in (one for folder in folders for one in _lines(folder / FILE, problems)):
        if one.cell not in newest or newest[one.cell].started_at <= one.started_at:
            newest[one.cell] = one
    return [newest[cell] for cell in sorted(newest)]


def _lines(path: Path, problems: list[str]) -> Iterator[Coverage]:
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Coverage)
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            one = decoder.decode(line)
            if one.schema > SCHEMA_VERSION:
                raise ValueError(f"schema {one.schema} is newer than this twinbench reads ({SCHEMA_VERSION})")
            yield one
        except ValueError as error:  # msgspec's errors are ValueErrors, too
            problems.append(f"{path}:{number}: not an audit: {error}")
