"""Stand-ins for torchvision and ultralytics, so that ``yolov5`` can be imported beside the CPU build of torch.

The index's torchvision does not load there (it is built for another torch), and ultralytics, of which yolov5 takes one
function that checks what is installed, asks for torchvision. Upstream's detection model uses nothing of either: the
names below are only imported, but for ``ops.nms``, which is written out here from its definition and used for parity
alone, never in timed code.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types
from typing import Any

import torch


def nms(boxes: Any, scores: Any, limit: float) -> Any:
    """``torchvision.ops.nms``: greedy, best first; indices of the boxes that are kept, all of them.

    In float32 like torchvision's CPU kernel, the overlap compared with ``limit`` in float64.
    """
    left = torch.argsort(scores, descending=True, stable=True)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        (x1, y1, x2, y2), (a1, b1, a2, b2) = boxes[left].unbind(1), boxes[best].unbind()
        width = (torch.minimum(x2, a2) - torch.maximum(x1, a1)).clamp(min=0)
        height = (torch.minimum(y2, b2) - torch.maximum(y1, b1)).clamp(min=0)
        overlap = width * height
        union = (a2 - a1) * (b2 - b1) + (x2 - x1) * (y2 - y1) - overlap
        left = left[~((overlap / union).double() > limit)]
    return torch.stack(kept)


def install() -> None:
    """Put the stand-ins where ``import`` finds them; upstream is told to install nothing by itself."""
    os.environ.setdefault("YOLOv5_AUTOINSTALL", "false")
    os.environ.setdefault("YOLOv5_VERBOSE", "false")
    if "torchvision" in sys.modules:
        return
    contents: dict[str, dict[str, Any]] = {
        "torchvision": {"__version__": "0.28.0"},
        "torchvision.ops": {"nms": nms},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {},
        "torchvision.datasets": {"ImageFolder": object},
        "ultralytics": {},
        "ultralytics.utils": {},
        "ultralytics.utils.checks": {"check_requirements": lambda *_, **__: True},
    }
    for name, attributes in contents.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__dict__.update(attributes)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
