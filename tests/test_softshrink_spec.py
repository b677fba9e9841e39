"""The spec of workload ``softshrink``: bytes, reference, gradient, tolerances; the table of ways. NumPy only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import tensors, verify, workload
from bench.errors import UsageError
from bench.report.audit import ways_tables
from bench.workload import Arrays, Config
from tests.report_fixtures import cell, measured, without_speed
from workloads.softshrink import LAYERS, SGD, WAYS, reference

SOFTSHRINK = workload.get("softshrink")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "amp-fp16", "amp-bf16")


def settings(size: str = "tiny-test", phase: str = "training", way: str = "native") -> Config:
    return SOFTSHRINK.settings(size, phase, way)


def materials(size: str = "tiny-test", phase: str = "training", batch: int | None = None) -> tuple[Arrays, Arrays]:
    config = settings(size, phase)
    inputs = SOFTSHRINK.inputs(config, phase, batch or SOFTSHRINK.sizes[size].batch, 0)
    return SOFTSHRINK.weights(config, 0), inputs


def exact(arrays: Arrays) -> Arrays:
    return {name: value.astype(np.float64) for name, value in arrays.items()}


def truth(phase: str = "training", weights: Arrays | None = None) -> Arrays:
    made, inputs = materials(phase=phase)
    return SOFTSHRINK.reference(settings(phase=phase), phase, "native", weights or made, inputs)


def both(weights: Arrays | None = None) -> Arrays:
    """The outputs of both phases: their names differ."""
    return {**truth("inference", weights), **truth("training", weights)}


def test_the_bytes_are_the_same_on_every_platform() -> None:
    weights, inputs = materials()
    assert (tensors.digest(weights)[:16], tensors.digest(inputs)[:16]) == ("5a55200c96a4f885", "25ad3957e5d8c588")


def test_names_shapes_and_inputs_are_as_promised() -> None:
    weights, inputs = materials()
    verify.check_tensors(weights, SOFTSHRINK.shapes(settings()))
    assert len(weights) == 2 * len(LAYERS) == 14
    assert all(value.dtype == np.float32 and (value != 0).all() for value in weights.values())
    assert {name: value.shape for name, value in inputs.items()} == {"x": (32, 64), "target": (32, 64)}
    assert list(materials(phase="inference")[1]) == ["x"]
    assert settings(way="composed") == {"width": 64, "way": "composed", "lambd": 0.5}


@pytest.mark.parametrize("size", sorted(SOFTSHRINK.sizes))
def test_activations_keep_their_spread_and_stay_in_the_range_of_fp16(size: str) -> None:
    weights, inputs = materials(size, "inference", batch=32)
    activations = reference.forward(exact(weights), inputs["x"].astype(np.float64))
    for values in activations[1:]:
        assert 1.0 < values.std() < 6.0
        assert np.abs(values).max() < 100
        assert 0.02 < (values == 0).mean() < 0.4, "the dead zone must matter, and not swallow everything"


def test_softshrink_by_hand() -> None:
    x = np.array([-2.0, -0.5, -0.3, 0.0, 0.5, 0.51, 3.0])
    assert reference.softshrink(x) == pytest.approx([-1.5, 0, 0, 0, 0, 0.01, 2.5])
    assert reference.softshrink(x) == pytest.approx(x - np.clip(x, -0.5, 0.5)), "the composed way is the same function"


def difference_error(gradients: Arrays, weights: Arrays, x: Any, target: Any) -> float:
    """Largest deviation from central differences over a few entries of every weight, relative to its largest entry."""
    worst, step = 0.0, 1e-7
    for name, value in weights.items():
        for index in list(np.ndindex(value.shape))[:: max(1, value.size // 5)]:
            losses = []
            for sign in (1, -1):
                moved = {**weights, name: value.copy()}
                moved[name][index] += sign * step
                losses.append(float(reference.loss_and_gradients(moved, x, target)[0]))
            apart = abs((losses[0] - losses[1]) / (2 * step) - gradients[name][index])
            worst = max(worst, apart / np.abs(gradients[name]).max())
    return worst


def test_the_analytic_gradient_agrees_with_finite_differences() -> None:
    weights, inputs = materials(batch=4)
    arguments = (exact(weights), inputs["x"].astype(np.float64), inputs["target"].astype(np.float64))
    _, gradients = reference.loss_and_gradients(*arguments)
    assert list(gradients) == list(weights)
    assert difference_error(gradients, *arguments) < 1e-5
    spoilt = {**gradients, "fc4.weight": gradients["fc4.weight"] * 1.01}
    assert difference_error(spoilt, *arguments) > 1e-3, "the check must see a gradient that is 1 % off"


def test_five_losses_begin_with_the_loss_and_fall() -> None:
    losses = truth()["losses"]
    assert losses.shape == (5,)
    assert losses[0] == truth()["loss"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_wrong_model_exceeds_every_tolerance(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteurs: a forgotten bias, hard for soft shrinkage, no activation, another zone, an optimizer that stands."""
    weights, _ = materials()
    clean = both()

    def judged(outputs: Arrays) -> verify.Comparison:
        return verify.compare(
            outputs, clean, lambda name: SOFTSHRINK.tolerance(settings(), "training", precision, name)
        )

    assert judged(clean).ok
    assert not judged(both({**weights, "fc4.bias": weights["fc4.bias"] * 0})).ok, "bias"
    standing = judged({**clean, "losses": np.full(5, clean["losses"][0])})
    assert not standing.ok
    assert standing.output == "losses"
    wrong = {
        "hard": lambda x: np.where(np.abs(x) > 0.5, x, 0.0),
        "none": lambda x: x,
        "zone": lambda x: x - np.clip(x, -0.45, 0.45),
    }
    for name, function in wrong.items():
        monkeypatch.setattr(reference, "softshrink", function)
        assert not judged(both()).ok, name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("output", ["out", "loss", "losses", "grad.fc1.weight"])
