"""``twinbench doctor``: what machine this is, and what each environment really does on each device; a minute at most.

The report is meant to be sent: a first user of a machine that nobody here has runs it and files the JSON. One
environment that fails, hangs or is missing never costs another; what the minute did not suffice for is named.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from bench import __version__, energy, environments, machine, preflight, timing
from bench.cell import PRECISIONS
from bench.labels import emulated
from bench.run import Sight, look
from bench.setup import Setup, context

#: All looks together take no longer than this; starting and ending processes fit into the rest of a minute.
LIMIT_S = 50.0
#: With less than this left, another environment is not begun: TensorFlow alone imports for ten seconds here.
LEAST_S = 3.0


@dataclass(frozen=True)
class Examination:
    """Facts of the machine, what speaks against measuring now, meters, and one sight per (environment, device)."""

    machine: Mapping[str, Any]
    power: Mapping[str, Any]
    threads: int
    sights: Sequence[Sight]
    warnings: Sequence[str]
    notes: Sequence[str]
    meters: str
    took_s: float

    @property
    def healthy(self) -> bool:
        """Every environment opened on everything it may have here."""
        return all(sight.problem is None for sight in self.sights)

    def as_json(self) -> str:
        """All of it, for a bug report."""
        facts = {name: value for name, value in asdict(self).items() if name != "sights"}
        sights = [asdict(sight) for sight in self.sights]
        return json.dumps({"twinbench": __version__, **facts, "environments": sights}, indent=2)

    def tables(self) -> Iterator[Table | Text]:
        """For a terminal."""
        facts = Table(title="Machine", title_justify="left", show_header=False)
        told = {**self.machine, **self.power, "threads": self.threads, "energy": self.meters}
        for name, value in told.items():
            facts.add_row(name, Text("unknown" if value is None else str(value)))
        yield facts
        for sentence in self.warnings:
            yield Text(f"warning: {sentence}", "yellow")
        for sentence in self.notes:
            yield Text(f"note: {sentence}")
        seen = Table(title="Environments", title_justify="left")
        for column in (
            "environment",
            "device",
            "versions",
            "fence",
            "effective precision, rate of a product",
            "device memory",
            "fallbacks",
        ):
            seen.add_column(column, overflow="fold")
        for sight in self.sights:
            seen.add_row(*map(Text, _row(sight)))
        yield seen
        yield Text(f"took {self.took_s:.0f} s", "dim")


def examine(setup: Setup, limit_s: float = LIMIT_S) -> Examination:
    """Look at every environment of ``setup`` on every device it may have here, each in a fresh process, in turn.

    One after another: side by side they would disturb each other's fence test.
    """
    began = time.monotonic()
    facts, power = machine.facts(), machine.power()
    looking = context(setup, "")
    places = [
        (name, device) for name in setup.pythons for device in environments.available_devices(environments.get(name))
    ]
    sights = []
    for number, (name, device) in enumerate(places):
        left = limit_s - (time.monotonic() - began)
        if left < LEAST_S:
            why = f"not looked at: {limit_s:.0f} s were over; alone: twinbench doctor --environment {name}"
            sights.append(Sight(name, device, None, {}, why))
            continue
        # A fair share for each stage of each look, and what one leaves goes to the next: a hang costs its own share.
        share = round(max(LEAST_S / 2, min(left / 2, left / (len(places) - number))), 1)
        limits = {stage: min(limit, share) for stage, limit in looking.timeouts_s.items()}
        sights.append(look(name, device, replace(looking, timeouts_s=limits), PRECISIONS))
    state = preflight.check(facts, power)
    took_s = time.monotonic() - began
    return Examination(
        facts, power, setup.threads, sights, state.warnings, state.notes, energy.find().sentence(), took_s
    )


def _row(sight: Sight) -> tuple[str, ...]:
    versions = "\n".join(f"{name} {version}" for name, version in sight.versions.items())
    if sight.problem is not None or sight.probe is None:
        return sight.environment, sight.device, versions, "does not open", str(sight.problem), "", ""
    fence, words = sight.probe["fence"], sight.probe["precisions"]
    if fence["kind"] != "barrier":
        waits = "DOES NOT WAIT: timed through host reads"
    else:
        waits = "waits" if timing.is_telling(fence["issued_ns"], fence["host_read_ns"]) else "nothing to wait for"
    rates = sight.probe["gemm_rates_flops_per_s"]
    found = "\n".join(f"{word}: {label}{_rate(rates, word)}" for word, label in words.items())
    device = f"{sight.device}\n{sight.device_name}"
    return sight.environment, device, versions, waits, found, _memory(sight.probe), _fallbacks(sight.probe)


def _memory(probe: Mapping[str, Any]) -> str:
    """By which counter the memory pass would go here."""
    found = probe.get("device_memory", {})
    counter = found.get("device_memory")
    return f"{counter['kind']}: {counter['source']}" if counter else str(found.get("not_measured", "not asked"))


def _fallbacks(probe: Mapping[str, Any]) -> str:
    """Operators that ran elsewhere than on the device, as far as the environment's coverage pass looked."""
    found = probe.get("fallbacks")
    if found is None:
        return "not looked at"
    return "\n".join(found) or "none"


def _rate(rates_flops_per_s: Mapping[str, float], word: str) -> str:
    """``, 812 GFLOP/s``, and whether that is too slow for a device that has this precision."""
    rate = rates_flops_per_s.get(word)
    if rate is None:
        return ""
    slow = ", emulated" if emulated(rates_flops_per_s, word) else ""
    return f", {rate / 1e9:.3g} GFLOP/s{slow}"
