"""The truth of a batch, made an item at a time: the same numbers as of the whole batch, in its order."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from bench import workload
from bench.itemwise import itemwise
from bench.workload import Arrays
from workloads.whisper import reference as whisper
from workloads.yolov5 import reference as yolov5


def exact(arrays: Arrays) -> dict[str, Any]:
    """Floats in float64."""
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def test_yolov5s_truth_is_that_of_the_whole_batch() -> None:
    spec = workload.get("yolov5")
    config = spec.settings("tiny-test", "inference", "default")
    weights, inputs = spec.weights(config, 0), spec.inputs(config, "inference", 5, 0)
    whole = yolov5.forward(config, exact(weights), exact(inputs)["images"])
    found = spec.reference(config, "inference", "default", weights, inputs)
    assert set(found) == set(whole)
    for name, truth in whole.items():
        np.testing.assert_allclose(found[name], truth, rtol=1e-12, atol=1e-12)


def test_whispers_truth_is_that_of_the_whole_batch() -> None:
    spec = workload.get("whisper")
    config = spec.settings("tiny-test", "inference", "tokens-4")
    weights, inputs = spec.weights(config, 0), spec.inputs(config, "inference", 3, 0)
    whole = whisper.inference(exact(weights), config, exact(inputs)["mel"], inputs["forced_tokens"])
    found = spec.reference(config, "inference", "tokens-4", weights, inputs)
    assert set(found) == set(whole)
    for name, truth in whole.items():
        np.testing.assert_allclose(found[name], truth, rtol=1e-10, atol=1e-10)


def test_a_computation_that_mixes_items_is_another_one() -> None:
    x = np.arange(12.0).reshape(4, 3)

    def centred(items: Arrays) -> Arrays:
        return {"y": items["x"] - items["x"].mean(axis=0)}

    assert not itemwise(centred, {"x": x})["y"].any()
    assert centred({"x": x})["y"].any()


def test_items_run_at_once_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    second = threading.Event()

    def compute(items: Arrays) -> Arrays:
        if items["x"][0] == 0:
            assert second.wait(30), "the second item waits for the first"
        else:
            second.set()
        return {"y": items["x"] + items["z"]}

    y = itemwise(compute, {"x": np.arange(2), "z": np.array([10, 20])})["y"]
    assert y.tolist() == [10, 21]


def test_one_item_has_all_of_blas_and_several_one_thread_each() -> None:
    seen: list[set[int]] = []

    def compute(items: Arrays) -> Arrays:
        seen.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
        return items

    before = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    for batch in (1, 2):
        itemwise(compute, {"x": np.zeros(batch)})
    assert seen[0] == before
    assert seen[1] == seen[2] == ({1} if before else set())
    assert before == {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_an_items_error_is_raised() -> None:
    def compute(items: Arrays) -> Arrays:
        raise MemoryError(f"item {items['x'][0]}")

    with pytest.raises(MemoryError, match="item 0"):
        itemwise(compute, {"x": np.arange(3)})


def test_inputs_of_different_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="the inputs hold 2, 3 items"):
        itemwise(lambda items: items, {"x": np.zeros(2), "y": np.zeros(3)})
