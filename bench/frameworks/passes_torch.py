"""PyTorch's passes: the CUDA allocator's peak, MPS's counters sampled; torch.profiler, and signposts on MPS."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench import trace
from bench.frameworks.passes import Passes, RunSome, highest

#: The operators that move data between host and device, or between layouts and dtypes.
COPIES = ("aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous", "Memcpy", "Memset")
#: Of pytorch/aten/src/ATen/mps/MPSFallback.mm; shown once per process unless torch.set_warn_always.
FALLS_BACK = "will fall back to run on the CPU"
#: What a person does to see the GPU's side: torch.profiler has no times of MPS kernels.
INSTRUMENTS = (
    "times here are the host's, for dispatch: torch.profiler has no times of MPS kernels",
    "the run wrote signposts (torch.mps.profiler, mode interval,event): to see the GPU, open Instruments, take the "
    "template Logging or Metal System Trace, and record this process with --wait, or from a shell: "
    "xcrun xctrace record --template 'Metal System Trace' --attach PID --time-limit 30s --output cell.trace",
)


class TorchPasses(Passes):
    """See the module."""

    def device_memory(self, run: RunSome) -> dict[str, Any]:
        return self._cuda_memory(run) if self.device == "cuda" else self._mps_memory(run)

    def _cuda_memory(self, run: RunSome) -> dict[str, Any]:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        run()
        return {
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "kind": "peak",
            "source": "torch.cuda.max_memory_allocated",
            "reserved_bytes": torch.cuda.max_memory_reserved(),
            "limit_bytes": torch.cuda.mem_get_info()[1],
        }

    def _mps_memory(self, run: RunSome) -> dict[str, Any]:
        """MPS keeps no peak of what is allocated; the driver's figure never falls while the cache is kept."""

        def read() -> dict[str, int]:
            return {
                "current": torch.mps.current_allocated_memory(),
                "driver": torch.mps.driver_allocated_memory(),
            }

        top = highest(read, run)
        return {
            "peak_bytes": top["current"],
            "kind": "sampled",
            "source": "torch.mps.current_allocated_memory",
            "reserved_bytes": top["driver"],
            "limit_bytes": torch.mps.recommended_max_memory(),
        }

    def profile(self, run: RunSome, folder: Path) -> dict[str, Any]:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.device == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with warnings.catch_warnings(record=True) as said, _signposts(self.device):
            warnings.simplefilter("always")
            torch.set_warn_always(True)
            try:
                with torch.profiler.profile(activities=activities) as profiler:
                    run()
            finally:
                torch.set_warn_always(False)
        profiler.export_chrome_trace(str(folder / "trace.json"))
        fallbacks = sorted({str(one.message).splitlines()[0] for one in said if FALLS_BACK in str(one.message)})
        return {
            "operators": [one._asdict() for one in self._operators(profiler.key_averages())],
            "trace": "trace.json",
            "fallbacks": fallbacks,
            "notes": [*INSTRUMENTS, f"this process was {os.getpid()}"] if self.device == "metal" else [],
        }

    def _operators(self, averages: Any) -> list[trace.Operator]:
        """On CUDA each operator with the time of the kernels that it launched; the kernels where that is not known."""
        on_gpu = self.device == "cuda"
        rows = [(one, _is_kernel(one)) for one in averages]
        made = [self._operator(one, on_gpu) for one, kernel in rows if not kernel]
        if on_gpu and not any(one.self_ns for one in made):
            made = [self._operator(one, on_gpu) for one, kernel in rows if kernel]
        return [one for one in made if one.self_ns]

    def _operator(self, event: Any, on_gpu: bool) -> trace.Operator:
        taken_us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        kind = "copy" if str(event.key).startswith(COPIES) else "compute"
        return trace.Operator(str(event.key), int(event.count), round(taken_us * 1000), kind, on_gpu)


def _is_kernel(event: Any) -> bool:
    return bool(event.device_type != torch.autograd.DeviceType.CPU)


@contextmanager
def _signposts(device: str) -> Iterator[None]:
    """Intervals and events of every MPS operation for Instruments, around what runs within."""
    if device != "metal":
        yield
        return
    torch.mps.profiler.start(mode="interval,event", wait_until_completed=False)
    try:
        yield
    finally:
        torch.mps.profiler.stop()


PASSES = TorchPasses
