"""``twinbench run`` from request to records: survey, plan, run folder, blocks; and the way back from run.json."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import __version__, store
from bench.errors import Interrupted
from bench.progress import Progress, progress
from bench.run import Done, execute, is_final
from bench.setup import Planned, Setup, Survey, context, from_facts, plan, same_environments, survey, this_command


def measure(setup: Setup, results: Path, folder: Path | None, console: Console) -> Path:
    """Run ``setup``, into a new run folder, or go on in ``folder``; returns the folder.

    Raises:
        UsageError: something asked for does not exist or does not fit; nothing has been measured then.
        Interrupted: Ctrl-C.
    """
    with progress(console) as view:
        looking = context(setup, "", on_stage=view.stage)
        found = survey(setup, looking, view.look)
        if folder is None:
            planned = plan(setup, found.devices)
        else:
            facts = store.run_facts(folder)
            same_environments(facts["versions"], found.versions)
            planned = plan(setup, facts["devices"])
        for note in (*found.notes, *planned.skips):
            view.note(note)
        for cell in planned.cells:  # a weights file that does not fit is an error now, not in the middle of a run
            looking.store.materials(looking.workloads[cell.workload], cell)
        folder = folder or store.new_run(results, run_facts(setup, found))
        try:
            _run_blocks(setup, planned, folder, view)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; finished blocks are in {folder}\n"
                f"go on with: twinbench run --resume --run {folder.name} --results {folder.parent}"
            ) from None
    return folder


def setup_of(folder: Path) -> Setup:
    """The request that a run folder was made for.

    Raises:
        UsageError: the folder is not a run of this version.
    """
    return from_facts(store.run_facts(folder), folder / store.RUN)


def _run_blocks(setup: Setup, planned: Planned, folder: Path, view: Progress) -> None:
    problems: list[str] = []
    records = list(store.read(folder, problems))
    for problem in problems:
        view.note(f"skipped {problem}")
    done: Done = frozenset((record.block, record.cell_id) for record in records)
    settled = {record.cell for record in records if is_final(record)}
    del records
    view.planned(len(planned.blocks), 0)
    running = context(setup, folder.name, on_stage=view.stage)
    with store.appending(folder) as appender:
        for _, made in execute(planned.blocks, running, appender, done, settled):
            view.block(made)


def run_facts(setup: Setup, found: Survey) -> dict[str, Any]:
    return {
        "twinbench": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": this_command(),
        "setup": setup.facts(),
        "devices": {name: list(devices) for name, devices in found.devices.items()},
        "versions": {name: dict(versions) for name, versions in found.versions.items()},
    }
