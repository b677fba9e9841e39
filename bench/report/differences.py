"""What differs between the surroundings of two runs: versions, machine, threads, variables, bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.record import Fingerprint
from bench.report.facts import work_label
from bench.report.machines import revision, text
from bench.summary import CellSummary
from bench.verdict import comparable_facts

#: Values of one fact that are told; a reading of every process would fill the page.
MAX_VALUES = 4


@dataclass(frozen=True)
class Difference:
    """One fact and what it was on either side. ``forbids``: such runs are compared on purpose only (``--across``)."""

    fact: str
    a: str
    b: str
    forbids: bool


@dataclass(frozen=True)
class Surroundings:
    """``differing``: facts with other values on the two sides. ``readings``: figures that differ by themselves.

    ``alike`` counts the facts that are the same; ``one_sided`` are environments that only one run has.
    """

    differing: tuple[Difference, ...]
    readings: tuple[Difference, ...]
    alike: int
    one_sided: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The differences in one line."""
        if not self.differing:
            return f"No recorded fact differs between the two runs: {self.alike:,} are the same."
        named = [f"{one.fact} ({one.a} → {one.b})" for one in self.differing[:3]]
        more = len(self.differing) - len(named)
        return f"The runs differ in {'; '.join(named)}{f' and {more:,} more' if more else ''}."


def surroundings(a: Sequence[CellSummary], b: Sequence[CellSummary]) -> Surroundings:
    """Facts of all cells of each side; those of an environment or a work are compared where both sides have it."""
    ones, others = _facts(a), _facts(b)
    differing: list[Difference] = []
    readings: list[Difference] = []
    alike = 0
    environments = [{one.cell.environment for one in side} for side in (a, b)]
    for key in dict.fromkeys((*ones, *others)):
        if key.owner and not (key.owner in _owners(a) and key.owner in _owners(b)):
            continue
        told_a, told_b = (_told(key, side.get(key, [])) for side in (ones, others))
        if told_a == told_b:
            alike += 1
        elif _is_reading(key, [*ones.get(key, []), *others.get(key, [])]):
            readings.append(Difference(key.label, told_a, told_b, forbids=False))
        else:
            differing.append(Difference(key.label, told_a, told_b, forbids=key.name in comparable_facts()))
    one_sided = [f"{name} in A only" for name in sorted(environments[0] - environments[1])]
    one_sided += [f"{name} in B only" for name in sorted(environments[1] - environments[0])]
    return Surroundings(tuple(differing), tuple(readings), alike, tuple(one_sided))


@dataclass(frozen=True)
class _Key:
    """A fact: ``kind`` in telling order, ``owner`` the environment or work that it belongs to ("" for the run)."""

    kind: str
    owner: str
    name: str

    @property
    def label(self) -> str:
        """``torch: numpy``, ``chip``, ``weights of mlp:digits inference, batch 64``."""
        words = self.name.replace("_", " ") if self.kind not in ("version", "variable") else self.name
        if self.kind == "bytes":
            return f"{self.name.removesuffix('_sha256')} of {self.owner}"
        words = f"power: {words}" if self.kind == "power" else words
        return f"{self.owner}: {words}" if self.owner else words


#: The order of the table.
KINDS = ("version", "machine", "device", "run", "power", "variable", "bytes")


def _facts(rows: Sequence[CellSummary]) -> dict[_Key, list[str]]:
    """Fact -> its values, each once, in the order of first sight."""
    found: dict[_Key, list[str]] = {}
    for one in rows:
        if one.fingerprint is None:
            continue
        for key, value in _of(one, one.fingerprint):
            values = found.setdefault(key, [])
            if value not in values:
                values.append(value)
    return dict(sorted(found.items(), key=lambda item: KINDS.index(item[0].kind)))


def _of(one: CellSummary, found: Fingerprint) -> Iterator[tuple[_Key, str]]:
    environment, work = one.cell.environment, work_label(one.cell.work)
    yield from ((_Key("version", environment, name), text(value)) for name, value in found.versions.items())
    yield from ((_Key("machine", "", name), value) for name, value in _flat(found.machine))
    yield _Key("device", environment, f"{one.cell.device} device"), text(found.device_name)
    yield _Key("run", "", "threads"), text(found.threads)
    yield _Key("run", "", "seed"), text(found.seed)
    yield _Key("run", "", "git_revision"), revision(found.git_revision)
    yield from ((_Key("power", "", name), value) for name, value in _flat(found.power))
    yield from ((_Key("variable", environment, name), text(value)) for name, value in found.variables.items())
    yield _Key("bytes", work, "weights_sha256"), text(found.weights_sha256)[:12]
    yield _Key("bytes", work, "inputs_sha256"), text(found.inputs_sha256)[:12]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", text(value)


def _owners(rows: Sequence[CellSummary]) -> set[str]:
    return {one.cell.environment for one in rows} | {work_label(one.cell.work) for one in rows}


def _told(key: _Key, values: Sequence[str]) -> str:
    """The value, or all of them; a variable that was not set, or a fact that nobody recorded, says so."""
    if not values:
        return "not set" if key.kind == "variable" else "not recorded"
    if _is_reading(key, values) and len(values) > 1:
        numbers = [float(value) for value in values if _is_number(value)]
        return f"{min(numbers):.3g} to {max(numbers):.3g}"
    shown = sorted(values)[:MAX_VALUES]
    more = len(values) - len(shown)
    return "; ".join(shown) + (f"; {more} more" if more else "")


def _is_reading(key: _Key, values: Sequence[str]) -> bool:
    """Whether the fact is a figure that is read anew for each process."""
    numbers = [value for value in values if _is_number(value)]
    return key.kind == "power" and bool(numbers) and all(value in numbers or value == "unknown" for value in values)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
