"""``twinbench run`` from request to records: survey, plan, run folder, blocks; and the way back from run.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench import __version__, machine, preflight, store
from bench.errors import Interrupted, UsageError
from bench.preflight import Preflight
from bench.progress import Progress, progress
from bench.run import Done, execute, is_final
from bench.setup import Planned, Setup, Survey, context, plan, same_environments, survey, this_command
from bench.sweep import firsts

#: Between the two readings that tell whether pages are being swapped.
READING_S = 1.0
#: ``--strict`` looks again this often, and for so long: the load over one minute still knows what ran just before, such
#: as the installation of the release that is to be measured.
POLL_S, PATIENCE_S = 15.0, 600.0


def measure(setup: Setup, results: Path, folder: Path | None, console: Console, strict: bool = False) -> Path:
    """Run ``setup``, into a new run folder, or go on in ``folder``; returns the folder.

    Raises:
        UsageError: something asked for does not exist or does not fit, or ``strict`` and the machine is in no state to
            be measured on; nothing has been measured then.
        Interrupted: Ctrl-C.
    """
    try:
        with progress(console) as view:
            look_around(view, strict)
            looking = context(setup, "", on_stage=view.stage)
            found = survey(setup, looking, view.look)
            planned = _plan(setup, found, folder)
            for note in (*found.notes, *planned.skips):
                view.note(note)
            for cell in (
                firsts(planned.cells) if setup.selection.sweeps else planned.cells
            ):  # a weights file that does not fit is an error now, not in the middle of a run
                looking.store.materials(looking.workloads[cell.workload], cell)
            folder = folder or store.new_run(results, run_facts(setup, found))
            _run_blocks(setup, planned, folder, view)
    except KeyboardInterrupt:
        if folder is None:
            raise Interrupted("interrupted before anything was measured") from None
        raise Interrupted(
            f"interrupted; finished blocks are in {folder}\n"
            f"go on with: twinbench run --resume --run {folder.name} --results {folder.parent}"
        ) from None
    return folder


def look_around(
    view: Progress,
    strict: bool,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Say what would spoil the run; refuse it if that was asked for, unless it passes within ``PATIENCE_S``.

    Raises:
        UsageError: ``strict`` and there is something that does not pass; names all of it.
    """
    end = clock() + PATIENCE_S
    facts = machine.facts()  # once: asking a Mac takes a second of work
    found = _look(facts, clock, sleep)
    if strict and found.may_pass:
        view.note(f"waiting up to {PATIENCE_S / 60:.0f} min (--strict): {'; '.join(found.warnings)}")
    while strict and found.may_pass and clock() < end:
        sleep(POLL_S)
        found = _look(facts, clock, sleep)
    if strict and found.warnings:
        raise UsageError(f"not measured (--strict): {'; '.join(found.warnings)}")
    for sentence in (*found.warnings, *found.notes):
        view.note(sentence)


def _look(facts: Mapping[str, Any], clock: Callable[[], float], sleep: Callable[[float], None]) -> Preflight:
    """The machine now, and what is swapped meanwhile."""
    began, before = clock(), machine.swapped_bytes()
    sleep(READING_S)
    after, seconds = machine.swapped_bytes(), clock() - began
    if before is None or after is None or seconds <= 0:
        return preflight.check(facts, machine.power())
    return preflight.check(facts, machine.power(), (after - before) / seconds)


class RunFile(msgspec.Struct, frozen=True):
    """What run.json holds; ``kind`` is ``run`` or ``compare``."""

    twinbench: str
    command: str
    setup: Setup
    devices: dict[str, list[str]]
    versions: dict[str, dict[str, str]]
    kind: str = "run"


def run_file(folder: Path) -> RunFile:
    """The run.json of a run that can be gone on with.

    Raises:
        UsageError: it is damaged, of another version of twinbench, or of a live comparison.
    """
    where = folder / store.RUN
    facts = store.run_facts(folder)
    if facts.get("kind") == "import":
        raise UsageError(f"{folder} is imported: there is nothing to go on with")
    try:
        found = msgspec.convert(facts, RunFile)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where} was not written by this version of twinbench: {error}") from error
    if found.twinbench != __version__:
        raise UsageError(f"{where} is of twinbench {found.twinbench}, this is {__version__}: start a new run")
    if found.kind != "run":
        raise UsageError(f"{folder} is a live comparison, which cannot be gone on with: start it anew")
    return found


def newest(results: Path) -> Path:
    """The newest run that is not a live comparison.

    Raises:
        UsageError: there is none.
    """
    for folder in reversed(store.runs(results)):
        if store.run_facts(folder).get("kind", "run") == "run":
            return folder
    raise UsageError(f"no runs in {results} yet; make one with: twinbench run")


def _plan(setup: Setup, found: Survey, folder: Path | None) -> Planned:
    """The plan of a new run, or the same plan again for one that goes on."""
    if folder is None:
        return plan(setup, found.devices)
    before = run_file(folder)
    same_environments(before.versions, found.versions)
    return plan(setup, before.devices)


def _run_blocks(setup: Setup, planned: Planned, folder: Path, view: Progress) -> None:
    problems: list[str] = []
    running = context(setup, folder.name, on_stage=view.stage)
    with store.appending(folder) as appender:  # the lock first: nobody else adds records after they were read
        records = list(store.read(folder, problems))
        for problem in problems:
            view.note(f"skipped {problem}")
        series = setup.series()
        for record in records:
            series.watch(record)
        done: Done = frozenset((record.cell_id, record.process) for record in records)
        settled = {record.cell for record in records if is_final(record, setup.profile.patience_ns)}
        del records
        view.planned(len(planned.blocks))
        for _, made in execute(planned.blocks, running, appender, done, settled, series, view.note):
            view.block(made)


def run_facts(setup: Setup, found: Survey) -> dict[str, Any]:
    """The run.json of a new run."""
    return {
        "twinbench": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": this_command(),
        "setup": setup.facts(),
        "devices": {name: list(devices) for name, devices in found.devices.items()},
        "versions": {name: dict(versions) for name, versions in found.versions.items()},
    }
