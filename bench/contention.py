"""Whether others took CPU time while bursts ran: by the kernel's own accounts. Pure; standard library only."""

from __future__ import annotations

from bench.record import Bursts

#: The kernel counts CPU time by jiffies of 10 ms, and the difference of two readings can be off by one at either end.
JIFFY_NS = 10_000_000
#: So up to two jiffies in one burst may be rounding alone, and prove nothing about that burst.
UNCERTAIN_NS = 2 * JIFFY_NS
#: A burst beyond the rounding is contended when others had a quarter of a core or more during it.
BURST_SHARE = 0.25
#: A process is contended when a quarter of its bursts were: the median over bursts then begins to move ...
CONTENDED_FRACTION = 0.25
#: ... or when others had 15 % of a core over all its bursts, where the rounding of single bursts has averaged out.
#: An idle desktop uses 1-5 % of a core; readings clipped at zero add up to 5 % for 50 ms bursts.
TOTAL_SHARE = 0.15


def is_contended(bursts: Bursts) -> bool:
    """Whether others took CPU time during the bursts; False where nothing is known.

    One burst of 50 ms holds five jiffies, so it is judged alone only beyond ``UNCERTAIN_NS``; smaller amounts count
    in the total over all bursts, where rounding up and rounding down cancel.
    """
    known = [(ns, wall) for ns, wall in zip(bursts.foreign_cpu_ns, bursts.wall_ns, strict=True) if ns is not None]
    if not known:
        return False
    foreign_ns, wall_ns = sum(ns for ns, _ in known), sum(wall for _, wall in known)
    if foreign_ns > UNCERTAIN_NS and foreign_ns >= TOTAL_SHARE * wall_ns:
        return True
    return sum(burst_is_contended(ns, wall) for ns, wall in known) >= CONTENDED_FRACTION * len(known)


def burst_is_contended(foreign_ns: int, wall_ns: int) -> bool:
    """Whether one burst alone is proof: beyond the rounding of two counters, and a quarter of a core or more."""
    return foreign_ns > UNCERTAIN_NS and foreign_ns >= BURST_SHARE * wall_ns
