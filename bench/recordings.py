"""Recorded times for replays: files of JSON lines, gzipped or not, and runs in which identical code was compared.

In a file there are two kinds of line, which may share it. A fresh process: ``v`` the iteration times in ns, in order. A
block of processes that took turns: ``rec`` maps a side (``A``, ``A2`` identical to it, ``B5`` and ``B10`` with so many
percent more work) to rounds of [wall ns of each iteration, CPU ns of each iteration]. Further keys are not looked at.

A run is a folder with records: the blocks of its comparisons of a cell with itself, ``A`` and ``A2``, as they are. Such
are a night's, where the pinned release is the newest.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import store
from bench.cell import Cell
from bench.compare import BlockSide, identical_sides
from bench.environments import AT
from bench.errors import UsageError
from bench.evidence import Duets, Pairs, pairs_of
from bench.stats import Floats

CLOCKS = ("wall", "cpu")
#: The side that the others are compared with, and what a side is called that did the same.
BASE, IDENTICAL = "A", "A2"


@dataclass(frozen=True)
class Turns:
    """One side of a recorded block: when each iteration came (in any unit that grows), and its time in ns by clock."""

    came: Floats
    ns: dict[str, Floats]


@dataclass(frozen=True)
class Recording:
    """One file: processes in the order in which they ran, and blocks, each with its sides by name."""

    name: str
    sha256: str
    processes: tuple[Floats, ...]
    blocks: tuple[dict[str, Turns], ...]

    def sides(self) -> list[str]:
        """The sides, besides ``A``, that every block has."""
        if not self.blocks:
            return []
        common = set.intersection(*(set(block) for block in self.blocks))
        return [side for side in self.blocks[0] if side in common and side != BASE]

    def clocks(self) -> tuple[str, ...]:
        """The clocks that every side of every block has."""
        sides = [turns for block in self.blocks for turns in block.values()]
        return tuple(clock for clock in CLOCKS if all(clock in turns.ns for turns in sides))

    def duets(self, side: str, clock: str, slowdown: float = 0.0) -> Duets:
        """Every block, A against ``side``, whose times are made ``slowdown`` longer."""
        return Duets(tuple(_pairs(block[BASE], block[side], clock, slowdown) for block in self.blocks))

    def alternating(self, slowdown: float = 0.0) -> Duets:
        """Blocks of two processes that ran one after the other, every second one ``slowdown`` slower."""
        ones, others = self.processes[::2], self.processes[1::2]
        made = []
        for number, (one, other) in enumerate(zip(ones, others, strict=False)):
            a, b = (one, other) if number % 2 == 0 else (other, one)
            made.append(pairs_of(a, b * (1 + slowdown), range(a.size), range(a.size, a.size + b.size)))
        return Duets(tuple(made))


def _pairs(a: Turns, b: Turns, clock: str, slowdown: float) -> Pairs:
    a_ns, b_ns = a.ns[clock], b.ns[clock] * (1 + slowdown)
    return pairs_of(a_ns, b_ns, a.came.tolist(), b.came.tolist())


def read(path: Path) -> list[Recording]:
    """One file of recordings; or of a run, or of all runs in a folder, one recording for each cell.

    Raises:
        UsageError: it cannot be read or holds nothing to replay.
    """
    return _of_runs(path) if path.is_dir() else [_of_file(path)]


def _of_runs(folder: Path) -> list[Recording]:
    runs = [folder] if (folder / store.RECORDS).exists() else store.runs(folder)
    problems: list[str] = []
    found: dict[Cell, list[tuple[BlockSide, BlockSide]]] = {}
    for run in runs:
        for cell, pairs in identical_sides(store.read(run, problems), _one_by_two_names(run)).items():
            found.setdefault(cell, []).extend(pairs)
    if problems:
        raise UsageError(f"--noise {folder}: {problems[0]}")
    if not found:
        raise UsageError(
            f"--noise {folder}: no run in it has compared a cell with itself; make one with: "
            f"twinbench compare torch torch --workload mlp:digits --threads 1 --margin 0.001"
        )
    digest = hashlib.sha256(b"".join((run / store.RECORDS).read_bytes() for run in runs)).hexdigest()
    return [
        Recording(f"{folder.name}: {cell.label}", digest, (), tuple(map(_block_of, pairs)))
        for cell, pairs in found.items()
    ]


def _one_by_two_names(run: Path) -> dict[str, str]:
    """Environment -> the one that it is, where a run gave one interpreter two names.

    A night without a newer release compares ``torch`` with a ``torch@newest`` that is the same. Not where another
    checkout or extra work tells them apart.
    """
    setup = store.run_facts(run).get("setup", {})
    apart = {*setup.get("checkouts", {}), *setup.get("extra_work", {})}
    first: dict[tuple[str, str], str] = {}
    return {
        name: first.setdefault((name.partition(AT)[0], path), name)
        for name, path in setup.get("pythons", {}).items()
        if name not in apart
    }


def _block_of(pair: tuple[BlockSide, BlockSide]) -> dict[str, Turns]:
    """CPU time only where a verdict may rest on it."""
    clocks = CLOCKS if all(side.one_thread for side in pair) else ("wall",)
    return {
        name: Turns(np.array(side.started_ns, np.float64), {clock: side.item_ns[clock] for clock in clocks})
        for name, side in zip((BASE, IDENTICAL), pair, strict=True)
    }


def _of_file(path: Path) -> Recording:
    """One file of recordings.

    Raises:
        UsageError: it cannot be read, holds nothing, or a line is neither a process nor a block; names the line.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"--noise {path}: {error}") from error
    processes: list[Floats] = []
    blocks: list[dict[str, Turns]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "rec" in row:
                blocks.append({side: _turns(rounds, side) for side, rounds in row["rec"].items()})
                if BASE not in blocks[-1] or len(blocks[-1]) < 2:
                    raise ValueError(f"a block needs the side {BASE!r} and another, got {sorted(blocks[-1])}")
            else:
                processes.append(_times(row["v"], "v"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"--noise {path}, line {number}: {type(error).__name__}: {error}; it must be a process with iteration "
                f"times 'v' or a block with rounds 'rec'"
            ) from error
    if not processes and not blocks:
        raise UsageError(f"--noise {path}: no process and no block in it")
    return Recording(path.name, hashlib.sha256(raw).hexdigest(), tuple(processes), tuple(blocks))


def _turns(rounds: list[list[Any]], side: str) -> Turns:
    """The order of the sides within a round was random and is not recorded; here A is always the first."""
    columns = {clock: [_times(one[index], clock) for one in rounds] for index, clock in enumerate(CLOCKS)}
    sizes = [times.size for times in columns["wall"]]
    if sizes != [times.size for times in columns["cpu"]]:
        raise ValueError("a round has different numbers of wall and CPU times")
    came: Floats = np.repeat(2.0 * np.arange(len(rounds)) + (side != BASE), sizes)
    return Turns(came, {clock: np.concatenate(times) for clock, times in columns.items()})


def _times(values: Any, what: str) -> Floats:
    times = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or not times.size or not np.isfinite(times).all() or times.min() <= 0:
        raise ValueError(f"{what} must be one or more positive times")
    return times
