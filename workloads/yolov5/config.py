"""The architecture of YOLOv5 v6.0 as data: layers, convolutions, parameter counts. Pure Python.

Source: Jocher et al., YOLOv5 (v6.0 and later: SiLU, C3, SPPF, 6x6 stem). Upstream numbers its layers 0 to 24, and the
names of the weights hold these numbers, so layers without weights (upsampling, concatenation) are counted too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from bench.errors import UsageError
from bench.workload import Config

#: Pixels per cell of the three heads, and of the coarsest feature map: images are multiples of this.
STRIDES = (8, 16, 32)
#: Anchor boxes (width, height) in pixels of each head, upstream's defaults, fitted to COCO.
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
#: Position of the last layer, Detect, in the names of the weights.
DETECT = 24
#: BatchNorm as upstream sets it: added to the variance; the share of the new value in a running statistic.
EPSILON, MOMENTUM = 1e-3, 0.03

#: size -> depth multiple (repeats of a C3's bottlenecks), width multiple (channels).
MULTIPLES = {"n": (0.33, 0.25), "s": (0.33, 0.50), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}


class Layer(NamedTuple):
    """One of the 25 layers. ``sources`` are the numbers of the layers it reads (-1: the image)."""

    kind: str
    sources: tuple[int, ...]
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    repeats: int = 0
    shortcut: bool = False


class Convolution(NamedTuple):
    """One convolution. ``key`` is the prefix of its names; ``reduction`` the pixels of the image per output pixel.

    ``groups`` equal parts of its inputs were concatenated; each is a sum of ``terms`` activations, averaged over them.
    """

    key: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    reduction: int
    groups: int = 1
    terms: float = 1.0
    normalised: bool = True


#: The network at depth 1 and width 1: kind, sources relative to the layer, then channels and what the kind needs.
_PLAN: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("Conv", (-1,), (64, 6, 2, 2)),  # 0: P1/2; channels, kernel, stride, padding
    ("Conv", (-1,), (128, 3, 2, 1)),  # 1: P2/4
    ("C3", (-1,), (128, 3, 1)),  # channels, repeats, shortcut
    ("Conv", (-1,), (256, 3, 2, 1)),  # 3: P3/8
    ("C3", (-1,), (256, 6, 1)),
    ("Conv", (-1,), (512, 3, 2, 1)),  # 5: P4/16
    ("C3", (-1,), (512, 9, 1)),
    ("Conv", (-1,), (1024, 3, 2, 1)),  # 7: P5/32
    ("C3", (-1,), (1024, 3, 1)),
    ("SPPF", (-1,), (1024, 5)),  # 9; channels, kernel of the pools
    ("Conv", (-1,), (512, 1, 1, 0)),
    ("Upsample", (-1,), ()),
    ("Concat", (-1, 6), ()),
    ("C3", (-1,), (512, 3, 0)),  # 13
    ("Conv", (-1,), (256, 1, 1, 0)),
    ("Upsample", (-1,), ()),
    ("Concat", (-1, 4), ()),
    ("C3", (-1,), (256, 3, 0)),  # 17: head P3
    ("Conv", (-1,), (256, 3, 2, 1)),
    ("Concat", (-1, 14), ()),
    ("C3", (-1,), (512, 3, 0)),  # 20: head P4
    ("Conv", (-1,), (512, 3, 2, 1)),
    ("Concat", (-1, 10), ()),
    ("C3", (-1,), (1024, 3, 0)),  # 23: head P5
    ("Detect", (17, 20, 23), ()),
)


def check_imgsz(words: str) -> int:
    """The side of the images that ``words`` says, if the network can take it: its coarsest cells have 32 pixels.

    Raises:
        UsageError: not a positive multiple of 32; names the nearest.
    """
    if not words.isdecimal():
        raise UsageError(f"imgsz {words!r} must be a positive multiple of {STRIDES[-1]}, for instance 640")
    imgsz = int(words)
    if imgsz < STRIDES[-1] or imgsz % STRIDES[-1]:
        nearest = max(1, round(imgsz / STRIDES[-1])) * STRIDES[-1]
        raise UsageError(f"imgsz {imgsz} must be a positive multiple of {STRIDES[-1]}; the nearest is {nearest}")
    return imgsz


def outputs_per_anchor(config: Config) -> int:
    """x, y, width, height, objectness, and a score for each class."""
    return 5 + int(config["classes"])


def layers(config: Config) -> tuple[Layer, ...]:
    """The 25 layers at ``config``'s depth and width."""
    return _layers(float(config["depth"]), float(config["width"]))


