"""Traces of profilers as plain events: a table of operators out of them, and a file that Perfetto opens.

Standard library only: workers import this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Event(NamedTuple):
    """Something with a duration. ``place`` is ``host`` or ``device``; ``operator`` is "" for all that is none.

    ``kind`` of an operator: ``compute`` or ``copy``.
    """

    process: str
    thread: str
    name: str
    start_ns: int
    duration_ns: int
    place: str
    operator: str
    kind: str


class Operator(NamedTuple):
    """All calls of one operator; ``self_ns`` is time of its own, without what it called."""

    name: str
    calls: int
    self_ns: int
    kind: str
    on_device: bool


def operators(events: Iterable[Event]) -> list[Operator]:
    """One row per operator. Where one runs within another of its thread, the outer one's time is without the inner."""
    found: dict[str, Operator] = {}
    for event, own_ns in _own_times([one for one in events if one.operator]):
        before = found.get(event.operator, Operator(event.operator, 0, 0, event.kind, event.place == "device"))
        found[event.operator] = before._replace(calls=before.calls + 1, self_ns=before.self_ns + own_ns)
    return list(found.values())


def _own_times(events: Sequence[Event]) -> list[tuple[Event, int]]:
    """(event, its duration without that of the events directly within it), thread by thread."""
    own = {index: event.duration_ns for index, event in enumerate(events)}
    threads: dict[tuple[str, str], list[int]] = {}
    for index, event in enumerate(events):
        threads.setdefault((event.process, event.thread), []).append(index)
    for indices in threads.values():
        indices.sort(key=lambda index: (events[index].start_ns, -events[index].duration_ns))
        around: list[int] = []
        for index in indices:
            begin, end = events[index].start_ns, events[index].start_ns + events[index].duration_ns
            while around and events[around[-1]].start_ns + events[around[-1]].duration_ns <= begin:
                around.pop()
            if around and end <= events[around[-1]].start_ns + events[around[-1]].duration_ns:
                own[around[-1]] -= events[index].duration_ns
            around.append(index)
    return [(event, max(0, own[index])) for index, event in enumerate(events)]


def write_chrome(events: Iterable[Event], path: Path) -> None:
    """The Trace Event format of Chrome, which Perfetto (ui.perfetto.dev) opens; times in microseconds."""
    processes: dict[str, int] = {}
    threads: dict[tuple[str, str], int] = {}
    rows: list[dict[str, Any]] = []
    for event in events:
        pid = processes.setdefault(event.process, len(processes) + 1)
        tid = threads.setdefault((event.process, event.thread), len(threads) + 1)
        taken = {"ts": event.start_ns / 1000, "dur": event.duration_ns / 1000}
        rows.append({"ph": "X", "pid": pid, "tid": tid, "name": event.name, **taken})
    names = [_name("process_name", pid, 0, name) for name, pid in processes.items()]
    names += [_name("thread_name", processes[process], tid, name) for (process, name), tid in threads.items()]
    path.write_text(json.dumps({"displayTimeUnit": "ms", "traceEvents": [*names, *rows]}), encoding="utf-8")


def _name(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": {"name": name}}
