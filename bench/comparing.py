"""``twinbench compare``: two sides live as duets with looks on the way, or two stored runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import environments, store
from bench.block import run_block
from bench.cell import DEVICES, MODES, PRECISIONS, Cell
from bench.compare import AGAIN, LOOKS, Rule, across_precision, compare_runs
from bench.errors import Interrupted, UsageError
from bench.member import Context
from bench.plan import Block, Selection, cells, check_words, for_duets
from bench.progress import Progress, progress
from bench.record import Measured, Record
from bench.report.numbers import times, times_span
from bench.run import is_final
from bench.session import run_facts
from bench.setup import Setup, context, survey, workloads
from bench.stats import GeometricMean, Interval
from bench.store import Appender
from bench.summary import summarise
from bench.verdict import Comparison, blocks_again, comparable_facts, looks_within, mean_of

#: A side that failed in so many blocks, and was measured in none, will not be measured in the next.
HOPELESS_BLOCKS = 2
#: Numbers of the processes of blocks that are measured again: beyond those of any comparison.
FIRST_AGAIN = 10_000
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
    """Comparisons, the geometric mean (with what it leaves out), and lines that could not be read."""

    comparisons: Sequence[Comparison]
    mean: GeometricMean
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
        mean, count = self.mean.interval, len(self.mean.included)
        if mean is not None and count > 1:
            span = f" ({times_span(mean)}; {self.mean.meaning})" if mean.low is not None else ""
            yield Text(f"geometric mean over {count} cells: B is {times(mean)}{span} as fast as A")
        for key, why in self.mean.excluded:
            yield Text(f"  left out: {_named(key)}: {why}", "dim")


def _named(key: object) -> str:
    """A cell that one side has, or a pair without a ratio, for people."""
    if isinstance(key, Cell):
        return key.label
    labels = dict.fromkeys(cell.label for cell in key) if isinstance(key, tuple) else [str(key)]
    return " against ".join(labels)


def is_run(results: Path, name: str) -> bool:
    """Whether ``name`` means a stored run (else it is a side of a live comparison)."""
    return (
        name == "latest"
        or (Path(name) / store.RECORDS).exists()
        or any(folder.name == name for folder in store.runs(results))
    )


def refuse_unknown_run(results: Path, name: str) -> None:
    """For a word beside a run that is none: unless it begins with an environment, a run was meant.

    Raises:
        UsageError: no such run; names the nearest.
    """
    if name.split("/")[0].partition(environments.AT)[0] not in environments.ENVIRONMENTS:
        store.find(results, name)


def side(text: str, results: Path) -> Side:
    """``torch/cpu/fp32/compiled`` with any tail left out.

    Raises:
        UsageError: an unknown word, or neither a run nor a side.
    """
    words = text.split("/")
    if words[0] not in environments.ENVIRONMENTS and "-" in words[0] and words[0][:1].isdigit():
        refuse_unknown_run(results, text)
    if len(words) > 4:
        raise UsageError(f"{text!r} is neither a run in {results} nor ENVIRONMENT[/DEVICE[/PRECISION[/MODE]]]")
    environments.get(words[0])
    for kind, word, choices in zip(
        ("device", "precision", "mode"), words[1:], (DEVICES, PRECISIONS, ("default", *MODES)), strict=False
    ):
        check_words(kind, [word], choices)
    return Side(*words)


def pythons(given: Sequence[str], sides: Sequence[Side]) -> list[str]:
    """``--python`` options with one more for each ``NAME@LABEL`` that has none: that of NAME, where it was given."""
    known = dict(option.partition("=")[::2] for option in given)
    more = []
    for one in sides:
        base, at, _ = one.environment.partition(environments.AT)
        if at and one.environment not in known:
            more.append(f"{one.environment}={known.get(base, sys.executable)}")
    return [*given, *dict.fromkeys(more)]


def checkouts(given: Sequence[str], sides: Sequence[Side]) -> dict[str, str]:
    """``--checkout NAME=FOLDER`` options, by environment.

    Raises:
        UsageError: malformed, of no side, or a folder that is no checkout of this project.
    """
    found: dict[str, str] = {}
    for option in given:
        name, _, folder = option.partition("=")
        if not name or not folder:
            raise UsageError(f"--checkout takes NAME=FOLDER, got {option!r}; for instance torch@old=../twinbench-old")
        check_words("side", [name], [one.environment for one in sides])
        if not (Path(folder) / "bench" / "launch.py").is_file():
            raise UsageError(f"--checkout {name}: {folder} is no checkout of this project (no bench/launch.py in it)")
        found[name] = str(Path(folder).resolve())
    return found


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

    Raises:
        UsageError: the runs have no cell in common.
    """
    problems: list[str] = []
    rows_a, rows_b = summarise(store.read(a, problems)), summarise(store.read(b, problems))
    found = compare_runs(rows_a, rows_b, margin, session_sd, across)
    if not found.comparisons:
        raise _nothing_in_common([row.cell for row in rows_a], [row.cell for row in rows_b], problems)
    cells_a, cells_b = ({cells[side] for cells in map(_cells, found.comparisons)} for side in (0, 1))
    outcomes = frozenset(
        row.outcome for rows, compared in ((rows_a, cells_a), (rows_b, cells_b)) for row in rows if row.cell in compared
    )
    title = f"Stored runs, advisory: A = {a.name}, B = {b.name}"
    return Compared(found.comparisons, found.mean, problems, title, outcomes)


