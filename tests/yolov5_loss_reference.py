"""YOLOv5's loss once more, in float64 NumPy, with plain loops over targets: what the three twins are held against.

Written from the rules, not from the twins: it keeps a list of matches per head, and writes objectness targets one over
another. ``detached`` holds what gradients do not flow through, so that finite differences can hold it fixed too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.workload import Arrays

Array = np.ndarray[Any, Any]
BALANCE = (4.0, 1.0, 0.4)


@dataclass(frozen=True)
class Match:
    """One cell that must predict one target: where it is, and the box in cells, relative to the cell's corner."""

    image: int
    anchor: int
    row: int
    column: int
    box: tuple[float, float, float, float]
    label: int


def matches(targets: Array, anchors: Array, ny: int, nx: int) -> list[Match]:
    """All matches of one head, in upstream's order: shift, then anchor, then image and target."""
    found = []
    for shift_x, shift_y, side in ((0, 0, ""), (0.5, 0, "left"), (0, 0.5, "up"), (-0.5, 0, "right"), (0, -0.5, "down")):
        for anchor, (anchor_w, anchor_h) in enumerate(anchors):
            for image, rows in enumerate(targets):
                for label, *shares in rows:
                    if label < 0:
                        continue
                    x, y, w, h = np.multiply(shares, (nx, ny, nx, ny))
                    ratios = (w / anchor_w, anchor_w / w, h / anchor_h, anchor_h / h)
                    depth = {"": None, "left": x, "up": y, "right": nx - x, "down": ny - y}[side]
                    near = depth is None or (depth > 1 and depth % 1 < 0.5)
                    if max(ratios) >= 4 or not near:
                        continue
                    column, row = min(max(int(x - shift_x), 0), nx - 1), min(max(int(y - shift_y), 0), ny - 1)
                    found.append(Match(image, anchor, row, column, (x - column, y - row, w, h), int(label)))
    return found


def ciou_parts(box: Array, target: Array) -> tuple[float, float, float]:
    """Intersection over union, centre distance over the hull's diagonal (squares), and the term of shape."""
    (x, y, w, h), (tx, ty, tw, th) = box, target
    corners = np.array(
        [[x - w / 2, tx - tw / 2], [x + w / 2, tx + tw / 2], [y - h / 2, ty - th / 2], [y + h / 2, ty + th / 2]]
    )
    left, right, top, bottom = corners
    overlap = max(right.min() - left.max(), 0) * max(bottom.min() - top.max(), 0)
    iou = overlap / (w * h + tw * th - overlap + 1e-7)
    hull = (right.max() - left.min()) ** 2 + (bottom.max() - top.min()) ** 2 + 1e-7
    distance = ((x - tx) ** 2 + (y - ty) ** 2) / hull
    return iou, distance, 4 / math.pi**2 * (math.atan(tw / th) - math.atan(w / h)) ** 2


def cross_entropy(logits: Array, wanted: Array) -> Array:
    """Binary cross-entropy, from the logarithms of both probabilities."""
    entropy: Array = wanted * np.logaddexp(0, -logits) + (1 - wanted) * np.logaddexp(0, logits)
    return entropy


def loss(outputs: Arrays, targets: Array, detached: list[Any] | None = None) -> tuple[float, list[Any]]:
    """The loss, and per head what its gradient does not see: alpha of each match and the objectness targets."""
    box = objectness = classes = 0.0
    seen: list[Any] = []
    for index, balance in enumerate(BALANCE):
        head, anchors = outputs[f"head.{index}"], outputs["anchors"][index]
        batch, _, ny, nx, values = head.shape
        found = matches(targets, anchors, ny, nx)
        wanted = np.zeros(head.shape[:4])
        alphas: list[float] = []
        for match in found:
            logits = head[match.image, match.anchor, match.row, match.column]
            twice = 2 / (1 + np.exp(-logits[:4]))
            predicted = np.concatenate((twice[:2] - 0.5, twice[2:] ** 2 * anchors[match.anchor]))
            iou, distance, shape = ciou_parts(predicted, np.array(match.box))
            alpha = shape / (shape - iou + 1 + 1e-7)
            if detached is not None:
                alpha = detached[index][0][len(alphas)]
            alphas.append(alpha)
            whole = iou - distance - alpha * shape
            box += (1 - whole) / len(found)
            wanted[match.image, match.anchor, match.row, match.column] = max(whole, 0)
            if values > 6:
                classes += cross_entropy(logits[5:], np.eye(values - 5)[match.label]).mean() / len(found)
        if detached is not None:
            wanted = detached[index][1]
        objectness += balance * cross_entropy(head[..., 4], wanted).mean()
        seen.append((alphas, wanted))
    size = 8 * outputs["head.0"].shape[2]
    total = 0.05 * box + (size / 640) ** 2 * objectness + 0.5 * (values - 5) / 80 * classes
    return float(total * batch), seen


def gradient(outputs: Arrays, targets: Array, head: str, places: Array, step: float = 1e-5) -> Array:
    """Central differences of the loss at ``places`` (n, 5) of ``head``, what is detached held fixed."""
    _, detached = loss(outputs, targets)
    found = []
    for place in places:
        sides = []
        for sign in (1, -1):
            moved = outputs[head].copy()
            moved[tuple(place)] += sign * step
            sides.append(loss({**outputs, head: moved}, targets, detached)[0])
        found.append((sides[0] - sides[1]) / (2 * step))
    return np.array(found)
