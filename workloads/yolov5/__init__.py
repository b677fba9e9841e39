"""YOLOv5 (v6.0 and later) on a real photograph: object detection at 640 x 640, in five sizes.

What is computed, timed and tolerated, and why: ``README.md`` in this folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import TensorError, UsageError
from bench.itemwise import itemwise
from bench.workload import Arrays, Config, Size, Tolerance, Workload
from workloads.yolov5 import config as architecture
from workloads.yolov5 import detections, images, reference, targets, weights
from workloads.yolov5.config import DETECT, MULTIPLES
from workloads.yolov5.tolerance import tolerance

#: Start of the variants that name another side of the images.
IMGSZ = "imgsz-"
#: Rows of ``targets`` for each image of a training batch; some are padding.
TARGETS = 24
#: v7.0's hyper-parameters for training from nothing (hyp.scratch-low): rate, momentum; its optimizer is Nesterov's.
SGD: Mapping[str, float | str] = {"name": "sgd", "lr": 0.01, "momentum": 0.937, "nesterov": 1.0}


def full(depth: float, width: float) -> Size:
    """A published size: 80 classes, 640 x 640."""
    return Size({"depth": depth, "width": width, "classes": 80, "imgsz": 640}, batch=1)


#: Up to this side, training is compared over as many steps as everywhere else.
SMALL_IMGSZ = 128


class YOLOv5(Workload):
    """The spec. Weights have upstream's names (``model.0.conv.weight``); inputs ``images`` (B, 3, S, S) in [0, 1]."""

    name = "yolov5"
    item = "images"
    sizes: Mapping[str, Size] = {
        "tiny-test": Size({"depth": 0.33, "width": 0.125, "classes": 4, "imgsz": 64}, batch=2),
        **{name: full(*multiples) for name, multiples in MULTIPLES.items()},
    }
    phases: Mapping[str, tuple[str, ...]] = {
        "inference": ("default", "unfused", "channels-last", "imgsz-N"),
        "pipeline": ("default", "imgsz-N"),
        "training": ("sgd",),
    }
    #: What a CPU does in seconds: two cores have 20 minutes for all workloads. Training takes minutes, and so does half
    #: precision where the CPU has no instructions for it; name them and they are measured.
    main: Mapping[str, tuple[str, ...]] | None = {"inference": ("fp32", "bf16"), "pipeline": ("fp32",)}
    fetched = ("predictions",)

    def settings(self, size: str, phase: str, variant: str) -> Config:
        """Adds ``fused`` (is BatchNorm folded into the convolutions?) and ``layout`` (``default``, ``channels-last``);
        ``imgsz-416`` computes at 416 x 416.

        Raises:
            UsageError: the images' side is no multiple of 32 pixels.
        """
        settings = {**self.sizes[size].config, "fused": phase != "training", "layout": "default"}
        if variant.startswith(IMGSZ):
            settings["imgsz"] = architecture.check_imgsz(variant.removeprefix(IMGSZ))
        elif variant == "unfused":
            settings["fused"] = False
        elif variant == "channels-last":
            settings["layout"] = variant
        return settings

    def producer(self, size: str, phase: str) -> str:
        """float64 NumPy, but for training, whose gradients a framework makes."""
        return "cpu-fp32" if phase == "training" else "numpy-fp64"

    def verified_steps(self, config: Config) -> int:
        """Two at 640 x 640: later ones tell nothing. With a batch of one, noise of 1e-6 in the weights moved the third
        loss by 5e-4 and the running variances by 7e-3, for a box's edge had passed another's, where CIoU has a kink.
        """
        return 2 if int(config["imgsz"]) > SMALL_IMGSZ else super().verified_steps(config)

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """Upstream's names, unfolded: filters [out, in, kh, kw], four vectors for each BatchNorm, Detect, anchors."""
        return architecture.shapes(config)

    def weights(self, config: Config, seed: int) -> Arrays:
        """Seeded so that no layer explodes or dies at any depth; see ``weights.py``."""
        return weights.seeded(config, seed)

    def inputs(self, config: Config, phase: str, batch: int, seed: int) -> Arrays:
        """The photograph, and in a batch mirrored and shifted copies; training adds seeded ``targets`` (B, T, 5)."""
        if phase == "pipeline":
            return images.file_inputs(images.asset(), batch)
        photographs = {"images": photographs_of(batch, int(config["imgsz"]))}
        if phase == "inference":
            return photographs
        return {**photographs, "targets": targets.seeded_targets(batch, TARGETS, int(config["classes"]), seed)}

    def ignores(self, key: str) -> bool:
        """BatchNorm's counters, which upstream's files hold and nothing uses, and Detect's precomputed anchor grid."""
        return key.endswith(".num_batches_tracked") or key == f"model.{DETECT}.anchor_grid"

    def prepared(self, config: Config, phase: str, weights_: Arrays) -> Arrays:
        """BatchNorm folded into the convolutions where ``config`` says fused: as upstream does at load."""
        return weights.fold(config, weights_) if config["fused"] else weights_

    def file_inputs(self, config: Config, phase: str, batch: int, path: Path) -> Arrays:
        """The user's picture, ``batch`` times: its bytes for the pipeline, the letterboxed tensor for inference.

        Raises:
            TensorError: it cannot be decoded.
            UsageError: training needs boxes, which a picture has not.
        """
        if phase == "training":
            raise UsageError(f"{self.name} trains on pictures with boxes: give an .npz with targets, not {path.name!r}")
        files = images.file_inputs(path, batch)
        return files if phase == "pipeline" else self.preprocess(config, files)[0]

    def preprocess(self, config: Config, inputs: Arrays) -> tuple[Arrays, Any]:
        """Bytes of JPEG or PNG files -> ``images`` (B, 3, S, S); the context is how each was letterboxed."""
        tensor, context = images.preprocess(inputs, int(config["imgsz"]))
        return {"images": tensor}, context

    def postprocess(self, config: Config, outputs: Arrays, context: Any) -> Arrays:
        """Non-maximum suppression: ``detections`` (B, 300, 6), padded with -1, and ``count`` (B,)."""
        return detections.postprocess(outputs["predictions"], context)

    def answer(self, config: Config, inputs: Arrays, results: Arrays) -> str:
        """What was found in the first picture, best first."""
        return detections.answer(results, int(config["classes"]))

    def check_inputs(self, config: Config, inputs: Arrays) -> None:
        """``images`` lie in [0, 1], and ``targets`` are boxes inside the image or padding.

        Raises:
            TensorError: names the value.
        """
        if "targets" in inputs:
            targets.check_targets(inputs["targets"], int(config["classes"]))
        given = inputs.get("images")
        if given is None:
            return
        outside = given[(given < 0) | (given > 1)]
        if outside.size:
            raise TensorError(f"'images' holds {outside[0]:g}, wanted 0 to 1 (RGB, divided by 255)")

    def reference(self, config: Config, phase: str, variant: str, weights_: Arrays, inputs: Arrays) -> Arrays:
        """``head.0`` to ``head.2`` and ``predictions`` in float64, BatchNorm unfolded; ``pipeline`` adds ``images``.

        Raises:
            UsageError: for training, whose truth a framework makes (see ``producer``).
        """
        if phase == "training":
            raise UsageError(f"{self.name}: the truth of training comes from a framework in fp32, not from NumPy")
        exact = {name: value.astype(np.float64) for name, value in weights_.items()}
        given = self.preprocess(config, inputs)[0] if phase == "pipeline" else inputs

        def forward(items: Arrays) -> Arrays:
            return reference.forward(config, exact, items["images"].astype(np.float64))

        outputs = itemwise(forward, given)
        return {**given, **outputs} if phase == "pipeline" else outputs

    def flops(self, config: Config, phase: str, batch: int) -> float:
        """Convolutions only. Training: forward, gradients of weights and of inputs, but for the image's."""
        forward = architecture.flops(config, batch)
        if phase != "training":
            return forward
        stem = next(architecture.convolutions(config))
        return 3.0 * forward - batch * architecture.operations(stem, int(config["imgsz"]))

    def tolerance(self, config: Config, phase: str, precision: str, output: str) -> Tolerance:
        """Limits and reasons stand in ``tolerance.py``."""
        return tolerance(precision, output)

    def optimizer(self, variant: str) -> dict[str, float | str]:
        """SGD with Nesterov's momentum at a constant rate, upstream's defaults, without weight decay.

        Raises:
            UsageError: no such variant.
        """
        if variant != "sgd":
            raise UsageError(f"yolov5 trains with sgd, not {variant!r}")
        return dict(SGD)


def photographs_of(batch: int, imgsz: int) -> np.ndarray[Any, Any]:
    """(B, 3, S, S) float32: the photograph, letterboxed, and for other rows mirrored (odd ones) and shifted down by 8
    pixels for each two rows, rolled around."""
    picture, _, _ = images.letterbox(images.load(images.asset()), imgsz)
    shifted = [np.roll(picture[:, ::-1] if row % 2 else picture, 8 * (row // 2), axis=0) for row in range(batch)]
    return images.to_tensor(shifted)


workload = YOLOv5()