def _cells(found: Comparison) -> Pair:
    return found.cell_a, found.cell_b


def _nothing_in_common(a: Sequence[Cell], b: Sequence[Cell], problems: Sequence[str] = ()) -> UsageError:
    """The refusal, with what each side has, and the nearest thing that could be done."""
    text = f"no cell in common: A has {_few(a)}, B has {_few(b)}"
    if near := across_precision(a, b):
        words = [" and ".join(dict.fromkeys(pair[side].precision for pair in near)) for side in (0, 1)]
        text += f"; precision differs: {words[0]} against {words[1]} (--across precision compares them)"
    if problems:
        text += f"; {len(problems)} lines could not be read, the first: {problems[0]}"
    return UsageError(text)


def _few(cells: Sequence[Cell]) -> str:
    if not cells:
        return "none"
    more = f" and {len(cells) - 2} more" if len(cells) > 2 else ""
    return ", ".join(f"({cell.label})" for cell in cells[:2]) + more


def check_live(selection: Selection, sides: tuple[Side, Side], blocks: int) -> list[Pair]:
    """What ``live`` would compare; all that can be refused before anything is opened.

    Raises:
        UsageError: too few blocks, unknown words, or no work in common.
    """
    if blocks < LOOKS[0]:
        raise UsageError(f"--blocks must be at least {LOOKS[0]}, the first look; got {blocks}")
    return _pairs(selection, sides)[0]


def live(
    setup: Setup,
    sides: tuple[Side, Side],
    blocks: int,
    margin: float,
    results: Path,
    console: Console,
    floors: Mapping[str, float] | None = None,
) -> Compared:
    """Duets of fresh workers until every pair is decided or has had ``blocks`` blocks; what is flagged, once more.

    ``floors``: what identical code differs by on this machine, by clock; replaces a smaller margin.

    Raises:
        UsageError: a side does not exist here, or both sides have no work in common.
        Interrupted: Ctrl-C; the records of finished blocks are on disk.
    """
    setup = replace(setup, profile=for_duets(setup.profile))
    check_live(setup.selection, sides, blocks)
    rule = Rule(margin, looks_within(blocks), floors or {})
    with progress(console) as view:
        asked = replace(setup, selection=replace(setup.selection, devices=tuple({s.device for s in sides})))
        found = survey(asked, context(setup, "", on_stage=view.stage), view.look)
        pairs, missing = _pairs(setup.selection, sides)
        facts = {"kind": "compare", "sides": [str(one) for one in sides], "rule": rule.facts()}
        folder = store.new_run(results, {**run_facts(setup, found), **facts})
        running = context(setup, folder.name, on_stage=view.stage)
        for cell in {cell for pair in pairs for cell in pair}:
            running.store.materials(running.workloads[cell.workload], cell)
        view.planned(len(pairs) * blocks)
        try:
            with store.appending(folder) as appender:
                made = _duets(pairs, rule, running, appender, view)
                _again(pairs, rule.verdicts(made), running, appender, view)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; finished blocks are in {folder}") from None
    problems: list[str] = []
    comparisons = rule.verdicts(store.read(folder, problems))
    outcomes = frozenset(row.outcome for row in summarise(store.read(folder, [])))
    title = f"Live: A = {sides[0]}, B = {sides[1]}; margin ±{margin:.1%}; records: {folder}"
    return Compared(comparisons, mean_of(comparisons, missing), problems, title, outcomes)


