"""From the bytes of a file to the model's input: decode, letterbox, scale. One implementation for all frameworks.

The rules are those of upstream's ``detect.py`` with a fixed square input (``auto=False``): YOLOv5 7.0,
``utils/augmentations.py`` and ``utils/dataloaders.py``. OpenCV is imported when a function first needs it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import TensorError
from bench.workload import Arrays

Image = np.ndarray[Any, np.dtype[np.uint8]]
Tensor = np.ndarray[Any, np.dtype[np.float32]]

#: What fills the border around the resized picture.
BORDER = 114
VALID = "valid: a complete JPEG, PNG, BMP, TIFF or WebP image"

JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
#: Start of scan: what follows is entropy-coded, where 0xFF is always followed by 0x00 or a restart marker.
JPEG_SCAN = 0xDA


@dataclass(frozen=True)
class Frame:
    """The picture that was letterboxed: its height and width, and the side of the square it went into, in pixels."""

    height: int
    width: int
    size: int


def opencv() -> Any:
    """The module ``cv2``, on as many threads as OMP_NUM_THREADS says (one if it says nothing)."""
    import cv2

    words = os.environ.get("OMP_NUM_THREADS", "1")
    cv2.setNumThreads(int(words) if words.isdigit() and int(words) > 0 else 1)
    return cv2


def asset() -> Path:
    """The photograph that ships with the project (see ``assets/README.md``)."""
    return Path(__file__).parent / "assets" / "astronaut.jpg"


def read(path: Path) -> bytes:
    """The bytes of ``path``.

    Raises:
        TensorError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise TensorError(f"{path}: cannot be read ({error.strerror}); {VALID}") from error


def load(path: Path) -> Image:
    """The picture in ``path``: uint8 RGB (height, width, 3).

    Raises:
        TensorError: it cannot be read or decoded; names the file.
    """
    return decode(read(path), str(path))


def decode(data: bytes, name: str = "image") -> Image:
    """The picture in ``data``: uint8 RGB (height, width, 3), upright by its EXIF orientation, grey and alpha made RGB.

    Raises:
        TensorError: nothing there, no image, cut off, or without pixels; the message starts with ``name``.
    """
    if not data:
        raise TensorError(f"{name}: the file is empty; {VALID}")
    if cut_off(data):
        raise TensorError(f"{name}: the JPEG is cut off after {len(data)} bytes (no end-of-image marker); {VALID}")
    cv2 = opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise TensorError(f"{name}: cannot be decoded ({error.err or error}); {VALID}") from error
    if image is None:
        raise TensorError(f"{name}: {len(data)} bytes that are no image, or a damaged one; {VALID}")
    check_pixels(image, name)
    rgb: Image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


def cut_off(data: bytes) -> bool:
    """Whether ``data`` is a JPEG without an end: some decoders fill the missing part with grey and say nothing.

    The segments before the first scan are stepped over by their lengths: an EXIF thumbnail has an end marker too.
    """
    if not data.startswith(JPEG_START):
        return False
    place = len(JPEG_START)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == JPEG_SCAN:
            return JPEG_END not in data[place:]
        # A marker may be preceded by any number of fill bytes 0xFF.
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return True


def check_pixels(image: Image, name: str = "image") -> None:
    """Refuse what is not (height, width, 3) with at least one pixel.

    Raises:
        TensorError: says the shape.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise TensorError(f"{name}: shape {image.shape}; valid: (height, width, 3) with at least one pixel")


def letterbox(image: Image, size: int) -> tuple[Image, float, tuple[int, int]]:
    """``image`` in the middle of a ``size`` x ``size`` square, its proportions kept, with a grey border.

    Returns:
        the uint8 (size, size, 3) picture, the scale (new / old), and the width of the border (left, top) in pixels.
    """
    check_pixels(image)
    cv2 = opencv()
    height, width = image.shape[:2]
    scale = min(size / height, size / width)
    # Python's rounding (half to even), as upstream's; a sliver of a picture still gets one pixel.
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if (new_width, new_height) != (width, height):
        image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    # Of an odd remainder the larger half goes right and below: 0.1 decides the rounding of halves.
    spare_x, spare_y = (size - new_width) / 2, (size - new_height) / 2
    left, right = round(spare_x - 0.1), round(spare_x + 0.1)
    top, bottom = round(spare_y - 0.1), round(spare_y + 0.1)
    border = (BORDER, BORDER, BORDER)
    boxed: Image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=border)
    return boxed, scale, (left, top)


def to_tensor(images: Sequence[Image]) -> Tensor:
    """uint8 RGB pictures of one size as the model's input: float32 (B, 3, height, width) in [0, 1], contiguous."""
    cv2 = opencv()
    height, width = images[0].shape[:2]
    tensor = np.empty((len(images), 3, height, width), np.float32)
    for image, planes in zip(images, tensor, strict=True):
        # Splitting first makes both passes read and write in order: 1.8x faster than dividing a transposed view.
        for channel, plane in zip(cv2.split(image), planes, strict=True):
            np.divide(channel, np.float32(255), out=plane)
    return tensor


def preprocess(inputs: Arrays, imgsz: int) -> tuple[Tensor, list[Frame]]:
    """``files`` uint8 (B, longest) with ``lengths`` (B,) -> float32 (B, 3, imgsz, imgsz) in [0, 1], and their frames.

    Raises:
        TensorError: a file cannot be decoded; names its place in the batch.
    """
    boxed, frames = [], []
    for index, (data, length) in enumerate(zip(inputs["files"], inputs["lengths"], strict=True)):
        image = decode(data[: int(length)].tobytes(), f"files[{index}]")
        boxed.append(letterbox(image, imgsz)[0])
        frames.append(Frame(image.shape[0], image.shape[1], imgsz))
    return to_tensor(boxed), frames


def pack(files: Sequence[bytes]) -> Arrays:
    """The bytes of files as tensors: ``files`` uint8 (B, longest), filled up with 0, and ``lengths`` int32 (B,)."""
    packed = np.zeros((len(files), max(len(data) for data in files)), np.uint8)
    for row, data in zip(packed, files, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return {"files": packed, "lengths": np.array([len(data) for data in files], np.int32)}


def file_inputs(path: Path, batch: int) -> Arrays:
    """A person's image as inputs of the pipeline, ``batch`` times the same.

    Raises:
        TensorError: it cannot be read or decoded; names the file.
    """
    data = read(path)
    decode(data, str(path))
    return pack([data] * batch)
