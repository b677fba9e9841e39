"""``twinbench compare``: two sides live as duets with looks on the way, or two stored runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import environments, store
from bench.block import Context, run_block
from bench.cell import DEVICES, MODES, PRECISIONS, Cell
from bench.compare import LOOKS, compare_duets, compare_runs
from bench.errors import Interrupted, UsageError
from bench.plan import Block, Selection, cells, check_words, for_duets
from bench.progress import Progress, progress
from bench.record import Measured, Record
from bench.report.numbers import times, times_span
from bench.run import is_final
from bench.session import run_facts
from bench.setup import Setup, context, survey, workloads
from bench.stats import GeometricMean
from bench.store import Appender
from bench.summary import summarise
from bench.verdict import Comparison, comparable_facts

#: A side that failed in so many blocks, and was measured in none, will not be measured in the next.
HOPELESS_BLOCKS = 2
STYLES = {"faster": "green", "slower": "red", "same": "cyan", "inconclusive": "yellow"}


@dataclass(frozen=True)
class Side:
    """One side of a live comparison; words that were left out have their defaults."""

    environment: str
    device: str = "cpu"
    precision: str = "fp32"
    mode: str = "default"

    def __str__(self) -> str:
        return "/".join((self.environment, self.device, self.precision, self.mode))


@dataclass(frozen=True)
class Compared:
    """Comparisons, the geometric mean where there is one, and lines that could not be read."""

    comparisons: Sequence[Comparison]
    mean: GeometricMean | None
    problems: Sequence[str]
    title: str
    outcomes: frozenset[str]

    def tables(self) -> Iterator[Table | Text]:
        """For a terminal."""
        made = Table(title=self.title, title_justify="left")
        for column in ("A", "B", "verdict for B", "speed of B / A", "blocks", "why"):
            made.add_column(column, overflow="fold")
        for found in self.comparisons:
            made.add_row(*_row(found))
        yield made
        if self.mean is not None and self.mean.interval is not None:
            mean = self.mean.interval
            count = len(self.mean.included)
            yield Text(f"geometric mean over {count} cells: B is {times(mean)} ({times_span(mean)}) as fast as A")
            for cell, why in self.mean.excluded:
                yield Text(f"  left out: {cell.label if isinstance(cell, Cell) else cell}: {why}", "dim")


def is_run(results: Path, name: str) -> bool:
    """Whether ``name`` means a stored run (else it is a side of a live comparison)."""
    return (
        name == "latest"
        or (Path(name) / store.RECORDS).exists()
        or any(folder.name == name for folder in store.runs(results))
    )


def side(text: str, results: Path) -> Side:
    """``torch/cpu/fp32/compiled`` with any tail left out.

    Raises:
        UsageError: an unknown word, or neither a run nor a side.
    """
    words = text.split("/")
    if len(words) > 4 or (words[0] not in environments.ENVIRONMENTS and "-" in words[0] and words[0][:1].isdigit()):
        raise UsageError(f"{text!r} is neither a run in {results} nor ENVIRONMENT[/DEVICE[/PRECISION[/MODE]]]")
    environments.get(words[0])
    for kind, word, choices in zip(
        ("device", "precision", "mode"), words[1:], (DEVICES, PRECISIONS, ("default", *MODES)), strict=False
    ):
        check_words(kind, [word], choices)
    return Side(*words)


def facts_across(words: Sequence[str]) -> frozenset[str]:
    """The facts that stored runs may differ in on purpose.

    Raises:
        UsageError: no comparison looks at such a fact.
    """
    check_words("fact", words, comparable_facts())
    return frozenset(words)


def stored(a: Path, b: Path, margin: float, session_sd: float, across: AbstractSet[str]) -> Compared:
    """Two runs from the store; advisory, because nothing held their surroundings alike.

    ``session_sd`` is the standard deviation of log time between sessions of this machine.
    """
    problems: list[str] = []
    rows_a, rows_b = summarise(store.read(a, problems)), summarise(store.read(b, problems))
    found = compare_runs(rows_a, rows_b, margin, session_sd, across)
    both = {row.cell for row in rows_a} & {row.cell for row in rows_b}
    outcomes = frozenset(row.outcome for row in (*rows_a, *rows_b) if row.cell in both)
    title = f"Stored runs, advisory: A = {a.name}, B = {b.name}"
    return Compared(found.comparisons, found.mean, problems, title, outcomes)


def live(
    setup: Setup, sides: tuple[Side, Side], blocks: int, margin: float, results: Path, console: Console
) -> Compared:
    """Duets of fresh workers until every pair is decided or has had ``blocks`` blocks.

    Raises:
        UsageError: a side does not exist here, or both sides have no work in common.
        Interrupted: Ctrl-C; the records of finished blocks are on disk.
    """
    setup = replace(setup, profile=for_duets(setup.profile))
    if blocks < LOOKS[0]:
        raise UsageError(f"--blocks must be at least {LOOKS[0]}, the first look; got {blocks}")
    with progress(console) as view:
        asked = replace(setup, selection=replace(setup.selection, devices=tuple({s.device for s in sides})))
        found = survey(asked, context(setup, "", on_stage=view.stage), view.look)
        pairs = _pairs(setup.selection, sides)
        if not pairs:
            raise UsageError(f"{sides[0]} and {sides[1]} have no work in common")
        folder = store.new_run(
            results, {**run_facts(setup, found), "kind": "compare", "sides": [str(s) for s in sides]}
        )
        running = context(setup, folder.name, on_stage=view.stage)
        for cell in {cell for pair in pairs for cell in pair}:
            running.store.materials(running.workloads[cell.workload], cell)
        view.planned(len(pairs) * blocks)
        try:
            with store.appending(folder) as appender:
                _duets(pairs, blocks, margin, running, appender, view)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; finished blocks are in {folder}") from None
    problems: list[str] = []
    comparisons = compare_duets(store.read(folder, problems), margin=margin)
    outcomes = frozenset(row.outcome for row in summarise(store.read(folder, [])))
    title = f"Live: A = {sides[0]}, B = {sides[1]}; margin ±{margin:.1%}; records: {folder}"
    return Compared(comparisons, None, problems, title, outcomes)


def _pairs(selection: Selection, sides: tuple[Side, Side]) -> list[tuple[Cell, Cell]]:
    known = workloads()
    a, b = (
        {
            cell.work: cell
            for cell in cells(
                replace(
                    selection,
                    environments=(one.environment,),
                    devices=(one.device,),
                    precisions=(one.precision,),
                    modes=(one.mode,),
                ),
                known,
                {one.environment: (one.device,)},
            )[0]
        }
        for one in sides
    )
    return [(a[work], b[work]) for work in a if work in b]


def _duets(
    pairs: Sequence[tuple[Cell, Cell]],
    blocks: int,
    margin: float,
    running: Context,
    appender: Appender,
    view: Progress,
) -> None:
    """Block by block over all undecided pairs, so that a slow hour hits every pair alike."""
    made: dict[tuple[Cell, Cell], list[Record]] = {pair: [] for pair in pairs}
    open_pairs = list(pairs)
    for number in range(blocks):
        for pair in list(open_pairs):
            name = f"duet-{pairs.index(pair):03d}-{number:03d}"
            same = pair[0] == pair[1]
            records = run_block(Block(pair, number), name, running, [2 * number, 2 * number + 1] if same else None)
            appender.append(records)
            view.block(records)
            made[pair] += records
            if _settled(made[pair], number + 1, margin):
                open_pairs.remove(pair)


def _settled(records: Sequence[Record], blocks: int, margin: float) -> bool:
    """Whether more blocks can change nothing: a side cannot be measured, or a look has told."""
    if any(is_final(record) for record in records):
        return True
    never = (not any(isinstance(record.outcome, Measured) for record in records[side::2]) for side in (0, 1))
    if blocks >= HOPELESS_BLOCKS and any(never):
        return True
    if blocks not in LOOKS:
        return False
    return all(found.verdict.word != "inconclusive" for found in compare_duets(records, margin=margin))


def _row(found: Comparison) -> tuple[Text, ...]:
    verdict = found.verdict
    ratio = "–" if verdict.ratio is None else f"{times(verdict.ratio)} ({times_span(verdict.ratio)})"
    why = "; ".join((verdict.detail, *found.notes))
    if found.clock == "cpu":
        why += "; decided on CPU time"
    return (
        Text(found.cell_a.label),
        Text(found.cell_b.label),
        Text(verdict.word, STYLES.get(verdict.word, "")),
        Text(ratio),
        Text(str(verdict.blocks)),
        Text(why),
    )
