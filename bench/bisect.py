"""``twinbench bisect``: which release of a package made a cell slower? A duet against the last good one at each step.

Every release is measured beside the good one in the same block, never beside a figure of another hour. It counts as
bad when it lies nearer to the bad release than to the good one, so a slow-down of any size is halved the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import environments, scratch, store
from bench.block import run_block
from bench.cell import Cell
from bench.compare import duets_of
from bench.errors import Interrupted, UsageError
from bench.evidence import Duets
from bench.plan import Block, cells, for_duets
from bench.progress import Progress, progress
from bench.record import Measured, Record
from bench.run import is_final, look
from bench.scratch import NotMade, Uv
from bench.session import run_facts
from bench.setup import Setup, context, survey, workloads
from bench.stats import pocock_level
from bench.store import Appender
from bench.summary import summarise
from bench.verdict import ALPHA, LOOK_ALPHA, MARGIN, Verdict, decide, looks_within

KIND = "bisect"
BLOCKS = 32
FEWEST_BLOCKS = 3
#: good: as fast as the good end; bad: as slow as the bad end; unusable: cannot be installed, or gives no time; unclear:
#: the ends, where the blocks do not tell.
WORDS = ("good", "bad", "unusable", "unclear")


@dataclass(frozen=True)
class Step:
    """One release that was tried: the word, its speed over the good release's (None: unusable), and why.

    ``sure``: a look told; else it is the nearer of the two ends, as far as the blocks show.
    """

    version: str
    word: str
    ratio: float | None
    blocks: int
    detail: str
    sure: bool = True


@dataclass(frozen=True)
class Outcome:
    """``first_bad`` is None where the bad end is not slower, or not shown to be.

    ``suspects``: where releases around it were unusable, all that may be the first bad one, ``first_bad`` the last.
    """

    package: str
    cell: Cell
    versions: Sequence[str]
    steps: Sequence[Step]
    first_bad: str | None
    suspects: Sequence[str]
    folder: Path

    def table(self) -> Table:
        """For a terminal."""
        made = Table(title=f"{self.package} on {self.cell.label}", title_justify="left")
        for head in ("duet", "version", "word", f"speed over {self.versions[0]}", "blocks", "why"):
            made.add_column(head, overflow="fold")
        for number, step in enumerate(self.steps, start=1):
            ratio = "–" if step.ratio is None else f"{step.ratio:.3f}×"
            made.add_row(str(number), step.version, step.word, ratio, str(step.blocks), step.detail)
        return made

    @property
    def unclear(self) -> bool:
        """Whether the ends could not be told apart, which is not to say that they are the same."""
        return self.first_bad is None and self.steps[0].word == "unclear"

    def sentence(self) -> str:
        """The answer."""
        if self.first_bad is None:
            said = "is not shown to differ from" if self.unclear else "is not slower than"
            return f"{self.package} {self.versions[-1]} {said} {self.versions[0]}: {self.steps[0].detail}"
        unsure = [step.version for step in self.steps if not step.sure]
        doubt = f"; not sure at {', '.join(unsure)}: more --blocks would tell" if unsure else ""
        return f"{self._named()}{doubt}"

    def _named(self) -> str:
        duets = f"{len(self.steps)} duets for {len(self.versions)} releases"
        if len(self.suspects) > 1:
            return f"the first bad release is one of {', '.join(self.suspects)} (the others were unusable; {duets})"
        ratio = next((step.ratio for step in self.steps if step.version == self.first_bad), None)
        size = "" if ratio is None else f", {1 - ratio:.1%} of the speed lost"
        return f"first bad release: {self.package} {self.first_bad}{size} ({duets})"


def search(versions: Sequence[str], word: Callable[[str], str]) -> tuple[int, list[int]]:
    """The place of the first bad version, and the places that it may be at, by halving; pure.

    ``versions[0]`` is good and ``versions[-1]`` bad. What is unusable is passed by for its nearest neighbour.
    """
    low, high = 0, len(versions) - 1
    unusable: set[int] = set()
    while True:
        between = [place for place in range(low + 1, high) if place not in unusable]
        if not between:
            return high, list(range(low + 1, high + 1))
        middle = min(between, key=lambda place: abs(2 * place - low - high))
        said = word(versions[middle])
        if said == "good":
            low = middle
        elif said == "bad":
            high = middle
        else:
            unusable.add(middle)


def bisect(
    setup: Setup,
    package: str,
    ends: tuple[str, str],
    uv: Uv,
    free: Sequence[str],
    more: Sequence[str],
    blocks: int,
    results: Path,
    folder: Path,
    console: Console,
) -> Outcome:
    """Find the first bad release of ``package`` between ``ends`` (good, bad) for the one cell of ``setup``.

    Scratch environments hold what the environment's own interpreter holds, with another release of ``package``;
    ``free`` names distributions whose versions may move with it, ``more`` are further requirements. They are made in
    ``folder`` and kept there for the next time.

    Raises:
        UsageError: not one cell, unknown versions, or an end that cannot be measured.
    """
    if blocks < FEWEST_BLOCKS:
        raise UsageError(f"--blocks must be at least {FEWEST_BLOCKS}, got {blocks}")
    if len(setup.pythons) != 1:
        raise UsageError(f"bisect takes one environment, got {', '.join(setup.pythons)}: name it with --environment")
    (python,) = setup.pythons.values()
    versions = scratch.releases(uv, package, *ends, python)
    if len(versions) < 2:
        raise UsageError(f"{package} has one release from {ends[0]} to {ends[1]}: there is nothing to halve")
    setup = replace(setup, profile=for_duets(setup.profile))
    try:
        with progress(console) as view:
            view.note(f"{len(versions)} releases of {package}: {versions[0]} to {versions[-1]}")
            found = survey(setup, context(setup, "", on_stage=view.stage), view.look)
            chosen, _ = cells(setup.selection, workloads(), found.devices)
            if len(chosen) != 1:
                raise UsageError(f"bisect takes one cell, the selection has {len(chosen)}: {_labels(chosen)}")
            run = store.new_run(results, {**run_facts(setup, found), "kind": KIND, "package": package})
            requirements = _others(scratch.packages(uv, python), {package, *free}) + list(more)
            with store.appending(run) as appender:
                duets = _Duets(setup, chosen[0], package, versions[0], blocks, uv, requirements, folder, appender, view)
                return _found(duets, versions, package, chosen[0], run)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; scratch environments and finished blocks are kept") from None


def _labels(chosen: Sequence[Cell]) -> str:
    return "; ".join(cell.label for cell in chosen[:4]) + (" ..." if len(chosen) > 4 else "")


def _others(installed: Sequence[str], moving: set[str]) -> list[str]:
    """What stays as it is."""

    def plain(name: str) -> str:
        return name.lower().replace("_", "-").replace(".", "-")

    return [one for one in installed if plain(one.partition("==")[0]) not in {plain(name) for name in moving}]


def _found(duets: _Duets, versions: Sequence[str], package: str, cell: Cell, run: Path) -> Outcome:
    """The ends first: without a difference between them there is nothing to look for."""
    ends = duets.ends(versions[-1])
    if ends.word != "bad":
        if ends.word == "unusable":
            raise UsageError(f"{package} {versions[-1]} cannot be measured: {ends.detail}")
        return Outcome(package, cell, versions, duets.steps, None, (), run)
    place, suspects = search(versions, duets.word)
    return Outcome(package, cell, versions, duets.steps, versions[place], [versions[one] for one in suspects], run)


class _Duets:
    """Releases against the good one, one duet each."""

    def __init__(
        self,
        setup: Setup,
        cell: Cell,
        package: str,
        good: str,
        blocks: int,
        uv: Uv,
        requirements: Sequence[str],
        folder: Path,
        appender: Appender,
        view: Progress,
    ) -> None:
        self.steps: list[Step] = []
        self._setup, self._cell, self._package, self._good = setup, cell, package, good
        self._blocks, self._uv, self._requirements, self._folder = blocks, uv, requirements, folder
        self._appender, self._view = appender, view
        self._middle = 0.0

    def ends(self, bad: str) -> Step:
        """The bad end against the good one; their middle is what the others are judged by."""
        step = self._try(bad, lambda duets: self._decide(duets, MARGIN))
        if step.ratio is not None and step.word == "bad":
            self._middle = math.log(step.ratio) / 2
        return step

    def word(self, version: str) -> str:
        """good, bad or unusable."""
        return self._try(version, lambda duets: self._decide(duets.shifted(-self._middle), 0.0)).word

    def _decide(self, duets: Duets, margin: float) -> Verdict:
        looks = looks_within(self._blocks)
        return decide(duets, margin, looks, pocock_level(looks, LOOK_ALPHA))

    def _try(self, version: str, decider: Callable[[Duets], Verdict]) -> Step:
        try:
            pythons = {self._environment(one): self._python(one) for one in (self._good, version)}
            step = self._duet(version, pythons, decider)
        except NotMade as error:
            step = Step(version, "unusable", None, 0, f"cannot be installed: {error}")
        self.steps.append(step)
        self._view.note(f"{self._package} {version}: {step.word} ({step.detail})")
        return step

    def _environment(self, version: str) -> str:
        return f"{self._cell.environment}{environments.AT}{version}"

    def _python(self, version: str) -> str:
        """The interpreter with that release.

        Raises:
            NotMade: uv's reason.
        """
        (base,) = self._setup.pythons.values()
        wanted = [*self._requirements, f"{self._package}=={version}"]
        if not scratch.is_made(self._uv, self._folder, wanted, base):
            self._view.note(f"making the environment of {self._package} {version}")
        return str(scratch.interpreter(self._uv, self._folder, wanted, base))

    def _duet(self, version: str, pythons: Mapping[str, str], decider: Callable[[Duets], Verdict]) -> Step:
        running = context(replace(self._setup, pythons=pythons), self._appender.path.parent.name)
        pair = tuple(self._cell.but(environment=name) for name in pythons)
        for cell in pair:
            if (problem := look(cell.environment, cell.device, running).problem) is not None:
                return Step(version, "unusable", None, 0, f"{cell.environment} does not open: {problem}")
        self._view.planned(self._blocks * (len(self.steps) + 1))
        records: list[Record] = []
        duets = Duets(())
        for number in range(self._blocks):
            made = run_block(Block(pair, number), f"{version}-{number:03d}", running)
            self._appender.append(made)
            self._view.block(made)
            records += made
            if any(is_final(one) for one in made) or not any(
                isinstance(one.outcome, Measured) for one in records[1::2]
            ):
                break
            duets = duets_of(records)[(pair[0], pair[1])][1]
            if number + 1 in looks_within(self._blocks) and duets.blocks and decider(duets).word != "inconclusive":
                break
        return self._step(version, records, duets, decider)

    def _step(self, version: str, records: Sequence[Record], duets: Duets, decider: Callable[[Duets], Verdict]) -> Step:
        bad_rows = [row for row in summarise(records) if row.outcome != "measured"]
        if bad_rows or duets.blocks < FEWEST_BLOCKS:
            why = f"{bad_rows[0].outcome}: {bad_rows[0].reason}" if bad_rows else "too few blocks have both sides"
            return Step(version, "unusable", None, duets.blocks, why)
        verdict = decider(duets)
        log = duets.estimate(ALPHA, 0.0).log
        ratio = math.exp(log)
        first = not self.steps
        if verdict.word in ("faster", "slower"):
            word = "bad" if verdict.word == "slower" else "good"
        elif first:
            word = "good" if verdict.word == "same" else "unclear"
        else:
            word = "bad" if log < self._middle else "good"
        sure = verdict.word != "inconclusive"
        detail = f"{ratio:.3f}× the good release's speed"
        if first and not sure:
            detail = f"{detail}{_within(verdict)}; {verdict.detail}"
        return Step(version, word, ratio, duets.blocks, detail if sure or first else f"not sure: {detail}", sure)


def _within(verdict: Verdict) -> str:
    found = verdict.ratio
    if found is None or found.low is None or found.high is None:
        return ""
    return f" ({found.low:.3f} to {found.high:.3f})"
