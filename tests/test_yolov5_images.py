"""YOLOv5's photograph in and boxes out: decoding, letterbox, non-maximum suppression, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.errors import TensorError, UsageError
from workloads.yolov5 import detections, images
from workloads.yolov5.detections import Rules
from workloads.yolov5.images import Frame


def encoded(picture: np.ndarray[Any, Any], kind: str = ".png", *options: int) -> bytes:
    return bytes(cv2.imencode(kind, picture, options)[1])


def noise(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


JPEG = images.asset().read_bytes()

# --- decoding --------------------------------------------------------------------------------------------------------


def test_the_photograph_is_small_and_upright() -> None:
    picture = images.load(images.asset())
    assert picture.shape == (512, 512, 3)
    assert picture.dtype == np.uint8
    assert len(JPEG) < 90_000
    # Red comes first: the suit is orange, so blue first would be seen.
    suit = picture[400:500, 180:240].reshape(-1, 3).mean(0)
    assert suit[0] > suit[2] + 30


def test_grey_and_transparent_pictures_become_rgb() -> None:
    grey = noise(5, 7)
    np.testing.assert_array_equal(images.decode(encoded(grey)), np.repeat(grey[..., None], 3, 2))
    bgra = noise(5, 7, 4)
    np.testing.assert_array_equal(images.decode(encoded(bgra)), bgra[..., 2::-1])


def test_orientation_of_exif_is_applied() -> None:
    jpeg = encoded(noise(8, 16, 3), ".jpg")
    # One entry: tag 0x0112 (orientation), type 3 (short), count 1, value 6 (turn right).
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]
    upright = np.rot90(images.decode(jpeg), -1)
    np.testing.assert_array_equal(images.decode(turned), upright)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "no image"),
        (JPEG[:100], "cut off after 100 bytes"),
        (JPEG[: len(JPEG) // 2], "cut off"),
        (JPEG[:-2], "cut off"),
        (encoded(noise(64, 64, 3))[:-200], "no image, or a damaged one"),
    ],
)
def test_what_is_no_whole_picture_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "given.jpg"
    file.write_bytes(data)
    with pytest.raises(TensorError, match=f"given.jpg: .*{words}.*valid: a complete JPEG"):
        images.load(file)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(TensorError, match=r"/nowhere.jpg: cannot be read \(No such file"):
        images.load(Path("/nowhere.jpg"))


def test_a_thumbnail_does_not_hide_that_the_picture_is_cut_off() -> None:
    inner = b"Exif\x00\x00" + encoded(noise(8, 8, 3), ".jpg")
    whole = JPEG[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + JPEG[2:]
    assert images.JPEG_END in whole[: len(whole) // 2]
    assert not images.cut_off(whole)
    assert images.cut_off(whole[: len(whole) // 2])


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_every_cut_of_a_jpeg_is_seen(kind: str) -> None:
    data = encoded(noise(24, 24, 3), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, int(kind == "progressive"))
    assert not images.cut_off(data)
    assert all(images.cut_off(data[:length]) for length in range(2, len(data)))


# --- letterbox -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "scale", "border"),
    [
        (512, 512, 1.25, (0, 0)),
        (100, 200, 3.2, (0, 160)),
        (640, 641, 640 / 641, (0, 0)),
        (641, 300, 640 / 641, (170, 0)),
    ],
)
def test_letterbox_keeps_proportions_and_fills_with_grey(
    height: int, width: int, scale: float, border: tuple[int, int]
) -> None:
    boxed, found, place = images.letterbox(np.full((height, width, 3), 7, np.uint8), 640)
    assert boxed.shape == (640, 640, 3)
    assert (found, place) == (scale, border)
    left, top = border
    inside = np.zeros((640, 640), bool)
    inside[top : top + round(height * scale), left : left + round(width * scale)] = True
    assert (boxed[inside] == 7).all()
    assert (boxed[~inside] == 114).all()


def test_an_odd_border_is_larger_below() -> None:
    boxed, _, (_, top) = images.letterbox(np.zeros((639, 640, 3), np.uint8), 640)
    assert top == 0
    assert (boxed[639] == 114).all()


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (5, 5), (5, 5, 4)])
def test_a_picture_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TensorError, match="at least one pixel"):
        images.letterbox(np.zeros(shape, np.uint8), 64)


def test_tensor_is_exact_and_contiguous() -> None:
    pictures = noise(2, 6, 8, 3)
    tensor = images.to_tensor(list(pictures))
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))


def test_files_of_different_lengths_make_a_batch(tmp_path: Path) -> None:
    small = encoded(noise(10, 20, 3))
    tensor, frames = images.preprocess(images.pack([JPEG, small]), 64)
    assert tensor.shape == (2, 3, 64, 64)
    assert frames == [Frame(512, 512, 64), Frame(10, 20, 64)]
    broken = images.pack([JPEG, JPEG[:999]])
    with pytest.raises(TensorError, match=r"files\[1\]: the JPEG is cut off after 999 bytes"):
        images.preprocess(broken, 64)
    file = tmp_path / "small.png"
    file.write_bytes(small)
    inputs = images.file_inputs(file, 3)
    assert inputs["files"].shape == (3, len(small))
    assert list(inputs["lengths"]) == [len(small)] * 3


def test_opencv_is_not_imported_with_the_module() -> None:
    words = "import sys, workloads.yolov5.images, workloads.yolov5.detections; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False, cwd=Path(__file__).parent.parent).returncode == 0


# --- detections ------------------------------------------------------------------------------------------------------


def predictions(*rows: tuple[float, ...]) -> np.ndarray[Any, Any]:
    return np.array([rows], np.float32)


BOXES = predictions(
    (100, 100, 40, 40, 0.9, 0.8, 0.1),
    (104, 100, 40, 40, 0.8, 0.8, 0.7),
    (100, 100, 40, 40, 0.7, 0.1, 0.9),
    (300, 300, 10, 20, 0.5, 0.4, 0.46),
    (500, 100, 10, 20, 0.2, 0.9, 0.9),
)


def found(rules: Rules) -> list[tuple[float, int]]:
    """Confidence and class of what is kept of ``BOXES``."""
    return [(round(float(row[4]), 2), int(row[5])) for row in detections.non_max_suppression(BOXES, rules)[0]]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (Rules(), [(0.72, 0), (0.63, 1)]),
        (Rules(confidence=0.2), [(0.72, 0), (0.63, 1), (0.23, 1)]),
        (Rules(iou=0.9), [(0.72, 0), (0.64, 0), (0.63, 1)]),
        (Rules(agnostic=True), [(0.72, 0)]),
        (Rules(multi_label=True, confidence=0.5), [(0.72, 0), (0.63, 1)]),
        (Rules(multi_label=True, confidence=0.19), [(0.72, 0), (0.63, 1), (0.23, 1), (0.2, 0)]),
        (Rules(max_det=1), [(0.72, 0)]),
        (Rules(classes=(1,)), [(0.63, 1)]),
        (Rules(confidence=0.95), []),
    ],
)
def test_suppression_by_hand(rules: Rules, kept: list[tuple[float, int]]) -> None:
    assert found(rules) == kept


def test_suppression_is_that_of_plain_loops() -> None:
    random = np.random.RandomState(3)
    low, side = random.random_sample((400, 2)) * 500, random.random_sample((400, 2)) * 200
    corners = np.concatenate((low, low + side), 1).astype(np.float32)
    kept: list[int] = []
    for index, (x1, y1, x2, y2) in enumerate(corners.astype(np.float64)):
        for a1, b1, a2, b2 in corners[kept].astype(np.float64):
            overlap = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            if overlap / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - overlap) > 0.3:
                break
        else:
            kept.append(index)
    assert 20 < len(kept) < 300
    assert detections.suppress(corners, 0.3, 400) == kept
    assert detections.suppress(corners, 0.3, 7) == kept[:7]


def test_equal_confidences_keep_their_order() -> None:
    rows = predictions(*((100.0 * place, 50, 10, 10, 0.5, 1.0) for place in range(6)))
    centres = detections.non_max_suppression(rows)[0][:, :4].reshape(6, 2, 2).mean(1)[:, 0]
    assert list(centres) == [0, 100, 200, 300, 400, 500]


@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 1000), (999, 333)])
def test_a_box_comes_back_to_where_it_was(height: int, width: int) -> None:
    frame = Frame(height, width, 640)
    scale = min(640 / height, 640 / width)
    corners = np.array([[10, 20, 100, 200], [0, 0, width, height]], np.float32)
    pad = np.array([(640 - width * scale) / 2, (640 - height * scale) / 2] * 2)
    inside = (corners * scale + pad).astype(np.float32)
    np.testing.assert_allclose(detections.scale_boxes(inside, frame), corners, atol=1e-3)
    beyond = detections.scale_boxes(np.array([[-50, -50, 700, 700]], np.float32), frame)
    np.testing.assert_array_equal(beyond, [[0, 0, width, height]])


def test_results_are_filled_up_and_said_in_words() -> None:
    results = detections.postprocess(np.repeat(BOXES, 2, 0), [Frame(640, 640, 640)] * 2)
    assert results["detections"].shape == (2, 300, 6)
    assert list(results["count"]) == [2, 2]
    assert (results["detections"][:, 2:] == -1).all()
    np.testing.assert_allclose(results["detections"][0, 0], (80, 80, 120, 120, 0.72, 0), rtol=1e-6)
    single = {name: value[:1] for name, value in results.items()}
    assert detections.answer(single) == "2 objects: person 0.72, bicycle 0.63"
    assert detections.answer(single, classes=2) == "2 objects: class 0 0.72, class 1 0.63"
    assert detections.answer(single, best=1) == "2 objects: person 0.72, 1 more"
    assert detections.answer(results).startswith("2 images with 4 objects; the first: 2 objects: person")
    nothing = detections.postprocess(BOXES, [Frame(640, 640, 640)], Rules(confidence=1))
    assert detections.answer(nothing) == "no objects"


def test_there_are_80_names() -> None:
    assert len(set(detections.COCO)) == 80
    assert (detections.COCO[0], detections.COCO[27], detections.COCO[79]) == ("person", "tie", "toothbrush")


@pytest.mark.parametrize("words", [{"confidence": 1.5}, {"iou": -0.1}, {"iou": float("nan")}, {"max_det": 0}])
def test_impossible_rules_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="of non-maximum suppression; valid: "):
        Rules(**words)
