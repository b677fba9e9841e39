"""The command line: each command reads as its steps. Words and figures come from elsewhere; here they are put together.

Exit codes: 0 all is well; 1 a comparison or a night came out slower, or a page is not what its records give; 2 a word,
option or file that cannot be used; 3 nothing was measured; 4 some cells are wrong, failed, timed out or implausible.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import __version__, environments, exports, options, store
from bench.compare import BETWEEN_SESSION_SD, MARGIN
from bench.errors import TwinbenchError, UsageError
from bench.options import (
    RESULTS,
    Baseline,
    Batch,
    BurstCount,
    Device,
    EnvironmentOption,
    Inputs,
    Margin,
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
    Words,
    Works,
    several,
)
from bench.plan import Selection
from bench.sentinel import POLICIES
from bench.summary import CellSummary, summarise
from bench.sweep import LIMIT_S, is_end_in_words

app = typer.Typer(
    name="twinbench",
    help="The same model with the same weights in PyTorch, TensorFlow and JAX: which is faster, and is it still right?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
#: A pipe or a log has no width of its own; 80 columns would fold every line of a table.
console = Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=180)

NOTHING_MEASURED = 3
SOME_FAILED = 4
FAILURES = frozenset({"wrong", "failed", "timed_out", "implausible"})


def main() -> None:
    """Entry point of the console script: an error of ours is a message and an exit code, never a traceback."""
    try:
        app()
    except TwinbenchError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a folder that cannot be written, a full disk: ours to say, not to trace
        _complain(error)
        sys.exit(UsageError.exit_code)


def _complain(error: Exception) -> None:
    Console(stderr=True).print(f"twinbench: {error}", style="red", highlight=False, markup=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit


@app.command("list")
def list_() -> None:
    """Show the workloads, their sizes and phases, and the environments."""
    from bench.listing import environments_table, workloads_table
    from bench.setup import workloads

    console.print(workloads_table(workloads().values()))
    console.print(environments_table(environments.ENVIRONMENTS.values()))


@app.command()
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


@app.command()
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
    _show(summaries, problems, baseline)
    console.print(f"\nrecords: {folder}\nreport:  twinbench report {folder}", highlight=False, soft_wrap=True)
    if setup.selection.sweeps:  # where a series ends is what was asked
        summaries = [one for one in summaries if not is_end_in_words(one.outcome, one.reason)]
    raise typer.Exit(_exit_code(summaries))


@app.command()
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


@app.command()
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


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="a run (name, folder, latest), or ENVIRONMENT[/DEVICE[/PRECISION[/MODE]]]")],
    b: Annotated[str, typer.Argument(help="the same for the other side")],
    works: Annotated[
        Words, typer.Option("--workload", "-w", help="WORKLOAD[:SIZE] of a live comparison; may be repeated")
    ] = [],  # noqa: B006
    phase: Phase = [],  # noqa: B006
    variant: Variant = [],  # noqa: B006
    batch: Batch = [],  # noqa: B006
    python: Python = [],  # noqa: B006
    blocks: Annotated[int, typer.Option(help="most blocks of a live comparison; looks are at 8, 16 and 32")] = 32,
    bursts: BurstCount = None,
    margin: Annotated[
        float | None,
        typer.Option(help=f"a difference below this share is none; default: {MARGIN}, or this machine's floor"),
    ] = None,
    checkout: Annotated[
        Words, typer.Option(metavar="NAME=FOLDER", help="a side's other checkout of this project; NAME like torch@old")
    ] = [],  # noqa: B006
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    results: Results = RESULTS,
    session_sd: Annotated[
        float, typer.Option(help="of stored runs: standard deviation of log time between sessions of this machine")
    ] = BETWEEN_SESSION_SD,
    across: Annotated[Words, several("facts that may differ between stored runs, such as chip or threads")] = [],  # noqa: B006
) -> None:
    """Compare two sides live, block by block, or two stored runs (advisory)."""
    from bench import comparing, selftest

    floors = selftest.floors_here(results) if margin is None else {}
    margin = MARGIN if margin is None else margin
    options.finite("margin", margin)
    options.finite("session-sd", session_sd)
    runs = [comparing.is_run(results, name) for name in (a, b)]
    if any(runs) and not all(runs):
        raise UsageError(f"{a!r} and {b!r} are a run and a side: give two runs, or two sides for a live comparison")
    if all(runs):
        if any((works, phase, variant, batch, python, checkout)):
            raise UsageError("stored runs are compared over the cells they have: no selection goes with them")
        outcome = comparing.stored(
            store.find(results, a),
            store.find(results, b),
            margin,
            session_sd,
            comparing.facts_across(options.split(across)),
        )
    else:
        if across:
            raise UsageError(
                "--across is for stored runs: a live comparison has one machine, and its sides name the rest"
            )
        selection = Selection(
            tuple(works), options.split(phase), options.split(variant), batches=options.numbers("batch", batch)
        )
        sides = (comparing.side(a, results), comparing.side(b, results))
        selection = replace(selection, environments=tuple(dict.fromkeys(side.environment for side in sides)))
        checkouts = comparing.checkouts(checkout, sides)
        python = comparing.pythons(python, sides)
        setup = options.setup(selection, python, "quick", None, bursts, seed, threads, timeout)
        setup = replace(setup, checkouts=checkouts)
        outcome = comparing.live(setup, sides, blocks, margin, results, console, floors)
    for part in outcome.tables():
        console.print(part)
    _warn(outcome.problems)
    if any(found.verdict.word == "slower" for found in outcome.comparisons):
        raise typer.Exit(1)
    if outcome.outcomes & FAILURES:
        raise typer.Exit(SOME_FAILED)
    raise typer.Exit(0 if any(found.verdict.ratio for found in outcome.comparisons) else NOTHING_MEASURED)


@app.command()
def selftest(
    noise: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="recordings to replay; default: those of this checkout")
    ] = None,
    trials: Annotated[int, typer.Option(help="seeded trials for each rate", min=1)] = 200,
    live: Annotated[
        bool, typer.Option("--live", help="also identical code, and 10 % more work, on this machine")
    ] = False,
    verdicts: Annotated[int, typer.Option(help="comparisons of each kind with --live", min=1)] = 1,
    blocks: Annotated[int, typer.Option(help="most blocks of each comparison with --live")] = 16,
    works: Annotated[Words, typer.Option("--workload", "-w", help="WORKLOAD[:SIZE] with --live")] = [],  # noqa: B006
    phase: Phase = [],  # noqa: B006
    environment: Annotated[str, typer.Option(help="the environment with --live")] = "torch",
    python: Python = [],  # noqa: B006
    bursts: BurstCount = None,
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    out: Annotated[Path | None, typer.Option(help="JSON to write; default: selftest.json in the results")] = None,
    results: Results = RESULTS,
) -> None:
    """Measure our own error rates: replay recorded noise through the code that decides, beside other tools' rules."""
    from bench import live as living
    from bench import selftest as test
    from bench.rates import Trials

    found = test.replay(noise or [], Trials(trials, seed), lambda rate: None)
    if live:
        selection = Selection(
            tuple(works) or (living.WORK,), options.split(phase) or (living.PHASE,), environments=(environment,)
        )
        setup = options.setup(selection, python, "quick", None, bursts, seed, threads, timeout)
        found = replace(found, live=living.measure(setup, environment, verdicts, blocks, MARGIN, results, console))
    for part in test.tables(found):
        console.print(part)
    path = out or results / test.FILE
    test.write(found, path)
    console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if found.failures:
        raise typer.Exit(1)


