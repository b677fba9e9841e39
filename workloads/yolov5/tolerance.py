"""How far YOLOv5's outputs may lie from the reference, and why.

u is the unit roundoff: 2^-24 (fp32), 2^-11 (fp16), 2^-8 (bf16). The error is the larger of the relative L2 error and
the largest error over the largest value. The seeded weights keep a difference between two inputs about as large as it
was through every layer (README.md, "Weights"), so that the roundings of 60 (n) to 140 (x) convolutions in a row add up,
in the worst of them to about 20 u. Measured errors stand beside the limits in README.md; tests/test_yolov5_spec.py
proves that a forgotten bias, shortcut or pool lies beyond them.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.workload import Tolerance

Limits = Mapping[str, Mapping[str, float]]

#: kind of output -> precision -> limit. amp stores in fp32, but multiplies, and here also activates and adds, in half.
#: Single gradients in half precision are shown and hardly judged: see _SPREAD. An optimizer that stands still moves
#: ``losses`` by 8e-2 at tiny-test, which is beyond every limit there.
LIMITS: Limits = {
    "images": {"fp32": 1e-6, "fp16": 1e-3, "amp-fp16": 1e-3, "bf16": 8e-3, "amp-bf16": 8e-3},
    "head": {"fp32": 2e-5, "fp16": 2e-2, "amp-fp16": 2e-2, "bf16": 1e-1, "amp-bf16": 1e-1},
    "predictions": {"fp32": 2e-5, "fp16": 2e-2, "amp-fp16": 2e-2, "bf16": 1e-1, "amp-bf16": 1e-1},
    "loss": {"fp32": 5e-6, "fp16": 5e-3, "amp-fp16": 5e-3, "bf16": 2e-2, "amp-bf16": 2e-2},
    "gradient": {"fp32": 2e-3, "fp16": 3.0, "amp-fp16": 3.0, "bf16": 3.0, "amp-bf16": 3.0},
    "losses": {"fp32": 5e-5, "fp16": 5e-2, "amp-fp16": 5e-2, "bf16": 7e-2, "amp-bf16": 7e-2},
    "state": {"fp32": 1e-4, "fp16": 2e-1, "amp-fp16": 2e-1, "bf16": 2.5e-1, "amp-bf16": 2.5e-1},
}

_ROUNDING = {
    "fp32": "u = 6e-8; sums of up to 11,520 products in any order, through up to 140 convolutions in a row",
    "tf32": "u = 4.9e-4 for the convolutions' operands alone, as with amp-fp16, whose limits hold; all else is fp32",
    "fp16": "u = 4.9e-4; weights, images and the result of every layer are rounded",
    "bf16": "u = 3.9e-3; weights, images and the result of every layer are rounded",
    "amp-fp16": "u = 4.9e-4; operands and results of convolutions are rounded, and what lies between them",
    "amp-bf16": "u = 3.9e-3; operands and results of convolutions are rounded, and what lies between them",
}
_SPREAD = {
    "images": "the photograph itself, only cast",
    "head": "the roundings of all layers add up",
    "predictions": "decoded in fp32 from the rounded heads; width and height are the square of a sigmoid",
    "loss": "a sum of means over many cells, in fp32 from the rounded heads",
    "gradient": "60 divisions by the spread of a small batch magnify them on the way back: of s at 640 x 640 the fp32 "
    "reference itself lies 4e-4 off float64; in whole-cast fp16 many are below 6e-5, where XLA on a CPU keeps few bits "
    "or none",
    "losses": "each step starts from the rounding of the one before",
    "state": "running statistics after the last step; whole-cast precisions round each update of 3 %",
}


def kind_of(output: str) -> str:
    """``head.0`` -> ``head``, ``grad.model.0.conv.weight`` -> ``gradient``, ``state.<name>`` -> ``state``."""
    first = output.partition(".")[0]
    return "gradient" if first == "grad" else first


def tolerance(precision: str, output: str) -> Tolerance:
    """The limit of one output, the same for all sizes and phases.

    Raises:
        KeyError: no such precision or output.
    """
    kind = kind_of(output)
    row = precision
    if precision == "tf32":  # the images are not the result of any product
        row = "fp32" if kind == "images" else "amp-fp16"
    return Tolerance(LIMITS[kind][row], f"{_ROUNDING[precision]}; {_SPREAD[kind]}")
