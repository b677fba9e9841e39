"""How far the seven layers' outputs may lie from the reference, and why.

u is the unit roundoff: 2^-24 (fp32), 2^-11 (fp16), 2^-8 (bf16). The error is the larger of the relative L2 error and
the largest error over the largest value. Each limit lies above what was measured (README.md) and below what a mistake
makes: a forgotten bias, a dead zone of another width, a ReLU in its place (tests/test_softshrink_spec.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.workload import Tolerance

#: From this width of a layer on, the limits of WIDE hold.
WIDE_FROM = 256
Limits = Mapping[str, Mapping[str, float]]
#: output -> precision -> limit; tf32 has amp-fp16's. bf16's are TensorFlow's need on a CPU, whose products round more
#: than once (3.1e-2 in ``out``, where torch and JAX err by 1e-2).
SMALL: Limits = {
    "out": {"fp32": 5e-6, "fp16": 6e-3, "amp-fp16": 6e-3, "bf16": 5e-2, "amp-bf16": 5e-2},
    "loss": {"fp32": 5e-6, "fp16": 6e-3, "amp-fp16": 6e-3, "bf16": 1e-1, "amp-bf16": 1e-1},
    "gradient": {"fp32": 2e-5, "fp16": 2.5e-1, "amp-fp16": 2.5e-1, "bf16": 6e-1, "amp-bf16": 6e-1},
    "losses": {"fp32": 1e-4, "fp16": 3e-2, "amp-fp16": 3e-2, "bf16": 1.5e-1, "amp-bf16": 1.5e-1},
}
#: Of half a million pre-activations and more, some lie within fp32's rounding of the zone's edge: each that comes out
#: on the other side takes a whole term of a gradient with it, one of the few hundred to thousand that are summed.
WIDE: Limits = {
    **SMALL,
    "gradient": {**SMALL["gradient"], "fp32": 2e-1},
    "losses": {**SMALL["losses"], "fp32": 1e-3},
}

_ROUNDING = {
    "fp32": "u = 6e-8; products of depth K <= 1024 summed in any order add sqrt(K) u at most, in each of 7 layers",
    "tf32": "u = 4.9e-4 for the products' operands alone, as with amp-fp16, whose limits hold; all else is fp32",
    "fp16": "u = 4.9e-4; weights, inputs and activations are rounded at each of 7 layers",
    "bf16": "u = 3.9e-3; weights, inputs and activations are rounded at each of 7 layers",
    "amp-fp16": "u = 4.9e-4 for the products' operands and results, and the activation between them; weights in fp32",
    "amp-bf16": "u = 3.9e-3 for the products' operands and results, and the activation between them; weights in fp32",
}
_SPREAD = {
    "out": "a layer magnifies the relative error of the one before by about 1.2: the zone takes from the value alone",
    "loss": "a mean of squares of differences from the target",
    "gradient": "a pre-activation within rounding of the zone's edge falls on its other side and takes a term along: "
    "in bf16 about one of a hundred in each layer, so that single gradients are shown and little judged",
    "losses": "each of five steps starts from the rounding of the one before; whole-cast weights round every update",
}


def tolerance(width: int, precision: str, output: str) -> Tolerance:
    """The limit of ``out``, ``loss``, ``losses`` or a ``grad.<weight>``; ``width`` is that of the layers.

    Raises:
        KeyError: no such precision or output.
    """
    kind = "gradient" if output.startswith("grad.") else output
    limits = WIDE if width >= WIDE_FROM else SMALL
    row = "amp-fp16" if precision == "tf32" else precision
    return Tolerance(limits[kind][row], f"{_ROUNDING[precision]}; {_SPREAD[kind]}")