Pair = tuple[Cell, Cell]


def _pairs(selection: Selection, sides: tuple[Side, Side]) -> tuple[list[Pair], dict[Cell, str]]:
    """What is compared, and the cells whose work one side only has.

    Raises:
        UsageError: no work is in common.
    """
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
    pairs = [(a[work], b[work]) for work in a if work in b]
    if not pairs:
        raise _nothing_in_common(list(a.values()), list(b.values()))
    missing = {cell: "in A only" for work, cell in a.items() if work not in b}
    return pairs, missing | {cell: "in B only" for work, cell in b.items() if work not in a}


def _duets(pairs: Sequence[Pair], rule: Rule, running: Context, appender: Appender, view: Progress) -> list[Record]:
    """Block by block over all undecided pairs, so that a slow hour hits every pair alike."""
    made: dict[Pair, list[Record]] = {pair: [] for pair in pairs}
    open_pairs = list(pairs)
    for number in range(rule.looks[-1]):
        for pair in list(open_pairs):
            records = _block(pair, f"duet-{pairs.index(pair):03d}-{number:03d}", number, running)
            appender.append(records)
            view.block(records)
            made[pair] += records
            if _settled(made[pair], number + 1, rule):
                open_pairs.remove(pair)
    return [record for pair in pairs for record in made[pair]]


def _again(
    pairs: Sequence[Pair], found: Sequence[Comparison], running: Context, appender: Appender, view: Progress
) -> None:
    """Fresh blocks for every pair that was flagged, before anybody is told (``verdict.confirmed``)."""
    flagged = [one for one in found if one.verdict.word in ("faster", "slower")]
    for one in flagged:
        pair = (one.cell_a, one.cell_b)
        index = next(number for number, sides in enumerate(pairs) if set(sides) == set(pair))
        for number in range(blocks_again(one.verdict)):
            view.note(f"{one.verdict.word}: measured again, {number + 1} of {blocks_again(one.verdict)}")
            records = _block(pairs[index], f"{AGAIN}{index:03d}-{number:03d}", FIRST_AGAIN + number, running)
            appender.append(records)


def _block(pair: Pair, name: str, number: int, running: Context) -> list[Record]:
    same = pair[0] == pair[1]
    return run_block(Block(pair, number), name, running, [2 * number, 2 * number + 1] if same else None)


def _settled(records: Sequence[Record], blocks: int, rule: Rule) -> bool:
    """Whether more blocks can change nothing: a side cannot be measured, or a look has told."""
    if any(is_final(record) for record in records):
        return True
    never = (not any(isinstance(record.outcome, Measured) for record in records[side::2]) for side in (0, 1))
    if blocks >= HOPELESS_BLOCKS and any(never):
        return True
    if blocks not in rule.looks:
        return False
    return all(found.verdict.word != "inconclusive" for found in rule.verdicts(records))


def _row(found: Comparison) -> tuple[Text, ...]:
    verdict = found.verdict
    ratio = "–" if verdict.ratio is None else _ratio(verdict.ratio)
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


def _ratio(found: Interval) -> str:
    within = times_span(found)
    return f"{times(found)} ({within})" if within else times(found)
