"""How often the nightly decision errs, and how soon it finds a step: ``python -m benchmarks.nightly_rates [SERIES]``.

The tables of docs/nightly.md. 400 series take about ten minutes of one core.
"""

from __future__ import annotations

import sys

from bench import night_rates, recordings
from bench.night_rates import alarms_per_100_nights, nights_to_find
from bench.selftest import OWN_NOISE

#: For these, also as if a release came every night.
RELEASES = ("white, 1 %", "autocorrelated 0.6, 1 %", "spiky, 1 %", "spiky, a spike lasts all night")


def main(series: int = 400) -> None:
    """Two tables: alarms of nights without a change, and nights until a step was found."""
    (duets,) = recordings.read(OWN_NOISE / "duet.jsonl.gz")
    # A2 ran the same program as A: all that differs is noise.
    cpu, wall = (duets.duets("A2", clock) for clock in ("cpu", "wall"))
    kinds = {
        "white, 1 %": night_rates.white(),
        "autocorrelated 0.6, 1 %": night_rates.autocorrelated(),
        "spiky, 1 %": night_rates.spiky(),
        "spiky, a spike lasts all night": night_rates.spiky(lasting=True),
        "autocorrelated 0.6, 2 %": night_rates.autocorrelated(0.02, 0.0194),
        "autocorrelated 0.6, 2 %, blocks say 0.9 %": night_rates.autocorrelated(0.02),
        "recorded, CPU time": night_rates.recorded(cpu),
        "recorded, CPU time, blocks in a row": night_rates.recorded(cpu, in_a_row=True),
        "recorded, wall time": night_rates.recorded(wall),
        "recorded, wall time, blocks in a row": night_rates.recorded(wall, in_a_row=True),
    }
    print("nights | series that alarm in 100 nights | with a release every night | measured again, a series")
    for name, nights in kinds.items():
        plain = alarms_per_100_nights(nights, series)
        # The others' tails are those of these.
        every = f"{alarms_per_100_nights(nights, series, changed=True).share:.1%}" if name in RELEASES else "–"
        print(f"{name} | {plain.share:.1%} | {every} | {plain.remeasured:.1f}", flush=True)
    print("\nnights | +5 % within 5 nights | median | +10 % within 5 | median | +10 % the first night, with a release")
    for name, nights in kinds.items():
        small, large = (nights_to_find(nights, step, series, released=False) for step in (0.05, 0.10))
        release = nights_to_find(nights, 0.10, series)
        print(
            f"{name} | {small.within():.0%} | {small.median:g} | {large.within():.0%} | {large.median:g} | "
            f"{release.within(1):.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
