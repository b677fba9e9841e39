"""``twinbench doctor``: what machine this is, and what each environment really does on each device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from bench import environments, machine
from bench.cell import PRECISIONS
from bench.labels import emulated
from bench.run import Sight, look
from bench.setup import Setup, context


@dataclass(frozen=True)
class Examination:
    """Facts of the machine and one sight per (environment, device)."""

    machine: Mapping[str, Any]
    power: Mapping[str, Any]
    threads: int
    sights: Sequence[Sight]

    @property
    def healthy(self) -> bool:
        """Every environment opened on everything it may have here."""
        return all(sight.problem is None for sight in self.sights)

    def as_json(self) -> str:
        """All of it, for a bug report."""
        facts = {"machine": self.machine, "power": self.power, "threads": self.threads}
        return json.dumps({**facts, "environments": [asdict(sight) for sight in self.sights]}, indent=2)

    def tables(self) -> Iterator[Table]:
        """For a terminal."""
        facts = Table(title="Machine", title_justify="left", show_header=False)
        for name, value in {**self.machine, **self.power, "threads": self.threads}.items():
            facts.add_row(name, Text("unknown" if value is None else str(value)))
        yield facts
        seen = Table(title="Environments", title_justify="left")
        for column in ("environment", "device", "versions", "fence", "effective precision, rate of a product"):
            seen.add_column(column)
        for sight in self.sights:
            seen.add_row(*map(Text, _row(sight)))
        yield seen


def examine(setup: Setup) -> Examination:
    """Look at every environment of ``setup`` on every device it may have here, each in a fresh process."""
    looking = context(setup, "")
    sights = [
        look(name, device, looking, PRECISIONS)
        for name in setup.pythons
        for device in environments.available_devices(environments.get(name))
    ]
    return Examination(machine.facts(), machine.power(), setup.threads, sights)


def _row(sight: Sight) -> tuple[str, ...]:
    versions = "\n".join(f"{name} {version}" for name, version in sight.versions.items())
    if sight.problem is not None or sight.probe is None:
        return sight.environment, sight.device, versions, "does not open", str(sight.problem)
    fence, words = sight.probe["fence"], sight.probe["precisions"]
    waits = "waits" if fence["kind"] == "barrier" else "DOES NOT WAIT: timed through host reads"
    rates = sight.probe["gemm_rates_flops_per_s"]
    found = "\n".join(f"{word}: {label}{_rate(rates, word)}" for word, label in words.items())
    return sight.environment, f"{sight.device}\n{sight.device_name}", versions, waits, found


def _rate(rates_flops_per_s: Mapping[str, float], word: str) -> str:
    """``, 812 GFLOP/s``, and whether that is too slow for a device that has this precision."""
    rate = rates_flops_per_s.get(word)
    if rate is None:
        return ""
    slow = ", emulated" if emulated(rates_flops_per_s, word) else ""
    return f", {rate / 1e9:.3g} GFLOP/s{slow}"
