"""The commands that look, measure and check: list, doctor, run, verify, coverage, profile, import-weights."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench import environments, options, store
from bench.commands.common import (
    NOTHING_MEASURED,
    SOME_FAILED,
    console,
    exit_code,
    show,
)
from bench.errors import UsageError
from bench.options import (
    RESULTS,
    Baseline,
    Batch,
    BurstCount,
    Device,
    EnvironmentOption,
    Inputs,
    Mode,
    Phase,
    Precision,
    Processes,
    ProfileOption,
    Python,
    Results,
    Seed,
    Strict,
    SweepLimit,
    SweepOption,
    Threads,
    Timeout,
    Variant,
    Weights,
    Works,
)
from bench.plan import Selection
from bench.sentinel import POLICIES
from bench.summary import summarise
from bench.sweep import LIMIT_S, is_end_in_words


def list_() -> None:
    """Show the workloads, their sizes and phases, and the environments."""
    from bench.listing import environments_table, workloads_table
    from bench.setup import workloads

    console.print(workloads_table(workloads().values()))
    console.print(environments_table(environments.ENVIRONMENTS.values()))


def doctor(
    environment: EnvironmentOption = [],  # noqa: B006 - typer copies it
    python: Python = [],  # noqa: B006
    threads: Threads = None,
    timeout: Timeout = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="also write JSON, to send; - prints it alone")
    ] = None,
) -> None:
    """Look at the machine and at every environment, in a minute: devices, versions, fence, effective precision."""
    from bench import doctor as examination

    setup = options.setup(
        Selection(environments=options.split(environment)), python, "quick", None, None, 0, threads, timeout
    )
    report = examination.examine(setup)
    if json == Path("-"):
        print(report.as_json())
    else:
        for part in report.tables():
            console.print(part)
    if json not in (None, Path("-")):
        json.write_text(report.as_json() + "\n", encoding="utf-8")
        console.print(f"report: {json}", highlight=False, soft_wrap=True)
    if not report.healthy:
        raise typer.Exit(SOME_FAILED)


def run(
    works: Works = None,
    phase: Phase = [],  # noqa: B006
    variant: Variant = [],  # noqa: B006
    environment: EnvironmentOption = [],  # noqa: B006
    device: Device = [],  # noqa: B006
    precision: Precision = [],  # noqa: B006
    mode: Mode = [],  # noqa: B006
    batch: Batch = [],  # noqa: B006
    sweep: SweepOption = [],  # noqa: B006
    sweep_limit: SweepLimit = LIMIT_S,
    python: Python = [],  # noqa: B006
    profile: ProfileOption = "quick",
    processes: Processes = None,
    bursts: BurstCount = None,
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    weights: Weights = None,
    inputs: Inputs = None,
    energy: Annotated[bool, typer.Option("--energy", help="also a pass for the energy of each cell")] = False,
    drift: Annotated[str, typer.Option(help=f"bursts at another clock: {' or '.join(POLICIES)}")] = POLICIES[0],
    strict: Strict = False,
    results: Results = RESULTS,
    baseline: Baseline = "",
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    run_name: Annotated[str, typer.Option("--run", help="which run --resume goes on with; default: the newest")] = "",
) -> None:
    """Measure the selected cells, verified first, and show a table at the end."""
    from bench import session

    if resume:
        asked = (works, phase, variant, environment, device, precision, mode, batch, sweep, python, weights, inputs)
        if (
            any(asked)
            or profile != "quick"
            or seed
            or energy
            or drift != POLICIES[0]
            or sweep_limit != LIMIT_S
            or any(n is not None for n in (processes, bursts, threads, timeout))
        ):
            raise UsageError("--resume goes on with a run as it was asked for: only --run and --results go with it")
        folder = store.find(results, run_name) if run_name else session.newest(results)
        setup = session.run_file(folder).setup
    else:
        if run_name:
            raise UsageError("--run says which run --resume goes on with: give --resume, too")
        selection = options.selection(works, phase, variant, environment, device, precision, mode, batch)
        selection = replace(selection, sweeps=tuple(sweep))
        setup = options.setup(selection, python, profile, processes, bursts, seed, threads, timeout, weights, inputs)
        setup = options.with_passes(setup, energy, drift, sweep_limit)
        folder = None
    folder = session.measure(setup, results, folder, console, strict)
    problems: list[str] = []
    summaries = summarise(store.read(folder, problems))
    show(summaries, problems, baseline)
    console.print(f"\nrecords: {folder}\nreport:  twinbench report {folder}", highlight=False, soft_wrap=True)
    if setup.selection.sweeps:  # where a series ends is what was asked
        summaries = [one for one in summaries if not is_end_in_words(one.outcome, one.reason)]
    raise typer.Exit(exit_code(summaries))


def verify(
    work: Annotated[str, typer.Argument(help="WORKLOAD or WORKLOAD:SIZE")],
    environment: EnvironmentOption = [],  # noqa: B006
    device: Device = [],  # noqa: B006
    precision: Precision = [],  # noqa: B006
    phase: Phase = [],  # noqa: B006
    variant: Variant = [],  # noqa: B006
    mode: Mode = [],  # noqa: B006
    batch: Batch = [],  # noqa: B006
    python: Python = [],  # noqa: B006
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    weights: Weights = None,
    inputs: Inputs = None,
    dump: Annotated[
        Path | None, typer.Option(help="write the outputs to this .npz; the selection must be one cell")
    ] = None,
    converge: Annotated[
        bool, typer.Option("--converge", help="also train on the real data until it has learnt")
    ] = False,
) -> None:
    """Check outputs against the reference, without timing anything."""
    from bench import checking

    selection = options.selection([work], phase, variant, environment, device, precision, mode, batch)
    setup = options.setup(selection, python, "quick", None, None, seed, threads, timeout, weights, inputs)
    checks = checking.check(setup, dump, converge, console)
    console.print(checking.table(checks))
    for line in checking.answers(checks):
        console.print(line)
    if not any(check.outcome == "right" for check in checks):
        raise typer.Exit(SOME_FAILED if any(check.outcome != "unsupported" for check in checks) else NOTHING_MEASURED)
    raise typer.Exit(SOME_FAILED if any(check.outcome not in ("right", "unsupported") for check in checks) else 0)


def coverage(
    works: Works = None,
    environment: EnvironmentOption = [],  # noqa: B006
    device: Device = [],  # noqa: B006
    precision: Precision = [],  # noqa: B006
    phase: Phase = [],  # noqa: B006
    variant: Variant = [],  # noqa: B006
    mode: Mode = [],  # noqa: B006
    batch: Batch = [],  # noqa: B006
    python: Python = [],  # noqa: B006
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    weights: Weights = None,
    inputs: Inputs = None,
    results: Results = RESULTS,
    run_name: Annotated[
        str, typer.Option("--run", help="add the findings to this run (name, folder, latest), for its report")
    ] = "",
) -> None:
    """List the operators that did not run on the device, without timing anything."""
    from bench import audits as store_of_audits
    from bench import coverage as placement

    folder = store.find(results, run_name) if run_name else None
    selection = options.selection(works, phase, variant, environment, device, precision, mode, batch)
    setup = options.setup(selection, python, "quick", None, None, seed, threads, timeout, weights, inputs)
    audits = placement.audit(setup, console)
    console.print(placement.table(audits))
    if folder is not None:
        path = store_of_audits.append(folder, audits)
        console.print(f"\nadded to {path}", highlight=False, soft_wrap=True)
    outcomes = {one.outcome for one in audits}
    if outcomes - {"audited", "unsupported"}:
        raise typer.Exit(SOME_FAILED)
    raise typer.Exit(0 if "audited" in outcomes else NOTHING_MEASURED)


def profile(
    work: Annotated[str, typer.Argument(help="WORKLOAD or WORKLOAD:SIZE; with the options it must be one cell")],
    environment: EnvironmentOption = [],  # noqa: B006
    device: Device = [],  # noqa: B006
    precision: Precision = ["fp32"],  # noqa: B006
    phase: Phase = [],  # noqa: B006
    variant: Variant = [],  # noqa: B006
    mode: Mode = [],  # noqa: B006
    batch: Batch = [],  # noqa: B006
    python: Python = [],  # noqa: B006
    iterations: Annotated[int, typer.Option(help="iterations under the profiler, after as many warm ones")] = 5,
    out: Annotated[Path, typer.Option(help="folder of all profiles")] = Path("profiles"),
    wait: Annotated[int, typer.Option(help="seconds before it starts, to attach Instruments to the process")] = 0,
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    weights: Weights = None,
    inputs: Inputs = None,
) -> None:
    """Profile one cell: its operators with their share, and a trace for Perfetto. Measures nothing."""
    from bench import profiling
    from bench.progress import progress

    options.at_least("iterations", iterations, 1)
    options.at_least("wait", wait, 0)
    selection = options.selection([work], phase, variant, environment, device, precision, mode, batch)
    setup = options.setup(selection, python, "quick", None, None, seed, threads, timeout, weights, inputs)
    with progress(console) as view:

        def warm(pid: int | None) -> None:
            if wait:
                view.note(f"process {pid} is warm and starts in {wait} s: attach Instruments now")
                time.sleep(wait)

        made = profiling.profile(setup, out, iterations, view, warm)
    console.print(made.table())
    for line in made.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def import_weights(
    file: Annotated[Path, typer.Argument(help="upstream's checkpoint: .pt (torch) or .safetensors")],
    workload: Annotated[str, typer.Option("--workload", "-w", help="WORKLOAD:SIZE, for instance yolov5:s")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the .safetensors file to write")],
    python: Python = [],  # noqa: B006
) -> None:
    """Convert a published checkpoint into a file for --weights; a .pt is read in a torch interpreter."""
    from bench import importing

    made = importing.import_weights(file, workload, output, python)
    console.print(made.text, highlight=False, markup=False, soft_wrap=True)