@cache
def _layers(depth: float, width: float) -> tuple[Layer, ...]:
    built: list[Layer] = []
    for number, (kind, relative, arguments) in enumerate(_PLAN):
        sources = tuple(number - 1 if source == -1 else source for source in relative)
        given = [built[source].outputs if source >= 0 else 3 for source in sources]
        channels = math.ceil(arguments[0] * width / 8) * 8 if arguments else sum(given)
        if kind == "Conv":
            kernel, stride, padding = arguments[1:]
            layer = Layer(kind, sources, given[0], channels, kernel, stride, padding)
        elif kind == "C3":
            repeats = max(round(arguments[1] * depth), 1)
            layer = Layer(kind, sources, given[0], channels, repeats=repeats, shortcut=bool(arguments[2]))
        elif kind == "SPPF":
            layer = Layer(kind, sources, given[0], channels, kernel=arguments[1])
        else:
            layer = Layer(kind, sources, sum(given), channels)
        built.append(layer)
    return tuple(built)


def _inner(layer: Layer) -> Iterator[tuple[str, int, int, int, int, float]]:
    """Name, inputs, outputs, kernel, groups and terms of the convolutions inside a C3 or SPPF, in upstream's order."""
    if layer.kind == "C3":
        hidden, shortcut = layer.outputs // 2, int(layer.shortcut)
        yield from (("cv1", layer.inputs, hidden, 1, 1, 1.0), ("cv2", layer.inputs, hidden, 1, 1, 1.0))
        yield "cv3", 2 * hidden, layer.outputs, 1, 2, 1 + shortcut * layer.repeats / 2
        for block in range(layer.repeats):
            yield f"m.{block}.cv1", hidden, hidden, 1, 1, 1.0 + shortcut * block
            yield f"m.{block}.cv2", hidden, hidden, 3, 1, 1.0
    elif layer.kind == "SPPF":
        hidden = layer.inputs // 2
        yield from (("cv1", layer.inputs, hidden, 1, 1, 1.0), ("cv2", 4 * hidden, layer.outputs, 1, 4, 1.0))


def convolutions(config: Config) -> Iterator[Convolution]:
    """Every convolution in the order of upstream's names; the three of Detect come last and have a bias instead."""
    reductions: list[int] = []
    network = layers(config)
    for number, layer in enumerate(network):
        before = reductions[layer.sources[0]] if layer.sources[0] >= 0 else 1
        reductions.append(before // 2 if layer.kind == "Upsample" else before * layer.stride)
        if layer.kind == "Conv":
            shape = (layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding)
            yield Convolution(f"model.{number}", *shape, reductions[-1])
        for name, inputs, outputs, kernel, groups, terms in _inner(layer):
            key = f"model.{number}.{name}"
            yield Convolution(key, inputs, outputs, kernel, 1, kernel // 2, reductions[-1], groups, terms)
    for head, source in enumerate(network[DETECT].sources):
        outputs = len(ANCHORS[head]) * outputs_per_anchor(config)
        key = f"model.{DETECT}.m.{head}"
        yield Convolution(key, network[source].outputs, outputs, 1, 1, 0, reductions[source], normalised=False)


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Canonical name and shape of every weight, unfolded: filters [out, in, kh, kw], BatchNorm, Detect, anchors."""
    found: dict[str, tuple[int, ...]] = {}
    for conv in convolutions(config):
        shape = (conv.outputs, conv.inputs, conv.kernel, conv.kernel)
        if conv.normalised:
            found[f"{conv.key}.conv.weight"] = shape
            statistics = ("weight", "bias", "running_mean", "running_var")
            found |= {f"{conv.key}.bn.{name}": (conv.outputs,) for name in statistics}
        else:
            found |= {f"{conv.key}.weight": shape, f"{conv.key}.bias": (conv.outputs,)}
    found[f"model.{DETECT}.anchors"] = (len(STRIDES), len(ANCHORS[0]), 2)
    return found


def parameters(config: Config, fused: bool = False) -> int:
    """How many parameters are trained (or left when BatchNorm is folded): upstream's published counts."""
    total = 0
    for conv in convolutions(config):
        biases = conv.outputs * (2 if conv.normalised and not fused else 1)
        total += conv.outputs * conv.inputs * conv.kernel**2 + biases
    return total


def flops(config: Config, batch: int) -> float:
    """Of the convolutions of one forward pass, multiply-add = 2."""
    return float(batch) * sum(operations(conv, int(config["imgsz"])) for conv in convolutions(config))


def operations(conv: Convolution, imgsz: int) -> float:
    """Of one convolution over one image, multiply-add = 2."""
    cells = (imgsz // conv.reduction) ** 2
    return 2.0 * conv.inputs * conv.outputs * conv.kernel**2 * cells