@app.command()
def report(
    runs: Annotated[Words | None, typer.Argument(help="runs (name, folder, latest); default: latest")] = None,
    out: Annotated[Path | None, typer.Option(help="file to write; default: reports/<run>.html")] = None,
    format_: Annotated[str, typer.Option("--format", help="html, markdown (for a pull request) or csv")] = "html",
    title: Annotated[str, typer.Option(help="heading of the page")] = "",
    baseline: Baseline = "",
    margin: Margin = None,
    results: Results = RESULTS,
    open_: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="two runs side by side; one named twice: its duets")
    ] = None,
    index: Annotated[bool, typer.Option("--index", help="all runs in one page; default: reports/index.html")] = False,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="write nothing: recompute the page's figures; exit 1 where one differs")
    ] = False,
    session_sd: Annotated[float, typer.Option(help="of --compare: as in twinbench compare")] = BETWEEN_SESSION_SD,
    across: Annotated[Words, several("of --compare: facts that may differ, such as chip or threads")] = [],  # noqa: B006
    figures: Annotated[
        bool, typer.Option("--figures", help="also write every figure as SVG and PNG, beside the page")
    ] = False,
) -> None:
    """Write a page (or Markdown, or CSV) on one or more runs, on two against each other, or on all."""
    from bench import publishing, reporting

    options.finite("margin", MARGIN if margin is None else margin)
    options.finite("session-sd", session_sd)
    asked = publishing.Asked(
        results, tuple(runs or ()), compare, index, format_, out, title, margin, session_sd, options.split(across)
    )
    asked.refuse_clashes(open_ or recheck)
    if recheck:
        from bench import rechecking

        checked = rechecking.check(asked.page, results)
        console.print(rechecking.read_out(checked, asked.page), highlight=False, markup=False, soft_wrap=True)
        return
    if compare is not None or index:
        path, problems = publishing.publish(asked)
        _warn(problems)
        _written(path, open_)
        return
    folders = _folders(results, runs)
    material = reporting.gather(folders, baseline, margin, title)
    _warn(material.meta.skipped_lines)
    if format_ == "markdown":
        reporting.write_markdown(material, out)
        return
    if format_ == "csv":
        publishing.write_csv(material.summaries, baseline, out)
        return
    path = out or Path("reports") / f"{folders[-1].resolve().name}.html"
    path = reporting.write_html(material, path, figures)
    _written(path, open_)


