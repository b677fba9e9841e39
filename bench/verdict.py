"""Verdicts: an interval against a margin, with sequential looks, corrected for the number of cells. Pure.

A ratio is the speed of B relative to A: above 1, B is faster. ``faster`` and ``slower`` need the whole interval beyond
the margin, ``same`` needs it inside; anything else is ``inconclusive``, with what it would take to tell.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from bench.cell import Cell
from bench.evidence import Duets, Estimate, Evidence, critical, means
from bench.record import Fingerprint
from bench.stats import Floats, GeometricMean, Interval, geometric_mean, pocock_level, sequential_p

#: Blocks after which a duet is looked at; each look doubles the data.
LOOKS = (8, 16, 32)
#: Differences below this are not worth a verdict, and are within what code layout alone does to a program.
MARGIN = 0.03
#: Probability of a wrong ``faster`` or ``slower`` over all looks, and the false-discovery rate over cells.
ALPHA = 0.05
#: What the looks are planned for: with so few blocks Student's t at Pocock's level for 5 % errs 5.2 % of the time, and
#: at the level for this 5.0 % (400,000 simulated sequences of normal blocks).
LOOK_ALPHA = 0.048
#: Environment variables that change the effective precision behind the cell's back.
PRECISION_VARIABLES = (
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_METALLIB_GEMM_TRUE_F32",
    "MLX_ENABLE_TF32",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
#: Of the facts on power: what must agree.
POWER_FACTS = ("ac", "low_power_mode", "governor")


@dataclass(frozen=True)
class Verdict:
    """``word``: faster, slower, same or inconclusive. ``ratio`` is None where nothing could be compared at all.

    ``ratio`` has the confidence of one look: see ``evidence.critical``. ``p_value`` is that of an effect beyond the
    margin, over all looks.
    """

    word: str
    ratio: Interval | None
    blocks: int
    p_value: float | None
    detail: str


@dataclass(frozen=True)
class Comparison:
    """Two cells and the verdict. ``kind``: ``duet``, ``duet-aa`` (a cell against itself) or ``stored``.

    ``clock`` says what the verdict rests on, ``wall`` or ``cpu``; ``wall`` is the ratio of wall times, the headline.
    ``margin`` is the one it was judged with: a floor of the machine may have raised it.
    """

    cell_a: Cell
    cell_b: Cell
    kind: str
    verdict: Verdict
    notes: tuple[str, ...] = ()
    clock: str = "wall"
    wall: Interval | None = None
    margin: float = MARGIN


def decide(
    blocks: Sequence[float] | Floats | Evidence,
    margin: float = MARGIN,
    looks: tuple[int, ...] = LOOKS,
    level: float | None = None,
) -> Verdict:
    """The verdict on blocks: one log-ratio each, ``log(speed of B / speed of A)``, or all their bursts (``Duets``).

    Looks at the first 8, 16 and 32 blocks, as far as they are there, and stops at the first that tells; so calling it
    again with more blocks never turns a verdict round. ``level`` is the two-sided level of each look, by default
    Pocock's for ``looks``.

    Raises:
        ValueError: no blocks, one that is not finite, or a negative margin.
    """
    evidence = means(blocks) if isinstance(blocks, Sequence | np.ndarray) else blocks
    if not margin >= 0:
        raise ValueError(f"margin is {margin}; it must not be negative")
    band = math.log1p(margin)
    level = pocock_level(looks, LOOK_ALPHA) if level is None else level
    smallest = 1.0
    done = [look for look in looks if look <= evidence.blocks]
    found = None
    for number, look in enumerate(done, start=1):
        found = evidence.first(look).estimate(level, band)
        smallest = min(smallest, found.p_value)
        ratio = ratio_of(found)
        word = word_of(ratio, margin)
        if word != "inconclusive":
            where = "lies within" if word == "same" else "lies beyond"
            detail = f"the whole interval {where} ±{margin:.1%} after {look} blocks"
            return Verdict(word, ratio, look, sequential_p(smallest, looks[:number]), detail)
    if found is None or done[-1] < evidence.blocks:
        found = evidence.estimate(level, band)
    p_value = sequential_p(smallest, looks[: len(done)]) if done else None
    detail = what_it_takes(found, evidence.blocks, band, level, looks)
    return Verdict("inconclusive", ratio_of(found), evidence.blocks, p_value, detail)


def judge(duets: Duets, margin: float = MARGIN, looks: tuple[int, ...] = LOOKS, level: float | None = None) -> Verdict:
    """``decide``, and then whether the whole time agrees with the typical bursts that decided.

    A program that is slow in a few bursts only (a collection of garbage, a kernel compiled anew) has the same typical
    bursts. So ``same`` does not stand, nor does a word that the total contradicts.
    """
    verdict = decide(duets, margin, looks, level)
    if verdict.word == "inconclusive":
        return verdict
    level = pocock_level(looks, LOOK_ALPHA) if level is None else level
    total = ratio_of(duets.first(verdict.blocks).totals().estimate(level, math.log1p(margin)))
    whole = word_of(total, margin)
    if whole in ("inconclusive", verdict.word) or (whole == "same" and verdict.word != "same"):
        return verdict
    detail = (
        f"typical bursts say {verdict.word}, but in total B has {total.estimate:.3g} times the speed: "
        f"some bursts of one side are much slower"
    )
    return replace(verdict, word="inconclusive", detail=detail)


#: A confirmation takes at least so many blocks.
FEWEST_AGAIN = 4


def blocks_again(verdict: Verdict) -> int:
    """How many fresh blocks a ``faster`` or ``slower`` is confirmed with: half of what it took."""
    return max(FEWEST_AGAIN, verdict.blocks // 2)


def confirmed(verdict: Verdict, again: Evidence, margin: float = MARGIN) -> Verdict:
    """``faster`` or ``slower`` stands when fresh blocks alone also show more than the margin, on the same side.

    Their estimate is asked, not their interval: that an effect is there the first blocks have shown, and an interval of
    half as many would miss a third of the true ones. What a passing disturbance caused does not come twice.
    """
    if verdict.word not in ("faster", "slower") or not again.blocks:
        return verdict
    found = again.estimate(ALPHA, math.log1p(margin)).log
    text = f"{again.blocks} fresh blocks: {math.exp(found):.3g} times the speed"
    if (found if verdict.word == "faster" else -found) > math.log1p(margin):
        return replace(verdict, detail=f"{verdict.detail}; confirmed by {text}")
    detail = f"{verdict.word} in {verdict.blocks} blocks, but not confirmed by {text}"
    return replace(verdict, word="inconclusive", detail=detail)


def ratio_of(found: Estimate) -> Interval:
    """From logs back to a ratio."""
    if found.low is None or found.high is None:
        return Interval(math.exp(found.log), None, None, found.confidence)
    low, high = (math.exp(min(bound, 700.0)) for bound in (found.low, found.high))
    return Interval(math.exp(found.log), low, high, found.confidence)


def looks_within(blocks: int) -> tuple[int, ...]:
    """The looks of a comparison planned with so many blocks: the usual ones, and the last block if it is none."""
    return (*(look for look in LOOKS if look < blocks), blocks)


def word_of(ratio: Interval, margin: float) -> str:
    """The word for an interval against the band from 1 / (1 + margin) to 1 + margin."""
    if ratio.low is None or ratio.high is None:
        return "inconclusive"
    if ratio.low > 1 + margin:
        return "faster"
    if ratio.high < 1 / (1 + margin):
        return "slower"
    return "same" if 1 / (1 + margin) <= ratio.low and ratio.high <= 1 + margin else "inconclusive"


def what_it_takes(found: Estimate, blocks: int, band: float, level: float, looks: tuple[int, ...] = LOOKS) -> str:
    """For people: the smallest effect that these blocks would have shown, and how many more it would take to tell.

    Both are for a chance of four in five, with the scatter seen so far; rough, as scatter from few blocks is.
    """
    if found.error is None:
        return f"one block gives no interval; the first look is after {looks[0]} blocks"
    power = 0.8416  # normal quantile of 0.8
    sd = found.error * math.sqrt(blocks)
    bands = band / found.error if found.error else math.inf
    reach = critical(level, blocks - 1, min(bands, 5.0)) + power
    visible = math.expm1(min(band + reach * found.error, 50.0))
    text = f"an effect below {visible:.1%} would not have shown in {blocks} blocks"
    gap = abs(abs(found.log) - band)
    if gap <= sd / 100:
        return f"{text}; the ratio lies on the edge of the margin, more blocks will hardly tell"
    needed = math.ceil(((critical(level, 30, min(bands, 5.0)) + power) * sd / gap) ** 2)
    more = max(needed, looks[0], blocks + 1) - blocks
    return f"{text}; about {more} more block{'s' if more > 1 else ''} would tell"


def aa_floor(blocks: Sequence[float] | Floats | Evidence, level: float = ALPHA) -> float:
    """The margin below which this machine tells a cell from itself: the farther end of the A/A interval, as a share.

    Raises:
        ValueError: fewer than two blocks.
    """
    evidence = means(blocks) if isinstance(blocks, Sequence | np.ndarray) else blocks
    ratio = ratio_of(evidence.estimate(level, 0.0))
    if ratio.low is None or ratio.high is None:
        raise ValueError("an A/A floor needs two blocks or more, got 1")
    return max(ratio.high, 1 / ratio.low) - 1


def refusal(a: Fingerprint, b: Fingerprint, across: AbstractSet[str] = frozenset()) -> list[str]:
    """Facts that must agree and do not, each with both values; ``across`` names those that are compared on purpose.

    A fact that is unknown on a side proves nothing and refuses nothing.
    """
    if _alike(a, b):
        return []
    facts_a, facts_b = _facts(a), _facts(b)
    return [
        f"{name} differs: {facts_a[name]} against {facts_b[name]}"
        for name in facts_a
        if name not in across
        and facts_a[name] is not None
        and facts_b[name] is not None
        and facts_a[name] != facts_b[name]
    ]


def comparable_facts() -> list[str]:
    """The names that ``across`` may hold."""
    nothing = Fingerprint({}, {}, None, 1, {}, {}, None, 0, None, None)
    return [*_facts(nothing), "precision"]


def _facts(fingerprint: Fingerprint) -> dict[str, object]:
    """The facts of METAL.md's rule 15 that are no words of a cell; versions are what runs are compared for."""
    facts: dict[str, object] = {
        key: fingerprint.machine.get(key)
        for key in ("chip", "physical_cores", "usable_cores", "gpu", "gpu_cores", "translated")
    }
    facts |= {key: fingerprint.power.get(key) for key in POWER_FACTS}
    facts["threads"] = fingerprint.threads
    facts["weights_sha256"] = fingerprint.weights_sha256
    facts["inputs_sha256"] = fingerprint.inputs_sha256
    # A switch that is not set counts as such: set against unset is a difference.
    facts |= {name: fingerprint.variables.get(name, "unset") for name in PRECISION_VARIABLES}
    return facts


