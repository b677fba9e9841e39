"""Each label has a process that must get it, and a quiet one that must not."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import labels
from bench.record import Fence, Scaling, WarmUp
from bench.report.page import make
from tests.report_fixtures import META, measured
from tests.samples import CELL, MS, bursts, measurement

#: Label -> facts of a process that has it and no other finding.
SABOTEURS: dict[str, dict[str, Any]] = {
    "noisy": {"calibration_before_ns": [MS, 2 * MS, MS, 2 * MS, MS]},
    "throttled": {"calibration_after_ns": [int(1.3 * MS)] * 5},
    "contended": {"bursts": bursts([50 * MS] * 10, foreign_ns=[30 * MS] * 10)},
    "never-steady": {"warm_up": WarmUp(100, 50 * MS, False)},
    "emulated": {"gemm_rates_flops_per_s": {"fp32": 1e11, "bf16": 4.9e10}},
    "fence:host-read": {"fence": Fence("host-read", 1000, MS, 10 * MS)},
    "implausible:fence": {"fence": Fence("barrier", 1000, MS, 10 * MS)},
    "implausible:roofline": {"flops_per_iteration": 1.3 * 1e11 * 0.005},
    "implausible:scaling": {"scaling": Scaling(3, 1.0)},
}


@pytest.mark.parametrize(
    ("scaling", "found"),
    [
        (Scaling(2, 1.1), True),  # slow work done once, and some noise: a ratio above half of the factor
        (Scaling(3, 1.1), True),
        (Scaling(2, 1.6), False),  # the least that honest cells of the reference results have, here and below
        (Scaling(3, 1.55), False),
        (None, False),
    ],
)
def test_work_that_was_skipped(scaling: Scaling | None, found: bool) -> None:
    assert labels.work_was_skipped(measurement(scaling=scaling)) is found


@pytest.mark.parametrize(
    ("rates", "found"),
    [
        ({"fp32": 9.5e10, "bf16": 8e8}, True),  # torch on a CPU with AVX2 only (METAL.md)
        ({"fp32": 1e11, "bf16": 5e10}, False),
        ({"fp32": 5e13, "bf16": 7e14}, False),
        ({"fp32": 1e11}, False),
        ({"bf16": 1e9}, False),
        ({}, False),
    ],
)
def test_a_precision_that_the_device_lacks_is_known_by_its_rate(rates: dict[str, float], found: bool) -> None:
    assert labels.emulated(rates, "bf16") is found


def test_quiet_process_is_stable_and_nothing_else() -> None:
    assert labels.labels_of(measurement()) == ["stable"]


@pytest.mark.parametrize("label", SABOTEURS)
def test_each_label_is_given_alone(label: str) -> None:
    found = labels.labels_of(measurement(**SABOTEURS[label]))
    assert set(found) - {"stable"} == {label}
    assert labels.plausible(found) is not label.startswith("implausible:")


def test_bytes_beyond_the_copy_ceiling_count_only_outside_a_cache_and_not_on_a_cpu() -> None:
    seconds = 0.005
    fast = labels.CACHE_BYTES / seconds / 2.1
    beyond = measurement(bytes_per_iteration=float(labels.CACHE_BYTES), copy_bytes_per_s=fast)
    within = measurement(bytes_per_iteration=labels.CACHE_BYTES - 1.0, copy_bytes_per_s=fast)
    assert "implausible:roofline" in labels.labels_of(beyond, "cuda")
    assert labels.labels_of(within, "cuda") == ["stable"]
    assert labels.labels_of(beyond, "cpu") == ["stable"]


def test_roofline_widens_beside_noise_but_still_catches_a_missing_fence() -> None:
    noise = SABOTEURS["noisy"]
    at = 1e11 * 0.005
    assert "implausible:roofline" not in labels.labels_of(measurement(flops_per_iteration=2.0 * at, **noise))
    assert "implausible:roofline" in labels.labels_of(measurement(flops_per_iteration=10.0 * at, **noise))


def test_unknown_facts_prove_nothing() -> None:
    unknown = measurement(
        bursts=bursts([50 * MS] * 4, foreign_ns=[None] * 4),
        flops_per_iteration=None,
        bytes_per_iteration=None,
        calibration_before_ns=[],
    )
    assert labels.labels_of(unknown) == []


def test_a_slow_neighbour_is_not_called_heat() -> None:
    both = SABOTEURS["throttled"] | SABOTEURS["contended"]
    assert labels.labels_of(measurement(**both)) == ["noisy", "contended"]


def test_one_short_burst_is_not_proof() -> None:
    assert not labels.burst_is_contended(20 * MS, 50 * MS)
    assert labels.burst_is_contended(30 * MS, 50 * MS)
    assert not labels.burst_is_contended(30 * MS, 1000 * MS)
    assert not labels.is_contended(bursts([50 * MS], foreign_ns=[20 * MS]))


def test_a_few_stolen_bursts_of_many_are_enough() -> None:
    assert labels.is_contended(bursts([50 * MS] * 40, foreign_ns=[*[0] * 30, *[40 * MS] * 10]))
    assert not labels.is_contended(bursts([50 * MS] * 40, foreign_ns=[*[0] * 38, *[40 * MS] * 2]))


def quantised(share: float, random: np.random.RandomState) -> list[int | None]:
    """Foreign CPU of twenty 50 ms bursts as two cores' jiffy counters show it, clipped at zero."""
    own, foreign = 50 * MS, int(share * 50 * MS)
    starts = random.randint(0, labels.JIFFY_NS, size=(20, 2))
    parts = np.array([own, foreign])
    ticks = (starts + parts) // labels.JIFFY_NS * labels.JIFFY_NS
    return [int(max(0, total - own)) for total in ticks.sum(axis=1)]


