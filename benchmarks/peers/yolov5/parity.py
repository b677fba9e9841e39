"""Are our answers upstream's? The package ``yolov5`` 7.0.14 against the torch twin, the letterbox, NMS and the loss.

    python -m benchmarks.peers.yolov5.parity                under the interpreter of environment peer-yolov5
    python -m benchmarks.peers.yolov5.parity --saboteurs    and each check against something broken, which it must see

Prints a table; exit code 1 if any line fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml

from bench.workload import get
from benchmarks.peers.yolov5 import yolov5_torch as peer
from workloads.yolov5 import config as architecture
from workloads.yolov5 import detections, images, loss_torch, targets, yolov5_torch

# After the peer's module, which makes the package importable.
from yolov5.models import yolo  # isort: skip
from yolov5.utils.augmentations import letterbox  # isort: skip
from yolov5.utils.general import non_max_suppression, scale_boxes  # isort: skip
from yolov5.utils.loss import ComputeLoss  # isort: skip

SPEC = get("yolov5")
UPSTREAM = Path(yolo.__file__).parent.parent
#: Issue 3's bound, relative to the largest magnitude of the tensor.
LIMIT = 1e-4
COUNTS = {"n": 1872157, "s": 7235389, "m": 21190557, "l": 46563709, "x": 86749405}


@dataclass(frozen=True)
class Finding:
    """One line of the table: ``error`` may be at most ``limit`` (0: equal)."""

    what: str
    error: float
    limit: float = 0.0

    @property
    def right(self) -> bool:
        return bool(self.error <= self.limit)


def relative(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest magnitude of ``theirs``."""
    ours, theirs = (np.asarray(value.detach() if hasattr(value, "detach") else value) for value in (ours, theirs))
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max()) if theirs.size else 0.0


def load(module: Any, config: Any, phase: str) -> torch.nn.Module:
    """The twin's model with the same seeded weights, as the adapter loads it."""
    weights = SPEC.weights(config, 0)
    if getattr(module, "PREPARED", True):
        weights = SPEC.prepared(config, phase, weights)
    model = module.build(config)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    model.eval()
    if hasattr(module, "loaded"):
        module.loaded(model)
    return model


# --- the checks ------------------------------------------------------------------------------------------------------


def parameter_counts() -> Iterator[Finding]:
    """Of upstream's own yaml, of the published table, and ours."""
    for size, published in COUNTS.items():
        model = yolo.DetectionModel(str(UPSTREAM / "models" / f"yolov5{size}.yaml"))
        upstream = sum(value.numel() for value in model.parameters())
        config = SPEC.settings(size, "training", "sgd")
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if not SPEC.ignores(key)}
        yield Finding(f"{size}: parameters {upstream:,}", abs(architecture.parameters(config) - upstream))
        yield Finding(f"{size}: published count", abs(published - upstream))
        yield Finding(f"{size}: names and shapes", len(set(shapes.items()) ^ set(SPEC.shapes(config).items())))


def forward() -> Iterator[Finding]:
    """Raw heads and decoded boxes on the photograph."""
    work = [(size, "default", 640) for size in ("n", "s")] + [(size, "default", 128) for size in ("m", "l", "x")]
    for size, variant, imgsz in [*work, ("n", "unfused", 640), ("n", "channels-last", 640), ("n", "default", 416)]:
        config = {**SPEC.settings(size, "inference", variant), "imgsz": imgsz}
        inputs = {"images": torch.from_numpy(SPEC.inputs(config, "inference", 2 if imgsz < 640 else 1, 0)["images"])}
        with torch.inference_mode():
            ours, theirs = (
                module.inference(load(module, config, "inference"), inputs) for module in (yolov5_torch, peer)
            )
        for name, value in theirs.items():
            yield Finding(f"{size} {variant} {imgsz}: {name}", relative(ours[name], value), LIMIT)
        # Boxes are hundreds of pixels: scores are looked at apart.
        scores = (ours["predictions"][..., 4:], theirs["predictions"][..., 4:])
        yield Finding(f"{size} {variant} {imgsz}: scores", relative(*scores), LIMIT)


def letterboxes() -> Iterator[Finding]:
    """Equal bytes for pictures of odd sizes, smaller and larger than the square."""
    random = np.random.RandomState(0)
    for height, width in ((512, 512), (480, 641), (1, 7), (333, 1000), (1079, 607), (640, 640), (37, 36), (2, 900)):
        picture = random.randint(0, 256, (height, width, 3)).astype(np.uint8)
        for size in (640, 416):
            theirs = letterbox(picture, size, auto=False)[0]
            ours = images.letterbox(picture, size)[0]
            different = float((ours != theirs).sum()) if ours.shape == theirs.shape else float("inf")
            yield Finding(f"letterbox {height}x{width} in {size}", different)


