"""Comparisons: duets (workers alive at once) and stored runs; records or summaries in, verdicts out. Pure.

What a verdict means, and how it is reached, is in ``bench/verdict.py``; this room finds the pairs and their ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import pairwise

from bench.cell import Cell
from bench.evidence import Duets, Pairs, pairs_of
from bench.labels import plausible
from bench.record import Fingerprint, Measured, Measurement, Record
from bench.stats import Floats, GeometricMean, beyond_p, interval_of, log_sample, per_iteration, pocock_level, welch
from bench.summary import TAGS, CellSummary, reason_of
from bench.verdict import ALPHA as ALPHA
from bench.verdict import LOOK_ALPHA, PRECISION_VARIABLES, confirmed, corrected, mean_of, word_of
from bench.verdict import LOOKS as LOOKS
from bench.verdict import MARGIN as MARGIN
from bench.verdict import Comparison as Comparison
from bench.verdict import Verdict as Verdict
from bench.verdict import aa_floor as aa_floor
from bench.verdict import decide as decide
from bench.verdict import judge as judge
from bench.verdict import refusal as refusal

#: How the names of blocks begin that confirm a verdict.
AGAIN = "again-"
#: Fewer blocks than this decide nothing: with two the t interval is a lottery.
FEWEST_BLOCKS = 3
#: Standard deviation of log time between sessions of one machine, beyond that of the processes within: from the
#: recorded noise (480 processes in sessions of five, ``benchmarks/noise_replay.py``), a bad machine. Give your own.
BETWEEN_SESSION_SD = 0.22
#: Single-threaded work takes no more CPU time than wall time; a tenth is left for helper threads and rounding.
ONE_THREAD_CPU_SHARE = 1.1


@dataclass(frozen=True)
class Rule:
    """How duets are judged; a run of them keeps its rule in run.json, so that its page says what was said live.

    ``looks`` are counts of blocks, the last one that of a comparison which nothing ended before. ``floors``: what
    identical code differs by on this machine, by clock; replaces a smaller margin.

    Raises:
        ValueError: a margin that is none, or looks that do not ascend.
    """

    margin: float = MARGIN
    looks: tuple[int, ...] = LOOKS
    floors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (0 <= self.margin < math.inf and all(0 <= floor < math.inf for floor in self.floors.values())):
            raise ValueError(f"a margin or floor is no number from 0: {self.margin}, {dict(self.floors)}")
        if not self.looks or any(a >= b for a, b in pairwise((0, *self.looks))):
            raise ValueError(f"looks must be positive and ascending, got {self.looks}")

    def verdicts(self, records: Iterable[Record]) -> list[Comparison]:
        """Of all pairs in the records."""
        return compare_duets(records, margin=self.margin, looks=self.looks, machine_floors=self.floors)

    def facts(self) -> dict[str, object]:
        """For run.json."""
        return {"margin": self.margin, "looks": list(self.looks), "floors": dict(self.floors)}


@dataclass(frozen=True)
class RunsCompared:
    """Two stored runs: a comparison for each cell of both; ``mean`` lists the cells it leaves out, with the reason."""

    comparisons: tuple[Comparison, ...]
    mean: GeometricMean


def block_pairs(a: Measurement, b: Measurement, clock: str = "wall") -> Pairs:
    """log(speed of B / speed of A) of one block, burst by burst.

    Speed is items per second, so that batches of different size compare. ``clock`` is ``wall`` or ``cpu``.

    Raises:
        ValueError: a side has no burst, or one without time.
    """
    return pairs_of(_item_ns(a, clock), _item_ns(b, clock), a.bursts.started_ns, b.bursts.started_ns)


def block_log_ratio(a: Measurement, b: Measurement, clock: str = "wall") -> float:
    """One number for a block: the median of its pairs."""
    return block_pairs(a, b, clock).median


@dataclass(frozen=True)
class BlockSide:
    """What a comparison needs of one record: the time of one item in each burst, in ns, by clock; none if unusable."""

    cell: Cell
    process: int
    outcome: str
    reason: str
    item_ns: Mapping[str, Floats] = field(default_factory=dict)
    started_ns: Sequence[int] = ()
    one_thread: bool = False


@dataclass
class _Pair:
    """All blocks of one pair of cells; in each, side A and side B."""

    blocks: list[tuple[BlockSide, BlockSide]] = field(default_factory=list)
    #: Fresh blocks that were measured because these were flagged.
    again: list[tuple[BlockSide, BlockSide]] = field(default_factory=list)


def compare_duets(
    records: Iterable[Record],
    margin: float = MARGIN,
    looks: tuple[int, ...] = LOOKS,
    clock: str = "auto",
    across: AbstractSet[str] = frozenset(),
    machine_floors: Mapping[str, float] | None = None,
) -> list[Comparison]:
    """One comparison for each pair of cells that shared blocks, in the order of first sight.

    A is the cell whose record came first; a cell against itself is told apart by the number of the process. ``clock``:
    ``wall``, ``cpu``, or ``auto``: CPU time where both sides are single-threaded CPU work, because there it means the
    same and is less noisy. Where the records hold A/A blocks of either cell, their floor replaces a smaller margin, and
    so does what ``twinbench selftest --live`` found on this machine (``machine_floors``, by clock).
    Words of pairs that were measured again need to be confirmed (``verdict.confirmed``).
    Words are corrected for the number of comparisons (Benjamini-Hochberg).
    """
    pairs, fingerprints = _pairs(records)
    floors = {
        a: aa_floor(_duets(pair, _clock(pair, clock)))
        for (a, b), pair in pairs.items()
        if a == b and len(_usable(pair)) >= looks[0]
    }
    found = []
    for (a, b), pair in pairs.items():
        here = (machine_floors or {}).get(_clock(pair, clock), 0.0)
        floor = 0.0 if a == b else max(here, floors.get(a, 0.0), floors.get(b, 0.0))
        refused = refusal(fingerprints[a], fingerprints[b], across | _implied(a, b))
        found.append(_duet(a, b, pair, margin, floor, looks, clock, refused))
    return corrected(found)


def _implied(a: Cell, b: Cell) -> AbstractSet[str]:
    """What differs because it is compared: other work has other bytes, another place or precision other variables."""
    implied: set[str] = set()
    if a.work != b.work:
        implied |= {"weights_sha256", "inputs_sha256"}
    if (a.environment, a.device, a.precision) != (b.environment, b.device, b.precision):
        implied |= set(PRECISION_VARIABLES)
    return frozenset(implied)


def _duet(
    a: Cell,
    b: Cell,
    pair: _Pair,
    margin: float,
    floor: float,
    looks: tuple[int, ...],
    clock: str,
    refused: list[str],
) -> Comparison:
    kind = "duet-aa" if a == b else "duet"
    notes = _losses(pair)
    wrong = [side.reason for sides in pair.blocks for side in sides if side.outcome == "wrong"]
    usable = _usable(pair)
    if refused or wrong or not usable:
        why = "; ".join(refused) or (f"wrong: {wrong[0]}" if wrong else "no block has both sides")
        return Comparison(a, b, kind, Verdict("inconclusive", None, 0, None, why), notes, margin=margin)
    if floor > margin:
        margin = floor
        notes = (*notes, f"margin raised to the A/A floor of {floor:.1%}")
    chosen = _clock(pair, clock)
    wall = _verdict(_duets(pair, "wall"), margin, looks)
    verdict = wall if chosen == "wall" else _verdict(_duets(pair, "cpu"), margin, looks)
    if {verdict.word, wall.word} == {"faster", "slower"}:
        verdict = replace(verdict, word="inconclusive", detail="CPU time and wall time contradict each other")
    verdict = confirmed(verdict, _duets(_Pair(pair.again), chosen), margin)
    return Comparison(a, b, kind, verdict, notes, chosen, wall.ratio, margin)


def _verdict(duets: Duets, margin: float, looks: tuple[int, ...]) -> Verdict:
    """``judge``; a run that was planned with fewer blocks than the first look is looked at once, at its end."""
    if FEWEST_BLOCKS <= duets.blocks < looks[0]:
        return judge(duets, margin, (duets.blocks,), pocock_level(looks, LOOK_ALPHA))
    return judge(duets, margin, looks)


def _pairs(records: Iterable[Record]) -> tuple[dict[tuple[Cell, Cell], _Pair], dict[Cell, Fingerprint]]:
    """Records by pair of cells and block; only the numbers of a record are kept, and what is there twice is one."""
    blocks: dict[tuple[str, str], dict[tuple[Cell, int], BlockSide]] = {}
    fingerprints: dict[Cell, Fingerprint] = {}
    for record in records:
        side = _side(record)
        blocks.setdefault((record.run, record.block), {}).setdefault((record.cell, record.process), side)
        fingerprints.setdefault(record.cell, record.fingerprint)
    pairs: dict[tuple[Cell, Cell], _Pair] = {}
    for (_, name), members in blocks.items():
        sides = list(members.values())
        for index, first in enumerate(sides):
            for second in sides[index + 1 :]:
                one, other = first, second
                if one.cell == other.cell:
                    one, other = sorted((one, other), key=lambda side: side.process)
                elif (other.cell, one.cell) in pairs:
                    one, other = other, one
                pair = pairs.setdefault((one.cell, other.cell), _Pair())
                (pair.again if name.startswith(AGAIN) else pair.blocks).append((one, other))
    return pairs, fingerprints


def _side(record: Record) -> BlockSide:
    outcome, reason = TAGS[type(record.outcome)], reason_of(record.outcome)
    measurement = record.measurement if isinstance(record.outcome, Measured) else None
    if measurement is None:
        return BlockSide(record.cell, record.process, outcome, reason)
    bursts = measurement.bursts
    if not plausible(record.labels) or not _timed(bursts.wall_ns) or not _timed(bursts.iterations):
        return BlockSide(record.cell, record.process, "implausible", ", ".join(record.labels) or "no usable bursts")
    clocks = ("wall", "cpu") if _timed(bursts.cpu_ns) else ("wall",)
    cpu_share = sum(bursts.cpu_ns) / sum(bursts.wall_ns)
    return BlockSide(
        cell=record.cell,
        process=record.process,
        outcome=outcome,
        reason=reason,
        item_ns={clock: _item_ns(measurement, clock) for clock in clocks},
        started_ns=bursts.started_ns,
        one_thread=record.cell.device == "cpu"
        and record.fingerprint.threads == 1
        and cpu_share <= ONE_THREAD_CPU_SHARE,
    )


def _timed(values: Sequence[int]) -> bool:
    """Whether there is something, and all of it positive: a broken clock gives zeros."""
    return bool(values) and min(values) > 0


def _item_ns(measurement: Measurement, clock: str) -> Floats:
    times = {"wall": measurement.bursts.wall_ns, "cpu": measurement.bursts.cpu_ns}[clock]
    return per_iteration(times, measurement.bursts.iterations) / measurement.items_per_iteration


def _usable(pair: _Pair) -> list[tuple[BlockSide, BlockSide]]:
    return [(a, b) for a, b in pair.blocks if a.item_ns and b.item_ns]


def _clock(pair: _Pair, asked: str) -> str:
    """The clock of the verdict. CPU time of several threads is no measure of speed, so ``auto`` asks for one."""
    sides = [side for sides in _usable(pair) for side in sides]
    if asked == "wall" or any("cpu" not in side.item_ns for side in sides):
        return "wall"
    if asked == "cpu":
        return "cpu" if all(side.cell.device == "cpu" for side in sides) else "wall"
    return "cpu" if all(side.one_thread for side in sides) else "wall"


def _duets(pair: _Pair, clock: str) -> Duets:
    return Duets(
        tuple(pairs_of(a.item_ns[clock], b.item_ns[clock], a.started_ns, b.started_ns) for a, b in _usable(pair))
    )


def duets_of(
    records: Iterable[Record], clock: str = "auto", again: bool = False
) -> dict[tuple[Cell, Cell], tuple[str, Duets]]:
    """Of each pair of cells that shared blocks: the clock that a verdict rests on, and the blocks with both sides.

    ``again``: blocks that confirm count, too.
    """
    found = {}
    for cells, each in _pairs(records)[0].items():
        pair = _Pair([*each.blocks, *each.again]) if again else each
        chosen = _clock(pair, clock)
        found[cells] = (chosen, _duets(pair, chosen))
    return found


def identical_sides(
    records: Iterable[Record], same: Mapping[str, str]
) -> dict[Cell, list[tuple[BlockSide, BlockSide]]]:
    """The blocks in which a cell was compared with itself, as far as both sides were measured; confirmations too.

    ``same``: environment -> the one that it is another name of.
    """

    def named(cell: Cell) -> Cell:
        return cell.but(environment=same.get(cell.environment, cell.environment))

    found: dict[Cell, list[tuple[BlockSide, BlockSide]]] = {}
    for (a, b), pair in _pairs(records)[0].items():
        usable = _usable(_Pair([*pair.blocks, *pair.again])) if named(a) == named(b) else []
        if usable:
            found.setdefault(named(a), []).extend(usable)
    return found


def _losses(pair: _Pair) -> tuple[str, ...]:
    """Blocks without both sides, by reason."""
    lost: dict[str, int] = {}
    for sides in pair.blocks:
        missing = next((side for side in sides if not side.item_ns), None)
        if missing is not None:
            reason = f"{missing.outcome}: {missing.reason}" if missing.reason else missing.outcome
            lost[reason] = lost.get(reason, 0) + 1
    return tuple(f"{count} of {len(pair.blocks)} blocks left out: {reason}" for reason, count in lost.items())


def compare_runs(
    a: Sequence[CellSummary],
    b: Sequence[CellSummary],
    margin: float = MARGIN,
    between_session_sd: float = BETWEEN_SESSION_SD,
    across: AbstractSet[str] = frozenset(),
) -> RunsCompared:
    """Two stored runs, cell by cell, advisory: the machine may have changed between them in ways nobody recorded.

    Welch's t on log process medians, with the between-session variance added once for each run; to the mean over cells
    as well, because all cells of a run share its session. Across ``precision``, cells that only one run has are paired
    with those of the other that differ in precision alone.
    """
    ones, others = {row.cell: row for row in a}, {row.cell: row for row in b}
    pairs = [(cell, cell) for cell in ones if cell in others]
    if "precision" in across:
        pairs += across_precision(
            [one for one in ones if one not in others], [one for one in others if one not in ones]
        )
    found = corrected([_stored(ones[x], others[y], margin, between_session_sd, across) for x, y in pairs])
    paired_a, paired_b = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    missing = {cell: "in A only" for cell in ones if cell not in paired_a}
    missing |= {cell: "in B only" for cell in others if cell not in paired_b}
    # All cells of a run ran in its one session: what that was slower by does not average out over cells.
    return RunsCompared(tuple(found), mean_of(found, missing, 2 * between_session_sd**2))


def across_precision(a: Iterable[Cell], b: Iterable[Cell]) -> list[tuple[Cell, Cell]]:
    """Every pair that is equal but for precision."""
    others: dict[Cell, list[Cell]] = {}
    for cell in b:
        others.setdefault(cell.but(precision=""), []).append(cell)
    return [(cell, other) for cell in a for other in others.get(cell.but(precision=""), [])]


def _stored(
    a: CellSummary, b: CellSummary, margin: float, between_session_sd: float, across: AbstractSet[str]
) -> Comparison:
    notes = (
        "advisory: stored runs, compared across sessions",
        *(
            f"{name} was imported from {row.imported}: not verified"
            for name, row in (("A", a), ("B", b))
            if row.imported
        ),
    )
    refused = []
    if a.fingerprint and b.fingerprint:
        refused = refusal(a.fingerprint, b.fingerprint, across | _implied(a.cell, b.cell))
    precisions = [row.effective_precision for row in (a, b)]
    if "precision" not in across and None not in precisions and precisions[0] != precisions[1]:
        refused.append(f"effective precision differs: {precisions[0]} against {precisions[1]}")
    lacking = [f"{name} {row.outcome}: {row.reason}" for name, row in (("A", a), ("B", b)) if not row.rates]
    if refused or lacking:
        verdict = Verdict("inconclusive", None, 0, None, "; ".join(refused + lacking))
        return Comparison(a.cell, b.cell, "stored", verdict, notes, margin=margin)
    sample = welch(log_sample(a.rates), log_sample(b.rates), 2 * between_session_sd**2)
    ratio = interval_of(sample, 1 - ALPHA)
    word = word_of(ratio, margin)
    sides = f"{len(a.rates)} and {len(b.rates)} processes"
    if sample.df == 0:
        detail = f"{sides}: one process gives no interval"
    elif word == "inconclusive":
        detail = f"{sides}; the interval crosses ±{margin:.1%}; run both as a duet to tell"
    else:
        detail = f"{sides}; the whole interval lies {'within' if word == 'same' else 'beyond'} ±{margin:.1%}"
    p_value = beyond_p(sample, math.log1p(margin)) if sample.df > 0 else None
    verdict = Verdict(word, ratio, 0, p_value, detail)
    return Comparison(a.cell, b.cell, "stored", verdict, notes, "wall", ratio, margin)
