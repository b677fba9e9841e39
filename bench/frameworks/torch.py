"""PyTorch: cpu, metal (MPS) and cuda; eager, or torch.compile of the forward pass and the loss."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bench.errors import Unavailable, Unsupported
from bench.frameworks import placement
from bench.frameworks.base import Framework, Job, Program, Step, built_kernels
from bench.frameworks.placement import Audit
from bench.frameworks.torch_operators import Operators, warn_always
from bench.workload import Arrays

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "amp-fp16": torch.float16,
    "amp-bf16": torch.bfloat16,
}
DEVICE_TYPES = {"cpu": "cpu", "metal": "mps", "cuda": "cuda"}
#: Initial loss scale of amp-fp16 training, the same in every adapter.
LOSS_SCALE = 2.0**12
#: What torch says where a kernel is missing for a dtype or a device.
LACKS = ("not implemented for", "not currently implemented for", "not supported on", "is not supported by")


def numpy_of(tensor: torch.Tensor) -> Any:
    """On the host first, widened after: MPS has no float64 (METAL.md, rule 10), NumPy has no bfloat16."""
    host = tensor.detach().cpu()
    return (host.float() if host.is_floating_point() and host.itemsize < 4 else host).numpy()


def allow_tf32(allow: bool) -> None:
    """Under the name fp32 a TF32 product would be wrong. One switch for CUDA's matmul and oneDNN, one for cuDNN."""
    torch.set_float32_matmul_precision("high" if allow else "highest")
    torch.backends.cudnn.allow_tf32 = allow


@contextmanager
def products_of(precision: str) -> Iterator[None]:
    """Within it products are computed as ``precision`` asks, whatever the cell of this process is."""
    before = torch.get_float32_matmul_precision() != "highest"
    wanted = precision == "tf32"
    if before == wanted:
        yield
        return
    allow_tf32(wanted)
    try:
        yield
    finally:
        allow_tf32(before)


def smallest(out: Any) -> torch.Tensor:
    """The smallest tensor of a nest of dicts, lists and tuples."""
    if isinstance(out, torch.Tensor):
        return out
    leaves = out.values() if isinstance(out, dict) else out
    return min((smallest(leaf) for leaf in leaves), key=torch.Tensor.numel)


