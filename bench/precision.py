"""Effective precision: what a matrix product at a precision really does, measured. NumPy only.

A dtype's name proves nothing (METAL.md, rule 9): fp32 products run as TF32 on some GPUs, fp16 ones accumulate in fp16
on some, a plugin casts large fp32 products to fp16, an autocast that was refused computes in fp32. Three small products
tell them apart: one of random operands (size of the rounding error), one that overflows fp16 on its way in or out
(range), one whose partial sums overflow fp16 while its result does not (accumulation). A fourth is large, and judged
apart: jax-metallib casts fp32 products to fp16 only where both operands have a million elements (METAL.md, table 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from bench.frameworks.base import Framework

Array = np.ndarray[Any, Any]

ROWS, DEPTH = 64, 512
#: The large product: 2^20 elements in each operand, and half a GFLOP only (a CPU without bf16 does 1 GFLOP/s of it).
LARGE_ROWS, LARGE_DEPTH = 256, 4096
#: Beyond fp16's largest number (65,504), well within every other format's range.
BEYOND_FP16 = 1e6
#: Largest relative L2 error of the random product by class, and why. Unit roundoff u: each operand is rounded once
#: (relative error u/sqrt 3 rms at worst), so is the result; products of zero-mean numbers add like a random walk, so
#: the depth cancels out and the whole lies near u. fp32: u = 6e-8, and accumulation adds a factor sqrt(K) at most.
FP32_BELOW = 1e-5
#: fp16 and TF32 both keep 11 significant bits, u = 4.9e-4; measured 3.3e-4. Above 1e-4 to leave a gap to fp32.
ELEVEN_BITS = (1e-4, 1.2e-3)
#: bf16 keeps 8 significant bits, u = 3.9e-3; measured 2.6e-3 (torch, JAX) to 3.9e-3 (TensorFlow).
EIGHT_BITS = (1.2e-3, 1e-2)
#: fp16 with fp16 partial sums: u sqrt(K) and more, for each of K additions is rounded.
FP16_ACCUMULATE_BELOW = 5e-2

#: The label that each precision's word promises.
EXPECTED = {"fp32": "fp32", "tf32": "tf32", "fp16": "fp16", "bf16": "bf16", "amp-fp16": "fp16", "amp-bf16": "bf16"}
#: The dtype in which a product of that word must come out. A wrong dtype given to torch's autocast on MPS only warns,
#: and autocast is then off (METAL.md, rule 9): without this a model would be fp32 under the name of mixed precision.
OUTPUT_DTYPES = {
    "fp32": "float32",
    "tf32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "amp-fp16": "float16",
    "amp-bf16": "bfloat16",
}


def probe_operands() -> tuple[Array, Array]:
    """Random float32 operands (64, 512) and (512, 64) in [-1, 1), full 24-bit mantissas, from the frozen stream."""
    stream = np.random.RandomState(20261122)
    a, b = (2.0 * stream.random_sample(shape) - 1.0 for shape in ((ROWS, DEPTH), (DEPTH, ROWS)))
    return a.astype(np.float32), b.astype(np.float32)


def range_operands() -> tuple[Array, Array]:
    """Row 0: 300 * 300, beyond fp16's largest number on its way out. Row 1: 70,000 * 1/2, beyond it on its way in."""
    a, b = np.zeros((ROWS, DEPTH), np.float32), np.zeros((DEPTH, ROWS), np.float32)
    a[0, 0], b[0, :] = 300.0, 300.0
    a[1, 1], b[1, :] = 70_000.0, 0.5
    return a, b


