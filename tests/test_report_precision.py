"""The table of effective precision: what it prints in one row fits what it prints in another."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bench.record import EffectivePrecision
from bench.report.audit import precision_rows
from bench.summary import CellSummary
from tests.report_fixtures import cell, measured


def probed(precision: str, rates_gflops_per_s: dict[str, float], **words: str) -> CellSummary:
    """A cell whose processes measured these rates of a matrix product."""
    effective = EffectivePrecision(precision, precision, 1e-4, "float32", "float32", None)
    rates = {word: 1e9 * rate for word, rate in rates_gflops_per_s.items()}
    return replace(
        measured(cell(precision=precision, **words), 10.0), effective=effective, gemm_rates_flops_per_s=rates
    )


def test_the_ratio_is_that_of_the_rates_printed() -> None:
    """fp32 was measured in every process: 100 beside bf16, but 160 at best; 2.5 of 100 would be 1.6 of 160."""
    rows = precision_rows(
        [
            probed("fp32", {"fp32": 120.0}),
            probed("fp32", {"fp32": 160.0}, size="wide"),
            probed("bf16", {"fp32": 100.0, "bf16": 250.0}),
            probed("fp16", {"fp32": 90.0, "fp16": 60.0}),
            probed("bf16", {"fp32": 1000.0, "bf16": 250.0}, environment="jax"),
        ]
    )
    told = {(row.where, row.asked): row.rate for row in rows}
    assert told == {
        ("jax/cpu", "bf16"): "250 GFLOP/s, 0.25× fp32",
        ("torch/cpu", "fp32"): "160 GFLOP/s",
        ("torch/cpu", "fp16"): "60.0 GFLOP/s, 0.38× fp32",
        ("torch/cpu", "bf16"): "250 GFLOP/s, 1.6× fp32",
    }
    printed = {asked: [float(number) for number in re.findall(r"[0-9.]+(?=[ ×])", rate)]
               for (where, asked), rate in told.items() if where == "torch/cpu"}  # fmt: skip
    for asked in ("fp16", "bf16"):
        assert printed[asked][1] == pytest.approx(printed[asked][0] / printed["fp32"][0], rel=0.03)
    assert [row.asked for row in rows if row.emulated] == ["bf16", "fp16"], "jax's bf16, torch's fp16: below half"
