"""Effective precision, each class simulated in NumPy: what the label says is what the arithmetic did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from bench import precision
from bench.frameworks.base import Framework, Step

Array = np.ndarray[Any, Any]
Product = Callable[[Array, Array], Array]

FINITE_ENOUGH = np.errstate(over="ignore", invalid="ignore")


def keep_bits(values: Array, bits: int) -> Array:
    """float32 rounded to ``bits`` significant bits, range unchanged."""
    words = np.asarray(values, np.float32).view(np.uint32)
    drop = 24 - bits
    rounded = (words + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.asarray(rounded.view(np.float32))


def fp32(a: Array, b: Array) -> Array:
    return a @ b


def tf32(a: Array, b: Array) -> Array:
    return keep_bits(a, 11) @ keep_bits(b, 11)


def bf16(a: Array, b: Array) -> Array:
    return keep_bits(keep_bits(a, 8) @ keep_bits(b, 8), 8)


def fp16(a: Array, b: Array) -> Array:
    wide = a.astype(np.float16).astype(np.float32) @ b.astype(np.float16).astype(np.float32)
    return wide.astype(np.float16).astype(np.float32)


def fp16_in_fp32_out(a: Array, b: Array) -> Array:
    return a.astype(np.float16).astype(np.float32) @ b.astype(np.float16).astype(np.float32)


def fp16_accumulate(a: Array, b: Array, lanes: int = 1) -> Array:
    """Every partial sum is rounded to fp16 (of a deep product every 32nd: NumPy is slow in fp16); ``lanes`` sums run
    side by side and are added at the end."""
    left, right = a.astype(np.float16), b.astype(np.float16)
    if a.shape[1] > precision.DEPTH:
        total = np.zeros((a.shape[0], b.shape[1]), np.float16)
        for k in range(0, a.shape[1], 32):
            total = (total + left[:, k : k + 32].astype(np.float32) @ right[k : k + 32].astype(np.float32)).astype(
                np.float16
            )
        return total.astype(np.float32)
    sums = np.zeros((lanes, a.shape[0], b.shape[1]), np.float16)
    for k in range(a.shape[1]):
        sums[k % lanes] += np.outer(left[:, k], right[k])
    return np.asarray(sums.sum(axis=0, dtype=np.float16), np.float32)


def fp16_accumulate_lanes(a: Array, b: Array) -> Array:
    return fp16_accumulate(a, b, lanes=8)


def fp16_accumulate_blocks(a: Array, b: Array) -> Array:
    """Split along the depth, as GPUs do: each part in fp16, the parts added in fp32, the result stored in fp16."""
    parts = [fp16_accumulate(a[:, k : k + 128], b[k : k + 128]) for k in range(0, a.shape[1], 128)]
    return np.asarray(np.sum(parts, axis=0, dtype=np.float32).astype(np.float16), np.float32)


def int8(a: Array, b: Array) -> Array:
    return keep_bits(a, 5) @ keep_bits(b, 5)


def zero(a: Array, b: Array) -> Array:
    return np.zeros((a.shape[0], b.shape[1]), np.float32)


def nothing(a: Array, b: Array) -> Array:
    return np.full((a.shape[0], b.shape[1]), np.nan, np.float32)


class Simulated:
    """The part of a framework that ``measure`` uses; ``kernels`` says what each precision's word really runs."""

    def __init__(self, kernels: dict[str, Product], dtype: str = "float16") -> None:
        self.kernels, self.dtype, self.waited = kernels, dtype, 0

    def matmul(self, a: Array, b: Array, word: str) -> Step:
        def step() -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return self.kernels[word](a, b)

        return step

    def barrier(self, out: Any) -> None:
        self.waited += 1

    def to_numpy(self, out: Any) -> Any:
        return out

    def dtype_name(self, out: Any) -> str:
        return self.dtype


def fp16_where_large(a: Array, b: Array) -> Array:
    """As jax-metallib: fp32 products of large operands come from fp16 ones."""
    return fp16_in_fp32_out(a, b) if min(a.size, b.size) >= 1 << 20 else fp32(a, b)


def tf32_where_large(a: Array, b: Array) -> Array:
    return tf32(a, b) if min(a.size, b.size) >= 1 << 20 else fp32(a, b)


def measured(kernel: Product, word: str = "fp32") -> dict[str, Any]:
    return precision.measure(cast(Framework, Simulated({word: kernel})), word)


@pytest.mark.parametrize(
    ("kernel", "label"),
    [
        (fp32, "fp32"),
        (tf32, "tf32"),
        (fp16_in_fp32_out, "fp16"),
        (fp16, "fp16"),
        (fp16_accumulate, "fp16-accumulate"),
        (fp16_accumulate_lanes, "fp16-accumulate"),
        (fp16_accumulate_blocks, "fp16-accumulate"),
        (bf16, "bf16"),
        (fp16_where_large, "fp32, large: fp16"),
        (tf32_where_large, "fp32, large: tf32"),
        (int8, "unknown"),
        (zero, "unknown"),
        (nothing, "unknown"),
    ],
)
def test_each_class_of_arithmetic_gets_its_label(kernel: Product, label: str) -> None:
    assert measured(kernel)["label"] == label


