"""JAX's passes: the allocator's peak, which cannot be set back; jax.profiler, read with its own reader."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from bench import trace
from bench.frameworks.passes import NotMeasured, Passes, RunSome

#: Names of HLO instructions and thunks that move data.
COPIES = re.compile(r"^(copy|transpose_copy|MemcpyH2D|MemcpyD2H|MemcpyD2D|Memcpy|infeed|outfeed)", re.IGNORECASE)
#: What XLA numbers its instructions with: ``dot.12`` and ``dot.13`` are one row.
NUMBER = re.compile(r"(\.\d+)+$")


class JaxPasses(Passes):
    """See the module."""

    def device_memory(self, run: RunSome) -> dict[str, Any]:
        # The device was named first in JAX_PLATFORMS, so it is the default one.
        device = jax.devices()[0]
        run()
        stats = device.memory_stats()
        if not stats or "peak_bytes_in_use" not in stats:
            raise NotMeasured(f"{device.platform} gives no peak_bytes_in_use (jax.Device.memory_stats)")
        return {
            "peak_bytes": stats["peak_bytes_in_use"],
            "kind": "peak-since-start",
            "source": "jax.Device.memory_stats: peak_bytes_in_use",
            "reserved_bytes": stats.get("bytes_reserved") or None,
            "limit_bytes": stats.get("bytes_limit") or None,
        }

    def profile(self, run: RunSome, folder: Path) -> dict[str, Any]:
        with jax.profiler.trace(str(folder)):
            run()
        written = sorted(folder.rglob("*.xplane.pb"))
        if not written:
            raise NotMeasured("jax.profiler wrote no .xplane.pb file")
        events = list(_events(jax.profiler.ProfileData.from_file(str(written[-1]))))
        # Chrome's format, which Perfetto opens; XLA writes it itself beside the .xplane.pb.
        name = "trace.json"
        if ready := sorted(folder.rglob("*.trace.json.gz")):
            name = "trace.json.gz"
            shutil.copyfile(ready[-1], folder / name)
        else:
            trace.write_chrome(events, folder / name)
        where = "host" if self.device == "cpu" else "device"
        operators = [one for one in events if one.operator and one.place == where]
        elsewhere = {one.operator for one in events if one.operator and one.place != where}
        return {
            "operators": [one._asdict() for one in trace.operators(operators)],
            "trace": name,
            "fallbacks": sorted(elsewhere),
            "notes": ["for XProf: tensorboard --logdir on this folder"],
        }


def _events(data: Any) -> Iterator[trace.Event]:
    """Everything with a duration; an operator is what carries an HLO instruction's name, or a kernel on a stream."""
    for plane in data.planes:
        place = "device" if plane.name.startswith("/device:") else "host"
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                kernel = place == "device" and (line.name.startswith("Stream") or "hlo_op" in stats)
                operator = ""
                if "hlo_op" in stats or kernel:
                    operator = NUMBER.sub("", str(stats.get("hlo_op") or event.name))
                kind = "copy" if COPIES.match(operator) or COPIES.match(event.name) else "compute"
                yield trace.Event(
                    plane.name,
                    line.name,
                    event.name,
                    int(event.start_ns),
                    int(event.duration_ns),
                    place,
                    operator,
                    kind,
                )


PASSES = JaxPasses
