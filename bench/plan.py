"""Selection in, ordered blocks of cells out. Pure: nothing is opened, imported or timed here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from bench import environments, sweep
from bench.cell import DEVICES, MODES, PHASES, PRECISIONS, Cell
from bench.errors import UsageError, unknown
from bench.workload import Workload

#: What each framework's users write: the mode that ``--mode default`` means.
IDIOM = {"torch": "eager", "tensorflow": "compiled", "jax": "compiled", "mlx": "eager", "fake": "eager"}
DEFAULT_PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class Profile:
    """How much is measured. Times in ns; ``bursts`` and ``latency_samples`` are per process.

    A process stops taking bursts when they have lasted ``bursts_ns`` together, but takes three at least. A cell whose
    process lasted longer than ``patience_ns`` is not repeated: it shows what it did, without an interval. None: it is.
    A comparison splits each turn of a worker into up to ``turn`` bursts of together ``burst_ns``: see ``for_duets``.
    """

    name: str
    processes: int
    bursts: int
    burst_ns: int
    warm_up_ns: int
    latency_samples: int
    latency_ns: int
    bursts_ns: int
    stage_samples: int
    patience_ns: int | None
    turn: int = 1


PROFILES: Mapping[str, Profile] = {
    "quick": Profile("quick", 3, 10, 50_000_000, 2_000_000_000, 100, 500_000_000, 3_000_000_000, 10, 40_000_000_000),
    "full": Profile("full", 7, 30, 100_000_000, 10_000_000_000, 500, 3_000_000_000, 60_000_000_000, 30, None),
}


#: Bursts of one turn in a comparison. Of six bursts of 8 ms most met nobody else even on a busy machine, and show the
#: true ratio; one burst of 50 ms has met somebody nearly always. The recorded noise has six, too.
BURSTS_A_TURN = 6


def for_duets(profile: Profile) -> Profile:
    """The same cost in finer pieces: how blocks are measured from which a verdict comes."""
    return replace(profile, turn=BURSTS_A_TURN)


@dataclass(frozen=True)
class Selection:
    """What the person asked for, words still unchecked; an empty tuple means "the default of that axis"."""

    workloads: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    #: ``batch=1,2,4,...``: see ``bench/sweep.py``.
    sweeps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """One or two cells whose workers are alive at once. ``process`` counts the repeats of the same cells."""

    cells: tuple[Cell, ...]
    process: int
    index: int = field(default=0)


def check_words(kind: str, words: Sequence[str], choices: Sequence[str]) -> None:
    """Each of ``words`` must be one of ``choices``.

    Raises:
        UsageError: names the first that is not, and the nearest choice.
    """
    for word in words:
        if word not in choices:
            raise unknown(kind, word, choices)


def parse_work(text: str, workloads: Mapping[str, Workload]) -> tuple[str, str]:
    """``mlp`` or ``mlp:wide`` -> (workload, size).

    Raises:
        UsageError: no such workload or size.
    """
    name, _, size = text.partition(":")
    check_words("workload", [name], sorted(workloads))
    sizes = workloads[name].sizes
    if size:
        check_words(f"size of {name}", [size], list(sizes))
        return name, size
    return name, workloads[name].default_size


def cells(
    selection: Selection, workloads: Mapping[str, Workload], devices: Mapping[str, Sequence[str]]
) -> tuple[list[Cell], list[str]]:
    """Every cell of the selection in the order of its words, and the explicit skips, a sentence each.

    ``devices`` lists what each chosen environment may use here. A device that is asked for by name must be there in at
    least one environment; an environment that lacks it is skipped for that device, and the skip is said.

    Raises:
        UsageError: a word that does not exist or does not fit; names the nearest valid choice.
    """
    check_words("phase", selection.phases, PHASES)
    check_words("device", selection.devices, DEVICES)
    check_words("precision", selection.precisions, PRECISIONS)
    check_words("mode", selection.modes, ("default", "all", *MODES))
    _check_devices(selection.devices, devices)
    skips = [
        f"{environment} has no {device} here (it has {', '.join(usable)}): not measured"
        for environment, usable in devices.items()
        for device in selection.devices
        if device not in usable
    ]
    chosen: dict[Cell, None] = {}
    batches = _batches(selection)
    for name, size in _works(selection, workloads):
        spec = workloads[name]
        for (phase, variant), environment in product(_phases(selection, spec), devices):
            usable = [d for d in devices[environment] if d in selection.devices or not selection.devices]
            spec.settings(size, phase, variant)  # a number out of range is an error now
            for batch, device, precision, mode in product(
                batches or (spec.sizes[size].batch,),
                usable,
                selection.precisions or _precisions(selection, spec, phase),
                _modes(selection, environments.get(environment).framework),
            ):
                if batch < 1:
                    raise UsageError(f"batch must be at least 1, got {batch}")
                chosen[Cell(name, size, phase, variant, batch, environment, device, precision, mode)] = None
    return list(chosen), skips


def _works(selection: Selection, workloads: Mapping[str, Workload]) -> list[tuple[str, str]]:
    """(workload, size) in the order of the words; all sizes of a sweep over them."""
    texts = selection.workloads or tuple(sorted(workloads))
    sweeping = sweep.parsed(selection.sweeps).get("size")
    if sweeping is None:
        return [parse_work(text, workloads) for text in texts]
    for text in texts:
        if ":" in text:
            raise UsageError(f"--sweep size chooses the sizes: give {text.partition(':')[0]!r}, not {text!r}")
    check_words("workload", texts, sorted(workloads))
    return [(name, size) for name in texts for size in sweep.sizes(sweeping, workloads[name])]


def _batches(selection: Selection) -> tuple[int, ...]:
    sweeping = sweep.parsed(selection.sweeps).get("batch")
    if sweeping is None:
        return selection.batches
    if selection.batches:
        raise UsageError("--sweep batch chooses the batches: leave --batch out")
    return sweep.batches(sweeping)


def _check_devices(asked: Sequence[str], devices: Mapping[str, Sequence[str]]) -> None:
    here = sorted({device for usable in devices.values() for device in usable})
    for device in asked:
        if device not in here:
            raise UsageError(
                f"device {device!r} is not available here in {', '.join(devices) or 'any environment'}; "
                f"available: {', '.join(here) or 'none'}"
            )


def _precisions(selection: Selection, spec: Workload, phase: str) -> tuple[str, ...]:
    """The precisions of a phase when none were named: fewer in the main job, where some take minutes on a CPU."""
    if spec.main is None or selection.phases:
        return DEFAULT_PRECISIONS
    return spec.main.get(phase, DEFAULT_PRECISIONS)


def _phases(selection: Selection, spec: Workload) -> list[tuple[str, str]]:
    """(phase, variant) pairs; a workload without an asked phase or variant is an error."""
    check_words(f"phase of {spec.name}", selection.phases, list(spec.phases))
    named = [variant for variant in selection.variants if variant != "all"]
    known = [variant for variants in spec.phases.values() for variant in variants]
    for variant in named:
        if not any(_fits(variant, template) for template in known):
            raise unknown(f"variant of {spec.name}", variant, known)
    asked_for = named or (selection.workloads and not spec.main)
    usual = tuple(spec.phases) if spec.main is None or asked_for else tuple(spec.main)
    pairs: list[tuple[str, str]] = []
    for phase, variants in spec.phases.items():
        if phase not in (selection.phases or usual):
            continue
        asked = [v for v in named if any(_fits(v, template) for template in variants)]
        if "all" in selection.variants:
            asked = [v for v in variants if not v.endswith(NUMBER)] + [v for v in asked if v not in variants]
        pairs += [(phase, variant) for variant in (asked or variants[:1])]
    return pairs


#: How the name of a variant with a number ends in a workload's list.
NUMBER = "-N"


def _fits(variant: str, template: str) -> bool:
    """Whether ``tokens-64`` is a ``tokens-N``."""
    if not template.endswith(NUMBER):
        return variant == template
    stem, _, number = variant.rpartition("-")
    return stem == template.removesuffix(NUMBER) and number.isdecimal()


def _modes(selection: Selection, framework: str) -> tuple[str, ...]:
    if not selection.modes or selection.modes == ("default",):
        return (IDIOM[framework],)
    if "all" in selection.modes:
        return MODES
    return tuple(dict.fromkeys(IDIOM[framework] if mode == "default" else mode for mode in selection.modes))


def blocks(
    chosen: Sequence[Cell], processes: int, seed: int, rank: Callable[[Cell], tuple[int, int]] | None = None
) -> list[Block]:
    """Every cell ``processes`` times, all shuffled together, so that a slow hour hits every cell alike.

    With ``rank`` (a sweep's), the first process of each cell comes first, in order of rank. A cell on an accelerator is
    measured as a duet with the same cell on the CPU, where that one is chosen too: of the same environment, or of the
    one that holds its baseline.
    """
    present = set(chosen)
    groups: list[tuple[Cell, ...]] = []
    paired: set[Cell] = set()
    for cell in chosen:
        twin = environments.cpu_twin(cell)
        if cell.device != "cpu" and twin in present and twin not in paired:
            groups.append((twin, cell))
            paired |= {twin, cell}
    groups += [(cell,) for cell in chosen if cell not in paired]
    planned = [Block(group, process) for process in range(processes) for group in groups]
    random.Random(seed).shuffle(planned)
    if rank is not None:
        # Stable: within a rank, and among the further processes, the shuffle stands.
        planned.sort(key=lambda block: (block.process > 0, rank(block.cells[0]) if block.process == 0 else (0, 0)))
    return [replace(block, index=index) for index, block in enumerate(planned)]