def suppression() -> Iterator[Finding]:
    """Non-maximum suppression and boxes in the photograph, on real and on crowded random predictions."""
    config = SPEC.settings("n", "inference", "default")
    photograph = torch.from_numpy(SPEC.inputs(config, "inference", 2, 0)["images"])
    with torch.inference_mode():
        real = yolov5_torch.inference(load(yolov5_torch, config, "inference"), {"images": photograph})["predictions"]
    random = np.random.RandomState(1)
    crowd = random.random_sample((2, 1000, 25)).astype(np.float32)
    crowd[..., :2], crowd[..., 2:4] = crowd[..., :2] * 640, crowd[..., 2:4] ** 2 * 300
    crowd[..., 5:] **= 4
    settings = {
        "default": detections.Rules(),
        "0.001, 0.6, multi-label": detections.Rules(confidence=0.001, iou=0.6, multi_label=True),
        "agnostic, 20": detections.Rules(agnostic=True, max_det=20),
        "classes 0, 7": detections.Rules(classes=(0, 7)),
    }
    frame = images.Frame(512, 401, 640)
    for source, predictions in (("photograph", real.numpy()), ("crowd", crowd)):
        for name, rules in settings.items():
            theirs = [upstream_suppression(rows, rules) for rows in predictions]
            ours = detections.non_max_suppression(predictions, rules)
            count = sum(len(rows) for rows in theirs)
            different = max(unequal(a, b.numpy()) for a, b in zip(ours, theirs, strict=True))
            yield Finding(f"NMS {source}, {name}: {count} boxes", different)
            scaled = (
                detections.scale_boxes(ours[0][:, :4], frame),
                scale_boxes((640, 640), theirs[0][:, :4], (512, 401)),
            )
            yield Finding(f"NMS {source}, {name}: in the photograph", relative(*scaled), 1e-6)


def upstream_suppression(rows: np.ndarray[Any, Any], rules: detections.Rules) -> torch.Tensor:
    """Upstream's result for one image: of a batch it drops those that come after its limit on the wall clock."""
    kept = non_max_suppression(
        torch.from_numpy(rows[None].copy()),
        rules.confidence,
        rules.iou,
        classes=rules.classes,
        agnostic=rules.agnostic,
        multi_label=rules.multi_label,
        max_det=rules.max_det,
    )
    found: torch.Tensor = kept[0]
    return found


def unequal(ours: Any, theirs: Any) -> float:
    """Entries that are not equal; infinite for another number of boxes."""
    return float((ours != theirs).sum()) if ours.shape == theirs.shape else float("inf")


def upstream_loss(classes: int, imgsz: int, anchors: torch.Tensor) -> Any:
    """``ComputeLoss`` with the hyper-parameters that upstream's ``train.py`` scales for three heads."""
    hyp = yaml.safe_load((UPSTREAM / "data" / "hyps" / "hyp.scratch-low.yaml").read_text(encoding="utf-8"))
    hyp |= {"cls": hyp["cls"] * classes / 80, "obj": hyp["obj"] * (imgsz / 640) ** 2, "label_smoothing": 0.0}
    detect = SimpleNamespace(nl=3, na=3, nc=classes, anchors=anchors, stride=torch.tensor([8.0, 16.0, 32.0]))
    # All that it asks of a model: a parameter for the device, the hyper-parameters, and the last layer.
    model = SimpleNamespace(parameters=lambda: iter([anchors]), hyp=hyp, model=[detect])
    return ComputeLoss(model)


def rows_of(given: np.ndarray[Any, Any]) -> torch.Tensor:
    """Targets (B, T, 5) with padding -> upstream's (n, 6): image, class, x, y, w, h."""
    image = np.repeat(np.arange(len(given)), given.shape[1])[:, None]
    flat = np.concatenate((image, given.reshape(-1, 5)), 1)
    return torch.from_numpy(flat[flat[:, 1] >= 0].astype(np.float32))