def test_every_tolerance_has_a_reason_and_amp_is_no_looser(precision: str, output: str) -> None:
    found = SOFTSHRINK.tolerance(settings(), "training", precision, output)
    assert "u = " in found.reason
    assert found.limit <= SOFTSHRINK.tolerance(settings(), "training", precision.removeprefix("amp-"), output).limit


def test_flops_and_optimizer() -> None:
    product = 2 * 32 * 64 * 64
    assert SOFTSHRINK.flops(settings(), "inference", 32) == 7 * product
    assert SOFTSHRINK.flops(settings(), "training", 32) == 20 * product
    assert all(SOFTSHRINK.optimizer(way) == SGD for way in WAYS)
    with pytest.raises(UsageError, match="not 'adam'"):
        SOFTSHRINK.optimizer("adam")


# --- the ways side by side -------------------------------------------------------------------------------------------


def test_the_report_puts_the_ways_side_by_side() -> None:
    base = cell(workload="softshrink", size="wide", batch=256)
    kernel = measured(base.but(variant="kernel"), 2000.0)
    summaries = [
        measured(base.but(variant="composed"), 500.0),
        replace(kernel, stages_s={**kernel.stages_s, "kernel_build": 2.5}),
        measured(base.but(variant="native"), 1000.0),
        without_speed(base.but(variant="round-trip"), "unsupported", "no bus here"),
        measured(cell(), 1.0),
    ]
    (table,) = ways_tables(summaries)
    assert table.names == ("native", "round-trip", "composed", "kernel")
    (row,) = table.rows
    assert row.build == "2.50 s"
    native, trip, composed, fast = row.ways
    assert "×" not in native
    assert trip == "unsupported: no bus here"
    assert "0.50× (" in composed
    assert "2.00× (" in fast
    assert ways_tables(summaries[-1:]) == [], "a workload without ways has no such table"
    assert ways_tables(summaries[:1]) == [], "one way alone is nothing to put side by side"


def test_a_wrong_way_shows_no_speed() -> None:
    base = cell(workload="softshrink", size="wide", batch=256)
    wrong = replace(measured(base.but(variant="kernel"), 987654.0), outcome="wrong", reason="outputs: error 1")
    (table,) = ways_tables([measured(base.but(variant="native"), 1000.0), wrong])
    assert "987" not in str(table)
    assert table.rows[0].ways[1] == "wrong: outputs: error 1"
