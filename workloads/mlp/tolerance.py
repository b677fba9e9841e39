"""How far the perceptron's outputs may lie from the float64 reference, and why.

u is the unit roundoff: 2^-24 (fp32), 2^-11 (fp16), 2^-8 (bf16). The error is the larger of the relative L2 error and
the largest error over the largest value. Each limit was derived first, then checked against torch, TensorFlow and JAX on
a CPU, all modes, sizes tiny-test and digits (fp32 also wide): it lies 2 to 10 times above the largest error seen
(table in README.md). A layer left out, a bias forgotten or a wrong learning rate gives errors of 0.1 to 1.
"""

from __future__ import annotations

from bench.workload import Tolerance

#: Per precision: limits of logits, loss, gradients, losses. amp stores and sums in fp32, but multiplies in half.
_LOGITS = {"fp32": 5e-6, "fp16": 3e-3, "amp-fp16": 3e-3, "bf16": 3.5e-2, "amp-bf16": 3.5e-2}
_LOSS = {"fp32": 2e-6, "fp16": 3e-3, "amp-fp16": 1e-3, "bf16": 1.5e-2, "amp-bf16": 6e-3}
_GRADIENT = {"fp32": 3e-3, "fp16": 6e-2, "amp-fp16": 6e-2, "bf16": 1.2e-1, "amp-bf16": 1.2e-1}
_LOSSES = {"fp32": 2e-4, "fp16": 3e-3, "amp-fp16": 2e-3, "bf16": 3.5e-2, "amp-bf16": 1e-2}

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


def tolerance(precision: str, output: str) -> Tolerance:
    """The limit of ``logits``, ``loss``, ``losses`` or a ``grad.<weight>``.

    Raises:
        KeyError: no such precision or output.
    """
    kind = "gradient" if output.startswith("grad.") else output
    limits = {"logits": _LOGITS, "loss": _LOSS, "gradient": _GRADIENT, "losses": _LOSSES}[kind]
    return Tolerance(limits[precision], f"{_ROUNDING[precision]}; {_SPREAD[kind]}")
