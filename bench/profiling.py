"""``twinbench profile``: one cell under its framework's profiler, in a process that measures nothing else.

Writes a folder: ``profile.json`` (cell, versions, operators with their share, copies, fallbacks), ``operators.txt``
(the same for people), a trace that Perfetto opens, and whatever else the framework's profiler leaves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench import environments
from bench.cell import Cell
from bench.errors import TwinbenchError, UsageError
from bench.member import Context
from bench.progress import Progress
from bench.report import numbers
from bench.run import Conversation, Trouble, conversation
from bench.setup import Setup, context, plan, survey

#: Rows of the table for people; the JSON has all.
TOP = 20
#: Perfetto's page: it reads the file in the browser and sends nothing.
PERFETTO = "https://ui.perfetto.dev"


class ProfileFailed(TwinbenchError):
    """The cell could not be profiled; the message says at which stage and why."""

    exit_code = 4


@dataclass(frozen=True)
class Row:
    """One operator. ``share`` is of all operators' own time, from 0 to 1; ``kind`` is ``compute`` or ``copy``."""

    name: str
    calls: int
    self_ns: int
    share: float
    kind: str


@dataclass(frozen=True)
class Profiled:
    """What a profile shows. ``on_device`` False: times are the host's, of dispatching where there is a device."""

    cell: Cell
    iterations: int
    folder: Path
    trace: str | None
    on_device: bool
    rows: Sequence[Row]
    fallbacks: Sequence[str]
    notes: Sequence[str]
    device_name: str | None
    versions: dict[str, str]

    @property
    def copied(self) -> float:
        """The share of the operators that move data."""
        return sum(row.share for row in self.rows if row.kind == "copy")

    def facts(self) -> dict[str, Any]:
        """As plain JSON; the folder is where the file lies."""
        told = {name: value for name, value in asdict(self).items() if name not in ("folder", "cell")}
        return {"cell": self.cell.words(), "cell_id": self.cell.id, "copied_share": self.copied, **told}

    def table(self, top: int = TOP) -> Table:
        """The operators that take longest."""
        where = "on the device" if self.on_device else "on the host"
        title = f"Operators of {self.cell.label}, {self.iterations} iterations, own time {where}"
        made = Table(title=title, title_justify="left")
        for column in ("operator", "kind", "calls", "own time", "share"):
            made.add_column(column, justify="left" if column in ("operator", "kind") else "right")
        for row in self.rows[:top]:
            share = numbers.percent(row.share)
            made.add_row(Text(row.name), row.kind, f"{row.calls:,}", numbers.duration(row.self_ns / 1e9), share)
        return made

    def lines(self) -> list[str]:
        """What else there is to say."""
        left = len(self.rows) - TOP
        told = [f"and {left} more operators in profile.json"] if left > 0 else []
        told.append(
            f"copies and conversions: {numbers.percent(self.copied) if self.copied else '0 %'} of the operators' time"
        )
        if self.fallbacks:
            told.append(f"ran elsewhere than on the {self.cell.device}: {', '.join(self.fallbacks)}")
        told += self.notes
        if self.trace is not None:
            told.append(f"trace: {self.folder / self.trace} (open it in {PERFETTO})")
        return told


def profile(setup: Setup, out: Path, iterations: int, view: Progress, wait: Callable[[int | None], None]) -> Profiled:
    """Profile the one cell that ``setup`` selects, into a new folder below ``out``.

    ``wait`` is called with the worker's process id when it is warm: a person may attach Instruments then.

    Raises:
        UsageError: the selection is not one cell.
        ProfileFailed: the cell does not run, or its framework has no profiler here.
    """
    looking = context(setup, "", on_stage=view.stage)
    found = survey(setup, looking, view.look)
    cells = plan(setup, found.devices).cells
    if len(cells) != 1:
        shown = "\n  ".join(cell.label for cell in cells[:6])
        more = f"\n  and {len(cells) - 6} more" if len(cells) > 6 else ""
        raise UsageError(f"profile takes one cell, the selection has {len(cells)}:\n  {shown}{more}")
    (cell,) = cells
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = out / f"{stamp}-{cell.workload}-{cell.environment}-{cell.device}-{cell.id}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make a folder in {out}: {error.strerror}") from error
    try:
        with conversation(cell.environment, cell.device, looking) as worker:
            reply = _ask(worker, cell, looking, folder, iterations, wait)
            facts = worker.facts
    except Trouble as error:
        raise ProfileFailed(f"{cell.label} could not be profiled: {error}") from error
    if "not_measured" in reply:
        raise ProfileFailed(f"{cell.label} has no profile: {reply['not_measured']}")
    made = _profiled(cell, iterations, folder, reply, facts)
    _write(made)
    return made


def _ask(
    worker: Conversation,
    cell: Cell,
    looking: Context,
    folder: Path,
    iterations: int,
    wait: Callable[[int | None], None],
) -> dict[str, Any]:
    workload = looking.workloads[cell.workload]
    looking.on_stage(cell, "load")
    worker.load(cell, looking.store.materials(workload, cell))
    looking.on_stage(cell, "first_call")
    worker.ask("first_call")
    wait(worker.pid)
    looking.on_stage(cell, "profile")
    return worker.ask("profile", folder=str(folder.resolve()), iterations=iterations)


def _profiled(cell: Cell, iterations: int, folder: Path, reply: dict[str, Any], facts: dict[str, Any]) -> Profiled:
    operators = sorted(reply["operators"], key=lambda one: -one["self_ns"])
    total = sum(one["self_ns"] for one in operators) or 1
    rows = [Row(one["name"], one["calls"], one["self_ns"], one["self_ns"] / total, one["kind"]) for one in operators]
    on_device = any(one["on_device"] for one in operators)
    notes = list(reply["notes"])
    if cell.device != "cpu" and operators and not on_device:
        notes.append(
            f"these are times of the host: dispatching to {environments.get(cell.environment).name}/{cell.device}"
        )
    return Profiled(
        cell, iterations, folder, reply["trace"], on_device, rows, reply["fallbacks"], notes,
        facts.get("device_name"), dict(facts.get("versions", {})),
    )  # fmt: skip


def _write(made: Profiled) -> None:
    from rich.console import Console

    (made.folder / "profile.json").write_text(json.dumps(made.facts(), indent=2) + "\n", encoding="utf-8")
    with (made.folder / "operators.txt").open("w", encoding="utf-8") as file:
        console = Console(file=file, width=160)
        console.print(made.table(TOP))
        for line in made.lines():
            console.print(line, highlight=False, markup=False, soft_wrap=True)
