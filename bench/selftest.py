"""``twinbench selftest``: the error rates of our own verdicts, beside those of other tools, on recorded noise.

Written as JSON, which ``docs/selftest.md`` describes; what ``--live`` found there is the margin of later comparisons on
the same machine.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench import __version__, history_rates, machine, rates
from bench.errors import UsageError
from bench.live import Live
from bench.rate_words import COLUMNS, FILE, OTHERS, OURS, SCHEMA, row, sentence, words
from bench.rates import OnRate, Rate, Trials
from bench.recordings import Recording, read
from bench.rivals import RIVALS
from bench.verdict import LOOKS, MARGIN

#: The recordings that come along; they are test data, so only a checkout has them.
OWN_NOISE = Path(__file__).parent.parent / "tests" / "data" / "noise"


@dataclass(frozen=True)
class Selftest:
    """All that was found. ``not_measured`` says why a part is missing, by its name."""

    trials: int
    seed: int
    recordings: Sequence[Recording]
    rates: Sequence[Rate]
    not_measured: Mapping[str, str] = field(default_factory=dict)
    live: Live | None = None

    @property
    def failures(self) -> list[Rate]:
        """The rates that miss what is asked of them."""
        live = self.live.rates if self.live else ()
        return [rate for rate in (*self.rates, *live) if rate.holds is False]

    def as_json(self) -> str:
        """For the report page and other machines."""
        facts = machine.facts()
        made = {
            "schema": SCHEMA,
            "twinbench": __version__,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": facts["host"],
            "chip": facts["chip"],
            "trials": self.trials,
            "seed": self.seed,
            "margin": MARGIN,
            "looks": LOOKS,
            "recordings": [_about(recording) for recording in self.recordings],
            "rates": [row(rate) for rate in self.rates],
            "rivals": {rival.name: rival.source for rival in RIVALS.values()},
            "not_measured": dict(self.not_measured),
            "live": self.live.as_dict(row) if self.live else None,
        }
        return json.dumps(made, indent=1)


def _about(recording: Recording) -> dict[str, Any]:
    return {
        "file": recording.name,
        "sha256": recording.sha256,
        "processes": len(recording.processes),
        "blocks": len(recording.blocks),
        "sides": recording.sides(),
    }


def replay(files: Sequence[Path], trials: Trials, on_rate: OnRate) -> Selftest:
    """Everything that needs no machine: recordings, simulations, the rules of others, and the history's rates.

    Raises:
        UsageError: a file that is no recording.
    """
    recordings = [recording for path in files or own_noise() for recording in read(path)]
    missing = {} if recordings else {"recordings": f"none are in {OWN_NOISE}; give some with --noise"}
    found: list[Rate] = []
    for rate in _all(recordings, trials):
        found.append(rate)
        on_rate(rate)
    return Selftest(trials.count, trials.seed, recordings, found, missing)


def own_noise() -> list[Path]:
    """The recordings of this checkout; none in an installation without tests."""
    return sorted(OWN_NOISE.glob("*.jsonl.gz"))


def _all(recordings: Iterable[Recording], trials: Trials) -> Iterator[Rate]:
    for recording in recordings:
        yield from rates.of_duets(recording, trials)
        yield from rates.of_confirmations(recording, trials)
        yield from rates.of_alternating(recording, trials)
        yield from rates.of_intervals(recording, trials)
        yield from rates.of_rivals(recording, trials)
    yield from rates.of_simulations(trials)
    yield from history_rates.rates(trials)


def write(found: Selftest, path: Path) -> None:
    """As JSON, whole or not at all. What ``--live`` found before stays where this one did not look.

    Raises:
        UsageError: the place cannot be written.
    """
    made = json.loads(found.as_json())
    if found.live is None and path.exists():
        made["live"] = _before(path).get("live")
    temporary = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def live_before(path: Path) -> dict[str, Any] | None:
    """What ``--live`` left in this file, as it was written."""
    live = _before(path).get("live")
    return live if isinstance(live, dict) else None


def _before(path: Path) -> dict[str, Any]:
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) and made.get("schema") == SCHEMA else {}


def floors_here(results: Path, problems: list[str] | None = None) -> dict[str, float]:
    """The A/A floors that ``selftest --live`` left in ``results`` for this machine, by clock; empty where none did.

    What is no finite number from 0 is none, and added to ``problems``.
    """
    live = _before(results / FILE).get("live")
    if not isinstance(live, dict) or live.get("host") != machine.facts()["host"]:
        return {}
    floors = live.get("floors")
    found: dict[str, float] = {}
    for clock, floor in floors.items() if isinstance(floors, dict) else ():
        if isinstance(floor, int | float) and not isinstance(floor, bool) and 0 <= floor < math.inf:
            found[str(clock)] = float(floor)
        elif problems is not None:
            problems.append(f"{results / FILE}: live.floors.{clock} is {floor!r} and no number from 0: no floor")
    return found


def tables(found: Selftest) -> Iterator[Table | Text]:
    """For a terminal."""
    ours = [rate for rate in found.rates if rate.rule.startswith(OURS)]
    yield _table(OURS, ours)
    theirs = [rate for rate in found.rates if not rate.rule.startswith(OURS)]
    if theirs:
        yield _table(OTHERS, theirs)
    if found.live is not None:
        yield _table(f"live, {found.live.cell}", found.live.rates)
        yield Text(found.live.sentence())
    for name, why in found.not_measured.items():
        yield Text(f"not measured: {name}: {why}", "yellow")
    for rate in found.failures:
        yield Text(f"misses its demand: {sentence(rate)}: {rate}", "red")


def _table(title: str, found: Sequence[Rate]) -> Table:
    made = Table(title=title, title_justify="left")
    for column in COLUMNS:
        made.add_column(column)
    for rate in found:
        *before, share, asked = words(rate)
        made.add_row(*before, Text(share, {True: "green", False: "red", None: ""}[rate.holds]), asked)
    return made