@app.command()
def nightly(
    works: Works = None,
    phase: Phase = [],  # noqa: B006
    variant: Variant = [],  # noqa: B006
    environment: EnvironmentOption = [],  # noqa: B006
    device: Device = [],  # noqa: B006
    precision: Precision = ["fp32"],  # noqa: B006
    mode: Mode = [],  # noqa: B006
    batch: Batch = [],  # noqa: B006
    python: Python = [],  # noqa: B006
    blocks: Annotated[int | None, typer.Option(help="blocks of each duet; default: 20")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="mlp:digits inference in 6 blocks: a look at it all")] = False,
    bursts: BurstCount = None,
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    strict: Strict = False,
    note: Annotated[Words, typer.Option("--note", help="a sentence for the summary; may be repeated")] = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="the page; default: reports/<run>.html")] = None,
    results: Results = RESULTS,
) -> None:
    """Measure pinned against newest (--python NAME@newest=PATH), and judge tonight by the nights before."""
    from bench import nightly as night
    from bench import reporting, tidings

    if quick:
        works, phase = works or [night.QUICK_WORK], phase or ["inference"]
        blocks, bursts = blocks or night.QUICK_BLOCKS, bursts or night.QUICK_BURSTS
    selection = options.selection(works, phase, variant, environment, device, precision, mode, batch)
    asked = replace(
        selection, environments=(*selection.environments, *night.candidates(selection.environments, python))
    )
    setup = options.setup(asked, python, "quick", None, bursts, seed, threads, timeout)
    setup = replace(setup, selection=selection)
    tonight = night.nightly(setup, night.BLOCKS if blocks is None else blocks, results, console, note, strict)
    console.print(tidings.table(tonight))
    for line in tidings.lines(tonight):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _warn(tonight.problems)
    written = tidings.write(tonight)
    if next(store.read(tonight.folder, []), None) is not None:  # else no newest side opened, and the summary says why
        material = reporting.gather([tonight.folder], "", None, f"twinbench nightly: {tonight.folder.name}")
        written.append(reporting.write_html(material, out or Path("reports") / f"{tonight.folder.name}.html"))
    for path in written:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    raise typer.Exit(_night_code(tonight.alarms, {one.point.outcome for one in tonight.findings}))


def _night_code(alarms: Sequence[object], outcomes: AbstractSet[str]) -> int:
    if alarms:
        return 1
    if outcomes & FAILURES:
        return SOME_FAILED
    return 0 if "measured" in outcomes else NOTHING_MEASURED