def losses_of_heads() -> Iterator[Finding]:
    """The loss alone, on random heads: seeded targets, and arbitrary ones that need no exact binary fractions."""
    for seed, (classes, imgsz, batch, count) in enumerate(
        ((80, 640, 2, 24), (4, 64, 3, 8), (1, 160, 2, 5), (20, 320, 4, 40))
    ):
        random = np.random.RandomState(seed)
        given = targets.seeded_targets(batch, count, classes, seed)
        if seed % 2:
            given[..., 1:] *= random.uniform(0.97, 1.0, given[..., 1:].shape).astype(np.float32)
        anchors = torch.tensor(architecture.ANCHORS, dtype=torch.float32).view(3, 3, 2)
        anchors = anchors / torch.tensor([8.0, 16.0, 32.0]).view(3, 1, 1) * min(1.0, imgsz / 320)
        heads = [
            torch.from_numpy(random.uniform(-2, 2, (batch, 3, imgsz // s, imgsz // s, 5 + classes)).astype(np.float32))
            for s in (8, 16, 32)
        ]
        both = [[head.clone().requires_grad_() for head in heads] for _ in range(2)]
        outputs = {f"head.{number}": head for number, head in enumerate(both[0])}
        ours = loss_torch.loss({**outputs, "anchors": anchors}, {"targets": torch.from_numpy(given)})
        theirs = upstream_loss(classes, imgsz, anchors)(both[1], rows_of(given))[0]
        ours.backward()
        theirs.sum().backward()
        name = f"loss of heads, {classes} classes, {imgsz}"
        yield Finding(name, relative(ours.reshape(1), theirs), 1e-5)
        for number, (a, b) in enumerate(zip(*both, strict=True)):
            yield Finding(f"{name}: gradient of head.{number}", relative(a.grad, b.grad), LIMIT)


def training() -> Iterator[Finding]:
    """n at 128 pixels, batch 4: first loss, chosen gradients, five losses under SGD with Nesterov's momentum."""
    config = {**SPEC.settings("n", "training", "sgd"), "imgsz": 128}
    inputs = {name: torch.from_numpy(value) for name, value in SPEC.inputs(config, "training", 4, 0).items()}
    rows = rows_of(inputs["targets"].numpy())
    found: list[tuple[list[float], dict[str, torch.Tensor]]] = []
    for module in (yolov5_torch, peer):
        model = load(module, config, "training").train()
        anchors = model.state_dict()["model.24.anchors"]
        theirs = upstream_loss(config["classes"], config["imgsz"], anchors)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.937, nesterov=True)
        losses: list[float] = []
        gradients: dict[str, torch.Tensor] = {}
        for _ in range(5):
            optimizer.zero_grad()
            outputs = module.training(model, inputs)
            if module is peer:
                loss = theirs([outputs[f"head.{number}"] for number in range(3)], rows)[0].sum()
            else:
                loss = module.loss(outputs, inputs)
            loss.backward()
            gradients = gradients or {key: value.grad.clone() for key, value in model.named_parameters()}
            optimizer.step()
            losses.append(loss.item())
        found.append((losses, gradients))
    (our_losses, ours), (upstream_losses, theirs) = found
    yield Finding(f"first loss {upstream_losses[0]:.4f}", relative(our_losses[:1], upstream_losses[:1]), 1e-5)
    for key in ("model.0.conv.weight", "model.4.m.1.cv2.bn.weight", "model.9.cv2.conv.weight", "model.17.cv3.bn.bias"):
        yield Finding(f"gradient of {key}", relative(ours[key], theirs[key]), LIMIT)
    worst = max(relative(ours[key], theirs[key]) for key in theirs)
    yield Finding(f"gradients of all {len(theirs)} weights", worst, 1e-3)
    yield Finding(f"five losses, the last {upstream_losses[4]:.4f}", relative(our_losses, upstream_losses), LIMIT)


# --- saboteurs -------------------------------------------------------------------------------------------------------

CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    parameter_counts,
    forward,
    letterboxes,
    suppression,
    losses_of_heads,
    training,
)


def _first(cell: Any, valid: Any) -> Any:
    """``loss_torch.last`` turned round: the first candidate of a cell wins."""
    return loss_torch_last(cell.flip(-1), valid.flip(-1)).flip(-1)


loss_torch_last = loss_torch.last

#: Check -> what is broken for it: owner, attribute, value.
SABOTEURS: tuple[tuple[Callable[[], Iterator[Finding]], Any, str, Any], ...] = (
    (parameter_counts, architecture, "outputs_per_anchor", lambda config: config["classes"] + 6),
    (forward, yolov5_torch, "STRIDES", (8, 16, 31)),
    (letterboxes, images, "BORDER", 113),
    (suppression, detections, "CLASS_OFFSET", 100),
    (losses_of_heads, loss_torch, "last", _first),
    (training, loss_torch, "BALANCE", (4.0, 1.0, 0.41)),
)


def unseen() -> Iterator[Finding]:
    """Per saboteur: 0 if its check has a line that fails, 1 if not (or if the check stops before it can say)."""
    for check, owner, attribute, value in SABOTEURS:
        with mock.patch.object(owner, attribute, value):
            seen = any(not finding.right for finding in check())
        yield Finding(f"saboteur of {check.__name__} ({attribute}) is seen", float(not seen))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and print each finding as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saboteurs", action="store_true", help="run each check on something broken, too")
    parser.add_argument("--only", action="append", choices=[check.__name__ for check in CHECKS], default=[])
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a second thread gains little here, and beside other work costs 10 times as much
    checks = [check for check in CHECKS if check.__name__ in asked.only or not asked.only]
    failed = total = 0
    for check in [*checks, *([unseen] if asked.saboteurs else [])]:
        for finding in check():
            total += 1
            failed += not finding.right
            verdict = "ok" if finding.right else "FAILS"
            print(f"{verdict:5}  {finding.error:9.2e} of {finding.limit:.0e}  {finding.what}", flush=True)
    print(f"{total - failed} of {total} right")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