def accumulate_operands() -> tuple[Array, Array]:
    """Every result is 40,000, which fp16 holds; partial sums in order of depth reach 256 * 40,000, which it does not.

    All terms of the first half are +40,000 and all but one of the other half -40,000, so that vectorised and split
    sums overflow as well as sequential ones.
    """
    a, b = np.full((ROWS, DEPTH), 200.0, np.float32), np.full((DEPTH, ROWS), 200.0, np.float32)
    a[:, DEPTH // 2 :] = -200.0
    a[:, -1] = 0.0
    return a, b


def large_operands() -> tuple[Array, Array]:
    """As ``probe_operands``, (256, 4096) and (4096, 256); row 0 of the first holds one number, which fp16 does not."""
    stream = np.random.RandomState(20261123)
    shapes = ((LARGE_ROWS, LARGE_DEPTH), (LARGE_DEPTH, LARGE_ROWS))
    a, b = ((2.0 * stream.random_sample(shape) - 1.0).astype(np.float32) for shape in shapes)
    a[0] = 0.0
    a[0, 0] = BEYOND_FP16
    return a, b


def exact_product(a: Array, b: Array) -> Array:
    """a @ b in float64, and not by a BLAS: its threads go on spinning for a while, in the way of what is timed next."""
    exact: Array = np.einsum("ij,kj->ik", a.astype(np.float64), np.ascontiguousarray(b.T, np.float64))
    return exact


@cache
def exact_products() -> tuple[Array, Array]:
    """The exact products of ``probe_operands`` and ``large_operands``; made once a process, a tenth of a second."""
    return exact_product(*probe_operands()), exact_product(*large_operands())


def gemm_error(product: Array, exact: Array) -> float | None:
    """Relative L2 error; None when the product is not finite or has another shape."""
    if product.shape != exact.shape or not np.isfinite(product).all():
        return None
    return float(np.linalg.norm(product.astype(np.float64) - exact) / np.linalg.norm(exact))


def classify(product: Array, exact: Array, range_product: Array, accumulate_product: Array) -> str:
    """``fp32``, ``tf32``, ``fp16``, ``fp16-accumulate`` or ``bf16``; ``unknown`` when the measurements fit none.

    ``range_product`` and ``accumulate_product`` are the products of the operands of those names.
    """
    error = gemm_error(product, exact)
    if error is None:
        return "unknown"
    overflows = not np.isfinite(range_product[:2]).all()
    if overflows:
        if ELEVEN_BITS[0] <= error < ELEVEN_BITS[1] and np.isfinite(accumulate_product).all():
            return "fp16"
        narrow = not np.isfinite(accumulate_product).all()
        return "fp16-accumulate" if narrow and ELEVEN_BITS[0] <= error < FP16_ACCUMULATE_BELOW else "unknown"
    if error < FP32_BELOW:
        return "fp32"
    if ELEVEN_BITS[0] <= error < ELEVEN_BITS[1]:
        return "tf32"
    return "bf16" if EIGHT_BITS[0] <= error < EIGHT_BITS[1] else "unknown"


def classify_large(product: Array, exact: Array) -> str:
    """As ``classify``, from the product of ``large_operands`` alone: its first row overflows where fp16 came in."""
    error = gemm_error(product[1:], exact[1:])
    if error is None:
        return "unknown"
    if not np.isfinite(product[0]).all():
        if ELEVEN_BITS[0] <= error < ELEVEN_BITS[1]:
            return "fp16"
        return "fp16-accumulate" if ELEVEN_BITS[1] <= error < FP16_ACCUMULATE_BELOW else "unknown"
    if error < FP32_BELOW:
        return "fp32"
    if ELEVEN_BITS[0] <= error < ELEVEN_BITS[1]:
        return "tf32"
    return "bf16" if EIGHT_BITS[0] <= error < EIGHT_BITS[1] else "unknown"


def joined(small: str, large: str) -> str:
    """One label of two products: ``fp32``, or ``fp32, large: fp16`` where size makes a difference."""
    return small if small == large else f"{small}, large: {large}"


def acceptable(label: str, precision: str) -> bool:
    """Whether the measured class is what the cell's word promises, for small and for large products.

    fp16 may accumulate in fp16, and says so. A library may well not bother to use TF32 for a small product: for
    ``tf32`` the large one decides.
    """
    small, _, large = label.partition(", large: ")
    expected = EXPECTED[precision]
    allowed = {expected, "fp16-accumulate"} if expected == "fp16" else {expected}
    if expected == "tf32":
        return (large or small) == "tf32" and small in ("fp32", "tf32")
    return {small, large or small} <= allowed


def lacking(label: str, precision: str) -> str | None:
    """Why a device has no such precision: it was asked for TF32, and went on in fp32. None where it is not so."""
    return "asked for tf32, measured fp32" if precision == "tf32" and label == "fp32" else None


def fault(measured: Mapping[str, Any], precision: str) -> str | None:
    """What is wrong with a measurement: its class, or the dtype in which the product came out; None: nothing."""
    label, dtype, wanted = measured["label"], measured["output_dtype"], OUTPUT_DTYPES[precision]
    if not acceptable(label, precision):
        return f"asked for {precision}, a matrix product shows {label}"
    if dtype != wanted:
        return f"asked for {precision}, a matrix product comes out as {dtype}, not {wanted}"
    return None


def measure(framework: Framework, precision: str) -> dict[str, Any]:
    """Run the four products through the framework's own mechanism of ``precision``.

    Returns ``label``, ``expected``, ``gemm_error`` and ``large_gemm_error`` (None when not finite), ``output_dtype``.
    """
    products: list[Array] = []
    output_dtype = ""
    for a, b in (probe_operands(), range_operands(), accumulate_operands(), large_operands()):
        out = framework.matmul(a, b, precision)()
        framework.barrier(out)
        output_dtype = framework.dtype_name(out)
        products.append(np.asarray(framework.to_numpy(out)))
    exact, large_exact = exact_products()
    small = classify(products[0], exact, products[1], products[2])
    return {
        "label": joined(small, classify_large(products[3], large_exact)),
        "expected": EXPECTED[precision],
        "gemm_error": gemm_error(products[0], exact),
        "large_gemm_error": gemm_error(products[3][1:], large_exact[1:]),
        "output_dtype": output_dtype,
    }
