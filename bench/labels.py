"""What the raw samples of one process say about themselves, as machine-readable words. Pure; standard library only.

    stable | noisy | throttled     the fixed calibration kernel before and after; absent when it was not timed
    contended                      others took CPU time while the bursts ran
    clock-drift                    the sentinel between bursts changed by more than 3 %, and no neighbour explains it
    never-steady                   the warm-up ran into its caps before two half-windows agreed
    emulated                       the cell's precision multiplies at less than half the rate of fp32 on this device
    fence:host-read                the framework's barrier was a no-op: every fence read a value back instead
    implausible:fence              a barrier was trusted although it returns long before the result exists
    implausible:roofline           more FLOP/s or bytes/s than a matrix product or a copy reached in the same process
    implausible:scaling            k times the iterations did not take longer in proportion
    imported:<tool>                another tool measured it: `twinbench import`
    not-verified                   nobody here compared its outputs with a reference

An ``implausible:`` label means that the timing cannot be true; such a process enters no estimate. All other labels
are information: the sample stays, because dropping what looks bad biases what remains (``docs/statistics.md``).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from bench import timing
from bench.ceilings import ROOFLINE_SLACK
from bench.contention import JIFFY_NS as JIFFY_NS
from bench.contention import burst_is_contended as burst_is_contended
from bench.contention import is_contended as is_contended
from bench.record import Measurement
from bench.sentinel import has_drifted

STABLE = "stable"
NOISY = "noisy"
THROTTLED = "throttled"
CONTENDED = "contended"
CLOCK_DRIFT = "clock-drift"
NEVER_STEADY = "never-steady"
EMULATED = "emulated"
FENCE_HOST_READ = "fence:host-read"
IMPLAUSIBLE = "implausible:"
IMPLAUSIBLE_FENCE = IMPLAUSIBLE + "fence"
IMPLAUSIBLE_ROOFLINE = IMPLAUSIBLE + "roofline"
IMPLAUSIBLE_SCALING = IMPLAUSIBLE + "scaling"
IMPORTED = "imported:"
NOT_VERIFIED = "not-verified"

#: Label -> what it says, for people; ``docs/report.md`` has the same list. ``imported:`` goes on with the tool's name.
MEANINGS: Mapping[str, str] = {
    STABLE: "a small fixed calculation kept its speed, before the measurement and after it",
    NOISY: "that calculation varied by more than 10 %",
    THROTTLED: "that calculation was clearly slower after the measurement, and no neighbour explains it",
    CONTENDED: "other programs took CPU time during the bursts",
    CLOCK_DRIFT: "a fixed matrix product on the cell's own device, read between bursts, changed by more than 3 %, and "
    "no neighbour explains it",
    NEVER_STEADY: "the warm-up reached its limit before two halves of it agreed: it may still have been changing",
    EMULATED: "the device multiplies at this precision at less than half of fp32's rate: it converts, there and back",
    FENCE_HOST_READ: "the framework's barrier does not wait here: every fence read a value back to the host instead",
    IMPLAUSIBLE_FENCE: "the barrier returned long before the result can exist: the timing is not true; left out",
    IMPLAUSIBLE_ROOFLINE: "faster than a matrix product or a copy in the same process: the timing is not true; left "
    "out",
    IMPLAUSIBLE_SCALING: "more iterations did not take longer in proportion: the timing is not true; left out",
    IMPORTED: "another tool measured it, and twinbench import took it over",
    NOT_VERIFIED: "nobody here compared its outputs with a reference",
}

#: A calibration kernel on a quiet machine repeats within 1-2 %; one tenth is well outside that, and is also about the
#: smallest slow-down at which a 3 % comparison becomes hopeless with five processes.
CALIBRATION_SPREAD = 0.10
#: The kernel is one tenth slower after the bursts than before: first clock steps under heat are of that size.
THROTTLE_SHIFT = 0.10
#: A ceiling that was measured beside noise may itself be half too low. A forgotten fence exceeds it tenfold anyway.
NOISY_ROOFLINE_SLACK = 2.5
#: A copy also fetches the lines it writes and so moves 3 bytes for 2 counted, and pure reading can reach that; at half
#: precision the workload's fp32 byte count is double the truth. Twice the copy rate is beyond neither alone.
BYTES_SLACK = 2.0
#: Below this the working set may live in a cache, which is faster than any copy through memory.
CACHE_BYTES = 64 * 2**20
#: A barrier that returns in a quarter of the time that a host read of the same work takes did not wait.
FENCE_SHARE = 0.25
#: A device that has bf16 or fp16 multiplies in it at least as fast as in fp32; one that has not converts to fp32 and
#: back around each operation. Half of fp32's rate leaves room for a ceiling that was measured beside noise.
EMULATED_SHARE = 0.5


def labels_of(measurement: Measurement, device: str = "cpu") -> list[str]:
    """All labels of one process on ``device``, in the order of this module's docstring."""
    contended = is_contended(measurement.bursts)
    stability = stability_of(measurement.calibration_before_ns, measurement.calibration_after_ns, contended)
    slack = NOISY_ROOFLINE_SLACK if contended or stability in (NOISY, THROTTLED) else ROOFLINE_SLACK
    # On a CPU a framework's copy may use one thread or fresh pages (JAX: 10 GB/s beside torch's 150): no ceiling.
    too_fast = above_flops_roofline(measurement, slack) or (
        device != "cpu" and above_bytes_roofline(measurement, slack)
    )
    findings = (
        (CONTENDED, contended),
        (CLOCK_DRIFT, has_drifted(measurement)),
        (NEVER_STEADY, measurement.warm_up is not None and not measurement.warm_up.steady),
        (
            EMULATED,
            any(emulated(measurement.gemm_rates_flops_per_s, word) for word in measurement.gemm_rates_flops_per_s),
        ),
        (FENCE_HOST_READ, measurement.fence is not None and measurement.fence.kind == "host-read"),
        (IMPLAUSIBLE_FENCE, fence_is_fake(measurement)),
        (IMPLAUSIBLE_ROOFLINE, too_fast),
        (IMPLAUSIBLE_SCALING, work_was_skipped(measurement)),
    )
    return ([stability] if stability else []) + [label for label, found in findings if found]


