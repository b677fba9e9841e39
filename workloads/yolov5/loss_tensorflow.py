"""YOLOv5's loss in TensorFlow, in fixed shapes. Twins: loss_torch.py, loss_jax.py, loss_mlx.py.

The rules are those of upstream's ``ComputeLoss`` (YOLOv5 7.0, ``utils/loss.py``) with its default hyper-parameters.
Upstream collects the matches of targets and anchors by boolean indexing; here every candidate stays, with a mask.
All of it in float32, whatever the heads' dtype. B images, T targets, C = 5 T candidates per image and anchor.
"""

from __future__ import annotations

import math

import tensorflow as tf

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


def loss(outputs: dict[str, tf.Tensor], inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """Scalar. ``head.i`` (B, 3, ny, nx, 5 + classes), ``anchors`` (3, 3, 2) in cells; ``targets`` (B, T, 5): class, x,
    y, w, h as shares of the image, -1 for padding."""
    heads = [tf.cast(outputs[f"head.{i}"], tf.float32) for i in range(3)]
    anchors, targets = tf.cast(outputs["anchors"], tf.float32), tf.cast(inputs["targets"], tf.float32)
    batch, _, rows, _, values = heads[0].shape
    parts = [head_loss(head, anchors[i], targets) for i, head in enumerate(heads)]
    box = sum(part[0] for part in parts)
    objectness = sum(part[1] * weight for part, weight in zip(parts, BALANCE, strict=True))
    classes = sum(part[2] for part in parts)
    size = 8 * rows
    by_size, by_classes = OBJECTNESS * (size / 640) ** 2, CLASS * (values - 5) / 80
    return (BOX * box + by_size * objectness + by_classes * classes) * batch


def head_loss(head: tf.Tensor, anchors: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Box, objectness and class loss of one ``head`` (B, 3, ny, nx, values) with its ``anchors`` (3, 2)."""
    batch, _, ny, nx, values = head.shape
    valid, cell, x, y, w, h, label = match(targets, anchors, ny, nx)  # (B, 3, C) each
    count = tf.maximum(tf.reduce_sum(tf.cast(valid, tf.float32)), 1)

    first = tf.reshape(tf.range(batch * 3), (batch, 3, 1)) * (ny * nx)
    place = tf.reshape(first + cell, (-1,))  # (B * 3 * C,)
    picked = tf.reshape(tf.gather(tf.reshape(head, (-1, values)), place), (batch, 3, -1, values))  # (B, 3, C, values)
    px, py, pw, ph = tf.unstack(tf.sigmoid(picked[..., :4]) * 2, axis=-1)
    pw, ph = pw**2 * anchors[:, 0, None], ph**2 * anchors[:, 1, None]
    iou = ciou(px - 0.5, py - 0.5, pw, ph, x, y, w, h)  # (B, 3, C)
    box = tf.reduce_sum(tf.where(valid, 1 - iou, 0.0)) / count

    wanted = tf.where(last(cell, valid), tf.maximum(tf.stop_gradient(iou), 0), 0.0)
    objectness = tf.math.unsorted_segment_sum(tf.reshape(wanted, (-1,)), place, batch * 3 * ny * nx)
    objectness = tf.reshape(objectness, (batch, 3, ny, nx))
    objectness = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=objectness, logits=head[..., 4]))

    if values == 6:  # a single class needs no telling apart
        return box, objectness, tf.zeros_like(box)
    one_hot = tf.cast(label[..., None] == tf.range(values - 5, dtype=tf.float32), tf.float32)  # (B, 3, C, classes)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=one_hot, logits=picked[..., 5:])
    return box, objectness, tf.reduce_sum(tf.where(valid, tf.reduce_mean(entropy, -1), 0.0)) / count


def match(targets: tf.Tensor, anchors: tf.Tensor, ny: int, nx: int) -> tuple[tf.Tensor, ...]:
    """Which of all candidates (shift, target) of each image and anchor are ``valid``, and what they want: (B, 3, C).

    Returns ``valid`` (bool), ``cell`` (row * nx + column), the box relative to it (x, y, w, h in cells), ``label``.
    """
    label, x, y, w, h = tf.unstack(targets, axis=-1)  # (B, T)
    real = label >= 0
    x, y = tf.where(real, x * nx, 0.0), tf.where(real, y * ny, 0.0)
    w, h = tf.where(real, w * nx, 1.0), tf.where(real, h * ny, 1.0)

    # Multiplied, not divided as upstream: times 4 is exact, so that a tie is one on every device.
    anchor_w, anchor_h = anchors[:, 0, None], anchors[:, 1, None]  # (3, 1)
    w, h = w[:, None], h[:, None]  # (B, 1, T)
    fits_w = (w < ANCHOR_RATIO * anchor_w) & (anchor_w < ANCHOR_RATIO * w)  # (B, 3, T)
    fits_h = (h < ANCHOR_RATIO * anchor_h) & (anchor_h < ANCHOR_RATIO * h)
    fits = real[:, None] & fits_w & fits_h
    sides = [(side - tf.floor(side) < 0.5) & (side > 1) for side in (x, y, nx - x, ny - y)]
    near = tf.stack([tf.ones_like(real), *sides], 1)  # (B, 5, T)

    shift_x = tf.constant(SHIFT_X)[:, None]
    shift_y = tf.constant(SHIFT_Y)[:, None]
    column = tf.clip_by_value(tf.cast(x[:, None] - shift_x, tf.int32), 0, nx - 1)  # (B, 5, T)
    row = tf.clip_by_value(tf.cast(y[:, None] - shift_y, tf.int32), 0, ny - 1)
    in_cell_x, in_cell_y = x[:, None] - tf.cast(column, tf.float32), y[:, None] - tf.cast(row, tf.float32)

    def spread(value: tf.Tensor) -> tf.Tensor:  # (B, 1 or 3, 1 or 5, T) -> (B, 3, C)
        batch, _, _, count = value.shape
        return tf.reshape(tf.broadcast_to(value, (batch, 3, 5, count)), (batch, 3, -1))

    valid = spread(fits[:, :, None] & near[:, None])
    cell, x, y = (spread(value[:, None]) for value in (row * nx + column, in_cell_x, in_cell_y))
    w, h, label = (spread(value[:, None]) for value in (w, h, label[:, None]))
    return valid, cell, x, y, w, h, label


def last(cell: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Of valid candidates for one cell only the last, (B, 3, C): upstream writes them in order, one over another."""
    order = tf.range(cell.shape[-1])
    rival = (cell[..., :, None] == cell[..., None, :]) & valid[..., None, :] & (order > order[:, None])  # (B, 3, C, C)
    return valid & ~tf.reduce_any(rival, -1)


def ciou(
    x: tf.Tensor, y: tf.Tensor, w: tf.Tensor, h: tf.Tensor, tx: tf.Tensor, ty: tf.Tensor, tw: tf.Tensor, th: tf.Tensor
) -> tf.Tensor:
    """Complete intersection over union (arXiv:1911.08287) of predicted and target boxes, by centre and sides."""
    left, right = tf.maximum(x - w / 2, tx - tw / 2), tf.minimum(x + w / 2, tx + tw / 2)
    top, bottom = tf.maximum(y - h / 2, ty - th / 2), tf.minimum(y + h / 2, ty + th / 2)
    overlap = tf.maximum(right - left, 0) * tf.maximum(bottom - top, 0)
    iou = overlap / (w * h + tw * th - overlap + EPSILON)

    hull_w = tf.maximum(x + w / 2, tx + tw / 2) - tf.minimum(x - w / 2, tx - tw / 2)
    hull_h = tf.maximum(y + h / 2, ty + th / 2) - tf.minimum(y - h / 2, ty - th / 2)
    distance = ((tx - x) ** 2 + (ty - y) ** 2) / (hull_w**2 + hull_h**2 + EPSILON)
    shape = (4 / math.pi**2) * (tf.atan(tw / th) - tf.atan(w / h)) ** 2
    alpha = tf.stop_gradient(shape / (shape - iou + (1 + EPSILON)))
    return iou - distance - alpha * shape
