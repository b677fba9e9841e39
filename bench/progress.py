"""What a person sees while a run goes on: a live bar on a terminal, one plain line a block elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from bench.cell import Cell
from bench.record import Record
from bench.summary import process_sample

STYLES = {
    "measured": "green",
    "unsupported": "yellow",
    "wrong": "bold red",
    "failed": "red",
    "timed_out": "red",
    "implausible": "magenta",
}


class Progress(Protocol):
    """Told of what happens; draws it."""

    def stage(self, cell: Cell, stage: str) -> None:
        """``cell``'s worker begins ``stage``."""

    def look(self, environment: str, device: str) -> None:
        """An environment is opened for the first time."""

    def planned(self, blocks: int) -> None:
        """The plan is made."""

    def block(self, records: Sequence[Record]) -> None:
        """A block is over and on disk; no records when it was skipped."""

    def note(self, text: str) -> None:
        """Something worth knowing."""


class Estimate:
    """Time left, from the mean duration of the blocks so far."""

    def __init__(self) -> None:
        self.total = self.over = 0
        self._ran = 0
        self._began = time.monotonic()

    def plan(self, total: int) -> None:
        """The clock of the blocks starts now."""
        self.total, self._began = total, time.monotonic()

    def count(self, ran: bool) -> None:
        """One block is over."""
        self.over += 1
        self._ran += ran

    def __str__(self) -> str:
        """``about 4 min left``, or nothing while nothing is known."""
        if not self._ran or self.over >= self.total:
            return ""
        each = (time.monotonic() - self._began) / self._ran
        seconds = each * (self.total - self.over)
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"


def outcome_text(record: Record) -> Text:
    """One line on a record: its cell, its outcome, and the speed of this process where there is one."""
    sample = process_sample(record)
    outcome = sample.outcome if sample.plausible or sample.outcome != "measured" else "implausible"
    text = Text(f"{record.cell.label}  ")
    text.append(outcome.replace("_", " "), STYLES.get(outcome, ""))
    if sample.rate is not None and sample.plausible and record.measurement is not None:
        text.append(f"  {sample.rate:,.4g} {record.measurement.item}/s")
    elif sample.reason:
        text.append(f"  {sample.reason.splitlines()[0][:160]}")
    extra = [label for label in record.labels if label != "stable"]
    if extra:
        text.append(f"  [{', '.join(extra)}]", "dim")
    return text


class Plain:
    """Lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._estimate = Estimate()

    def stage(self, cell: Cell, stage: str) -> None:
        """Nothing: a line a stage would bury the outcomes."""

    def look(self, environment: str, device: str) -> None:
        """See Progress.look."""
        self._say(Text(f"looking at {environment} on {device}"))

    def planned(self, blocks: int) -> None:
        """See Progress.planned."""
        self._estimate.plan(blocks)

    def block(self, records: Sequence[Record]) -> None:
        """See Progress.block."""
        self._estimate.count(bool(records))
        for record in records:
            head = Text(f"[{self._estimate.over}/{self._estimate.total}] ", "dim")
            left = str(self._estimate)
            self._say(head + outcome_text(record) + Text(f"  ({left})" if left else "", "dim"))

    def note(self, text: str) -> None:
        """See Progress.note."""
        self._say(Text(f"note: {text}"))

    def _say(self, text: Text) -> None:
        passed = int(time.monotonic() - self._began)
        stamp = Text(f"{passed // 60:3d}:{passed % 60:02d} ", "dim")
        self._console.print(stamp + text, soft_wrap=True, highlight=False)


class Live:
    """A bar that moves, with cell, stage, elapsed and estimate; outcomes scroll by above it."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._estimate = Estimate()
        self._task = bar.add_task("", total=None, now="starting", left="")

    def stage(self, cell: Cell, stage: str) -> None:
        """See Progress.stage."""
        self._bar.update(self._task, now=f"{cell.label} · {stage.replace('_', ' ')}", left=str(self._estimate))

    def look(self, environment: str, device: str) -> None:
        """See Progress.look."""
        self._bar.update(self._task, now=f"looking at {environment} on {device}")

    def planned(self, blocks: int) -> None:
        """See Progress.planned."""
        self._estimate.plan(blocks)
        self._bar.update(self._task, total=blocks)

    def block(self, records: Sequence[Record]) -> None:
        """See Progress.block."""
        self._estimate.count(bool(records))
        for record in records:
            self._bar.console.print(outcome_text(record), soft_wrap=True, highlight=False)
        self._bar.update(self._task, advance=1, left=str(self._estimate))

    def note(self, text: str) -> None:
        """See Progress.note."""
        self._bar.console.print(f"note: {text}", style="yellow", highlight=False)


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Live on a terminal, plain elsewhere."""
    if not console.is_terminal:
        yield Plain(console)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", style="cyan"),
        TextColumn("{task.fields[now]}"),
    )
    # Four redraws a second: the parent must be asleep while a worker measures.
    with RichProgress(*columns, console=console, refresh_per_second=4, transient=True) as bar:
        yield Live(bar)
