"""What fingerprints say, put together: what all cells share, what an environment brings, and what differs. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.record import Fingerprint
from bench.report.facts import by_work, count, work_label
from bench.summary import CellSummary

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Environment:
    """One environment of the report; a value that is not the same in all its cells lists all it had."""

    name: str
    versions: str
    devices: str
    threads: str
    variables: str


@dataclass(frozen=True)
class Bytes:
    """Whether all cells of one work saw the same bytes. Hashes are shortened to 12 digits."""

    work: str
    weights: str
    inputs: str
    same: bool


@dataclass(frozen=True)
class Machine:
    """``shared``: (fact, value) equal everywhere. ``differing``: (fact, [``value (n cells)``])."""

    shared: tuple[tuple[str, str], ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    environments: tuple[Environment, ...]
    work_bytes: tuple[Bytes, ...]
    without: int


def machine_of(summaries: Sequence[CellSummary]) -> Machine:
    """Cells without a fingerprint are counted in ``without`` and left out of the rest."""
    known = [(one, one.fingerprint) for one in summaries if one.fingerprint is not None]
    values: dict[str, Counter[str]] = {}
    for _, found in known:
        for name, value in _flat(found):
            values.setdefault(name, Counter())[value] += 1
    readings = {name: told for name, seen in values.items() if (told := _reading(name, seen))}
    shared = tuple(
        (name, readings.get(name) or next(iter(seen)))
        for name, seen in values.items()
        if len(seen) == 1 or name in readings
    )
    differing = tuple(
        (name, tuple(f"{value} ({count(number, 'cell')})" for value, number in seen.most_common()))
        for name, seen in values.items()
        if len(seen) > 1 and name not in readings
    )
    by_environment: dict[str, list[tuple[CellSummary, Fingerprint]]] = {}
    for one, found in known:
        by_environment.setdefault(one.cell.environment, []).append((one, found))
    environments = tuple(_environment(name, members) for name, members in by_environment.items())
    return Machine(shared, differing, environments, _bytes(summaries), len(summaries) - len(known))


def _reading(name: str, seen: Counter[str]) -> str:
    """``5.1 to 6.7``: the range of a power or load figure, which is read anew for each process; "" for other facts."""
    if not name.startswith("power ") or len(seen) < 2:
        return ""
    try:
        numbers = [float(value) for value in seen if value != UNKNOWN]
    except ValueError:
        return ""
    return f"{min(numbers):.3g} to {max(numbers):.3g}"


def text(value: Any) -> str:
    """A fact for people: None is ``unknown``, never empty; true and false are yes and no."""
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "none"
    return str(value)


def revision(value: str | None) -> str:
    """A git revision with 12 of its 40 digits, enough to find it; what follows them (``-dirty``) stays."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1", text(value))


def _flat(found: Fingerprint) -> Iterator[tuple[str, str]]:
    yield from _facts("", found.machine)
    yield from _facts("power ", found.power)
    yield "git revision", revision(found.git_revision)
    yield "seed", text(found.seed)


def facts(found: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a machine by name, as text with units."""
    return dict(_facts("", found))


def _facts(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        label = prefix + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield from _facts(f"{label} ", value)
        elif str(name).endswith("_bytes") and isinstance(value, int) and not isinstance(value, bool):
            yield label.removesuffix(" bytes"), f"{value / 2**30:.1f} GiB"
        else:
            yield label, text(value)


def _environment(name: str, members: Sequence[tuple[CellSummary, Fingerprint]]) -> Environment:
    prints = [found for _, found in members]
    devices = {f"{one.cell.device}: {text(found.device_name)}" for one, found in members}
    return Environment(
        name,
        _alternatives([_pairs(found.versions, " ") for found in prints]),
        ", ".join(sorted(devices)),
        _alternatives([text(found.threads) for found in prints]),
        _alternatives([_pairs(found.variables, "=") for found in prints]),
    )


def _pairs(values: Mapping[str, str], between: str) -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in sorted(values.items())) or "none"


def _alternatives(values: Sequence[str]) -> str:
    """The one value, or all of them marked as differing."""
    seen = list(dict.fromkeys(values))
    return seen[0] if len(seen) == 1 else "differs: " + "  |  ".join(seen)


def _bytes(summaries: Sequence[CellSummary]) -> tuple[Bytes, ...]:
    rows = []
    for work, members in by_work(summaries).items():
        prints = [one.fingerprint for one in members if one.fingerprint is not None]
        weights = {found.weights_sha256 for found in prints if found.weights_sha256}
        inputs = {found.inputs_sha256 for found in prints if found.inputs_sha256}
        if weights or inputs:
            same = len(weights) <= 1 and len(inputs) <= 1
            rows.append(Bytes(work_label(work), _short(weights), _short(inputs), same))
    return tuple(rows)


def _short(hashes: set[str]) -> str:
    return ", ".join(sorted(digest[:12] for digest in hashes)) or UNKNOWN
