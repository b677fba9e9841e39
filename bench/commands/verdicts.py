"""The commands that judge: compare, selftest, nightly, bisect, history."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench import options, store
from bench.commands.common import (
    FAILURES,
    NOTHING_MEASURED,
    SOME_FAILED,
    console,
    warn,
)
from bench.compare import BETWEEN_SESSION_SD, MARGIN
from bench.errors import Interrupted, UsageError
from bench.options import (
    RESULTS,
    Batch,
    BurstCount,
    Device,
    EnvironmentOption,
    Mode,
    Phase,
    Precision,
    Python,
    Results,
    Seed,
    Strict,
    Threads,
    Timeout,
    Variant,
    Words,
    Works,
    several,
)
from bench.plan import Selection


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

    damaged: list[str] = []
    floors = selftest.floors_here(results, damaged) if margin is None else {}
    margin = MARGIN if margin is None else margin
    options.finite("margin", margin)
    options.finite("session-sd", session_sd)
    runs = [comparing.is_run(results, name) for name in (a, b)]
    if any(runs) and not all(runs):
        comparing.refuse_unknown_run(results, b if runs[0] else a)
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
    warn([*damaged, *outcome.problems])
    if any(found.verdict.word == "slower" for found in outcome.comparisons):
        raise typer.Exit(1)
    if outcome.outcomes & FAILURES:
        raise typer.Exit(SOME_FAILED)
    raise typer.Exit(0 if any(found.verdict.ratio for found in outcome.comparisons) else NOTHING_MEASURED)


def selftest(
    noise: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="recordings to replay, or folders of runs; default: those of this checkout"),
    ] = None,
    trials: Annotated[int, typer.Option(help="seeded trials for each rate", min=1)] = 200,
    live: Annotated[
        bool, typer.Option("--live", help="also identical code, and 10 % more work, on this machine")
    ] = False,
    verdicts: Annotated[int, typer.Option(help="comparisons of each kind with --live", min=1)] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="with --live: verdicts that --out has count")] = False,
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
    from bench.rate_words import FILE
    from bench.rates import Rate, Trials

    path = out or results / FILE
    if resume and not live:
        raise UsageError("--resume goes with --live: only verdicts of this machine are collected over several sittings")
    plan = None
    if live:  # words are looked at before minutes are spent
        selection = Selection(
            tuple(works) or (living.WORK,), options.split(phase) or (living.PHASE,), environments=(environment,)
        )
        setup = options.setup(selection, python, "quick", None, bursts, seed, threads, timeout)
        before = test.live_before(path) if resume else None
        plan = living.plan(setup, environment, verdicts, blocks, MARGIN, before)
    with console.status("replaying") as status:
        made: list[Rate] = []

        def on_rate(rate: Rate) -> None:
            if not console.is_terminal and rate.source not in {one.source for one in made}:
                console.print(f"replaying {rate.source}", highlight=False, soft_wrap=True)
            made.append(rate)
            status.update(f"replaying {rate.source}, {len(made)} rates")

        found = test.replay(noise or [], Trials(trials, seed), on_rate)
    test.write(found, path)
    if plan is not None:
        try:
            measured = living.measure(
                plan, results, console, lambda so_far: test.write(replace(found, live=so_far), path)
            )
        except Interrupted as error:
            raise Interrupted(f"{error}; rates and verdicts so far: {path}; go on with --live --resume") from None
        found = replace(found, live=measured)
        test.write(found, path)
    for part in test.tables(found):
        console.print(part)
    console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if found.failures:
        raise typer.Exit(1)


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
    hours: Annotated[
        float | None, typer.Option(help="end the night in order after so long; default: when all is measured")
    ] = None,
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
    tonight = night.nightly(setup, night.BLOCKS if blocks is None else blocks, results, console, note, strict, hours)
    console.print(tidings.table(tonight))
    for line in tidings.lines(tonight):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    warn(tonight.problems)
    written, unwritten = tidings.write(tonight)
    if next(store.read(tonight.folder, []), None) is not None:  # else no newest side opened, and the summary says why
        try:
            material = reporting.gather([tonight.folder], "", None, f"twinbench nightly: {tonight.folder.name}")
            written.append(reporting.write_html(material, out or Path("reports") / f"{tonight.folder.name}.html"))
        except UsageError as error:
            unwritten.append(str(error))
    for path in written:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    for problem in unwritten:
        typer.echo(f"twinbench: {problem}", err=True)
    outcomes = {"failed" if one.unfinished else one.point.outcome for one in tonight.findings}
    # An alarm is said once: a file that could not be written must not take its exit code.
    code = _night_code(tonight.alarms, outcomes)
    raise typer.Exit(code or (UsageError.exit_code if unwritten else 0))


def _night_code(alarms: Sequence[object], outcomes: AbstractSet[str]) -> int:
    if alarms:
        return 1
    if outcomes & FAILURES:
        return SOME_FAILED
    return 0 if "measured" in outcomes else NOTHING_MEASURED


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
    raise typer.Exit(1 if found.first_bad else NOTHING_MEASURED if found.unclear else 0)


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
    warn(problems)
    if figure is not None:
        console.print(f"figure: {trends.draw(found, figure)}", highlight=False, soft_wrap=True)