def optimizer_of(options: Mapping[str, float | str], parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimizer with the workload's hyper-parameters."""
    lr = float(options["lr"])
    if options["name"] == "sgd":
        nesterov = bool(options.get("nesterov", False))
        return torch.optim.SGD(parameters, lr=lr, momentum=float(options["momentum"]), nesterov=nesterov)
    betas, eps = (float(options["beta1"]), float(options["beta2"])), float(options["eps"])
    if options["name"] == "adamw":
        decay = float(options["weight_decay"])
        return torch.optim.AdamW(parameters, lr=lr, betas=betas, eps=eps, weight_decay=decay)
    return torch.optim.Adam(parameters, lr=lr, betas=betas, eps=eps)


class TorchProgram(Program):
    """One cell in PyTorch. ``forward`` is the twin's forward pass, with the loss in training, perhaps compiled."""

    def __init__(self, device: torch.device, job: Job, model: torch.nn.Module) -> None:
        self._device, self._twin, self._config = device, job.twin, job.config
        self._precision, self._mode = job.precision, job.mode
        self._dtype = DTYPES[job.precision]
        self._amp = job.precision.startswith("amp-")
        self._model = model.to(device=device, dtype=None if self._amp else self._dtype)
        self.kernel_build_ns = built_kernels(job.twin, self._model, device)
        self._initial = {name: value.clone() for name, value in model.state_dict().items()}
        self._options, self._verified_steps = job.optimizer, job.verified_steps
        self._inputs = self._place(job.inputs)
        self.train = job.optimizer is not None
        self._forward = self._compiled(self._forward_and_loss if self.train else job.twin.inference)
        if not self.train and hasattr(job.twin, "PARTS"):
            self.parts = self._parts(self._compiled)
        self.step = self._train if self.train else self._infer
        self._model.train(self.train)
        self.reset()

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, dynamic=False) if self._mode == "compiled" else function

    def _parts(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> SimpleNamespace:
        """The twin's parts with the model bound."""
        twin = self._twin
        return SimpleNamespace(**{name: partial(wrap(getattr(twin, name)), self._model) for name in twin.PARTS})

    def _place(self, inputs: Arrays) -> dict[str, torch.Tensor]:
        """Floats in the cell's dtype (fp32 under autocast), indices as int64."""
        wanted = torch.float32 if self._amp else self._dtype
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}
        return {
            name: tensor.to(self._device, wanted if tensor.is_floating_point() else torch.int64)
            for name, tensor in tensors.items()
        }

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, dtype=self._dtype) if self._amp else nullcontext()

    def _forward_and_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        outputs = self._twin.training(model, inputs)
        if self._amp:
            outputs = {name: value.float() if value.is_floating_point() else value for name, value in outputs.items()}
        loss: torch.Tensor = self._twin.loss(outputs, inputs)
        return loss

    def _infer(self) -> dict[str, torch.Tensor]:
        outputs: dict[str, torch.Tensor]
        with self._autocast():
            if self.parts is None:
                outputs = self._forward(self._model, self._inputs)
            else:
                outputs = self._twin.inference(self.parts, self._inputs, self._config)
        return outputs

    def _verification(self) -> dict[str, torch.Tensor]:
        """What the twin wants compared beside its outputs."""
        if not hasattr(self._twin, "verification"):
            return {}
        with self._autocast():
            more: dict[str, torch.Tensor] = self._twin.verification(
                self.parts or self._model, self._inputs, self._config
            )
        return more

    def _train(self) -> torch.Tensor:
        loss = self._backward()
        self._update()
        return loss

    def _backward(self) -> torch.Tensor:
        """The loss, detached; the gradients, scaled where the precision scales, are in the parameters."""
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss: torch.Tensor = self._forward(self._model, self._inputs)
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        return loss.detach()

    def _update(self) -> None:
        if self._scaler is None:
            self._optimizer.step()
        else:
            self._scaler.step(self._optimizer)
            self._scaler.update()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Inference mode for inference, so that autograd costs nothing, as its users would have it."""
        with nullcontext() if self.train else torch.inference_mode():
            yield

    def reset(self) -> None:
        if self._options is None:
            return  # inference changes nothing
        with torch.no_grad():
            for name, value in self._model.state_dict().items():
                value.copy_(self._initial[name])
        self._optimizer = optimizer_of(self._options, self._model.parameters())
        scaled = self._precision == "amp-fp16"
        self._scaler = torch.amp.GradScaler(self._device.type, init_scale=LOSS_SCALE) if scaled else None

    def feed(self, inputs: Arrays) -> None:
        self._inputs = self._place(inputs)

    def evaluate(self, inputs: Arrays) -> Arrays:
        return {name: numpy_of(value) for name, value in self._plain(self._place(inputs)).items()}

    def _plain(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The twin's inference, never compiled: held-out sets have other shapes than ``step``."""
        twin = self._twin
        self._model.eval()
        with torch.inference_mode(), self._autocast():
            if hasattr(twin, "PARTS"):
                outputs = twin.inference(self._parts(lambda function: function), inputs, self._config)
            else:
                outputs = twin.inference(self._model, inputs)
        self._model.train(self.train)
        named: dict[str, torch.Tensor] = outputs
        return named

    def verify(self, inputs: Arrays) -> Arrays:
        kept, self._inputs = self._inputs, self._place(inputs)
        self.reset()
        try:
            with self._refusing_fallbacks():
                return self._verify_training() if self.train else self._verify_inference()
        finally:
            self._inputs = kept
            self.reset()

    @contextmanager
    def _refusing_fallbacks(self) -> Iterator[None]:
        """MPS runs some operators on the CPU even with PYTORCH_ENABLE_MPS_FALLBACK=0: see placement.MPS_FALLBACK."""
        if self._device.type != "mps":
            yield
            return
        with warn_always(), placement.listening() as heard:
            yield
        if fallen := placement.torch_fallbacks(heard):
            names = ", ".join(one.operator for one in fallen)
            raise Unsupported(f"ran on the CPU under the name of the GPU: {names}: {fallen[0].evidence}")

    def _verify_inference(self) -> Arrays:
        with self.measuring():
            outputs = self._infer()
            self._seen = next(iter(outputs.values())).dtype
            return {name: numpy_of(value) for name, value in (outputs | self._verification()).items()}

    def _verify_training(self) -> Arrays:
        with torch.no_grad(), self._autocast():
            self._seen = next(iter(self._twin.training(self._model, self._inputs).values())).dtype
        self.reset()
        losses = [numpy_of(self._backward())]
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        # Before the update, and copies: on a GPU SGD writes Nesterov's momentum into the gradients themselves.
        found = {f"grad.{name}": numpy_of(value.grad.clone()) for name, value in self._model.named_parameters()}
        self._update()
        losses += [numpy_of(self._train()) for _ in range(self._verified_steps - 1)]
        buffers = {name: value for name, value in self._model.named_buffers() if value.is_floating_point()}
        # Copies: NumPy would share the memory of the buffers, which the reset is about to write.
        state = {f"state.{name}": numpy_of(value.clone()) for name, value in buffers.items()}
        return {"loss": losses[0], **found, **state, "losses": np.stack(losses)}

    def output_dtype(self) -> str:
        return str(self._seen).removeprefix("torch.")


