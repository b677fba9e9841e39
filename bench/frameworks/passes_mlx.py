"""MLX's passes: the allocator's peak, which can be set back; a Metal capture, which Xcode opens. Never run on a Mac."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlx.core as mx

from bench.frameworks.passes import NotMeasured, Passes, RunSome

#: Metal makes captures only where this was set before the process began.
CAPTURE = "MTL_CAPTURE_ENABLED"


class MlxPasses(Passes):
    """See the module."""

    def device_memory(self, run: RunSome) -> dict[str, Any]:
        mx.synchronize()
        mx.reset_peak_memory()
        run()
        info = mx.metal.device_info() if mx.metal.is_available() else {}
        return {
            "peak_bytes": mx.get_peak_memory(),
            "kind": "peak",
            "source": "mlx.core.get_peak_memory",
            "reserved_bytes": mx.get_active_memory() + mx.get_cache_memory(),
            "limit_bytes": info.get("max_recommended_working_set_size"),
        }

    def profile(self, run: RunSome, folder: Path) -> dict[str, Any]:
        if self.device != "metal":
            raise NotMeasured("MLX has no profiler of its own, and a capture needs Metal")
        if os.environ.get(CAPTURE) != "1":
            raise NotMeasured(f"a Metal capture needs {CAPTURE}=1 in the environment before the process starts")
        mx.metal.start_capture(str(folder / "capture.gputrace"))
        try:
            run()
        finally:
            mx.metal.stop_capture()
        note = "MLX counts no operators: open capture.gputrace in Xcode, which shows every kernel"
        return {"operators": [], "trace": None, "fallbacks": [], "notes": [note]}


PASSES = MlxPasses
