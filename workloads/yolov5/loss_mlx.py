"""YOLOv5's loss in MLX, in fixed shapes. Twins: loss_torch.py, loss_tensorflow.py, loss_jax.py.

The rules are those of upstream's ``ComputeLoss`` (YOLOv5 7.0, ``utils/loss.py``) with its default hyper-parameters.
Upstream collects the matches of targets and anchors by boolean indexing; here every candidate stays, with a mask.
All of it in float32, whatever the heads' dtype. B images, T targets, C = 5 T candidates per image and anchor.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

#: Weights of the three parts, for heads of three scales; objectness also grows with the image, class with their number.
BOX, OBJECTNESS, CLASS = 0.05, 1.0, 0.5
#: Weights of the objectness of the heads with stride 8, 16 and 32.
BALANCE = (4.0, 1.0, 0.4)
#: A target fits an anchor when neither side is this many times the other's.
ANCHOR_RATIO = 4.0
#: A target also belongs to the neighbour cells (left, upper, right, lower) that are nearer than half a cell.
SHIFT_X = (0.0, 0.5, 0.0, -0.5, 0.0)
SHIFT_Y = (0.0, 0.0, 0.5, 0.0, -0.5)
EPSILON = 1e-7


def loss(outputs: dict[str, mx.array], inputs: dict[str, mx.array]) -> mx.array:
    """Scalar. ``head.i`` (B, 3, ny, nx, 5 + classes), ``anchors`` (3, 3, 2) in cells; ``targets`` (B, T, 5): class, x,
    y, w, h as shares of the image, -1 for padding."""
    heads = [outputs[f"head.{i}"].astype(mx.float32) for i in range(3)]
    anchors, targets = outputs["anchors"].astype(mx.float32), inputs["targets"].astype(mx.float32)
    batch, _, rows, _, values = heads[0].shape
    parts = [head_loss(head, anchors[i], targets) for i, head in enumerate(heads)]
    box = sum(part[0] for part in parts)
    objectness = sum(part[1] * weight for part, weight in zip(parts, BALANCE, strict=True))
    classes = sum(part[2] for part in parts)
    size = 8 * rows
    by_size, by_classes = OBJECTNESS * (size / 640) ** 2, CLASS * (values - 5) / 80
    return (BOX * box + by_size * objectness + by_classes * classes) * batch


def head_loss(head: mx.array, anchors: mx.array, targets: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Box, objectness and class loss of one ``head`` (B, 3, ny, nx, values) with its ``anchors`` (3, 2)."""
    batch, _, ny, nx, values = head.shape
    valid, cell, x, y, w, h, label = match(targets, anchors, ny, nx)  # (B, 3, C) each
    count = mx.maximum(valid.sum(), 1)

    first = mx.arange(batch * 3).reshape(batch, 3, 1) * (ny * nx)
    place = (first + cell).reshape(-1)  # (B * 3 * C,)
    picked = head.reshape(-1, values)[place].reshape(batch, 3, -1, values)  # (B, 3, C, values)
    px, py, pw, ph = (mx.sigmoid(picked[..., i]) * 2 for i in range(4))
    pw, ph = pw**2 * anchors[:, 0, None], ph**2 * anchors[:, 1, None]
    iou = ciou(px - 0.5, py - 0.5, pw, ph, x, y, w, h)  # (B, 3, C)
    box = mx.where(valid, 1 - iou, 0.0).sum() / count

    wanted = mx.where(last(cell, valid), mx.maximum(mx.stop_gradient(iou), 0), 0.0).reshape(-1)
    objectness = mx.zeros(batch * 3 * ny * nx).at[place].add(wanted)
    objectness = nn.losses.binary_cross_entropy(head[..., 4], objectness.reshape(batch, 3, ny, nx))

    if values == 6:  # a single class needs no telling apart
        return box, objectness, mx.zeros_like(box)
    one_hot = (label[..., None] == mx.arange(values - 5)).astype(mx.float32)  # (B, 3, C, classes)
    entropy = nn.losses.binary_cross_entropy(picked[..., 5:], one_hot, reduction="none").mean(-1)
    return box, objectness, mx.where(valid, entropy, 0.0).sum() / count


