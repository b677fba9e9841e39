"""How far the perceptron's outputs may lie from the float64 reference, and why.

u is the unit roundoff: 2^-24 (fp32), 2^-11 (fp16), 2^-8 (bf16). The error is the larger of the relative L2 error and
the largest error over the largest value. Each limit is a few u times what the operations between it and the operands
add, and was settled beside the errors measured in torch, TensorFlow and JAX on a CPU, in all modes, at tiny-test and
digits, in fp32 also at wide (table in README.md): it lies 2 to 10 times above the largest, in fp32 at the small sizes
more. A forgotten bias, a layer left out or an optimizer that stands still lies beyond it at every precision;
tests/test_mlp_spec.py proves that.
"""

from __future__ import annotations

from bench.workload import Tolerance

#: fp32 gradients are left room for one ReLU that flips. wide has 2 million pre-activations with errors near 1e-7;
#: with seed 0 XLA puts one of 4e-7 on the other side of zero, and that one unit's row of fc2.weight is off by 1.1e-2
#: (L2 7e-4), while all other rows agree to 6e-7. What this hides, TF32 say, the loss and the five losses show.
#: Per precision: limits of logits, loss, gradients, losses. amp stores and sums in fp32, but multiplies in half.
_LOGITS = {"fp32": 5e-6, "fp16": 3e-3, "amp-fp16": 3e-3, "bf16": 3.5e-2, "amp-bf16": 3.5e-2}
_LOSS = {"fp32": 2e-6, "fp16": 3e-3, "amp-fp16": 1e-3, "bf16": 1.5e-2, "amp-bf16": 6e-3}
_GRADIENT = {"fp32": 3e-2, "fp16": 6e-2, "amp-fp16": 6e-2, "bf16": 1.2e-1, "amp-bf16": 1.2e-1}
#: fp32: Keras adds Adam's eps before the bias correction, the reference after it. Measured in NumPy: 1e-6 (digits),
#: 1.5e-4 (wide).
_LOSSES = {"fp32": 5e-4, "fp16": 3e-3, "amp-fp16": 2e-3, "bf16": 3.5e-2, "amp-bf16": 1e-2}

_ROUNDING = {
    "fp32": "u = 6e-8; products of depth K <= 4096 summed in any order add sqrt(K) u at most",
    "fp16": "u = 4.9e-4; weights, inputs and activations are rounded at each of 3 layers",
    "bf16": "u = 3.9e-3; weights, inputs and activations are rounded at each of 3 layers",
    "amp-fp16": "u = 4.9e-4 for the products' operands and results; weights and loss stay in fp32",
    "amp-bf16": "u = 3.9e-3 for the products' operands and results; weights and loss stay in fp32",
}
_SPREAD = {
    "logits": "the errors of the layers add up",
    "loss": "a mean over the batch of differences of logits; whole-cast precisions also round the result itself",
    "gradient": "a pre-activation within rounding of zero falls on the other side of ReLU, and with it a whole term",
    "losses": "each of five steps starts from the rounding of the one before; whole-cast weights round every update",
}


def tolerance(width: int, precision: str, output: str) -> Tolerance:
    """The limit of ``logits``, ``loss``, ``losses`` or a ``grad.<weight>``.

    Raises:
        KeyError: no such precision or output.
    """
    kind = "gradient" if output.startswith("grad.") else output
    limits = {"logits": _LOGITS, "loss": _LOSS, "gradient": _GRADIENT, "losses": _LOSSES}[kind]
    return Tolerance(limits[precision], f"{_ROUNDING[precision]}; {_SPREAD[kind]}")
