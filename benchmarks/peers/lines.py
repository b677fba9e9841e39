"""What is compared with what: a table of facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.cell import Cell


@dataclass(frozen=True)
class Line:
    """One piece of work in one framework, every form of it on both sides: (variant, mode). The fastest two meet."""

    name: str
    workload: str
    size: str
    batch: int
    framework: str
    peer: str
    peer_forms: tuple[tuple[str, str], ...]
    our_forms: tuple[tuple[str, str], ...]
    device: str = "cpu"
    precision: str = "fp32"

    def peers(self) -> tuple[Cell, ...]:
        """The other library's candidates."""
        return tuple(self._cell(self.peer, *form) for form in self.peer_forms)

    def ours(self) -> tuple[Cell, ...]:
        """Our candidates."""
        return tuple(self._cell(self.framework, *form) for form in self.our_forms)

    def _cell(self, environment: str, variant: str, mode: str) -> Cell:
        words = (self.workload, self.size, "inference", variant, self.batch, environment)
        return Cell(*words, self.device, self.precision, mode)


#: Upstream's eager (BatchNorm apart), fused, fused channels-last and compiled.
_YOLO = (("unfused", "eager"), ("default", "eager"), ("channels-last", "eager"), ("default", "compiled"))
#: Not one of upstream's own forms, but its users can write it too: a line of its own has it on both sides.
_BEST = (("channels-last", "compiled"),)
_LAYOUTS = (*_YOLO[1:], *_BEST)


#: For work of which nothing can be chosen: it is not screened.
_EAGER = (("default", "eager"),)


def _whisper(framework: str, peer: str, variant: str, modes: tuple[str, ...], ours: tuple[str, ...]) -> Line:
    what = "encoder" if variant == "encoder" else "encode-32"
    forms, our_forms = (tuple((variant, mode) for mode in side) for side in (modes, ours))
    return Line(f"whisper-tiny-{what}-{framework}", "whisper", "tiny", 1, framework, peer, forms, our_forms)


def _transformers(size: str, variant: str, device: str, batch: int = 1, precision: str = "fp32") -> Line:
    what = "encoder" if variant == "encoder" else "encode-32"
    label = "" if (batch, precision) == (1, "fp32") else f"-b{batch}-{precision}"
    forms = ((variant, "eager"), (variant, "compiled"))
    name = f"whisper-{size}-{what}{label}-torch-transformers"
    return Line(name, "whisper", size, batch, "torch", _TORCH, forms, forms, device, precision)


def _timm(precision: str) -> Line:
    return Line(
        f"mlp-wide-b256-{precision}-torch-timm", "mlp", "wide", 256, "torch", _TIMM, _EAGER, _EAGER, "cuda", precision
    )


_TORCH, _TIMM = "peer-transformers-torch", "peer-timm"
_TF, _JAX = "peer-transformers-tensorflow", "peer-transformers-jax"

#: The speed table of issue 3. openai-whisper's decoding keeps its cache in hooks, which torch.compile cannot take.
LINES: tuple[Line, ...] = (
    Line("yolov5s-b1-torch", "yolov5", "s", 1, "torch", "peer-yolov5", _YOLO, _LAYOUTS),
    Line("yolov5s-b1-torch-compiled", "yolov5", "s", 1, "torch", "peer-yolov5", _BEST, _BEST),
    Line("yolov5s-b8-torch", "yolov5", "s", 8, "torch", "peer-yolov5", _YOLO, _LAYOUTS),
    _whisper("torch", "peer-openai-whisper", "encoder", ("eager", "compiled"), ("eager", "compiled")),
    _whisper("torch", "peer-openai-whisper", "default", ("eager",), ("eager", "compiled")),
    _transformers("tiny", "encoder", "cpu"),
    _transformers("tiny", "default", "cpu"),
    _whisper("tensorflow", _TF, "encoder", ("compiled", "xla"), ("compiled", "xla")),
    _whisper("tensorflow", _TF, "default", ("compiled", "xla"), ("compiled", "xla")),
    _whisper("jax", _JAX, "encoder", ("compiled",), ("compiled",)),
    _whisper("jax", _JAX, "default", ("compiled",), ("compiled",)),
)

#: On an NVIDIA GPU, beside what is installed on the machine that had one (issue 4). timm has neither a YOLOv5 nor a
#: Whisper. Compiled, its perceptron and ours are one graph: eager only.
CUDA_LINES: tuple[Line, ...] = (
    _transformers("tiny", "encoder", "cuda"),
    _transformers("tiny", "default", "cuda"),
    _transformers("small", "encoder", "cuda"),
    _transformers("small", "default", "cuda"),
    _transformers("tiny", "encoder", "cuda", 8, "fp16"),
    _timm("fp32"),
    _timm("bf16"),
)

#: What each environment of a peer is asked before anything is timed: are its outputs ours? Module and its options.
PARITY: Mapping[str, str] = {
    "peer-yolov5": "benchmarks.peers.yolov5.parity",
    "peer-openai-whisper": "benchmarks.peers.whisper.parity",
    _TORCH: "benchmarks.peers.whisper.parity --peer transformers",
    _TIMM: "benchmarks.peers.timm_torch.parity",
    _TF: "benchmarks.peers.whisper.parity",
    _JAX: "benchmarks.peers.whisper.parity",
}
