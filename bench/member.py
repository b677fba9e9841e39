"""One cell's worker within a block, from spawn to record, and what all blocks of a run share."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from bench import __version__, affinity, energy, environments, labels, machine, sentinel
from bench.cell import Cell
from bench.errors import UsageError
from bench.materials import Store
from bench.plan import Profile
from bench.process import Reply, Worker, WorkerDied, WorkerTimeout
from bench.record import (
    SCHEMA_VERSION,
    Bursts,
    EffectivePrecision,
    Failed,
    Fingerprint,
    Measured,
    Measurement,
    Outcome,
    Record,
    Sentinel,
    TimedOut,
    Verification,
)
from bench.workload import Workload

#: Seconds a stage may take, unless --timeout says otherwise. A cold TensorFlow import takes ten seconds here and
#: torch.compile half a minute; a fence or a kernel that hangs takes for ever.
TIMEOUTS_S: Mapping[str, float] = {
    "open": 180.0,
    "load": 120.0,
    "first_call": 600.0,
    "verify": 600.0,
    "dump": 600.0,
    "prepare": 300.0,
    "burst": 300.0,
    "latency": 300.0,
    "stages": 300.0,
    "finish": 120.0,
    "fit": 900.0,
    "probe": 180.0,
    "sentinel": 60.0,
    "device_memory": 300.0,
    "sustain": 300.0,
    "profile": 600.0,
    "coverage": 900.0,
}

#: Starts a worker for (environment, device): the seam that tests replace.
Spawn = Callable[[environments.Environment, str, Mapping[str, str]], Worker]
#: Told of every stage that begins: (cell, stage).
OnStage = Callable[[Cell, str], None]


def nobody(cell: Cell, stage: str) -> None:
    """An OnStage that tells nobody."""


@dataclass(frozen=True)
class Context:
    """What all blocks of a run share. ``timeouts_s`` is by stage; ``variables`` is what a child may inherit from."""

    run: str
    seed: int
    threads: int
    profile: Profile
    workloads: Mapping[str, Workload]
    store: Store
    spawn: Spawn
    variables: Mapping[str, str]
    git_revision: str | None
    machine_facts: Mapping[str, Any]
    timeouts_s: Mapping[str, float] = field(default_factory=lambda: TIMEOUTS_S)
    on_stage: OnStage = nobody
    #: What is done with bursts during which the clock was another one: see bench/sentinel.py.
    drift: str = "annotate"
    #: The meters of the energy pass; None: there is no such pass.
    meters: energy.Meters | None = None
    #: Environment -> share of extra work in its iterations: the known slow-down of ``twinbench selftest --live``.
    extra_work: Mapping[str, float] = field(default_factory=dict)
    #: Environment -> revision of the checkout that it runs, where that is not this one.
    revisions: Mapping[str, str | None] = field(default_factory=dict)

    def child_environment(self, cell: Cell) -> dict[str, str]:
        """The variables a worker for ``cell`` starts with."""
        environment = environments.get(cell.environment)
        child = environments.child_environment(self.variables, environment, cell.device, self.threads)
        if cell.environment in self.extra_work:
            child[environments.EXTRA_WORK] = repr(self.extra_work[cell.environment])
        return child | environments.precision_variables(child, cell.precision)


class Ended(Exception):
    """A member of a block has its outcome; the others go on."""


class Member:
    """One cell's worker within a block, from spawn to record."""

    def __init__(self, cell: Cell, block: str, process: int, context: Context) -> None:
        self.cell = cell
        self.outcome: Outcome | None = None
        self._block = block
        self._process = process
        self._context = context
        self._environment = environments.get(cell.environment)
        self._workload = context.workloads[cell.workload]
        self._variables = context.child_environment(cell)
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._stages_ns: dict[str, int] = {}
        self._facts: dict[str, Any] = {}
        self._prepared: dict[str, Any] = {}
        self._bursts: list[Reply] = []
        #: The readings of the clock sentinel: (bursts that were over, reply).
        self._watched: list[tuple[int, Reply]] = []
        self._not_measured: dict[str, str] = {}
        self._power_before = machine.power()
        self._worker: Worker | None = None
        self._spawned_at_ns = 0
        #: The one CPU that the worker stays on; None: wherever the system puts it.
        self._cpu: int | None = None

    def make_ready(self) -> None:
        """From spawn to warm; raises Ended when a stage decides the outcome."""
        self.spawn()
        self.open()
        self.prepare()

    def spawn(self) -> None:
        """Make the materials and start the process, which begins to import its framework; raises Ended."""
        context, cell = self._context, self.cell
        try:
            context.store.materials(self._workload, cell)
            context.store.reference(self._workload, cell)
        except (UsageError, MemoryError) as error:
            self._end(Failed("reference", type(error).__name__, str(error), ""))
        started = time.perf_counter_ns()
        try:
            self._worker = context.spawn(self._environment, cell.device, self._variables)
        except OSError as error:
            self._end(Failed("spawn", type(error).__name__, str(error), ""))
        self._spawned_at_ns = time.perf_counter_ns()
        self._stages_ns["spawn"] = self._spawned_at_ns - started
        self._worker.ahead("open", **self._opening())

    def _opening(self) -> dict[str, Any]:
        cell, framework = self.cell, self._environment.framework
        return {
            "framework": framework, "environment": cell.environment, "device": cell.device,
            "threads": self._context.threads,
        }  # fmt: skip

    def open(self) -> None:
        """Wait until the framework is imported and the device chosen; raises Ended."""
        self._facts.update(self.stage("open", **self._opening()))
        # Since it was let go, not since somebody waited.
        self._stages_ns["open"] = time.perf_counter_ns() - self._spawned_at_ns

    def stay_on(self, cpu: int) -> None:
        """Keep the worker on ``cpu`` from here on; a worker within this process is left alone."""
        pid = getattr(self._worker, "pid", None)
        if pid is not None and affinity.stay_on(pid, cpu):
            self._cpu = cpu

    def prepare(self) -> None:
        """Load, first call, verify, warm up; raises Ended when one of them decides the outcome."""
        context, cell = self._context, self.cell
        materials = context.store.materials(self._workload, cell)
        reference = context.store.reference(self._workload, cell)
        weights, inputs = str(materials.weights), str(materials.inputs)
        twins = self._environment.twins
        self._facts.update(self.stage("load", cell=cell.words(), weights=weights, inputs=inputs, twins=twins))
        if self._facts["kernel_build_ns"] is not None:
            self._stages_ns["kernel_build"] = self._facts["kernel_build_ns"]
        self._stages_ns["first_call"] = self.stage("first_call")["first_call_ns"]
        # Before anything else is on the device: some frameworks' peak cannot be set back.
        self._pass("device-memory", self.stage("device_memory"))
        self._facts.update(self.stage("verify", **reference.arguments()))
        profile = context.profile
        self._prepared.update(
            self.stage("prepare", burst_ns=profile.burst_ns // profile.turn, warm_up_ns=profile.warm_up_ns)
        )
        self._watched.append((0, self._prepared.pop("sentinel")))

    def _pass(self, name: str, reply: Reply) -> None:
        """What a separate pass found, or why it found nothing."""
        if "not_measured" in reply:
            self._not_measured[name] = reply.pop("not_measured")
        self._prepared.update(reply)

    def stage(self, stage: str, **arguments: Any) -> Reply:
        """Ask the worker for a stage; its end in any other way than well becomes the outcome.

        Raises:
            Ended: the outcome is set.
        """
        assert self._worker is not None
        self._context.on_stage(self.cell, stage)
        limit = self._context.timeouts_s[stage]
        started = time.perf_counter_ns()
        try:
            reply = self._worker.call(stage, limit, **arguments)
        except WorkerTimeout:
            self._end(TimedOut(stage, limit))
        except WorkerDied as death:
            self._end(Failed(stage, death.kind, str(death), self._worker.log_tail()))
        self._stages_ns[stage] = self._stages_ns.get(stage, 0) + time.perf_counter_ns() - started
        if "outcome" in reply:
            self._facts.update(reply.get("facts", {}))
            said = reply["outcome"]
            if said["kind"] == "failed":
                said["log_tail"] = self._worker.log_tail()
            self._end(msgspec.convert(said, Outcome))
        ok: Reply = reply["ok"]
        return ok

    def turn(self) -> None:
        """One turn: a burst, or as many shorter ones as last as long, by the fastest: others make bursts longer."""
        for taken in range(1, self._context.profile.turn + 1):
            self.burst()
            if self.turn_is_over(taken):
                break

    def turn_is_over(self, taken: int) -> bool:
        """Whether ``taken`` bursts, by the fastest so far, fill a turn."""
        fastest: int = min(burst["wall_ns"] for burst in self._bursts)
        return taken * fastest >= self._context.profile.burst_ns

    def burst(self) -> float:
        """One burst, with the CPU time that everybody else took meanwhile; returns seconds per iteration."""
        before = machine.cpu_busy_ns()
        reply = self.stage("burst")
        foreign = machine.cpu_busy_ns() - before - reply["own_cpu_ns"]
        self._bursts.append({**reply, "foreign_cpu_ns": max(0, foreign)})
        self._watch()
        return float(reply["wall_ns"] * 1e-9 / reply["iterations"])

    def _watch(self, at_least: int = 0) -> None:
        """Read the clock sentinel if it is due; with ``at_least`` 1, if any burst came after the last reading."""
        over, last = self._watched[-1]
        since = [burst["wall_ns"] for burst in self._bursts[over:]]
        if (at_least and since) or sentinel.is_due(since, last["cost_ns"]):
            self._watched.append((len(self._bursts), self.stage("sentinel")))

    @property
    def burst_ns(self) -> int:
        """Wall time of all bursts so far."""
        return sum(burst["wall_ns"] for burst in self._bursts)

    def complete(self) -> None:
        """Latency samples, the stages and the second calibration; then the cell is measured. Then its energy."""
        profile = self._context.profile
        self._watch(at_least=1)
        self._prepared.update(self.stage("latency", samples=profile.latency_samples, limit_ns=profile.latency_ns))
        self._prepared.update(self.stage("stages", samples=profile.stage_samples, limit_ns=profile.latency_ns))
        iterations_ns = (burst["wall_ns"] / burst["iterations"] for burst in self._bursts)
        self._prepared.update(self.stage("finish", iteration_ns=statistics.median(iterations_ns)))
        self._energy()
        self.outcome = Measured()

    def _energy(self) -> None:
        """A pass of its own, after all that is timed; the parent reads the meters. A failure costs the energy only."""
        meters = self._context.meters
        if meters is None:
            return
        assert self._worker is not None
        self._context.on_stage(self.cell, "energy")
        self._pass(
            "energy", energy.measure(meters, self.cell.device, self._worker, self._context.timeouts_s["sustain"])
        )

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()

    def record(self) -> Record:
        """What happened, as one immutable line."""
        assert self.outcome is not None
        measurement = self._measurement() if isinstance(self.outcome, Measured) else None
        facts = self._facts
        return Record(
            schema=SCHEMA_VERSION,
            id=uuid.uuid4().hex,
            run=self._context.run,
            block=self._block,
            process=self._process,
            cell_id=self.cell.id,
            cell=self.cell,
            started_at=self._started_at,
            outcome=self.outcome,
            stages_ns=self._stages_ns,
            fingerprint=self._fingerprint(),
            measurement=measurement,
            verification=msgspec.convert(facts.get("verification"), Verification | None),
            precision=msgspec.convert(facts.get("precision"), EffectivePrecision | None),
            labels=labels.labels_of(measurement, self.cell.device) if measurement else [],
            layout=facts.get("layout"),
            answer=facts.get("answer"),
        )

    def _end(self, outcome: Outcome) -> NoReturn:
        self.outcome = outcome
        self.close()
        raise Ended

    def _measurement(self) -> Measurement:
        def column(name: str) -> list[int]:
            return [burst[name] for burst in self._bursts]

        bursts = Bursts(
            iterations=column("iterations"),
            wall_ns=column("wall_ns"),
            cpu_ns=column("cpu_ns"),
            foreign_cpu_ns=list(column("foreign_cpu_ns")),
            started_ns=column("started_ns"),
        )
        first = self._watched[0][1]
        watch = Sentinel(
            size=first["size"],
            iterations=first["iterations"],
            after_burst=[over for over, _ in self._watched],
            wall_ns=[reading["wall_ns"] for _, reading in self._watched],
            policy=self._context.drift,
        )
        passes = {"sentinel": msgspec.to_builtins(watch), "not_measured": self._not_measured}
        return msgspec.convert({**self._prepared, **passes, "bursts": msgspec.to_builtins(bursts)}, Measurement)

    def _fingerprint(self) -> Fingerprint:
        context, facts = self._context, self._facts
        return Fingerprint(
            versions={"twinbench": __version__, **facts.get("versions", {})},
            variables=environments.recorded(self._variables),
            device_name=facts.get("device_name"),
            threads=context.threads,
            machine=dict(context.machine_facts),
            power={**self._power_before, "after": machine.power()},
            git_revision=context.revisions.get(self.cell.environment, context.git_revision),
            seed=context.seed,
            weights_sha256=facts.get("weights_sha256"),
            inputs_sha256=facts.get("inputs_sha256"),
            cpu=self._cpu,
        )