@app.command()
def bisect(
    work: Annotated[str, typer.Argument(help="WORKLOAD or WORKLOAD:SIZE; with the options it must be one cell")],
    package: Annotated[str, typer.Option(help="the distribution whose releases are tried, for instance jax")],
    good: Annotated[str, typer.Option(help="a release that was fast")],
    bad: Annotated[str, typer.Option(help="a later release that is slow")],
    environment: EnvironmentOption = [],  # noqa: B006
    device: Device = ["cpu"],  # noqa: B006
    precision: Precision = ["fp32"],  # noqa: B006
    phase: Phase = ["inference"],  # noqa: B006
    variant: Variant = [],  # noqa: B006
    mode: Mode = [],  # noqa: B006
    batch: Batch = [],  # noqa: B006
    python: Python = [],  # noqa: B006
    free: Annotated[Words, several("distributions whose versions may move with it, such as jaxlib")] = [],  # noqa: B006
    with_: Annotated[Words, typer.Option("--with", help="a further requirement; may be repeated")] = [],  # noqa: B006
    find_links: Annotated[Words, typer.Option(help="a folder or page of wheels; may be repeated")] = [],  # noqa: B006
    index_url: Annotated[str | None, typer.Option(help="another index; default: uv's own settings")] = None,
    pre: Annotated[bool, typer.Option("--pre", help="pre-releases and nightly builds, too")] = False,
    blocks: Annotated[int, typer.Option(help="most blocks of a duet; looks are at 8, 16 and 32")] = 32,
    bursts: BurstCount = None,
    seed: Seed = 0,
    threads: Threads = None,
    timeout: Timeout = None,
    scratch_folder: Annotated[Path, typer.Option("--scratch", help="where environments are kept")] = Path(
        ".twinbench/bisect"
    ),
    results: Results = RESULTS,
) -> None:
    """Find the first release of a package that made a cell slower, one duet a step."""
    from bench import bisect as bisection
    from bench import scratch

    uv = scratch.find_uv(find_links, index_url, pre)
    selection = options.selection([work], phase, variant, environment, device, precision, mode, batch)
    setup = options.setup(selection, python, "quick", None, bursts, seed, threads, timeout)
    ends = (good, bad)
    moving = options.split(free)
    found = bisection.bisect(setup, package, ends, uv, moving, with_, blocks, results, scratch_folder, console)
    console.print(found.table())
    console.print(found.sentence(), highlight=False, markup=False, soft_wrap=True)
    console.print(f"records: {found.folder}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if found.first_bad else 0)


@app.command()
def history(
    cell: Annotated[str, typer.Argument(help='a cell\'s id, or words of its label ("mlp torch"); default: all')] = "",
    figure: Annotated[Path | None, typer.Option(help="draw into this file (.png, .svg, .pdf)")] = None,
    results: Results = RESULTS,
) -> None:
    """Show a cell's nights, and where its level changed."""
    from bench import trends

    problems: list[str] = []
    found = trends.chosen(trends.trends(results, problems), cell, results)
    for part in trends.tables(found):
        console.print(part, soft_wrap=not hasattr(part, "columns"))
    _warn(problems)
    if figure is not None:
        console.print(f"figure: {trends.draw(found, figure)}", highlight=False, soft_wrap=True)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="file to write; for asv a folder")],
    runs: Annotated[Words | None, typer.Argument(help="runs (name, folder, latest); default: latest")] = None,
    format_: Annotated[str, typer.Option("--format", help=", ".join(exports.FORMATS))] = "pytest-benchmark",
    results: Results = RESULTS,
) -> None:
    """Write runs for other tools; cells without a right answer have no figure there."""
    folders = _folders(results, runs)
    problems: list[str] = []
    count = exports.write(store.read_all(folders, problems), format_, out)
    _warn(problems)
    if not count:
        console.print(f"nothing in {', '.join(map(str, folders))} has a figure for {out}", soft_wrap=True)
        raise typer.Exit(NOTHING_MEASURED)
    console.print(f"{count} benchmarks: {out}", highlight=False, soft_wrap=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON of pyperf (also .gz) or of pytest-benchmark")],
    results: Results = RESULTS,
) -> None:
    """Take what another tool measured into a run of its own, for report and compare; it is labelled not verified."""
    from bench import foreign

    made = foreign.import_file(file, results)
    _warn(made.problems)
    console.print(f"{made.benchmarks} benchmarks of {made.tool}, not verified: {made.folder}", soft_wrap=True)


@app.command()
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


@app.command("import-weights")
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


def _folders(results: Path, runs: Sequence[str] | None) -> list[Path]:
    """The folders of the named runs, each once: a run that is named twice is not two runs."""
    found = [store.find(results, name) for name in runs or ["latest"]]
    return list({folder.resolve(): folder for folder in found}.values())


def _written(path: Path | None, open_: bool) -> None:
    """Say where a page is, and show it; None: it went to the terminal."""
    if path is None:
        return
    console.print(f"report: {path}", highlight=False, soft_wrap=True)
    if open_:
        typer.launch(str(path.resolve()))


def _show(summaries: list[CellSummary], problems: Sequence[str], baseline: str) -> None:
    from bench.report.terminal import stages_table, terminal_table

    console.print()
    console.print(terminal_table(summaries, baseline, console.width))
    if (stages := stages_table(summaries)) is not None:
        console.print(stages)
    _warn(problems)


def _warn(problems: Sequence[str]) -> None:
    for problem in problems:
        console.print(f"skipped {problem}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _exit_code(summaries: Sequence[CellSummary]) -> int:
    outcomes = {summary.outcome for summary in summaries}
    if outcomes & FAILURES:
        return SOME_FAILED
    return 0 if "measured" in outcomes else NOTHING_MEASURED
