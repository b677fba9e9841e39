"""TensorFlow's passes: the device's peak, which can be set back; tf.profiler, whose file is read as the proto it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from bench import trace
from bench.frameworks.passes import NotMeasured, Passes, RunSome

#: An operator of a graph or of eager mode in the host's trace: ``dense/MatMul:MatMul``, its type last.
OPERATOR = re.compile(r"^[\w./\-<>]+:(?P<type>_?[A-Z]\w*)$")
#: Types of operators, and names of GPU activities, that move data.
COPIES = re.compile(r"^(_Send|_Recv|_HostSend|_HostRecv|Identity|Memcpy|MEMCPY|EagerCopyToDevice)")
GPU = "GPU:0"


class TensorFlowPasses(Passes):
    """See the module."""

    def device_memory(self, run: RunSome) -> dict[str, Any]:
        try:
            tf.config.experimental.reset_memory_stats(GPU)
            run()
            found = tf.config.experimental.get_memory_info(GPU)
        except (ValueError, tf.errors.OpError) as error:
            # A pluggable device without an allocator that counts says so here.
            raise NotMeasured(f"tf.config.experimental.get_memory_info: {str(error).splitlines()[0]}") from error
        return {
            "peak_bytes": int(found["peak"]),
            "kind": "peak",
            "source": "tf.config.experimental.get_memory_info: peak",
        }

    def profile(self, run: RunSome, folder: Path) -> dict[str, Any]:
        tf.profiler.experimental.start(str(folder))
        try:
            run()
        finally:
            tf.profiler.experimental.stop()
        written = sorted(folder.rglob("*.xplane.pb"))
        if not written:
            raise NotMeasured("tf.profiler wrote no .xplane.pb file")
        events = list(_events(written[-1].read_bytes()))
        trace.write_chrome(events, folder / "trace.json")
        found = [one for one in events if one.operator]
        kernels = [one for one in found if one.place == "device"]
        # A plug-in without kernel times (tensorflow-metal) leaves the host's side: what was dispatched.
        notes = ["for XProf: tensorboard --logdir on this folder"]
        if self.device != "cpu" and not kernels:
            notes.append("the device gave no times of kernels: these are the host's, for dispatch")
        return {
            "operators": [one._asdict() for one in trace.operators(kernels or found)],
            "trace": "trace.json",
            # Which operator ran where is not in this trace; the coverage pass asks TensorFlow's own placement log.
            "fallbacks": [],
            "notes": notes,
        }


def _events(data: bytes) -> Iterator[trace.Event]:
    """Everything with a duration in an XSpace; the proto comes with TensorFlow, under a name that has moved before."""
    try:
        from tensorflow.tsl.profiler.protobuf import xplane_pb2
    except ModuleNotFoundError as error:
        raise NotMeasured(f"this TensorFlow keeps the proto of its traces elsewhere: {error}") from error
    space = xplane_pb2.XSpace()
    space.ParseFromString(data)
    for plane in space.planes:
        place = "device" if plane.name.startswith("/device:") else "host"
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                start_ns = line.timestamp_ns + event.offset_ps // 1000
                found = OPERATOR.match(name)
                operator = found["type"] if found else ""
                if place == "device" and line.name.startswith("Stream"):
                    operator = operator or name
                kind = "copy" if COPIES.match(operator) else "compute"
                yield trace.Event(
                    plane.name, line.name, name, start_ns, event.duration_ps // 1000, place, operator, kind
                )


PASSES = TensorFlowPasses
