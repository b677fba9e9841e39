"""The scripted framework's passes: what they say is made up, at once, so that everything behind them can be tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import trace
from bench.frameworks.passes import Passes, RunSome

PEAK_BYTES = 123_000_000


class FakePasses(Passes):
    """See the module."""

    def device_memory(self, run: RunSome) -> dict[str, Any]:
        run()
        return {"peak_bytes": PEAK_BYTES, "kind": "peak", "source": "scripted", "limit_bytes": 10 * PEAK_BYTES}

    def profile(self, run: RunSome, folder: Path) -> dict[str, Any]:
        run()
        events = [
            trace.Event("scripted", "queue", "product", 0, 3_000_000, "device", "product", "compute"),
            trace.Event("scripted", "queue", "upload", 3_000_000, 1_000_000, "device", "upload", "copy"),
        ]
        trace.write_chrome(events, folder / "trace.json")
        rows = [one._asdict() for one in trace.operators(events)]
        return {"operators": rows, "trace": "trace.json", "fallbacks": ["sort"], "notes": ["scripted"]}


PASSES = FakePasses
