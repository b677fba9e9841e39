"""The boxes that a training step is told to find: made from a seed, and checked when a person gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.errors import TensorError

Targets = np.ndarray[Any, np.dtype[np.float32]]

#: Coordinates are whole 256ths: float16 and bfloat16 hold them exactly, so that a cast moves no box to another cell.
STEPS = 256


def seeded_targets(batch: int, count: int, classes: int, seed: int) -> Targets:
    """float32 (batch, count, 5): class, then centre x, y, width and height as shares of the image.

    Sizes are spread evenly over their logarithm from 3 % to 75 % of the image, so that every head has matches. Of each
    image the last rows, up to a third of them, are padding (-1), and the second box repeats the first with another
    class: two targets then want the same cell.
    """
    random = np.random.RandomState(seed % 2**32)
    draws = random.random_sample((batch, count, 5))
    targets = np.empty((batch, count, 5))
    targets[..., 0] = np.floor(draws[..., 0] * classes)
    side, aspect = 0.03 * 25.0 ** draws[..., 3], 4.0 ** (draws[..., 4] - 0.5)  # width : height from 1:4 to 4:1
    sizes = np.stack((side * aspect, side / aspect), -1)
    targets[..., 3:] = snapped(np.minimum(sizes, 0.95))
    # The centre lies so that the whole box is inside the image (but for the rounding).
    targets[..., 1:3] = snapped(targets[..., 3:] / 2 + draws[..., 1:3] * (1 - targets[..., 3:]))
    if count > 1:
        targets[:, 1, 0] = (targets[:, 0, 0] + 1) % classes
        targets[:, 1, 1:] = targets[:, 0, 1:]
    padding = np.floor(random.random_sample(batch) * (count // 3 + 1)).astype(int)
    for rows, missing in zip(targets, padding, strict=True):
        rows[count - missing :] = -1
    return targets.astype(np.float32)


def snapped(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The nearest whole 256th that is not 0."""
    return np.maximum(np.round(values * STEPS), 1) / STEPS


def check_targets(targets: Targets, classes: int) -> None:
    """Refuse rows that are neither padding (five times -1) nor a box inside the image.

    Raises:
        TensorError: names the first such row, its values and what is valid.
    """
    label, x, y, width, height = np.moveaxis(targets, -1, 0)
    padding = (targets == -1).all(-1)
    named = (label >= 0) & (label < classes) & (label == np.floor(label))
    placed = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    sized = (width > 0) & (width <= 1) & (height > 0) & (height <= 1)
    # Every comparison with NaN is false, so that NaN is never valid.
    wrong = np.argwhere(~(padding | (named & placed & sized)))
    if len(wrong):
        image, row = wrong[0]
        values = ", ".join(f"{value:g}" for value in targets[image, row])
        raise TensorError(
            f"targets[{image}, {row}] is ({values}); valid: a whole class from 0 to {classes - 1}, centre x and y from "
            "0 to 1, width and height above 0 and up to 1; or -1 five times for padding"
        )
