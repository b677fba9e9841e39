"""YOLOv5's loss: the three twins against an independent NumPy version, its gradients against finite differences."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import TensorError
from bench.workload import Arrays
from tests import yolov5_loss_reference as truth
from tests.conftest import chosen
from tests.yolov5_loss_script import HEADS, SABOTEURS
from workloads.yolov5.targets import check_targets, seeded_targets

ROOT = Path(__file__).resolve().parent.parent
#: The loss in float32 against float64: a sum of thousands of terms of like size.
LOSS_LIMIT = 2e-6
#: Gradients, relative to the largest of the head.
GRADIENT_LIMIT = 2e-5
ANCHORS: np.ndarray[Any, Any] = np.array(
    [[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[116, 90], [156, 198], [373, 326]]], np.float32
) / np.array([8, 16, 32], np.float32).reshape(3, 1, 1)


def case(size: int, classes: int, targets: np.ndarray[Any, Any], seed: int, dtype: type = np.float32) -> Arrays:
    """Random heads for square images of ``size``; small images get small anchors, so that they match."""
    random = np.random.RandomState(seed)
    anchors: np.ndarray[Any, Any] = (ANCHORS * min(1, size / 320)).astype(dtype)
    made: Arrays = {"anchors": anchors, "targets": targets.astype(dtype)}
    for head, stride in zip(HEADS, (8, 16, 32), strict=True):
        shape = (len(targets), 3, size // stride, size // stride, 5 + classes)
        made[head] = (random.random_sample(shape) * 4 - 2).astype(dtype)
    return made


@functools.cache
def cases() -> dict[str, Arrays]:
    seeded = seeded_targets(2, 6, 4, 1)
    padding = np.full_like(seeded, -1)
    edges = padding.copy()
    edges[0, 0] = (0, 1, 1, 0.125, 0.125)  # in the corner: beyond the last cell
    edges[0, 1] = (1, 0, 0, 0.25, 0.125)
    edges[0, 2] = edges[0, 3] = (2, 0.5, 0.5, 0.0625, 0.3125)
    edges[0, 4] = (3, 1, 0, 1, 1)
    return {  # equal shapes are compiled once
        "small": case(64, 4, seeded, 0),
        "edges": case(64, 4, edges, 2),
        "nothing": case(64, 4, padding, 3),
        "larger": case(160, 80, seeded_targets(3, 12, 80, 2), 1),
        "one class": case(64, 1, seeded_targets(2, 4, 1, 4), 4, np.float16),
    }


@functools.cache
def expected(name: str) -> float:
    exact = {key: value.astype(np.float64) for key, value in cases()[name].items()}
    return truth.loss(exact, exact["targets"])[0]


@functools.cache
def results(interpreter: Path, framework: str) -> Arrays:
    """What ``framework`` makes of all cases, and of the saboteurs: one process."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "cases.npz", Path(folder) / "results.npz"
        arrays: Arrays = {f"{name}/{key}": value for name, tensors in cases().items() for key, value in tensors.items()}
        np.savez(given, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own option
        command = [str(interpreter), "-m", "tests.yolov5_loss_script", framework, str(given), str(made)]
        quick = {"XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"}  # to compile
        variables = {**os.environ, **quick, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=variables)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(made) as stored:
            return dict(stored)


def loss_error(found: Arrays, name: str, against: str) -> float:
    """Relative error of ``name/loss`` against the exact loss of the case ``against``."""
    return abs(float(found[f"{name}/loss"]) - expected(against)) / expected(against)


def gradient_error(found: Arrays, name: str, head: str) -> float:
    """The largest error of ``name``'s gradient at sampled places of "small", relative to the largest of them."""
    places, differences = small_gradient(head)
    whole = found[f"{name}/{head}"]
    return float(np.abs(whole[tuple(places.T)] - differences).max() / np.abs(differences).max())


@functools.cache
def small_gradient(head: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Sampled places of ``head`` in the case "small", most in cells that have a match, and the gradient there."""
    exact = {key: value.astype(np.float64) for key, value in cases()["small"].items()}
    index, shape = HEADS.index(head), exact[head].shape
    found = truth.matches(exact["targets"], exact["anchors"][index], shape[2], shape[3])
    assert found
    cells = [(match.image, match.anchor, match.row, match.column) for match in found]
    random = np.random.RandomState(5)
    places = [(*cells[random.randint(len(cells))], random.randint(shape[4])) for _ in range(30)]
    places += [tuple(random.randint(limit) for limit in shape) for _ in range(10)]
    chosen = np.array(places)
    return chosen, truth.gradient(exact, exact["targets"], head, chosen)


# --- the cases are worth something -----------------------------------------------------------------------------------


def test_cases_have_matches_neighbours_and_rivals_for_a_cell() -> None:
    for name in ("small", "larger"):
        tensors = {key: value.astype(np.float64) for key, value in cases()[name].items()}
        for index, head in enumerate(HEADS):
            shape = tensors[head].shape
            found = truth.matches(tensors["targets"], tensors["anchors"][index], shape[2], shape[3])
            cells = [(match.image, match.anchor, match.row, match.column) for match in found]
            assert len(found) > 5
            assert len(set(cells)) < len(cells)


def test_a_target_on_the_border_is_moved_into_the_last_cell() -> None:
    target = np.array([[[0, 1, 1, 0.5, 0.5]]])
    found = truth.matches(target, np.ones((1, 2)), 2, 2)
    assert [(match.row, match.column, match.box[:2]) for match in found] == [
        (1, 1, (1, 1)),
        (1, 1, (1, 1)),
        (1, 1, (1, 1)),
    ]


# --- the twins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(cases()))
def test_loss_is_that_of_the_reference(environment: str, interpreter: Path, name: str) -> None:
    assert loss_error(results(interpreter, environment), name, name) < LOSS_LIMIT


@pytest.mark.parametrize("head", HEADS)
def test_gradients_are_the_finite_differences(environment: str, interpreter: Path, head: str) -> None:
    assert gradient_error(results(interpreter, environment), "small", head) < GRADIENT_LIMIT


@pytest.mark.parametrize("name", sorted(cases()))
def test_gradients_are_finite_and_of_the_heads_dtype(environment: str, interpreter: Path, name: str) -> None:
    found = results(interpreter, environment)
    for head in HEADS:
        assert np.isfinite(found[f"{name}/{head}"]).all()
        assert found[f"{name}/{head}"].dtype == cases()[name][head].dtype
    assert found[f"{name}/loss"].dtype == np.float32


def test_without_targets_only_objectness_is_pulled(environment: str, interpreter: Path) -> None:
    found = results(interpreter, environment)
    for head in HEADS:
        gradient = found[f"nothing/{head}"]
        assert (gradient[..., 4] > 0).all()
        assert not gradient[..., :4].any()
        assert not gradient[..., 5:].any()


@pytest.mark.parametrize("saboteur", sorted(SABOTEURS))
def test_a_broken_rule_is_seen(environment: str, interpreter: Path, saboteur: str) -> None:
    found = results(interpreter, environment)
    seen = loss_error(found, saboteur, SABOTEURS[saboteur][0]) > 10 * LOSS_LIMIT
    if saboteur == "alpha has a gradient":  # the loss itself is the same
        assert not seen
        seen = max(gradient_error(found, saboteur, head) for head in HEADS) > 10 * GRADIENT_LIMIT
    assert seen


@pytest.mark.frameworks
def test_frameworks_agree_in_every_gradient(interpreters: dict[str, Path], pytestconfig: pytest.Config) -> None:
    found = {name: results(interpreters[name], name) for name in chosen(pytestconfig)}
    for name in sorted(set(cases()) - {"one class"}):
        for head in HEADS:
            first, *others = (tensors[f"{name}/{head}"] for tensors in found.values())
            for other in others:
                np.testing.assert_allclose(other, first, rtol=0, atol=GRADIENT_LIMIT * np.abs(first).max())


# --- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "count", "classes"), [(1, 1, 1), (2, 8, 4), (8, 20, 80)])
def test_seeded_targets_are_valid_and_exact_in_half_precision(batch: int, count: int, classes: int) -> None:
    targets = seeded_targets(batch, count, classes, 0)
    check_targets(targets, classes)
    assert targets.shape == (batch, count, 5)
    assert targets.dtype == np.float32
    assert (targets[:, 0, 0] >= 0).all()
    np.testing.assert_array_equal(targets.astype(np.float16), targets)
    # bfloat16 is the upper half of a float32: nothing may stand in the lower half.
    assert not (targets.view(np.uint32) & 0xFFFF).any()
    assert not np.array_equal(targets, seeded_targets(batch, count, classes, 1)) or count == 0


def test_seeded_targets_have_padding_repeats_and_all_sizes() -> None:
    targets = seeded_targets(16, 20, 80, 0)
    real = targets[targets[..., 0] >= 0]
    assert 16 * 20 * 2 / 3 <= len(real) < 16 * 20
    np.testing.assert_array_equal(targets[:, 0, 1:], targets[:, 1, 1:])
    assert (targets[:, 0, 0] != targets[:, 1, 0]).all()
    assert real[:, 3:].min() < 0.05
    assert real[:, 3:].max() > 0.7


@pytest.mark.parametrize(
    "row",
    [
        (4, 0.5, 0.5, 0.1, 0.1),
        (1.5, 0.5, 0.5, 0.1, 0.1),
        (0, 1.5, 0.5, 0.1, 0.1),
        (0, 0.5, 0.5, 0, 0.1),
        (0, 0.5, 0.5, 0.1, np.nan),
        (np.nan, 0.5, 0.5, 0.1, 0.1),
        (-1, 0.5, 0.5, 0.1, 0.1),
    ],
)
def test_impossible_targets_are_refused_by_place_and_value(row: tuple[float, ...]) -> None:
    targets = seeded_targets(2, 4, 4, 0)
    targets[1, 0] = row
    with pytest.raises(TensorError, match=r"targets\[1, 0\] is .*valid: a whole class from 0 to 3"):
        check_targets(targets, 4)
