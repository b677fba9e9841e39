"""Run in a torch interpreter: writes checkpoints as upstream projects do, and hostile ones, into the given folder.

Then reads each with the reader, as ``python checkpoint.py X.pt X.npz > X.json`` would: importing torch takes seconds.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import runpy
import sys
from typing import Any

import numpy as np
import torch

READER = pathlib.Path(__file__).resolve().parent.parent / "bench" / "frameworks" / "checkpoint.py"
#: What YOLOv5's repository looks like to pickle: classes in packages called ``models``.
PACKAGE = {
    "models/__init__.py": "",
    "models/common.py": "import torch\n\n\nclass Linear(torch.nn.Linear):\n    pass\n",
    "models/yolo.py": """
import torch
from models.common import Linear


class DetectionModel(torch.nn.Module):
    def __init__(self, sides):
        super().__init__()
        self.stride = torch.tensor([8.0, 16.0, 32.0])
        self.yaml = {"nc": 80}
        for number, (fan_in, fan_out) in enumerate(zip(sides, sides[1:]), 1):
            setattr(self, f"fc{number}", Linear(fan_in, fan_out))
        self.bn = torch.nn.BatchNorm1d(3)
        self.register_buffer("scratch", torch.ones(2), persistent=False)
""",
}


class Evil:
    """Unpickling it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (self.command,))


def main(folder: pathlib.Path) -> None:
    """All files at once: importing torch is what takes the time."""
    for name, text in PACKAGE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    sys.path.insert(0, str(folder))
    from models.yolo import DetectionModel  # type: ignore[import-not-found]

    def model(value: float, sides: tuple[int, ...] = (12, 16, 16, 5)) -> Any:
        made = DetectionModel(sides)
        for parameter in made.parameters():
            torch.nn.init.constant_(parameter, value)
        return made

    def dense(value: float) -> dict[str, Any]:
        return {name: tensor for name, tensor in model(value).state_dict().items() if name.startswith("fc")}

    extras = {
        "epoch": 3,
        "best_fitness": np.float64(0.5),
        "scores": np.ones(3),
        "opt": {"weights": pathlib.PosixPath("yolov5s.pt")},
        "date": datetime.datetime(2022, 11, 22, tzinfo=None).isoformat(),
        "started": datetime.datetime(2022, 11, 22),
    }
    spoilt = dense(0.5)
    spoilt["fc2.weight"][3, 4] = float("nan")
    files: dict[str, Any] = {
        "ema": {**extras, "ema": model(0.25).half(), "model": model(9.0).half(), "optimizer": None},
        "released": {"epoch": -1, "ema": None, "model": model(0.5).half()},
        "other-size": {"ema": None, "model": model(0.5, (64, 128, 64, 10))},
        "whisper": {"dims": {"n_mels": 80}, "model_state_dict": {k: v.half() for k, v in dense(0.75).items()}},
        "plain": {name: tensor.bfloat16() for name, tensor in dense(1.5).items()},
        "nan": spoilt,
        "evil": {"model": model(0.5), "opt": Evil(f"touch {folder / 'owned'}")},
        "scores": {"epoch": 3, "loss": 0.1},
    }
    for name, content in files.items():
        torch.save(content, folder / f"{name}.pt")
    torch.save(dense(1.25), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(Evil(f"touch {folder / 'owned'}"), folder / "evil-legacy.pt", _use_new_zipfile_serialization=False)
    (folder / "junk.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for name in ("models.common", "models.yolo", "models"):
        del sys.modules[name]  # the reader's process knows nothing of upstream's code
    sys.path.remove(str(folder))
    read = runpy.run_path(str(READER))["main"]
    for path in folder.glob("*.pt"):
        said = read(str(path), str(path.with_suffix(".npz")))
        path.with_suffix(".json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