def test_fp16_in_name_only_is_found_out() -> None:
    """The saboteur: a refused autocast computes in fp32 and still calls the tensor float16."""
    facts = measured(fp32, "fp16")
    assert facts["output_dtype"] == "float16"
    assert facts["expected"] == "fp16"
    assert facts["label"] == "fp32"
    assert not precision.acceptable(facts["label"], "fp16")


def test_fp32_that_is_tf32_is_found_out() -> None:
    assert not precision.acceptable(measured(tf32)["label"], "fp32")


def test_a_cast_of_large_operands_only_is_found_out() -> None:
    """The saboteur: small products are true fp32, and the small probes alone would have believed it."""
    facts = measured(fp16_where_large)
    assert facts["gemm_error"] < 1e-6 < 1e-4 < facts["large_gemm_error"]
    assert not precision.acceptable(facts["label"], "fp32")
    assert precision.fault({**facts, "output_dtype": "float32"}, "fp32") == (
        "asked for fp32, a matrix product shows fp32, large: fp16"
    )


def test_tf32_is_there_lacking_or_something_else() -> None:
    for kernel in (tf32, tf32_where_large):
        label = measured(kernel, "tf32")["label"]
        assert precision.acceptable(label, "tf32")
        assert precision.lacking(label, "tf32") is None
    assert precision.lacking(measured(fp32, "tf32")["label"], "tf32") == "asked for tf32, measured fp32"
    assert precision.lacking("fp32", "fp32") is None
    for kernel in (bf16, fp16_in_fp32_out, zero):
        label = measured(kernel, "tf32")["label"]
        assert not precision.acceptable(label, "tf32")
        assert precision.lacking(label, "tf32") is None, "wrong, and not merely absent"


@pytest.mark.parametrize("word", ["amp-bf16", "bf16", "fp16", "tf32"])
def test_the_dtype_of_the_product_is_asserted(word: str) -> None:
    right = {"label": precision.EXPECTED[word], "output_dtype": precision.OUTPUT_DTYPES[word]}
    assert precision.fault(right, word) is None
    wrong = "float64" if word == "tf32" else "float32"
    said = precision.fault({**right, "output_dtype": wrong}, word)
    assert said == f"asked for {word}, a matrix product comes out as {wrong}, not {precision.OUTPUT_DTYPES[word]}"


def test_the_framework_is_waited_for_before_it_is_read() -> None:
    framework = Simulated({"bf16": bf16}, "bfloat16")
    facts = precision.measure(cast(Framework, framework), "bf16")
    assert framework.waited == 4
    assert facts["output_dtype"] == "bfloat16"
    assert 1e-3 < facts["gemm_error"] < 1e-2


def test_an_error_that_is_not_a_number_is_none() -> None:
    assert measured(nothing)["gemm_error"] is None
    assert precision.gemm_error(np.zeros((2, 2)), np.ones((3, 3))) is None


@pytest.mark.parametrize(
    ("word", "labels"),
    [
        ("fp32", {"fp32"}),
        ("tf32", {"tf32"}),
        ("fp16", {"fp16", "fp16-accumulate"}),
        ("amp-fp16", {"fp16", "fp16-accumulate"}),
        ("bf16", {"bf16"}),
        ("amp-bf16", {"bf16"}),
    ],
)
def test_which_labels_each_word_accepts(word: str, labels: set[str]) -> None:
    known = {"fp32", "tf32", "fp16", "fp16-accumulate", "bf16", "unknown"}
    assert {label for label in known if precision.acceptable(label, word)} == labels


def test_the_operands_do_what_they_say() -> None:
    a, b = precision.probe_operands()
    assert (a.dtype, a.shape, b.shape) == (np.float32, (64, 512), (512, 64))
    assert np.mean(keep_bits(a, 11) != a) > 0.99, "operands that fp16 holds exactly would hide its rounding"
    limit = float(np.finfo(np.float16).max)
    a, b = precision.large_operands()
    assert min(a.size, b.size) == 1 << 20
    assert a[0, 0] > limit > np.abs(a[1:]).max()
    a, b = precision.range_operands()
    assert a.max() > limit
    assert precision.exact_product(a, b).max() > limit
    a, b = precision.accumulate_operands()
    assert (precision.exact_product(a, b) == 40_000).all()
    assert a.max() * b.max() < limit
    assert np.cumsum(a[0].astype(np.float64) * b[:, 0])[1] > limit
