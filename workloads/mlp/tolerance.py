"""How far the perceptron's outputs may lie from the float64 reference, and why.

u is the unit roundoff: 2^-24 (fp32), 2^-11 (fp16), 2^-8 (bf16). The error is the larger of the relative L2 error and
the largest error over the largest value. Each limit is a few u times what the operations between it and the operands
add, and was settled beside the errors measured in torch, TensorFlow and JAX on a CPU, and for some cells on a GPU
(tables in README.md): it lies 2 to 10 times above the largest. At the small sizes a forgotten bias, a layer left out
or an optimizer that stands still lies beyond it at every precision; tests/test_mlp_spec.py proves that.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.workload import Tolerance

Limits = Mapping[str, Mapping[str, float]]

#: From this width of a layer on, the limits of WIDE hold.
WIDE_FROM = 1024
#: output -> precision -> limit. amp stores and sums in fp32, but multiplies in half. fp32's ``losses``: Keras adds
#: Adam's eps before the bias correction, the reference after it, which moves them by 1e-6 here (NumPy).
SMALL: Limits = {
    "logits": {"fp32": 5e-6, "fp16": 3e-3, "amp-fp16": 3e-3, "bf16": 3.5e-2, "amp-bf16": 3.5e-2},
    "loss": {"fp32": 2e-6, "fp16": 3e-3, "amp-fp16": 1e-3, "bf16": 1.5e-2, "amp-bf16": 6e-3},
    "gradient": {"fp32": 2e-5, "fp16": 6e-2, "amp-fp16": 6e-2, "bf16": 1.2e-1, "amp-bf16": 1.2e-1},
    "losses": {"fp32": 5e-5, "fp16": 3e-3, "amp-fp16": 2e-3, "bf16": 3.5e-2, "amp-bf16": 1e-2},
}
#: A wide model moves farther in five steps at the same learning rate, and what it rounds on the way adds up; Keras' eps
#: moves Adam's losses by 1.5e-4. fp32 gradients are left room for one ReLU that flips: there are 2 million
#: pre-activations with errors near 1e-7, and with seed 0 XLA puts one of 4e-7 on the other side of zero, so that one
#: unit's row of fc2.weight is off by 1.1e-2 (L2 7e-4) while all others agree to 6e-7. What that room would hide, TF32
#: say, the loss and the five losses show.
WIDE: Limits = {
    **SMALL,
    "gradient": {"fp32": 3e-2, "fp16": 8e-2, "amp-fp16": 8e-2, "bf16": 2e-1, "amp-bf16": 2e-1},
    "losses": {"fp32": 1e-3, "fp16": 1.5e-2, "amp-fp16": 1.5e-2, "bf16": 2e-1, "amp-bf16": 6e-2},
}

_ROUNDING = {
    "fp32": "u = 6e-8; products of depth K <= 4096 summed in any order add sqrt(K) u at most",
    "tf32": "u = 4.9e-4 for the products' operands alone, as with amp-fp16, whose limits hold; all else is fp32",
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
    """The limit of ``logits``, ``loss``, ``losses`` or a ``grad.<weight>``; ``width`` is that of the widest layer.

    Raises:
        KeyError: no such precision or output.
    """
    kind = "gradient" if output.startswith("grad.") else output
    limits = WIDE if width >= WIDE_FROM else SMALL
    return Tolerance(
        limits[kind]["amp-fp16" if precision == "tf32" else precision], f"{_ROUNDING[precision]}; {_SPREAD[kind]}"
    )
