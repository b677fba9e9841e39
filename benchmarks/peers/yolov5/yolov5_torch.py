"""The package ``yolov5`` 7.0.14 as a twin: upstream's own model, fused and laid out as its users do it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from benchmarks.peers.yolov5 import shim

shim.install()

from yolov5.models import yolo  # noqa: E402

#: Canonical weights, BatchNorm apart: folding them is upstream's own work, in ``loaded``.
PREPARED = False

#: It prints every layer while building.
logging.getLogger("yolov5").setLevel(logging.ERROR)


def build(config: Mapping[str, Any]) -> nn.Module:
    # Upstream's files differ in their multiples only: one of them with others is any size.
    file = Path(yolo.__file__).parent / "yolov5n.yaml"
    described = yaml.safe_load(file.read_text(encoding="utf-8"))
    described |= {"nc": config["classes"], "depth_multiple": config["depth"], "width_multiple": config["width"]}
    model = yolo.DetectionModel(described)
    model.wanted = {name: config[name] for name in ("fused", "layout")}
    return model


def loaded(model: nn.Module) -> None:
    """What upstream's ``DetectMultiBackend`` does at load, and its users for speed."""
    if model.wanted["fused"]:
        model.fuse()
    if model.wanted["layout"] == "channels-last":
        model.to(memory_format=torch.channels_last)


def layout(config: Mapping[str, Any]) -> str:
    return "NHWC" if config["layout"] == "channels-last" else "NCHW"


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Canonical names and layouts are upstream's own."""
    return key, value


def inference(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    images = inputs["images"]
    if model.wanted["layout"] == "channels-last":
        images = images.contiguous(memory_format=torch.channels_last)
    predictions, heads = model(images)
    return {**{f"head.{number}": head for number, head in enumerate(heads)}, "predictions": predictions}


def training(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    heads = model(inputs["images"])
    return {**{f"head.{number}": head for number, head in enumerate(heads)}, "anchors": model.model[-1].anchors}