def match(targets: mx.array, anchors: mx.array, ny: int, nx: int) -> tuple[mx.array, ...]:
    """Which of all candidates (shift, target) of each image and anchor are ``valid``, and what they want: (B, 3, C).

    Returns ``valid`` (bool), ``cell`` (row * nx + column), the box relative to it (x, y, w, h in cells), ``label``.
    """
    label, x, y, w, h = (targets[..., i] for i in range(5))  # (B, T)
    real = label >= 0
    x, y = mx.where(real, x * nx, 0.0), mx.where(real, y * ny, 0.0)
    w, h = mx.where(real, w * nx, 1.0), mx.where(real, h * ny, 1.0)

    # Multiplied, not divided as upstream: times 4 is exact, so that a tie is one on every device.
    anchor_w, anchor_h = anchors[:, 0, None], anchors[:, 1, None]  # (3, 1)
    w, h = w[:, None], h[:, None]  # (B, 1, T)
    fits_w = (w < ANCHOR_RATIO * anchor_w) & (anchor_w < ANCHOR_RATIO * w)  # (B, 3, T)
    fits_h = (h < ANCHOR_RATIO * anchor_h) & (anchor_h < ANCHOR_RATIO * h)
    fits = real[:, None] & fits_w & fits_h
    sides = [(side - mx.floor(side) < 0.5) & (side > 1) for side in (x, y, nx - x, ny - y)]
    near = mx.stack([mx.ones_like(real), *sides], 1)  # (B, 5, T)

    shift_x = mx.array(SHIFT_X)[:, None]
    shift_y = mx.array(SHIFT_Y)[:, None]
    column = mx.clip((x[:, None] - shift_x).astype(mx.int32), 0, nx - 1)  # (B, 5, T)
    row = mx.clip((y[:, None] - shift_y).astype(mx.int32), 0, ny - 1)

    def spread(value: mx.array) -> mx.array:  # (B, 1 or 3, 1 or 5, T) -> (B, 3, C)
        batch, _, _, count = value.shape
        return mx.broadcast_to(value, (batch, 3, 5, count)).reshape(batch, 3, -1)

    valid = spread(fits[:, :, None] & near[:, None])
    cell, x, y = (spread(value[:, None]) for value in (row * nx + column, x[:, None] - column, y[:, None] - row))
    w, h, label = (spread(value[:, None]) for value in (w, h, label[:, None]))
    return valid, cell, x, y, w, h, label


def last(cell: mx.array, valid: mx.array) -> mx.array:
    """Of valid candidates for one cell only the last, (B, 3, C): upstream writes them in order, one over another."""
    order = mx.arange(cell.shape[-1])
    rival = (cell[..., :, None] == cell[..., None, :]) & valid[..., None, :] & (order > order[:, None])  # (B, 3, C, C)
    return valid & ~rival.any(-1)


def ciou(
    x: mx.array, y: mx.array, w: mx.array, h: mx.array, tx: mx.array, ty: mx.array, tw: mx.array, th: mx.array
) -> mx.array:
    """Complete intersection over union (arXiv:1911.08287) of predicted and target boxes, by centre and sides."""
    left, right = mx.maximum(x - w / 2, tx - tw / 2), mx.minimum(x + w / 2, tx + tw / 2)
    top, bottom = mx.maximum(y - h / 2, ty - th / 2), mx.minimum(y + h / 2, ty + th / 2)
    overlap = mx.maximum(right - left, 0) * mx.maximum(bottom - top, 0)
    iou = overlap / (w * h + tw * th - overlap + EPSILON)

    hull_w = mx.maximum(x + w / 2, tx + tw / 2) - mx.minimum(x - w / 2, tx - tw / 2)
    hull_h = mx.maximum(y + h / 2, ty + th / 2) - mx.minimum(y - h / 2, ty - th / 2)
    distance = ((tx - x) ** 2 + (ty - y) ** 2) / (hull_w**2 + hull_h**2 + EPSILON)
    shape = (4 / math.pi**2) * (mx.arctan(tw / th) - mx.arctan(w / h)) ** 2
    alpha = mx.stop_gradient(shape / (shape - iou + (1 + EPSILON)))
    return iou - distance - alpha * shape
