"""MLX: cpu, metal and cuda; eager (a lazy graph that every step hands over for evaluation), or mx.compile.

Arrays know no device: memory is shared, and the default stream says where an operation runs. What has no kernel there
raises, nothing falls back. Facts about MLX are those of its wheel 0.32.4 unless an issue is named.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map

from bench.errors import Unavailable, Unsupported
from bench.frameworks.base import READ_WHOLE_BYTES, Framework, Job, Program, Step
from bench.frameworks.placement import Audit
from bench.workload import Arrays

DTYPES = {
    "fp32": mx.float32,
    "tf32": mx.float32,  # by MLX_ENABLE_TF32, see bench/environments.py
    "fp16": mx.float16,
    "bf16": mx.bfloat16,
    "amp-fp16": mx.float16,
    "amp-bf16": mx.bfloat16,
}
DEVICES = ("cpu", "metal", "cuda")
#: Dynamic loss scaling of amp-fp16: the initial scale is every adapter's, the rest torch's and Keras' defaults.
LOSS_SCALE, GROWTH_INTERVAL = 2.0**12, 2000
#: What MLX says where a kernel or a gradient is missing.
LACKS = (
    "has no cpu implementation",
    "has no gpu implementation",
    "not yet supported on the gpu",
    " nyi",
    "not implemented for",
)
#: What it says where memory ends: its allocators (host, Metal, CUDA) and Metal's command buffers.
OUT_OF_MEMORY = ("malloc", "Insufficient Memory", "out of memory", "cudaErrorMemoryAllocation")

Inputs = dict[str, mx.array]


def numpy_of(array: mx.array) -> Any:
    """Widened before it goes to NumPy, which takes no bfloat16 from MLX; widening is exact on any device."""
    narrow = mx.issubdtype(array.dtype, mx.floating) and array.itemsize < 4
    return np.array(array.astype(mx.float32) if narrow else array)


def cast(tree: Any, dtype: Any) -> Any:
    """The floating-point leaves in ``dtype``, the others as they are."""
    return tree_map(lambda leaf: leaf.astype(dtype) if mx.issubdtype(leaf.dtype, mx.floating) else leaf, tree)


def smallest(out: Any) -> mx.array:
    """The smallest array of a nest of dicts, lists and tuples."""
    leaves = [out] if isinstance(out, mx.array) else [leaf for _, leaf in tree_flatten(out)]
    return min(leaves, key=lambda leaf: leaf.size)


def optimizer_of(options: Mapping[str, float | str]) -> optim.Optimizer:
    """The MLX optimizer with the workload's hyper-parameters. Adam's bias correction is off unless asked for."""
    lr = float(options["lr"])
    if options["name"] == "sgd":
        return optim.SGD(lr, momentum=float(options["momentum"]), nesterov=bool(options.get("nesterov", False)))
    betas, eps = [float(options["beta1"]), float(options["beta2"])], float(options["eps"])
    if options["name"] == "adamw":
        decay = float(options["weight_decay"])
        return optim.AdamW(lr, betas=betas, eps=eps, weight_decay=decay, bias_correction=True)
    return optim.Adam(lr, betas=betas, eps=eps, bias_correction=True)


def dispatched(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose results are evaluated from the moment it returns, without waiting for them.

    MLX computes nothing that is never evaluated: without this, all but the last of a burst's results would be dropped
    uncomputed (METAL.md, first table).
    """

    def run(*arguments: Any) -> Any:
        out = function(*arguments)
        mx.async_eval(out)
        return out

    return run


