"""What a run was asked to do, as one value: written to run.json, read back by --resume, turned into a Context."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from bench import energy, environments, machine, sweep, workload
from bench.cell import Cell
from bench.errors import UsageError
from bench.materials import Store
from bench.member import TIMEOUTS_S, Context, OnStage, Spawn, nobody
from bench.plan import PROFILES, Block, Profile, Selection, blocks, cells, check_words
from bench.run import Sight, look, reference_producer, spawner
from bench.workload import Workload

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setup:
    """The whole of a request. ``pythons`` is environment -> interpreter; ``timeout_s`` caps every stage."""

    selection: Selection
    profile: Profile
    seed: int
    threads: int
    pythons: Mapping[str, str]
    timeout_s: float | None = None
    weights: str | None = None
    inputs: str | None = None
    energy: bool = False
    drift: str = "annotate"
    sweep_limit_s: float = sweep.LIMIT_S
    #: Environment -> folder of another checkout of this project, whose workers and model code it runs.
    checkouts: Mapping[str, str] = field(default_factory=dict)
    extra_work: Mapping[str, float] = field(default_factory=dict)

    def series(self) -> sweep.Series:
        """What watches where the sweeps of this request end."""
        return sweep.Series(sweep.parsed(self.selection.sweeps), workloads(), self.sweep_limit_s)

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made


def profile_of(name: str, processes: int | None, bursts: int | None) -> Profile:
    """A named profile with overrides.

    Raises:
        UsageError: no such profile, or a count below 1.
    """
    check_words("profile", [name], list(PROFILES))
    chosen = PROFILES[name]
    for word, value in (("processes", processes), ("bursts", bursts)):
        if value is not None and value < 1:
            raise UsageError(f"--{word} must be at least 1, got {value}")
    return replace(chosen, processes=processes or chosen.processes, bursts=bursts or chosen.bursts)


def default_threads() -> int:
    """As many threads for every framework as there are physical cores that this process may use."""
    facts = machine.facts()
    usable = facts["usable_cores"] or facts["logical_cores"] or 1
    return max(1, int(min(usable, facts["physical_cores"] or usable)))


def workloads() -> dict[str, Workload]:
    """All workloads by name."""
    return {name: workload.get(name) for name in workload.names()}


def context(setup: Setup, run: str, spawn: Spawn | None = None, on_stage: OnStage = nobody) -> Context:
    """The Context in which the blocks of ``setup`` run."""
    made: list[Context] = []
    store = Store(
        setup.seed,
        weights_file=Path(setup.weights) if setup.weights else None,
        inputs_file=Path(setup.inputs) if setup.inputs else None,
        produce=reference_producer(setup.pythons, lambda: made[0]),
    )
    timeouts = TIMEOUTS_S if setup.timeout_s is None else dict.fromkeys(TIMEOUTS_S, setup.timeout_s)
    made.append(
        Context(
            run=run,
            seed=setup.seed,
            threads=setup.threads,
            profile=setup.profile,
            workloads=workloads(),
            store=store,
            spawn=spawn or (spawner(setup.pythons, setup.checkouts) if setup.checkouts else spawner(setup.pythons)),
            variables=os.environ,
            git_revision=machine.git_revision(ROOT),
            machine_facts=machine.facts(),
            timeouts_s=timeouts,
            on_stage=on_stage,
            drift=setup.drift,
            # Not while environments are looked at: opening a meter is not free.
            meters=energy.find() if setup.energy and run else None,
            extra_work=setup.extra_work,
            revisions={name: machine.git_revision(Path(folder)) for name, folder in setup.checkouts.items()},
        )
    )
    return made[0]


@dataclass(frozen=True)
class Survey:
    """What a first look at every (environment, device) found: usable devices, versions, what was left out and why."""

    devices: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


def survey(setup: Setup, context: Context, on_look: Callable[[str, str], None]) -> Survey:
    """Open every environment on every device it may have here, once, before anything is planned.

    Raises:
        UsageError: an environment does not open on its CPU, or a device that was asked for by name works nowhere.
    """
    devices: dict[str, tuple[str, ...]] = {}
    versions: dict[str, Mapping[str, str]] = {}
    notes: list[str] = []
    asked = setup.selection.devices
    check_words("device", asked, ("cpu", "metal", "cuda"))
    for name in setup.pythons:
        found: list[Sight] = []
        for device in environments.available_devices(environments.get(name)):
            if asked and device not in asked:
                continue
            on_look(name, device)
            found.append(look(name, device, context))
        for sight in found:
            if sight.problem is None:
                versions[name] = sight.versions
            elif sight.device == "cpu":
                raise UsageError(f"environment {name!r} ({setup.pythons[name]}) does not open: {sight.problem}")
            elif sight.device in asked:
                raise UsageError(f"device {sight.device!r} does not work in environment {name!r}: {sight.problem}")
            else:
                notes.append(f"{name} on {sight.device}: {sight.problem}; left out")
        devices[name] = tuple(sight.device for sight in found if sight.problem is None)
        cpu = environments.get(name).cpu
        if devices[name] and cpu not in setup.pythons:
            notes.append(
                f"{name} is compared with the CPU of {cpu}, which is not part of this run: no speed-ups for it"
            )
    return Survey(devices, versions, tuple(notes))


@dataclass(frozen=True)
class Planned:
    """The blocks of a run, its cells, and the explicit skips."""

    cells: Sequence[Cell]
    blocks: Sequence[Block]
    skips: Sequence[str]


def plan(setup: Setup, devices: Mapping[str, Sequence[str]]) -> Planned:
    """The plan of ``setup``; the same setup and devices give the same plan in the same order.

    Raises:
        UsageError: the selection names something that does not exist, or selects nothing.
    """
    chosen, skips = cells(setup.selection, workloads(), devices)
    if not chosen:
        words = ", ".join(
            f"{name} {', '.join(map(str, value))}" for name, value in asdict(setup.selection).items() if value
        )
        raise UsageError(f"the selection has no cell: {words}")
    rank = setup.series().rank if setup.selection.sweeps else None
    return Planned(chosen, blocks(chosen, setup.profile.processes, setup.seed, rank), skips)


def same_environments(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> None:
    """A run must go on in the environments in which it began.

    Raises:
        UsageError: a version differs; names it.
    """
    for name, versions in before.items():
        for distribution, version in versions.items():
            if now.get(name, {}).get(distribution) != version:
                found = now.get(name, {}).get(distribution, "nothing")
                raise UsageError(
                    f"this run began with {distribution} {version} in environment {name!r}, which now has {found}; "
                    "start a new run"
                )


def this_command() -> str:
    """The command line as a person would type it again."""
    here = f"{Path.cwd()}/"  # paths below this folder are of use to others, the rest of them is not
    return shlex.join(["twinbench", *(argument.replace(here, "") for argument in sys.argv[1:])])
