"""``twinbench selftest --live``: verdicts on identical code, and on a known slow-down, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import comparing, machine, store
from bench.compare import duets_of
from bench.comparing import Side
from bench.environments import AT
from bench.errors import UsageError
from bench.evidence import Duets
from bench.rates import FLAGGED, Rate
from bench.setup import Setup
from bench.verdict import aa_floor, looks_within

#: What is measured unless a workload is named: small, so that a verdict takes about a minute.
WORK = "mlp:digits"
PHASE = "inference"
#: The label of the side with more work in it.
LABEL = "extra-work"
SLOWDOWN = 0.10
#: Where the records of these comparisons lie, below the results: they are no runs that anybody looks for.
FOLDER = "selftest"


@dataclass(frozen=True)
class LiveVerdict:
    """One comparison: its word for B, what it took, and the ratio of speeds with its interval."""

    slowdown: float
    word: str
    blocks: int
    seconds: float
    clock: str
    ratio: float | None
    low: float | None
    high: float | None
    records: str


@dataclass(frozen=True)
class Live:
    """``floors``: what identical code differs by here, by clock: the farther end of the interval of all A/A blocks.

    ``asked`` verdicts of each kind were asked for, of at most ``blocks`` blocks; an interrupted session has fewer.
    """

    host: str
    cell: str
    margin: float
    verdicts: Sequence[LiveVerdict]
    floors: Mapping[str, float]
    rates: Sequence[Rate]
    asked: int
    blocks: int

    def as_dict(self, row: Callable[[Rate], dict[str, Any]]) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "host": self.host,
            "cell": self.cell,
            "margin": self.margin,
            "asked": self.asked,
            "blocks": self.blocks,
            "floors": dict(self.floors),
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "rates": [row(rate) for rate in self.rates],
        }

    def sentence(self) -> str:
        """For people."""
        seconds = sorted(verdict.seconds for verdict in self.verdicts)
        floors = ", ".join(f"{floor:.1%} by {clock} time" for clock, floor in self.floors.items())
        return (
            f"{len(seconds)} verdicts in {seconds[0]:.0f} to {seconds[-1]:.0f} s each "
            f"(median {seconds[len(seconds) // 2]:.0f} s); identical code differs by up to {floors} on this machine, "
            "which is the margin of later comparisons where it is larger than theirs"
        )


@dataclass(frozen=True)
class Plan:
    """``verdicts`` comparisons of ``environment`` with itself, and as many with SLOWDOWN more work on side B.

    ``before``: those of an earlier sitting; they count.
    """

    setup: Setup
    environment: str
    verdicts: int
    blocks: int
    margin: float
    cell: str
    before: Sequence[LiveVerdict] = ()


def plan(
    setup: Setup, environment: str, verdicts: int, blocks: int, margin: float, before: Mapping[str, Any] | None
) -> Plan:
    """All that can be refused before minutes are spent; ``before`` is what an earlier sitting wrote, to go on with.

    Raises:
        UsageError: words that do not fit, or an earlier sitting that is of something else or has lost its records.
    """
    pairs = comparing.check_live(setup.selection, (Side(environment), Side(environment)), blocks)
    here = {"host": machine.facts()["host"], "cell": pairs[0][0].label, "margin": margin, "blocks": blocks}
    made: list[LiveVerdict] = []
    if before:
        if other := [
            f"{name} {before.get(name)!r} against {word!r}" for name, word in here.items() if before.get(name) != word
        ]:
            raise UsageError(f"--resume: the verdicts that are there are of something else: {'; '.join(other)}")
        try:
            made = [LiveVerdict(**one) for one in before["verdicts"]]
            gone = next((one.records for one in made if not Path(one.records).is_dir()), None)
        except (KeyError, TypeError) as error:
            raise UsageError(f"--resume: the verdicts that are there cannot be read ({error}); start anew") from error
        if gone is not None:
            raise UsageError(f"--resume: the records of a verdict are gone: {gone}; start anew without it")
    return Plan(setup, environment, verdicts, blocks, margin, str(here["cell"]), tuple(made))


def measure(asked: Plan, results: Path, console: Console, keep: Callable[[Live], None]) -> Live:
    """What is planned and not there yet; ``keep`` is given all there is after each verdict.

    The two kinds take turns, so that a slow hour hits both.

    Raises:
        UsageError: the environment or the work does not exist here.
        Interrupted: Ctrl-C; what was kept stays.
    """
    made = list(asked.before)
    setup, environment = asked.setup, asked.environment
    slower = f"{environment}{AT}{LABEL}"
    pythons = {environment: setup.pythons[environment], slower: setup.pythons[environment]}
    for number in range(asked.verdicts):
        for slowdown, b in ((0.0, environment), (SLOWDOWN, slower)):
            if sum(one.slowdown == slowdown for one in made) > number:
                continue
            console.print(
                f"verdict {number + 1} of {asked.verdicts}, side B with {slowdown:.0%} more work", highlight=False
            )
            names = tuple(dict.fromkeys((environment, b)))
            one = replace(
                setup,
                seed=setup.seed + number,
                selection=replace(setup.selection, environments=names),
                pythons={name: pythons[name] for name in names},
                extra_work={slower: SLOWDOWN},
            )
            started = time.monotonic()
            sides = (Side(environment), Side(b))
            found = comparing.live(one, sides, asked.blocks, asked.margin, results / FOLDER, console)
            folder = store.runs(results / FOLDER)[-1]
            made.append(_verdict(found.comparisons[0], slowdown, time.monotonic() - started, folder))
            keep(_together(asked, made))
    return _together(asked, made)


def _together(asked: Plan, made: Sequence[LiveVerdict]) -> Live:
    rates = list(_rates(made, asked.cell, asked.blocks, asked.margin))
    host = machine.facts()["host"]
    return Live(host, asked.cell, asked.margin, list(made), _floors(made), rates, asked.verdicts, asked.blocks)


def _floors(made: Sequence[LiveVerdict]) -> dict[str, float]:
    """By clock, over the blocks of all comparisons of identical code, from their records."""
    same: dict[str, list[Duets]] = {}
    for one in made:
        for clock in ("wall", "cpu") if not one.slowdown else ():
            used, duets = next(iter(duets_of(store.read(Path(one.records), []), clock).values()))
            if used == clock:
                same.setdefault(used, []).append(duets)
    return {clock: aa_floor(Duets(tuple(pair for one in found for pair in one.pairs))) for clock, found in same.items()}


def _verdict(found: Any, slowdown: float, seconds: float, folder: Path) -> LiveVerdict:
    ratio = found.verdict.ratio
    return LiveVerdict(
        slowdown,
        found.verdict.word,
        found.verdict.blocks,
        round(seconds, 1),
        found.clock,
        ratio.estimate if ratio else None,
        ratio.low if ratio else None,
        ratio.high if ratio else None,
        str(folder),
    )


def _rates(made: Sequence[LiveVerdict], label: str, blocks: int, margin: float) -> Any:
    for slowdown, what, demand in ((0.0, "flagged", (0.0, 0.0)), (SLOWDOWN, "slower", (0.9, 1.0))):
        words = [one.word for one in made if one.slowdown == slowdown]
        if not words:
            continue
        hits = sum(word == "slower" if slowdown else word in FLAGGED for word in words)
        clocks = sorted({one.clock for one in made if one.slowdown == slowdown})
        yield Rate(
            "twinbench, confirmed", label, what, slowdown, "injected" if slowdown else "identical", blocks, hits,
            len(words), "/".join(clocks), margin, looks_within(blocks), demand,
        )  # fmt: skip