class MlxProgram(Program):
    """One cell in MLX. The weights are state that compiled functions capture as inputs, never constants."""

    def __init__(self, job: Job, model: nn.Module) -> None:
        self._twin, self._config, self._mode = job.twin, job.config, job.mode
        self._dtype, self._amp = DTYPES[job.precision], job.precision.startswith("amp-")
        self._stored = mx.float32 if self._amp else self._dtype
        self._model = model
        model.update(cast(model.parameters(), self._stored))
        self._inputs = self._place(job.inputs)
        self._scaled = job.precision == "amp-fp16"
        self.train, self._verified_steps = job.optimizer is not None, job.verified_steps
        model.train(self.train)
        mx.eval(model.parameters())
        if job.optimizer is None:
            self._load_inference()
        else:
            self._load_training(job.optimizer)

    def _load_inference(self) -> None:
        twin = self._twin
        if hasattr(twin, "PARTS"):
            self.parts = self._parts(self._compiled)
            self.step = dispatched(lambda: twin.inference(self.parts, self._inputs, self._config))
            return
        itself = getattr(twin, "COMPILES_ITSELF", False)
        self._infer = self._inference if itself else self._compiled(self._inference)
        self.step = dispatched(lambda: self._infer(self._inputs))

    def _load_training(self, options: Mapping[str, float | str]) -> None:
        self._initial = tree_map(lambda leaf: leaf, self._model.parameters())
        self._optimizer = optimizer_of(options)
        self._optimizer.init(self._model.trainable_parameters())
        self._moments = tree_map(lambda leaf: leaf, self._optimizer.state)
        self._scale: dict[str, mx.array] = {}
        self.reset()
        state = [self._model.state, self._optimizer.state, self._scale]
        self._gradients = self._compiled(self._loss_and_gradients, state)
        update = self._compiled(self._training, state)

        def train() -> mx.array:
            loss = update(self._inputs)
            mx.async_eval(loss, state)
            return loss

        self.step = train

    def _compiled(self, function: Callable[..., Any], moved: Any = None) -> Callable[..., Any]:
        """``moved`` is state that ``function`` also changes."""
        if self._mode == "eager":
            return function
        return mx.compile(function, inputs=moved or self._model.state, outputs=moved)

    def _parts(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> SimpleNamespace:
        """The twin's parts with the model bound."""
        return SimpleNamespace(**{name: dispatched(wrap(self._part(name))) for name in self._twin.PARTS})

    def _part(self, name: str) -> Callable[..., Any]:
        function = getattr(self._twin, name)

        def part(*tensors: Any) -> Any:
            return self._lowered(lambda: function(self._model, *self._lower(tensors)))

        return part

    def _place(self, inputs: Arrays) -> Inputs:
        """Floats in the stored dtype, indices as int32, evaluated."""
        placed: Inputs = cast(
            {name: mx.array(np.ascontiguousarray(value)) for name, value in inputs.items()}, self._stored
        )
        mx.eval(placed)
        return placed

    def _lower(self, tree: Any) -> Any:
        """What automatic mixed precision does at the entry of the model: half copies of the fp32 master values.

        MLX has no autocast; as in JAX, the casts are part of what is computed and timed.
        """
        return cast(tree, self._dtype) if self._amp else tree

    def _lowered(self, call: Callable[[], Any]) -> Any:
        """``call`` with half copies of the trained weights in the model, where the precision is mixed."""
        if not self._amp:
            return call()
        masters = self._model.trainable_parameters()
        self._model.update(self._lower(masters))
        try:
            return call()
        finally:
            self._model.update(masters)

    def _inference(self, inputs: Inputs) -> dict[str, mx.array]:
        outputs: dict[str, mx.array] = self._lowered(lambda: self._twin.inference(self._model, self._lower(inputs)))
        return outputs

    def _loss(self, inputs: Inputs, scale: mx.array) -> tuple[mx.array, mx.array]:
        """The scaled loss, and the unscaled one."""

        def forward() -> mx.array:
            outputs = self._twin.training(self._model, self._lower(inputs))
            self._seen = next(iter(outputs.values())).dtype
            return self._twin.loss(cast(outputs, mx.float32) if self._amp else outputs, inputs)

        loss = self._lowered(forward)
        return loss * scale.astype(loss.dtype), loss

    def _loss_and_gradients(self, inputs: Inputs) -> tuple[mx.array, Any]:
        """The unscaled loss, and the unscaled gradients in the dtype of the stored weights."""
        masters = self._model.trainable_parameters()
        (_, loss), gradients = nn.value_and_grad(self._model, self._loss)(inputs, self._scale["scale"])
        # value_and_grad leaves the arrays in the model by which it derives.
        self._model.update(masters)
        if self._scaled:
            gradients = tree_map(lambda gradient: gradient / self._scale["scale"], gradients)
        return loss, gradients

    def _training(self, inputs: Inputs) -> mx.array:
        """One step. With loss scaling, a step whose gradients are not finite is skipped and the scale halved.

        As in torch and Keras, a skipped step has moved BatchNorm's statistics all the same.
        """
        loss, gradients = self._loss_and_gradients(inputs)
        model, optimizer = self._model, self._optimizer
        if not self._scaled:
            optimizer.update(model, gradients)
            return loss
        finite = mx.all(mx.stack([mx.isfinite(leaf).all() for _, leaf in tree_flatten(gradients)]))
        keep = partial(tree_map, lambda new, old: mx.where(finite, new, old))
        weights, moments = model.trainable_parameters(), tree_map(lambda leaf: leaf, optimizer.state)
        optimizer.update(model, gradients)
        model.update(keep(model.trainable_parameters(), weights))
        optimizer.state.update(keep(optimizer.state, moments))
        scale, good = self._scale["scale"], self._scale["good"] + 1
        grown = mx.where(good >= GROWTH_INTERVAL, scale * 2, scale)
        self._scale["scale"] = mx.where(finite, grown, scale / 2)
        self._scale["good"] = mx.where(finite & (good < GROWTH_INTERVAL), good, 0)
        return loss

    def reset(self) -> None:
        if not self.train:
            return
        # No copies: arrays are values, and a buffer that is held here is never taken over.
        self._model.update(self._initial)
        self._optimizer.state.update(tree_map(lambda leaf: leaf, self._moments))
        self._scale.update(scale=mx.array(LOSS_SCALE if self._scaled else 1.0), good=mx.array(0))

    def feed(self, inputs: Arrays) -> None:
        self._inputs = self._place(inputs)

    def evaluate(self, inputs: Arrays) -> Arrays:
        """Never compiled: held-out sets have other shapes than ``step``."""
        twin, placed = self._twin, self._place(inputs)
        self._model.eval()
        if hasattr(twin, "PARTS"):
            outputs = twin.inference(self._parts(lambda function: function), placed, self._config)
        else:
            outputs = self._inference(placed)
        self._model.train(self.train)
        return {name: numpy_of(value) for name, value in outputs.items()}

    def verify(self, inputs: Arrays) -> Arrays:
        kept, self._inputs = self._inputs, self._place(inputs)
        self.reset()
        try:
            return self._verify_training() if self.train else self._verify_inference()
        finally:
            self._inputs = kept
            self.reset()

    def _verify_inference(self) -> Arrays:
        outputs = dict(self.step())
        self._seen = next(iter(outputs.values())).dtype
        if hasattr(self._twin, "verification"):
            outputs |= self._twin.verification(self.parts or self._model, self._inputs, self._config)
        return {name: numpy_of(value) for name, value in outputs.items()}

    def _verify_training(self) -> Arrays:
        loss, gradients = self._gradients(self._inputs)
        found = {f"grad.{name}": numpy_of(value) for name, value in tree_flatten(gradients)}
        first = numpy_of(loss)
        # The gradients' own forward pass has moved BatchNorm's statistics.
        self.reset()
        losses = [numpy_of(self.step()) for _ in range(self._verified_steps)]
        after = tree_flatten(self._model.parameters())
        state = {f"state.{name}": numpy_of(value) for name, value in after if f"grad.{name}" not in found}
        return {"loss": first, **found, **state, "losses": np.stack(losses)}

    def output_dtype(self) -> str:
        return str(self._seen).removeprefix("mlx.core.")


class Mlx(Framework):
    """See the module."""

    name = "mlx"
    #: mx.eval and mx.synchronize wait (and the self-test proves it); a host read would add an operation to every fence.
    reads_back = False
    distributions = ("mlx", "mlx-metal", "mlx-cpu", "mlx-cuda", "mlx-cuda-12", "mlx-cuda-13", "numpy")
    modes = ("eager", "compiled")
    mode_reasons = {"xla": "MLX compiles with mx.compile (mode compiled); it has no XLA"}

    def open(self, device: str, threads: int) -> str:
        """``threads`` is set for Accelerate by a variable (bench/environments.py): MLX has no call for it."""
        self._choose(device)
        try:
            self._probe(device)
        except RuntimeError as error:
            memory = any(words in str(error) for words in OUT_OF_MEMORY)
            raise Unavailable("out_of_memory" if memory else "no_device", str(error)) from error
        return self._device_name(device)

    def _choose(self, device: str) -> None:
        if device not in DEVICES:
            raise Unavailable("no_device", f"mlx has no device {device!r}; it has {', '.join(DEVICES)}")
        if device == "cpu":
            mx.set_default_device(mx.cpu)
            return
        if device == "metal" and platform.system() != "Darwin":
            raise Unavailable("not_darwin", f"Metal needs macOS, this is {platform.system()}")
        backend = mx.metal if device == "metal" else mx.cuda
        if not backend.is_available():
            raise Unavailable("not_built", f"mx.{device}.is_available() is False in mlx {mx.__version__}")
        if not mx.is_available(mx.gpu):
            raise Unavailable("no_device", "mx.is_available(mx.gpu) is False")
        mx.set_default_device(mx.gpu)
        if device == "metal":
            limit_memory()

    def _probe(self, device: str) -> None:
        """Allocate, compute, read back, compare: "available" is not "works" (METAL.md, rule 3)."""
        host = np.arange(16, dtype=np.float32).reshape(4, 4)
        operand = mx.array(host)
        if not np.array_equal(numpy_of(operand @ operand), host @ host):
            raise Unavailable("wrong_result", f"a 4x4 product on {device} differs from NumPy's")

    def _device_name(self, device: str) -> str:
        if device == "cpu":
            return platform.processor() or platform.machine()
        return str(mx.device_info().get("device_name", mx.default_device()))

    def unsupported(self, error: BaseException) -> str | None:
        said = isinstance(error, RuntimeError | ValueError) and any(words in str(error).lower() for words in LACKS)
        return str(error).splitlines()[0] if said else None

    def load(self, job: Job) -> Program:
        model = job.twin.build(job.config)
        given = dict(job.twin.remap(name, value) for name, value in job.weights.items())
        # Strict: a name or shape that does not fit is refused.
        model.load_weights([(name, mx.array(np.ascontiguousarray(value))) for name, value in given.items()])
        if hasattr(job.twin, "loaded"):
            job.twin.loaded(model)
        return MlxProgram(job, model)

    def audit(self, load: Callable[[], Program], mode: str) -> Audit:
        raise Unsupported("MLX has no fallback to audit: an operator that lacks a kernel raises, nothing is moved")

    def matmul(self, a: Any, b: Any, precision: str) -> Step:
        amp, dtype = precision.startswith("amp-"), DTYPES[precision]
        left, right = (mx.array(np.asarray(host)).astype(mx.float32 if amp else dtype) for host in (a, b))
        mx.eval(left, right)
        return dispatched(lambda: left.astype(dtype) @ right.astype(dtype))

    def copy(self, nbytes: int) -> Step:
        source = mx.ones(nbytes // 4, mx.float32)
        mx.eval(source)
        # A copy could be elided; a negation reads and writes the same bytes.
        return dispatched(lambda: mx.negative(source))

    def barrier(self, out: Any) -> None:
        if out is not None:
            mx.eval(out)
        mx.synchronize()

    def host_read(self, out: Any) -> float:
        leaf = smallest(out)
        if leaf.nbytes > READ_WHOLE_BYTES:
            leaf = leaf[(0,) * leaf.ndim]
        return float(numpy_of(leaf).flat[0])

    def to_numpy(self, out: Any) -> Any:
        return numpy_of(out)

    def dtype_name(self, out: Any) -> str:
        return str(out.dtype).removeprefix("mlx.core.")


def limit_memory() -> None:
    """Keep what is in flight within what the GPU can hold: MLX's own limit is half as much again.

    Beyond it Metal fails command buffers with "Insufficient Memory", and MLX may drop that error and go on with zeros
    (mlx#3979). Work waits at the limit instead.
    """
    most = mx.device_info().get("max_recommended_working_set_size")
    if most:
        mx.set_memory_limit(int(most))
