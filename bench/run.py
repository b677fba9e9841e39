"""Runs: find the interpreters, look at every environment once, execute blocks in order, append records."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import environments, plugins
from bench.block import run_block
from bench.cell import Cell
from bench.environments import Environment
from bench.errors import UsageError
from bench.materials import Materials, Produce, Produced
from bench.member import Context, Spawn
from bench.plan import IDIOM, Block
from bench.process import LAUNCH, ProcessWorker, Reply, Worker, WorkerDied, WorkerTimeout
from bench.record import Record, TimedOut, Unsupported
from bench.store import Appender
from bench.sweep import Series


def interpreters(given: Sequence[str], asked: Sequence[str]) -> dict[str, str]:
    """Environment -> interpreter. ``given`` are ``NAME=PATH`` options; the current interpreter serves the others.

    Without ``asked``, every environment that was given or whose framework this interpreter has.

    Raises:
        UsageError: a malformed or unknown option, a path that is no program, or an asked environment that is nowhere.
    """
    paths: dict[str, str] = {}
    for option in given:
        name, separator, path = option.partition("=")
        if not separator or not path:
            raise UsageError(f"--python takes NAME=PATH, got {option!r}; for instance --python torch=/path/to/python")
        found = shutil.which(path)
        if found is None:
            raise UsageError(f"--python {name}: {path!r} is not a program that can be run")
        paths[environments.get(name).name] = found
    for name in asked:
        environment = environments.get(name)
        if name not in paths:
            if importlib.util.find_spec(environment.probe_module) is None:
                raise UsageError(
                    f"environment {name!r} is not installed in {sys.executable}; "
                    f"give its interpreter (--python {name}=PATH) or let nox make it (nox -s 'bench({name})')"
                )
            paths[name] = sys.executable
    if asked:
        return {name: paths[name] for name in asked}
    here = environments.here(importlib.util.find_spec, plugins.installed())
    chosen = paths | {name: sys.executable for name in here if name not in paths}
    if not chosen:
        raise UsageError(
            f"no framework is installed in {sys.executable} and no --python NAME=PATH is given; "
            f"let nox make the environments: nox -s bench ({', '.join(environments.names())})"
        )
    return chosen


def spawner(pythons: Mapping[str, str], checkouts: Mapping[str, str] | None = None) -> Spawn:
    """Start real processes with these interpreters; those of ``checkouts`` run the code in that folder."""

    def spawn(environment: Environment, device: str, variables: Mapping[str, str]) -> Worker:
        folder = (checkouts or {}).get(environment.name)
        launch = LAUNCH if folder is None else Path(folder) / "bench" / LAUNCH.name
        return ProcessWorker(pythons[environment.name], variables, launch)

    return spawn


@dataclass(frozen=True)
class Sight:
    """What one look at an environment on a device found. ``problem`` is None when it opened and a product was right."""

    environment: str
    device: str
    device_name: str | None
    versions: Mapping[str, str]
    problem: str | None
    probe: Mapping[str, Any] | None = None


class StageFailed(Exception):
    """A stage outside of a measurement ended in an outcome; the message is for people."""

    def __init__(self, reply: Reply) -> None:
        said = reply["outcome"]
        text = said.get("reason") or said.get("detail") or f"{said.get('type')}: {said.get('message')}"
        super().__init__(str(text))
        self.outcome: Mapping[str, Any] = said
        self.facts: Mapping[str, Any] = reply.get("facts", {})


#: How a conversation with a worker ends otherwise than well.
Trouble = (StageFailed, WorkerTimeout, WorkerDied)


class Conversation:
    """A worker outside of a measurement, open on one device."""

    def __init__(self, worker: Worker, context: Context, environment: str, device: str, auditing: bool = False) -> None:
        self._worker = worker
        self._timeouts_s = context.timeouts_s
        framework = environments.get(environment).framework
        where = {"environment": environment, "device": device, "auditing": auditing}
        self.facts = self.ask("open", framework=framework, threads=context.threads, **where)

    @property
    def pid(self) -> int | None:
        """The worker's process id; None where it is no process of its own."""
        return getattr(self._worker, "pid", None)

    def ask(self, stage: str, **arguments: Any) -> Reply:
        """The worker's answer to ``stage``.

        Raises:
            StageFailed, WorkerTimeout, WorkerDied: it ended otherwise than well.
        """
        reply = self._worker.call(stage, self._timeouts_s[stage], **arguments)
        if "outcome" in reply:
            raise StageFailed(reply)
        ok: Reply = reply["ok"]
        return ok

    def load(self, cell: Cell, materials: Materials) -> None:
        """Load ``cell`` into the worker."""
        weights, inputs = str(materials.weights), str(materials.inputs)
        twins = environments.get(cell.environment).twins
        self.facts |= self.ask("load", cell=cell.words(), weights=weights, inputs=inputs, twins=twins)


