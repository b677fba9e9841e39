"""``twinbench nightly``: pinned against newest, side by side, and what tonight says beside the nights before.

A night is a run folder like any other, with one duet per cell: the pinned environment and ``NAME@newest``, which is the
same environment with the newest allowed release in it. Where none was given the pinned one is measured against itself:
that shows this machine's noise. A strange night is measured again in fresh processes before anything is said.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs
from rich.console import Console

from bench import environments, points, store
from bench.block import run_block
from bench.budget import Budget, Part
from bench.cell import Cell
from bench.changepoints import FEWEST_NIGHTS, Prediction
from bench.compare import AGAIN, ALPHA, Rule, duets_of
from bench.errors import Interrupted, UsageError, unknown
from bench.history import Found, Series, causes_of, series_for, series_of
from bench.member import Context
from bench.plan import Block, cells, for_duets
from bench.points import POINTS_VERSION, Point
from bench.progress import Progress, progress
from bench.record import Measured, Record
from bench.run import is_final, look
from bench.session import look_around, run_facts
from bench.setup import Setup, Survey, context, survey, workloads
from bench.store import Appender
from bench.summary import summarise
from bench.verdict import looks_within

NEWEST = "newest"
KIND = "nightly"
#: Blocks of a night's duets: so many keep the scatter of a night below 1 % on the recorded noise (0.53 % on CPU time,
#: 0.84 % on wall time).
BLOCKS = 20
#: Of `--quick`: a look at the machinery, on the smallest real workload.
QUICK_BLOCKS, QUICK_BURSTS, QUICK_WORK = 6, 5, "mlp:digits"
#: Fewer blocks have no scatter worth the name.
FEWEST_BLOCKS = 3
#: A side that failed in so many blocks, and was measured in none, will not be measured in the next.
HOPELESS_BLOCKS = 2

#: The outcome of a cell that did not get its blocks within ``--hours``.
OUT_OF_TIME = "out_of_time"

Pair = tuple[Cell, Cell]


@dataclass(frozen=True)
class Finding:
    """One cell tonight. ``found``: the change that tonight brought to light; ``series`` ends with tonight.

    ``expected``: where tonight was expected, None with too short a history. ``suspect``: strange twice, but a single
    night without anything that changed, or strange once and not measured again; it is an alarm when it lasts.
    """

    point: Point
    series: Series | None = None
    expected: Prediction | None = None
    found: Found | None = None
    suspect: bool = False
    known: tuple[Found, ...] = ()

    @property
    def slower(self) -> bool:
        """Whether this is an alarm: the newest release lost speed."""
        return self.found is not None and self.found.change.size < 0

    @property
    def unfinished(self) -> bool:
        """Whether the figure is a doubted first one, because the second measurement came to nothing."""
        return self.point.outcome == "measured" and bool(self.point.reason)

    @property
    def outside(self) -> bool:
        """Whether the figure that stands for tonight lies outside of where it was expected."""
        return _strange(self.point, self.expected)


@dataclass(frozen=True)
class Night:
    """Tonight: its folder, a finding for each cell, what was said on the way, and lines that could not be read."""

    folder: Path
    findings: Sequence[Finding]
    notes: Sequence[str]
    problems: Sequence[str]
    nights: int

    @property
    def alarms(self) -> list[Finding]:
        """Cells that came out slower."""
        return [one for one in self.findings if one.slower]


def nightly(
    setup: Setup,
    blocks: int,
    results: Path,
    console: Console,
    notes: Sequence[str] = (),
    strict: bool = False,
    hours: float | None = None,
) -> Night:
    """Measure tonight, judge it by the nights in ``results``, and write its points.

    ``notes`` are sentences for the summary: why a newest release could not be had, say. After ``hours`` no block is
    begun; what has too few blocks then is listed as not measured.

    Raises:
        UsageError: nothing to measure, a pinned environment that does not open, or ``strict`` and the machine is in no
            state to be measured on; there is no run folder then.
        Interrupted: Ctrl-C; the night then counts for nothing, its finished blocks are on disk.
    """
    if blocks < FEWEST_BLOCKS:
        raise UsageError(f"--blocks must be at least {FEWEST_BLOCKS}, got {blocks}")
    budget = Budget(hours)
    setup = replace(setup, profile=for_duets(setup.profile))
    problems: list[str] = []
    history = points.read_all(points.nights(results), problems)
    known = series_of(history)
    said = list(notes)
    folder: Path | None = None
    try:
        with progress(console) as view:
            look_around(view, strict)
            folder, running, pairs, lost = _begin(setup, blocks, results, said, view)
            with store.appending(folder) as appender:
                tonight = _measured(pairs, blocks, running, appender, view, known, budget)
    except KeyboardInterrupt:
        where = f"finished blocks are in {folder}" if folder else "nothing was measured"
        raise Interrupted(f"interrupted; {where}; this night is no part of the history") from None
    said += _shortened(tonight, blocks, hours)
    tonight += [_lost(pair, why, folder.name) for pair, why in lost]
    points.write(folder, tonight)
    findings = judged(known, tonight)
    return Night(folder, findings, said, problems, len({point.run for point in (*history, *tonight)}))


def judged(known: list[Series], tonight: Sequence[Point]) -> list[Finding]:
    """What each of tonight's points says beside the nights before: the series ``known``, which get tonight's points."""
    findings = []
    for point in tonight:
        if point.outcome != "measured":
            findings.append(Finding(point))
            continue
        series = series_for(point, known)
        expected = series.prediction() if series.points else None
        series.points.append(point)
        found = series.found()
        last = len(series.points) - 1
        new = next((one for one in found if one.found_at == last), None)
        earlier = tuple(one for one in found if one.found_at != last)
        finding = Finding(point, series, expected, new, known=earlier)
        suspect = new is None and expected is not None and (point.confirmed or finding.unfinished)
        findings.append(replace(finding, suspect=suspect))
    return findings


# --- measuring -------------------------------------------------------------------------------------------------------


def candidate_of(environment: str) -> str:
    """The environment of the newest release: ``torch@newest``."""
    return f"{environment}{environments.AT}{NEWEST}"


def candidates(asked: Sequence[str], given: Sequence[str]) -> list[str]:
    """Of the ``NAME=PATH`` options ``given``, the newest sides of the environments that were asked for.

    Raises:
        UsageError: one is neither a pinned side nor a newest one: it would be left out of the night.
    """
    names = [option.partition("=")[0] for option in given if "=" in option]
    for name in names:
        pinned = environments.get(name).name.partition(environments.AT)[0]
        if name not in (pinned, candidate_of(pinned)):
            raise unknown("side of a night", name, (candidate_of(pinned), pinned))
    return [other for name in asked if (other := candidate_of(name)) in names]


def _begin(
    setup: Setup, blocks: int, results: Path, said: list[str], view: Progress
) -> tuple[Path, Context, list[Pair], list[tuple[Pair, str]]]:
    """Look at everything once; the run folder, what blocks run in, the pairs, and those without a second side."""
    for sentence in said:
        view.note(sentence)
    pinned = {name: path for name, path in setup.pythons.items() if environments.AT not in name}
    alone = [name for name in setup.pythons if name not in pinned and name.partition(environments.AT)[0] not in pinned]
    if alone:
        name = alone[0].partition(environments.AT)[0]
        raise UsageError(f"{alone[0]} has no pinned side; give --python {name}=PATH, too")
    pythons = dict(pinned)
    for name, path in pinned.items():
        other = candidate_of(name)
        pythons[other] = setup.pythons.get(other, path)
        if other not in setup.pythons:
            said.append(f"{name}: no newest release was given; the pinned one is measured against itself")
            view.note(said[-1])
    setup = replace(setup, pythons=pythons)
    looking = context(setup, "", on_stage=view.stage)
    found = survey(replace(setup, pythons=pinned), looking, view.look)
    missing = _candidates(pinned, found, looking, view)
    chosen, skips = cells(setup.selection, workloads(), found.devices)
    if not chosen:
        raise UsageError("the selection has no cell")
    for note in (*found.notes, *skips):
        view.note(note)
    for cell in chosen:  # a weights file that does not fit is an error now
        looking.store.materials(looking.workloads[cell.workload], cell)
    facts = {"kind": KIND, "notes": said, "rule": Rule(looks=looks_within(blocks)).facts()}
    folder = store.new_run(results, {**run_facts(setup, found), **facts})
    pairs = [(cell, cell.but(environment=candidate_of(cell.environment))) for cell in chosen]
    lost = [(pair, why) for pair in pairs if (why := missing.get((pair[1].environment, pair[1].device)))]
    running = context(setup, folder.name, on_stage=view.stage)
    return folder, running, [pair for pair in pairs if pair not in [one for one, _ in lost]], lost


def _candidates(
    pinned: Mapping[str, str], found: Survey, looking: Context, view: Progress
) -> dict[tuple[str, str], str]:
    """(environment, device) of the newest releases that do not open there, and why. They cost the others nothing."""
    missing = {}
    for name in pinned:
        other = candidate_of(name)
        for device in found.devices[name]:
            view.look(other, device)
            sight = look(other, device, looking)
            if sight.problem is not None:
                missing[(other, device)] = sight.problem
                view.note(f"{other} does not open on {device}: {sight.problem}")
    return missing


def _measured(
    pairs: Sequence[Pair],
    blocks: int,
    running: Context,
    appender: Appender,
    view: Progress,
    known: Sequence[Series],
    budget: Budget,
) -> list[Point]:
    """All duets; then those that lie outside their prediction once more, in fresh processes."""
    view.planned(len(pairs) * blocks)
    made = _duets("night", pairs, blocks, running, appender, view, budget.part(first=True))
    first = {pair: _point(pair, made[pair], running.run) for pair in pairs}
    expected = {pair: _expected(first[pair], known) for pair in pairs}
    strange = [pair for pair in pairs if _strange(first[pair], expected[pair])]
    if not strange:
        return list(first.values())
    for pair in strange:
        view.note(f"{pair[0].label}: outside of what {FEWEST_NIGHTS} or more nights predict; measured again")
    view.planned((len(pairs) + len(strange)) * blocks)
    again = _duets(AGAIN.removesuffix("-"), strange, blocks, running, appender, view, budget.part(first=False))
    return [_second(first[pair], pair, again.get(pair), expected[pair], running.run) for pair in pairs]


def _expected(point: Point, known: Sequence[Series]) -> Prediction | None:
    if point.outcome != "measured":
        return None
    series = series_for(point, list(known))
    return series.prediction() if series.points else None


def _strange(point: Point, expected: Prediction | None) -> bool:
    return expected is not None and point.log_ratio is not None and expected.outside(point.log_ratio)


def _second(first: Point, pair: Pair, records: Sequence[Record] | None, expected: Prediction | None, run: str) -> Point:
    """The second measurement stands for the night, or the first where that is known for a spike (``second_stands``)."""
    if records is None:
        return first
    second = _point(pair, records, run)
    if second.outcome != "measured":
        return structs.replace(
            first, reason=f"the second measurement {second.outcome.replace('_', ' ')}: {second.reason}"
        )
    assert expected is not None
    assert first.log_ratio is not None
    assert second.log_ratio is not None
    confirmed = expected.confirmed(first.log_ratio, second.log_ratio)
    stands = expected.second_stands(first.log_ratio, second.log_ratio, second.error or 0.0)
    return structs.replace(second if stands else first, first=first.log_ratio, confirmed=confirmed)


def _duets(
    word: str, pairs: Sequence[Pair], blocks: int, running: Context, appender: Appender, view: Progress, time: Part
) -> dict[Pair, list[Record]]:
    """Block by block over all pairs in a new order each time, so that a slow hour hits all of them alike.

    Where ``time`` is short, the first round takes in no more pairs than can have ``FEWEST_BLOCKS``; another night,
    others.
    """
    made: dict[Pair, list[Record]] = {pair: [] for pair in pairs}
    order = random.Random(f"{running.seed}/{running.run}/{word}")
    names = {pair: f"{word}-{index:03d}" for index, pair in enumerate(pairs)}
    for number in range(blocks):
        turn = list(pairs) if number == 0 else [pair for pair in pairs if made[pair]]
        order.shuffle(turn)
        for pair in turn:
            if time.is_over or (number == 0 and not time.admits(FEWEST_BLOCKS)):
                break
            if _hopeless(made[pair], number):
                view.block([])
                continue
            records = run_block(Block(pair, number), f"{names[pair]}-{number:03d}", running)
            appender.append(records)
            view.block(records)
            made[pair] += records
    return made


def _hopeless(records: Sequence[Record], blocks: int) -> bool:
    """Whether more blocks can bring nothing: a side that another process would not measure either."""
    never = (not any(isinstance(record.outcome, Measured) for record in records[side::2]) for side in (0, 1))
    return any(is_final(record) for record in records) or (blocks >= HOPELESS_BLOCKS and any(never))


def _shortened(tonight: Sequence[Point], blocks: int, hours: float | None) -> list[str]:
    """A sentence where ``--hours`` ended the night before all of its blocks were run."""
    counts = [point.blocks for point in tonight if point.outcome == "measured"]
    lost = sum(point.outcome == OUT_OF_TIME for point in tonight)
    if hours is None or not (lost or any(count < blocks for count in counts)):
        return []
    had = (
        f"{len(counts)} cells had {min(counts)} to {max(counts)} of {blocks} blocks" if counts else "no cell had enough"
    )
    return [f"--hours {hours:g}: {had}, {lost} fewer than {FEWEST_BLOCKS}"]


# --- points ----------------------------------------------------------------------------------------------------------


def _point(pair: Pair, records: Sequence[Record], run: str) -> Point:
    """``point_of``, or that the time was over before the pair had its blocks."""
    had = len(records) // len(pair)
    if had >= FEWEST_BLOCKS or _hopeless(records, had):
        return point_of(pair, records, run)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    reason = f"{had} blocks by the end of --hours; {FEWEST_BLOCKS} are needed"
    return Point(POINTS_VERSION, run, now, pair[0], pair[1].environment, OUT_OF_TIME, reason)


def point_of(pair: Pair, records: Sequence[Record], run: str) -> Point:
    """The night's figure of one pair from the records of its blocks; what was not measured says why."""
    rows = {row.cell: row for row in summarise(records)}
    began = min(record.started_at for record in records)
    plain = Point(POINTS_VERSION, run, began, pair[0], pair[1].environment, "failed")
    for cell in pair:
        if rows[cell].outcome != "measured":
            reason = f"{cell.environment}: {rows[cell].reason or rows[cell].outcome}"
            return structs.replace(plain, outcome=rows[cell].outcome, reason=reason)
    clock, duets = duets_of(records, again=True)[pair]
    if duets.blocks < FEWEST_BLOCKS:
        return structs.replace(plain, reason=f"{duets.blocks} blocks have both sides; {FEWEST_BLOCKS} are needed")
    found = duets.estimate(ALPHA, 0.0)
    sides = [rows[cell] for cell in pair]
    rates = [side.throughput.estimate for side in sides if side.throughput is not None]
    prints = [side.fingerprint for side in sides if side.fingerprint is not None]
    return structs.replace(
        plain,
        outcome="measured",
        log_ratio=found.log,
        error=found.error,
        blocks=duets.blocks,
        clock=clock,
        item=sides[0].item,
        rates=(rates[0], rates[1]),
        fingerprints=(prints[0], prints[1]),
    )


def _lost(pair: Pair, why: str, run: str) -> Point:
    """A cell whose newest side does not open."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    reason = f"{pair[1].environment} does not open: {why}"
    return Point(POINTS_VERSION, run, now, pair[0], pair[1].environment, "failed", reason)


def changed_since(finding: Finding) -> list[str]:
    """What is otherwise tonight than the night before, as sentences."""
    nights = finding.series.points if finding.series is not None else []
    return [str(cause) for cause in causes_of(nights[-2], nights[-1])] if len(nights) > 1 else []