def _alike(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether all that ``_facts`` looks at is the same on both sides, at a glance: nearly all nights of a history."""
    return (a.machine, a.variables, a.threads, a.weights_sha256, a.inputs_sha256) == (
        b.machine, b.variables, b.threads, b.weights_sha256, b.inputs_sha256,
    ) and all(a.power.get(key) == b.power.get(key) for key in POWER_FACTS)  # fmt: skip


def corrected(comparisons: Sequence[Comparison], rate: float = ALPHA) -> list[Comparison]:
    """Benjamini-Hochberg over the comparisons: a word that does not survive their number becomes ``inconclusive``.

    Only ``faster`` and ``slower`` claim an effect; every comparison with a p value counts towards the number.
    """
    from scipy.stats import false_discovery_control

    tested = [index for index, one in enumerate(comparisons) if one.verdict.p_value is not None]
    result = list(comparisons)
    if len(tested) < 2:
        return result
    adjusted = false_discovery_control([comparisons[index].verdict.p_value for index in tested])
    for index, p_value in zip(tested, adjusted, strict=True):
        verdict = comparisons[index].verdict
        if verdict.word in ("faster", "slower") and p_value > rate:
            detail = f"{verdict.word} alone, but not among {len(tested)} comparisons (adjusted p {p_value:.2g})"
            result[index] = replace(comparisons[index], verdict=replace(verdict, word="inconclusive", detail=detail))
    return result


def mean_of(
    comparisons: Sequence[Comparison], missing: Mapping[Cell, str] | None = None, shared_variance: float = 0.0
) -> GeometricMean:
    """Geometric mean of the ratios; left out are ``missing`` and what has no ratio, each with its reason.

    Keys are (cell A, cell B) for comparisons and the cell itself for ``missing``. ``shared_variance``: what the log
    ratios of all cells have in common (0 for duets, whose sides lived in one session).
    """
    ratios: dict[Hashable, float | None] = {
        (one.cell_a, one.cell_b): one.verdict.ratio.estimate if one.verdict.ratio else None for one in comparisons
    }
    reasons: dict[Hashable, str] = {(one.cell_a, one.cell_b): one.verdict.detail for one in comparisons}
    mean = geometric_mean(ratios, shared_variance=shared_variance)
    excluded = tuple((key, reasons[key]) for key, _ in mean.excluded)
    return replace(mean, excluded=excluded + tuple((missing or {}).items()))