@contextmanager
def conversation(environment: str, device: str, context: Context, auditing: bool = False) -> Iterator[Conversation]:
    """A fresh worker, opened; ended when the block is left. ``auditing``: with the variables of a coverage pass.

    Raises:
        StageFailed, WorkerTimeout, WorkerDied: it could not be opened.
    """
    entry = environments.get(environment)
    variables = environments.child_environment(context.variables, entry, device, context.threads)
    if auditing:
        variables |= environments.audit_variables(entry)
    worker = context.spawn(entry, device, variables)
    try:
        yield Conversation(worker, context, environment, device, auditing)
    finally:
        worker.close()


def look(environment: str, device: str, context: Context, precisions: Sequence[str] = ()) -> Sight:
    """Open ``device`` in a fresh worker; with ``precisions``, also run the fence test and measure each of them."""
    try:
        with conversation(environment, device, context) as worker:
            rates_s = context.timeouts_s["probe"] / 3
            probe = worker.ask("probe", precisions=list(precisions), rates_s=rates_s) if precisions else None
            return Sight(environment, device, worker.facts["device_name"], worker.facts["versions"], None, probe)
    except (*Trouble, OSError) as error:
        return Sight(environment, device, None, {}, str(error))


#: The environment that makes ``cpu-fp32`` references where it can: its names and layouts are the canonical ones.
MAKER = "torch"


def reference_producer(pythons: Mapping[str, str], context: Callable[[], Context]) -> Produce:
    """Makes ``cpu-fp32`` references by torch. Where it is not among the run's environments, each framework makes its
    own: that shows what a device or a precision changes, and not whether the framework agrees with the others."""

    def produce(cell: Cell, materials: Materials, path: Path) -> Produced:
        name = MAKER if MAKER in pythons else cell.environment
        framework = environments.get(name).framework
        maker = cell.but(environment=name, device="cpu", precision="fp32", mode=IDIOM[framework])
        try:
            with conversation(maker.environment, maker.device, context()) as worker:
                worker.load(maker, materials)
                worker.ask("dump", path=str(path))
                versions = worker.facts["versions"]
        except Trouble as error:
            raise UsageError(f"the reference of {cell.workload}:{cell.size} could not be made: {error}") from error
        version = versions.get(framework) or versions.get(f"{framework}-cpu", "")
        return Produced(f"{framework} {version} cpu fp32".replace("  ", " "), own_names=framework != MAKER)

    return produce


#: (cell's id, number of the process) of the records that a run already has.
Done = frozenset[tuple[str, int]]


def block_name(block: Block) -> str:
    """The block's id in the records: stable within a run, so that a resumed run knows what it has."""
    return f"{block.index:05d}"


def execute(
    blocks: Sequence[Block],
    context: Context,
    appender: Appender,
    done: Done,
    settled: set[Cell],
    series: Series,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[Block, list[Record]]]:
    """Run ``blocks`` in order; each one's records are on disk before it is yielded.

    ``series`` knows which points of a sweep lie beyond its end: they are not run; ``note`` is told of every end.
    ``done`` is not run again. ``settled`` are cells whose outcome another process would only repeat; it grows as such
    outcomes come in. Of a duet, what is neither done nor settled goes on alone.
    """
    for block in blocks:
        name = block_name(block)
        cells = tuple(
            cell
            for cell in block.cells
            if cell not in settled and (cell.id, block.process) not in done and not series.is_over(cell)
        )
        records: list[Record] = []
        if cells:
            began = time.monotonic_ns()
            records = run_block(replace(block, cells=cells), name, context)
            appender.append(records)
            ends = [series.watch(record, time.monotonic_ns() - began) for record in records]
            for end in filter(None, ends):
                note(end)
            settled.update(record.cell for record in records if is_final(record, context.profile.patience_ns))
        yield block, records


def is_final(record: Record, patience_ns: int | None = None) -> bool:
    """Whether another fresh process would only repeat this outcome, or is not worth ``patience_ns`` or more."""
    slow = patience_ns is not None and sum(record.stages_ns.values()) > patience_ns
    return slow or isinstance(record.outcome, Unsupported | TimedOut)
