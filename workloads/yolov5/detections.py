"""From the model's predictions to boxes: non-maximum suppression, pixels of the photograph, words. NumPy only.

The rules are those of upstream's ``non_max_suppression`` and ``scale_boxes`` (YOLOv5 7.0, ``utils/general.py``), in
float32 as there, without its limit on the wall clock, which silently drops the last images of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.workload import Arrays
from workloads.yolov5.images import Frame

Floats = np.ndarray[Any, np.dtype[np.float32]]

#: Added to a box's corners once per class number, in pixels: boxes of two classes never overlap.
CLASS_OFFSET = 7680
#: Only so many of the best candidates are looked at.
MAX_CANDIDATES = 30000

COCO_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO = tuple(COCO_NAMES.split(","))


@dataclass(frozen=True)
class Rules:
    """What is kept; the defaults are those of upstream's ``detect.py``.

    ``confidence``: objectness, and objectness times class score, must be above it. ``iou``: a box that overlaps a
    better one of its class by more is dropped. ``multi_label``: a box counts once per class above ``confidence``,
    not only for its best. ``agnostic``: boxes of different classes suppress each other too. ``classes``: only these.
    """

    confidence: float = 0.25
    iou: float = 0.45
    multi_label: bool = False
    agnostic: bool = False
    max_det: int = 300
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in (("confidence", self.confidence), ("iou", self.iou)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} {value} of non-maximum suppression; valid: 0 to 1")
        if self.max_det < 1:
            raise UsageError(f"max_det {self.max_det} of non-maximum suppression; valid: 1 or more")


DEFAULT = Rules()


def non_max_suppression(predictions: Floats, rules: Rules = DEFAULT) -> list[Floats]:
    """``predictions`` (B, rows, 5 + classes): x, y, w, h (centre), objectness, class scores; pixels of the input.

    Returns:
        per image (n, 6), best first: x1, y1, x2, y2, confidence, class; n is at most ``rules.max_det``.
    """
    return [of_image(rows[rows[:, 4] > rules.confidence], rules) for rows in predictions]


def of_image(rows: Floats, rules: Rules) -> Floats:
    """The detections among ``rows`` (n, 5 + classes) of one image, whose objectness is enough already."""
    found = candidates(rows, rules)
    if rules.classes is not None:
        found = found[np.isin(found[:, 5], rules.classes)]
    # Stable: of equal confidences the earlier row goes first, on every machine.
    found = found[np.argsort(-found[:, 4], kind="stable")[:MAX_CANDIDATES]]
    offsets = found[:, 5:] * np.float32(0 if rules.agnostic else CLASS_OFFSET)
    return found[suppress(found[:, :4] + offsets, rules.iou, rules.max_det)]


def candidates(rows: Floats, rules: Rules) -> Floats:
    """(n, 6): corners, confidence and class of each row's best class, or of all its classes, above ``confidence``."""
    scores = rows[:, 5:] * rows[:, 4:5]  # (n, classes)
    half = rows[:, 2:4] / 2
    corners = np.concatenate((rows[:, :2] - half, rows[:, :2] + half), 1)  # (n, 4)
    if rules.multi_label and scores.shape[1] > 1:
        row, best = np.nonzero(scores > rules.confidence)
    else:
        best = scores.argmax(1) if len(rows) else np.zeros(0, np.intp)
        row = np.flatnonzero(scores[np.arange(len(rows)), best] > rules.confidence)
        best = best[row]
    columns = (corners[row], scores[row, best, None], best[:, None].astype(np.float32))
    return np.concatenate(columns, 1)


def suppress(corners: Floats, iou: float, most: int) -> list[int]:
    """Which of ``corners`` (n, 4), best first, are kept: each that overlaps no kept one by more than ``iou``.

    One vectorised pass per kept box, at most ``most`` of them. Not ``cv2.dnn.NMSBoxes``: its overlaps are computed in
    float64, and differ from upstream's float32 where a class offset has taken the low bits of the corners.
    """
    limit = np.float64(iou)  # the float32 overlap is compared with the exact limit, not with its float32 neighbour
    x1, y1, x2, y2 = corners.T
    areas = (x2 - x1) * (y2 - y1)
    kept: list[int] = []
    alive = np.arange(len(corners))
    while len(alive) and len(kept) < most:
        best, alive = int(alive[0]), alive[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[alive]) - np.maximum(x1[best], x1[alive])
        height = np.minimum(y2[best], y2[alive]) - np.maximum(y1[best], y1[alive])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore"):  # boxes without area: 0/0, which is not above the limit
            alive = alive[~(overlap / (areas[best] + areas[alive] - overlap) > limit)]
    return kept


def scale_boxes(corners: Floats, frame: Frame) -> Floats:
    """``corners`` (n, 4) in pixels of the letterboxed input -> pixels of the photograph, cut at its borders."""
    scale = min(frame.size / frame.height, frame.size / frame.width)
    pad_x, pad_y = (frame.size - frame.width * scale) / 2, (frame.size - frame.height * scale) / 2
    pads = np.array((pad_x, pad_y, pad_x, pad_y), np.float32)
    limits = np.array((frame.width, frame.height) * 2, np.float32)
    scaled: Floats = np.clip((corners - pads) / np.float32(scale), 0, limits)
    return scaled


def postprocess(predictions: Floats, frames: Sequence[Frame], rules: Rules = DEFAULT) -> Arrays:
    """Predictions of the model and the frames of its pictures -> what is where, in pixels of the photographs.

    Returns:
        ``detections`` float32 (B, max_det, 6): x1, y1, x2, y2, confidence, class; filled up with -1.
        ``count`` int32 (B,): how many rows of each image are filled.
    """
    found = non_max_suppression(predictions, rules)
    detections = np.full((len(found), rules.max_det, 6), -1, np.float32)
    for image, frame, rows in zip(detections, frames, found, strict=True):
        image[: len(rows), :4] = scale_boxes(rows[:, :4], frame)
        image[: len(rows), 4:] = rows[:, 4:]
    return {"detections": detections, "count": np.array([len(rows) for rows in found], np.int32)}


def answer(results: Arrays, classes: int = len(COCO), best: int = 5) -> str:
    """What ``postprocess`` found, in words: "3 objects: person 0.91, tie 0.62, ...", in detail for the first image."""
    counts = [int(count) for count in results["count"]]
    rows = results["detections"][0, : min(counts[0], best)]
    words = [f"{label(int(row[5]), classes)} {row[4]:.2f}" for row in rows]
    more = [f"{counts[0] - best} more"] if counts[0] > best else []
    first = f"{objects(counts[0])}{': ' if words else ''}{', '.join(words + more)}"
    if len(counts) == 1:
        return first
    return f"{len(counts)} images with {sum(counts)} objects; the first: {first}"


def objects(count: int) -> str:
    """``no objects``, ``1 object``, ``2 objects``."""
    return "1 object" if count == 1 else f"{count or 'no'} objects"


def label(index: int, classes: int) -> str:
    """The name of class ``index`` in a model of that many ``classes``: COCO's if there are 80, otherwise its number."""
    return COCO[index] if classes == len(COCO) else f"class {index}"