def test_rounding_to_jiffies_alone_never_contends() -> None:
    random = np.random.RandomState(0)
    quiet = [labels.is_contended(bursts([50 * MS] * 20, foreign_ns=quantised(0.02, random))) for _ in range(500)]
    busy = [labels.is_contended(bursts([50 * MS] * 20, foreign_ns=quantised(0.5, random))) for _ in range(500)]
    assert sum(quiet) == 0
    assert sum(busy) == 500


def test_single_calibration_sample_is_enough_for_a_word() -> None:
    assert labels.stability_of([MS], [MS]) == "stable"
    assert labels.stability_of([MS], [2 * MS]) == "throttled"
    assert labels.stability_of([2 * MS], [MS]) == "noisy"


def every_label() -> set[str]:
    """The labels of the module, from its names; two of them are the beginnings of labels."""
    return {value for name, value in vars(labels).items() if name.isupper() and isinstance(value, str)}


def test_every_label_is_explained_on_the_page_and_in_the_document() -> None:
    """What a page shows must be said somewhere that its reader finds."""
    text = (Path(__file__).parents[1] / "docs" / "report.md").read_text(encoding="utf-8")
    section = text.partition("## Noise labels")[2].partition("\n## ")[0]
    explained = set(labels.MEANINGS) | {labels.IMPLAUSIBLE}
    assert explained == every_label()
    lines = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("| `")}
    for label in every_label() - {labels.IMPLAUSIBLE}:
        word = f"`{label}<tool>`" if label == labels.IMPORTED else f"`{label}`"
        assert word in lines, f"docs/report.md does not explain {word}"
        assert labels.MEANINGS[label] in lines[word]
    assert len(lines) == len(labels.MEANINGS)


def test_a_label_is_explained_once_on_its_page() -> None:
    odd = {"stable": 1, "never-steady": 2, "implausible:fence": 1, "imported:pyperf": 1, "from <the> future": 1}
    page = make([replace(measured(CELL, 1.0), labels=odd)], [], META).html
    told = page.partition('id="labels"')[2].partition("</dl>")[0]
    for label in odd:
        assert told.count(f"<dt>{html.escape(label)}</dt>") == 1
    assert html.escape(labels.meaning("never-steady")) in told
    assert "<dd>not a label of this twinbench</dd>" in told
    assert labels.meaning("imported:pyperf") == labels.MEANINGS["imported:"]
    assert "clock-drift" not in told, "only those that the page has"
