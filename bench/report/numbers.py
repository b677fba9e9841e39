"""Numbers for people: units, and only as many digits as the interval supports. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.summary import Interval

#: Beyond this relative half-width an interval on the log scale is too lopsided for one ± figure.
SYMMETRIC_UP_TO = 0.2
#: Digits of a number whose spread is unknown: one process says little.
BLIND_DIGITS = 2
#: An end of a ratio beyond this, and a thousand times further than its estimate, is only said to be beyond it (app.js
#: does the same).
FAR = 1e4


@dataclass(frozen=True)
class Scale:
    """A unit: numbers are divided by ``size`` and followed by ``prefix``. One per table, so that eyes can compare."""

    size: float
    prefix: str


RATES = (Scale(1.0, ""), Scale(1e3, "k"), Scale(1e6, "M"), Scale(1e9, "G"))
JOULES = (Scale(1e-6, "µJ"), Scale(1e-3, "mJ"), Scale(1.0, "J"), Scale(1e3, "kJ"))
TIMES = (Scale(1e-9, "ns"), Scale(1e-6, "µs"), Scale(1e-3, "ms"), Scale(1.0, "s"))


def rate_scale(rates_per_s: Iterable[float]) -> Scale:
    """The unit in which the smallest of these rates still has four digits before the point, or plain units."""
    smallest = min((rate for rate in rates_per_s if rate > 0), default=1.0)
    return next((scale for scale in reversed(RATES) if smallest >= 10 * scale.size), RATES[0])


def joule_scale(joules: Iterable[float]) -> Scale:
    """The unit in which the smallest of these energies is at least one."""
    smallest = min((one for one in joules if one > 0), default=1.0)
    return next((scale for scale in reversed(JOULES) if smallest >= scale.size), JOULES[0])


def time_scale(times_s: Iterable[float]) -> Scale:
    """The unit in which the smallest of these times is at least one."""
    smallest = min((time for time in times_s if time > 0), default=1.0)
    return next((scale for scale in reversed(TIMES) if smallest >= scale.size), TIMES[0])


def relative_half_width(interval: Interval) -> float | None:
    """Half the width on the log scale, as a share: 0.03 is ±3 %; None where there is no interval."""
    if interval.low is None or interval.high is None or interval.low <= 0:
        return None
    return math.sqrt(interval.high / interval.low) - 1


def significant(value: float, digits: int) -> str:
    """``value`` to so many significant digits, with thousands separators and never an exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def supported_decimals(interval: Interval) -> int:
    """Decimals that the interval supports: the last one shown is the first of the half-width. May be negative.

    Never fewer than ``BLIND_DIGITS`` significant digits, so that a hopeless interval does not turn the estimate into 0.
    """
    least = BLIND_DIGITS - 1 - math.floor(math.log10(abs(interval.estimate) or 1.0))
    width = relative_half_width(interval)
    if width is None:
        return least
    return max(least, -math.floor(math.log10(max(width, 1e-4) * interval.estimate)))


def decimal(value: float, decimals: int) -> str:
    """``value`` rounded there (-2: to hundreds), with thousands separators and never an exponent."""
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def rate(interval: Interval, scale: Scale = RATES[0]) -> str:
    """The estimate of a rate: ``48.2`` (with ``k`` in the heading) at ±3 %."""
    decimals = supported_decimals(interval) + round(math.log10(scale.size))
    return decimal(interval.estimate / scale.size, decimals)


def spread(interval: Interval, scale: Scale = RATES[0]) -> str:
    """``±3 %``, or ``31–58`` where the interval is lopsided, or why there is none."""
    width = relative_half_width(interval)
    if width is None or interval.low is None or interval.high is None:
        return "no interval"
    if width > SYMMETRIC_UP_TO:
        return span(interval.low / scale.size, interval.high / scale.size)
    return f"±{percent(width)}"


def span(low: float, high: float) -> str:
    """``31–58``, to two digits each."""
    return f"{significant(low, 2)}–{significant(high, 2)}"


def ends(interval: Interval) -> str:
    """``1,440–1,500``: the ends with the digits of the estimate, two each where lopsided; "" without an interval."""
    width = relative_half_width(interval)
    if width is None or interval.low is None or interval.high is None:
        return ""
    if width > SYMMETRIC_UP_TO:
        return span(interval.low, interval.high)
    decimals = supported_decimals(interval)
    return f"{decimal(interval.low, decimals)}–{decimal(interval.high, decimals)}"


def percent(share: float) -> str:
    """``3 %``, ``0.4 %``: one digit below ten, whole per cents above."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 0.95 else f"{max(value, 0.1):.1f} %"


def times(interval: Interval) -> str:
    """A ratio for people: ``2.31×``, ``43×``; below one it stays below one (``0.43×``)."""
    return f"{decimal(interval.estimate, _ratio_decimals(interval))}×"


def times_span(interval: Interval) -> str:
    """``2.1–2.5×`` with the digits of the estimate, or "" where there is no interval."""
    if interval.low is None or interval.high is None:
        return ""
    width = relative_half_width(interval)
    if width is None or width > SYMMETRIC_UP_TO:
        return f"{_end(interval.low, interval.estimate)}–{_end(interval.high, interval.estimate)}×"
    decimals = _ratio_decimals(interval)
    return f"{decimal(interval.low, decimals)}–{decimal(interval.high, decimals)}×"


def _end(end: float, estimate: float) -> str:
    if end < min(1 / FAR, estimate / 1000):
        return f"<{1 / FAR:g}"
    if end > max(FAR, estimate * 1000):
        return f">{FAR:,.0f}"
    return significant(end, 2)


def _ratio_decimals(interval: Interval) -> int:
    """Two below ten, so that an end just beyond 1 does not read 1.0; fewer where the interval is very wide."""
    supported = max(supported_decimals(interval), 0)
    width = relative_half_width(interval)
    clear = width is not None and width <= SYMMETRIC_UP_TO and interval.estimate < 10
    return max(supported, 2) if clear else supported


def duration(seconds: float | None) -> str:
    """``12.3 µs``, three digits; ``unknown`` for None."""
    if seconds is None:
        return "unknown"
    scale = time_scale([seconds])
    return f"{significant(seconds / scale.size, 3)} {scale.prefix}"


def latencies(found: Sequence[float | None], samples: int) -> str:
    """``294 / 400 / – µs (n = 50)``: p50, p90 and p99, three digits each, and of how many samples."""
    scale = time_scale(value for value in found if value is not None)
    each = " / ".join("–" if value is None else significant(value / scale.size, 3) for value in found)
    return f"{each} {scale.prefix} (n = {samples:,})"


def memory(size_bytes: int | None) -> str:
    """``412 MB``, ``3.1 GB`` (powers of ten); ``unknown`` for None."""
    if size_bytes is None:
        return "unknown"
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def error(value: float | None) -> str:
    """A relative error: ``3.1e-07``; ``not a number`` for None."""
    if value is None:
        return "not a number"
    return "0" if value == 0 else f"{value:.1e}"


def plain_duration(seconds: float) -> str:
    """For axes: ``20 µs``, without trailing zeros."""
    scale = time_scale([seconds * (1 + 1e-9)])
    return f"{seconds / scale.size:.3g} {scale.prefix}"
