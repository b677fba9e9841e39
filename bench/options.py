"""The options that commands share, and the way from their words to a Selection and a Setup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import sweep
from bench.cell import DEVICES, MODES, PHASES, PRECISIONS
from bench.errors import UsageError
from bench.plan import PROFILES, Selection, check_words
from bench.sentinel import POLICIES

if TYPE_CHECKING:
    from bench.setup import Setup

#: What NumPy's RandomState takes, and a batch that no workload survives.
LARGEST_SEED = 2**32 - 1
LARGEST_BATCH = 1_000_000
LONGEST_TIMEOUT_S = 1_000_000

Words = list[str]


def several(what: str, choices: Iterable[str] = ()) -> typer.models.OptionInfo:
    """An option that takes many words."""
    listed = ", ".join(choices)
    text = f"{what}; several by comma or by repeating" + (f" ({listed})" if listed else "")
    option: typer.models.OptionInfo = typer.Option(help=text)
    return option


Works = Annotated[
    Words | None, typer.Argument(help="WORKLOAD or WORKLOAD:SIZE, for instance mlp or mlp:wide; default: all")
]
Phase = Annotated[Words, several("what is computed", PHASES)]
Variant = Annotated[Words, several("a form of the phase, such as the optimizer; all = every one")]
EnvironmentOption = Annotated[Words, several("where it runs; default: all that are installed")]
Device = Annotated[Words, several("default: all that work here", DEVICES)]
Precision = Annotated[Words, several("default: fp32, fp16, bf16", PRECISIONS)]
Mode = Annotated[Words, several("default: what the framework's users write", ("default", "all", *MODES))]
Batch = Annotated[Words, several("items per iteration; default: the size's own")]
SweepOption = Annotated[
    Words,
    typer.Option(
        "--sweep", help="batch=1,2,4,8 or size=NAME,NAME; ending in ,... it goes on until time or memory ends"
    ),
]
SweepLimit = Annotated[float, typer.Option(help="seconds of a process after which an open-ended sweep ends")]
Python = Annotated[Words, typer.Option(metavar="NAME=PATH", help="interpreter of an environment; may be repeated")]
ProfileOption = Annotated[str, typer.Option(help=f"how much is measured: {', '.join(PROFILES)}")]
Processes = Annotated[int | None, typer.Option(help="fresh processes a cell; default: the profile's")]
BurstCount = Annotated[int | None, typer.Option("--bursts", help="bursts a process; default: the profile's")]
Seed = Annotated[int, typer.Option(help="of weights, inputs and the order of the cells")]
Threads = Annotated[int | None, typer.Option(help="for every framework alike; default: the physical cores")]
Timeout = Annotated[float | None, typer.Option(help="seconds that any stage may take; default: by stage")]
Weights = Annotated[
    Path | None, typer.Option(help="a .safetensors file with upstream's names, in place of seeded ones")
]
Inputs = Annotated[
    Path | None, typer.Option(help="an .npz file, or an image or a recording, in place of the workload's own inputs")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="refuse to run on battery, hot, beside others, ... instead of warning")
]
Results = Annotated[Path, typer.Option(help="folder of all runs")]
Baseline = Annotated[
    str, typer.Option(help="environment/device/precision/mode that the others are divided by; * fits all")
]
Margin = Annotated[
    float | None,
    typer.Option(help="differences below this share are called the same; default: as the run itself, or 3 %"),
]
RESULTS = Path("results")


def split(values: Iterable[str]) -> tuple[str, ...]:
    """Words given by comma or by repetition, each once, in order."""
    return tuple(dict.fromkeys(word.strip() for value in values for word in value.split(",") if word.strip()))


def finite(what: str, value: float) -> None:
    """Refuse what is no share: NaN, infinity, less than 0.

    Raises:
        UsageError: names the option and the value.
    """
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"--{what} must be a number from 0, got {value:g}")


def at_least(what: str, value: int, least: int) -> None:
    """Refuse a number below ``least``.

    Raises:
        UsageError: names the option and the value.
    """
    if value < least:
        raise UsageError(f"--{what} must be at least {least}, got {value}")


def numbers(what: str, values: Iterable[str]) -> tuple[int, ...]:
    """Whole numbers from 1, given as ``split`` takes them.

    Raises:
        UsageError: a word that is none, or too large.
    """
    words = split(values)
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= LARGEST_BATCH:
            raise UsageError(f"--{what} takes whole numbers from 1 to {LARGEST_BATCH:,}, got {word!r}")
    return tuple(int(word) for word in words)


def selection(
    works: Sequence[str] | None,
    phase: Words,
    variant: Words,
    environment: Words,
    device: Words,
    precision: Words,
    mode: Words,
    batch: Words,
) -> Selection:
    """What the words of the options select; they are checked where the cells are planned."""
    return Selection(
        workloads=split(works or ()),
        phases=split(phase),
        variants=split(variant),
        environments=split(environment),
        devices=split(device),
        precisions=split(precision),
        modes=split(mode),
        batches=numbers("batch", batch),
    )


def with_passes(setup: Setup, energy: bool, drift: str, sweep_limit: float) -> Setup:
    """The request with its passes and policies.

    Raises:
        UsageError: an unknown policy, a limit that is none, or a malformed sweep.
    """
    check_words("policy of --drift", [drift], POLICIES)
    if not 0 < sweep_limit <= LONGEST_TIMEOUT_S:
        raise UsageError(
            f"--sweep-limit must be above 0 and at most {LONGEST_TIMEOUT_S:,} seconds, got {sweep_limit:g}"
        )
    sweep.parsed(setup.selection.sweeps)
    return replace(setup, energy=energy, drift=drift, sweep_limit_s=sweep_limit)


def setup(
    selection: Selection,
    python: Words,
    profile: str,
    processes: int | None,
    bursts: int | None,
    seed: int,
    threads: int | None,
    timeout: float | None,
    weights: Path | None = None,
    inputs: Path | None = None,
) -> Setup:
    """The whole request.

    Raises:
        UsageError: a number out of range, an unknown profile, or an environment that is nowhere.
    """
    from bench.run import interpreters
    from bench.setup import Setup, default_threads, profile_of

    if threads is not None and threads < 1:
        raise UsageError(f"--threads must be at least 1, got {threads}")
    if timeout is not None and not 0 < timeout <= LONGEST_TIMEOUT_S:
        raise UsageError(f"--timeout must be above 0 and at most {LONGEST_TIMEOUT_S:,} seconds, got {timeout:g}")
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"--seed must be from 0 to {LARGEST_SEED}, got {seed}")
    return Setup(
        selection=selection,
        profile=profile_of(profile, processes, bursts),
        seed=seed,
        threads=threads or default_threads(),
        pythons=interpreters(python, selection.environments),
        timeout_s=timeout,
        weights=str(weights.resolve()) if weights else None,
        inputs=str(inputs.resolve()) if inputs else None,
    )