def emulated(rates_flops_per_s: Mapping[str, float], precision: str) -> bool:
    """Whether a matrix product at ``precision`` is so much slower than at fp32 that the device cannot have it."""
    rate, full = rates_flops_per_s.get(precision), rates_flops_per_s.get("fp32")
    return rate is not None and full is not None and rate < EMULATED_SHARE * full


def meaning(label: str) -> str:
    """What a label says, for people; labels come from records, so one may be unknown."""
    known = IMPORTED if label.startswith(IMPORTED) else label
    return MEANINGS.get(known, "not a label of this twinbench")


def plausible(labels: Iterable[str]) -> bool:
    """False when a label says that the timing cannot be true."""
    return not any(label.startswith(IMPLAUSIBLE) for label in labels)


def imported_from(labels: Iterable[str]) -> str | None:
    """The tool that measured it, where that was not twinbench."""
    return next((label.removeprefix(IMPORTED) for label in labels if label.startswith(IMPORTED)), None)


def state_of(outcome: str, labels: Iterable[str]) -> str:
    """The worst that is known of how quiet the machine was around a process, in a word.

    ``quiet``, ``noisy``, ``contended``, ``drift or throttled``; ``not measured`` where the outcome's tag is not
    ``measured``, or another tool measured it: of that nobody here knows. ``stable`` is no such word: it is about the
    calibration kernel alone, and may stand beside the others. Labels that are not about noise (``emulated``, a fence,
    ``never-steady``) change nothing.
    """
    known = set(labels)
    if outcome != "measured" or imported_from(known):
        return "not measured"
    if known & {THROTTLED, CLOCK_DRIFT}:
        return "drift or throttled"
    return next((word for word in (CONTENDED, NOISY) if word in known), "quiet")


def disturbed(outcome: str, labels: Iterable[str]) -> bool:
    """Whether the process was measured, and the machine was not quiet."""
    return state_of(outcome, labels) not in ("quiet", "not measured")


def stability_of(before_ns: list[int], after_ns: list[int], contended: bool = False) -> str | None:
    """``throttled`` when the kernel is clearly slower after than before, ``noisy`` when it varies, else ``stable``.

    Clearly: by the medians, and with hardly any overlap (lower quartile after above upper quartile before). Beside a
    known neighbour the same slow-down has a likelier cause than heat, so it is ``noisy`` then. None without samples.
    """
    if not before_ns or not after_ns:
        return None
    before_low, before, before_high = _quartiles(before_ns)
    after_low, after, after_high = _quartiles(after_ns)
    if after > before * (1 + THROTTLE_SHIFT) and after_low > before_high and not contended:
        return THROTTLED
    spread = max((before_high - before_low) / before, (after_high - after_low) / after)
    moved = max(before, after) / min(before, after) - 1
    return NOISY if max(spread, moved) > CALIBRATION_SPREAD else STABLE


def fence_is_fake(measurement: Measurement) -> bool:
    """Whether a trusted barrier returned long before a host read of the same work could."""
    fence = measurement.fence
    return fence is not None and fence.kind == "barrier" and fence.fenced_ns < FENCE_SHARE * fence.host_read_ns


def work_was_skipped(measurement: Measurement) -> bool:
    """Whether k times the iterations took hardly longer: cached results, or only the last call computed."""
    scaling = measurement.scaling
    return scaling is not None and timing.added_share(scaling.factor, scaling.ratio) < timing.SCALING_SHARE


def above_flops_roofline(measurement: Measurement, slack: float = ROOFLINE_SLACK) -> bool:
    """Whether the median burst implies more FLOP/s than the same process's matrix product, by more than ``slack``."""
    flops, ceiling = measurement.flops_per_iteration, measurement.gemm_flops_per_s
    seconds = _median_iteration_s(measurement)
    if flops is None or ceiling is None or seconds is None:
        return False
    return flops > slack * ceiling * seconds


def above_bytes_roofline(measurement: Measurement, slack: float = ROOFLINE_SLACK) -> bool:
    """Whether the median burst implies more bytes/s than a copy, where the working set cannot live in a cache."""
    nbytes, copy = measurement.bytes_per_iteration, measurement.copy_bytes_per_s
    seconds = _median_iteration_s(measurement)
    if nbytes is None or copy is None or seconds is None or nbytes < CACHE_BYTES:
        return False
    return nbytes > BYTES_SLACK * slack / ROOFLINE_SLACK * copy * seconds


def _median_iteration_s(measurement: Measurement) -> float | None:
    bursts = measurement.bursts
    times_ns = [wall / count for wall, count in zip(bursts.wall_ns, bursts.iterations, strict=True)]
    return statistics.median(times_ns) / 1e9 if times_ns else None


def _quartiles(values: list[int]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; a single value is all three."""
    if len(values) == 1:
        return (float(values[0]),) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