class Torch(Framework):
    """See the module."""

    name = "torch"
    #: torch's synchronize waits (and the self-test proves it); a host read would add a copy to every fence.
    reads_back = False
    distributions = ("torch", "numpy")
    modes = ("eager", "compiled")
    mode_reasons = {
        "xla": "torch compiles with Inductor (mode compiled); XLA needs torch_xla, which is in none of the environments"
    }

    def open(self, device: str, threads: int) -> str:
        torch.set_num_threads(threads)
        allow_tf32(False)
        self._device = torch.device(self._device_type(device))
        try:
            self._probe()
        except RuntimeError as error:
            memory = isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)
            raise Unavailable("out_of_memory" if memory else "no_device", str(error)) from error
        return self._device_name()

    def _device_type(self, device: str) -> str:
        kind = DEVICE_TYPES.get(device)
        if kind is None:
            raise Unavailable("no_device", f"torch has no device {device!r}; it has {', '.join(DEVICE_TYPES)}")
        if kind == "mps":
            if not torch.backends.mps.is_built():
                raise Unavailable("not_built", f"torch {torch.__version__} is built without MPS")
            if not torch.backends.mps.is_available():
                raise Unavailable("no_device", f"torch {torch.__version__} finds no MPS on {platform.mac_ver()[0]}")
        if kind == "cuda":
            if torch.version.cuda is None and torch.version.hip is None:
                raise Unavailable("not_built", f"torch {torch.__version__} is built without CUDA")
            if not torch.cuda.is_available():
                raise Unavailable("no_device", "torch.cuda.is_available() is False")
        return kind

    def _probe(self) -> None:
        """Allocate, compute, read back, compare: "available" is not "works" (METAL.md, rule 3)."""
        host = np.arange(16, dtype=np.float32).reshape(4, 4)
        device = torch.from_numpy(host).to(self._device)
        if not np.array_equal(numpy_of(device @ device), host @ host):
            raise Unavailable("wrong_result", f"a 4x4 product on {self._device} differs from NumPy's")

    def _device_name(self) -> str:
        if self._device.type == "cuda":
            return str(torch.cuda.get_device_name(self._device))
        if self._device.type == "mps":
            # Absent before torch 2.12 or so: feature-test, as METAL.md asks.
            get_name = getattr(torch.backends.mps, "get_name", None)
            return str(get_name()) if get_name is not None else f"MPS ({platform.processor()})"
        return platform.processor() or platform.machine()

    def unsupported(self, error: BaseException) -> str | None:
        if isinstance(error, NotImplementedError):
            return str(error)
        said = isinstance(error, RuntimeError | TypeError) and any(words in str(error) for words in LACKS)
        return str(error).splitlines()[0] if said else None

    def load(self, job: Job) -> Program:
        allow_tf32(job.precision == "tf32")
        model = job.twin.build(job.config)
        state = dict(job.twin.remap(name, value) for name, value in job.weights.items())
        model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()})
        model.eval()
        if hasattr(job.twin, "loaded"):
            job.twin.loaded(model)
        return TorchProgram(self._device, job, model)

    def audit(self, load: Callable[[], Program], mode: str) -> Audit:
        """One iteration under a count of all operators (eager), with torch's warnings of fallbacks."""
        program = load()
        operators = Operators(self._device.type) if mode == "eager" else None
        with warn_always(), placement.listening() as heard, program.measuring(), operators or nullcontext():
            self.barrier(program.step())
        found = placement.torch_fallbacks(heard) + (operators.fallbacks() if operators is not None else [])
        method = "torch's warnings with warn-always and PYTORCH_ENABLE_MPS_FALLBACK=1"
        if operators is not None:
            method += "; the devices of every dispatched operator's tensors"
        note = placement.ON_CPU if self._device.type == "cpu" else ""
        return Audit(method, operators.calls if operators is not None else None, found, None, note)

    def matmul(self, a: Any, b: Any, precision: str) -> Step:
        amp = precision.startswith("amp-")
        left, right = (
            torch.from_numpy(np.ascontiguousarray(host)).to(self._device, None if amp else DTYPES[precision])
            for host in (a, b)
        )

        def step() -> torch.Tensor:
            with torch.inference_mode(), products_of(precision):
                if not amp:
                    return left @ right
                with torch.autocast(self._device.type, dtype=DTYPES[precision]):
                    return left @ right

        return step

    def copy(self, nbytes: int) -> Step:
        source = torch.ones(nbytes // 4, dtype=torch.float32, device=self._device)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    def barrier(self, out: Any) -> None:
        # On a CPU every call of torch returns after its work.
        if self._device.type == "mps":
            torch.mps.synchronize()
        elif self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def host_read(self, out: Any) -> float:
        leaf = smallest(out)
        return float(leaf[(0,) * leaf.ndim].item())

    def to_numpy(self, out: Any) -> Any:
        return numpy_of(out)

    def dtype_name(self, out: Any) -> str:
        return str(out.dtype).removeprefix("torch.")
