"""Made-up nights on disk and in memory, for the tests of the history and of the nightly runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from bench import points, store
from bench.points import POINTS_VERSION, Point
from bench.record import Fingerprint
from tests.samples import CELL, fingerprint

MACHINE = {"chip": "Imagined M9", "physical_cores": 8, "os_version": "macOS 26.2", "host": "aaaa"}


def prints(newest: str = "2.14.0", pinned: str = "2.13.0", **facts: Any) -> tuple[Fingerprint, Fingerprint]:
    """The two sides' fingerprints; ``machine`` is updated, other facts replaced, on both sides."""
    machine = MACHINE | dict(facts.pop("machine", {}))
    both = {"machine": machine, **facts}
    return (
        fingerprint(versions={"python": "3.11.7", "torch": pinned}, **both),
        fingerprint(versions={"python": "3.11.7", "torch": newest}, **both),
    )


def night(
    index: int, log_ratio: float | None = 0.0, sides: tuple[Fingerprint, Fingerprint] | None = None, **facts: Any
) -> Point:
    """The point of one night of one cell."""
    made = Point(
        schema=POINTS_VERSION,
        run=f"n{index:03d}",
        started_at=f"2026-{index // 28 + 1:02d}-{index % 28 + 1:02d}T03:00:00+00:00",
        cell=CELL,
        candidate="torch@newest",
        outcome="measured",
        log_ratio=log_ratio,
        error=0.004,
        blocks=20,
        clock="cpu",
        item="sample",
        rates=(1000.0, 1000.0),
        fingerprints=sides or prints(),
    )
    return structs.replace(made, **facts)


def on_disk(results: Path, nights: Mapping[str, list[Point]]) -> list[Path]:
    """Run folders with these points."""
    made = []
    for name, ones in nights.items():
        folder = results / name
        folder.mkdir(parents=True)
        (folder / store.RUN).write_text(json.dumps({"kind": "nightly"}))
        points.write(folder, ones)
        made.append(folder)
    return made
