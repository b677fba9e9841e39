"""TensorFlow with Keras 3: cpu, cuda and metal; eager, tf.function (compiled) or tf.function with XLA (xla)."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bench.errors import Unavailable, Unsupported
from bench.frameworks import placement
from bench.frameworks.base import READ_WHOLE_BYTES, Framework, Job, Program, Step
from bench.frameworks.placement import Audit
from bench.workload import Arrays, Config

#: Keras' dtype policy of each precision; it is what its users set, and does the casts of mixed precision.
POLICIES = {
    "fp32": "float32",
    "tf32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "amp-fp16": "mixed_float16",
    "amp-bf16": "mixed_bfloat16",
}
#: Initial loss scale of amp-fp16 training, the same in every adapter.
LOSS_SCALE = 2.0**12
#: What TensorFlow says where a kernel or a lowering is missing, whatever the type of the exception.
LACKS = re.compile(
    r"No (registered '\w+' )?OpKernel|Could not find device for node|No unary variant|not supported by XLA"
    r"|Detected unsupported operations|unsupported data ?type|is not supported for"
    r"|is not in the list of allowed values",
    re.IGNORECASE,
)


def allow_tf32(allow: bool) -> None:
    """Under the name fp32 a TF32 product would be wrong."""
    tf.config.experimental.enable_tensor_float_32_execution(allow)


def numpy_of(tensor: tf.Tensor) -> Any:
    """On the host first, there widened to float32 where NumPy alone has no such dtype."""
    host = tensor.numpy()
    return host.astype(np.float32) if tensor.dtype.is_floating and tensor.dtype.size < 4 else host


def optimizer_of(options: Mapping[str, float | str]) -> keras.optimizers.Optimizer:
    """The Keras optimizer with the workload's hyper-parameters."""
    if options["name"] == "sgd":
        nesterov = bool(options.get("nesterov", False))
        return keras.optimizers.SGD(learning_rate=options["lr"], momentum=options["momentum"], nesterov=nesterov)
    moments = {"beta_1": options["beta1"], "beta_2": options["beta2"], "epsilon": options["eps"]}
    if options["name"] == "adamw":
        return keras.optimizers.AdamW(learning_rate=options["lr"], weight_decay=options["weight_decay"], **moments)
    return keras.optimizers.Adam(learning_rate=options["lr"], **moments)


class Traced:
    """A ``tf.function`` that is called as the concrete function of its first arguments.

    tf.function itself looks at the type of every argument in Python, at every call: with the 18 tensors of a token of
    Whisper that was 0.9 ms of 9. Arguments of another shape or dtype are traced anew.
    """

    def __init__(self, function: Callable[..., Any], xla: bool) -> None:
        # Explicit: Keras' "auto" may choose XLA, which Metal does not have (METAL.md, known traps).
        self.function = tf.function(function, jit_compile=xla, reduce_retracing=False)
        self._concrete: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._concrete is not None:
            try:
                return self._concrete(*arguments)
            except TypeError:  # what a concrete function says of arguments that are not those it was traced with
                pass
        self._concrete = self.function.get_concrete_function(*arguments)
        return self._concrete(*arguments)


class TensorFlowProgram(Program):
    """One cell in TensorFlow. Weights are variables and inputs are arguments of the traced function, so that Grappler
    and XLA cannot fold them."""

    def __init__(self, device_type: str, job: Job) -> None:
        self._device_type, self._twin, self._config, self._mode = device_type, job.twin, job.config, job.mode
        self._amp = job.precision.startswith("amp-")
        self._stored = tf.float32 if self._amp else tf.as_dtype(POLICIES[job.precision])
        self.train, self._verified_steps = job.optimizer is not None, job.verified_steps
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(POLICIES[job.precision])
        try:
            self._build(job.config, job.optimizer, scaled=job.precision == "amp-fp16")
        finally:
            keras.config.set_dtype_policy(before)
        self._load(job.weights)
        self._inputs = self._place(job.inputs)
        self._gradients = self._compiled(self._loss_and_gradients)
        self._update = self._compiled(self._training)
        if hasattr(job.twin, "PARTS"):
            parts = {name: partial(getattr(job.twin, name), self._model) for name in job.twin.PARTS}
            self.parts = SimpleNamespace(**{name: self._compiled(part) for name, part in parts.items()})
            self._infer = lambda inputs: job.twin.inference(self.parts, inputs, job.config)
        else:
            whole = partial(job.twin.inference, self._model)
            self._infer = whole if getattr(job.twin, "COMPILES_ITSELF", False) else self._compiled(whole)
        timed: Callable[..., Any] = self._update if self.train else self._infer
        self.step = lambda: timed(self._inputs)

    def _build(self, config: Config, options: Mapping[str, float | str] | None, scaled: bool) -> None:
        """Model and optimizer, their variables included, so that ``reset`` knows all of the state."""
        self._model = self._twin.build(config)
        variables = list(self._model.variables)
        if options is not None:
            optimizer = optimizer_of(options)
            if scaled:
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=LOSS_SCALE)
            optimizer.build(self._model.trainable_variables)
            self._optimizer = optimizer
            variables += optimizer.variables
            variables += optimizer.inner_optimizer.variables if scaled else []
        self._scaled = scaled
        self._variables = list({id(variable): variable for variable in variables}.values())

    def _load(self, weights: Arrays) -> None:
        """Assign by Keras' own paths, ``mlp/fc1/kernel`` without the model's name; all of them, and none else."""
        if hasattr(self._twin, "assign"):
            self._twin.assign(self._model, weights)
        else:
            self._assign(weights)
        if hasattr(self._twin, "loaded"):
            self._twin.loaded(self._model)
        # Only training changes them; a copy of a large model is dear.
        self._initial = [tf.identity(variable.value) for variable in self._variables] if self.train else []

    def _assign(self, weights: Arrays) -> None:
        prefix = f"{self._model.name}/"
        self._names = {variable.path: variable.path.removeprefix(prefix) for variable in self._model.variables}
        given = dict(self._twin.remap(name, value) for name, value in weights.items())
        if set(given) != set(self._names.values()):
            raise KeyError(f"twin and weights differ in {sorted(set(given) ^ set(self._names.values()))}")
        for variable in self._model.variables:
            variable.assign(given[self._names[variable.path]].astype(variable.dtype))

    def _place(self, inputs: Arrays) -> dict[str, tf.Tensor]:
        """Floats in the stored dtype, indices as int32, on the device."""
        return {
            name: tf.cast(tf.constant(value), self._stored) if value.dtype.kind == "f" else tf.constant(value)
            for name, value in inputs.items()
        }

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self._mode == "eager":
            return function
        return Traced(function, xla=self._mode == "xla")

    def _forward_and_loss(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        outputs = self._twin.training(self._model, inputs)
        self._seen = next(iter(outputs.values())).dtype
        if self._amp:
            floats = {name: value for name, value in outputs.items() if value.dtype.is_floating}
            outputs = outputs | {name: tf.cast(value, tf.float32) for name, value in floats.items()}
        return self._twin.loss(outputs, inputs)

    def _tape(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The loss, and the gradients by the trainable variables, scaled where the precision scales."""
        with tf.GradientTape() as tape:
            loss = self._forward_and_loss(inputs)
            scaled = self._optimizer.scale_loss(loss) if self._scaled else loss
        return loss, tape.gradient(scaled, self._model.trainable_variables)

    def _loss_and_gradients(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        loss, gradients = self._tape(inputs)
        if self._scaled:
            gradients = [gradient / self._optimizer.dynamic_scale for gradient in gradients]
        return loss, gradients

    def _training(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        loss, gradients = self._tape(inputs)
        self._optimizer.apply(gradients)
        return loss

    def reset(self) -> None:
        if self.train:
            for variable, value in zip(self._variables, self._initial, strict=True):
                variable.assign(value)

    def feed(self, inputs: Arrays) -> None:
        self._inputs = self._place(inputs)

    def evaluate(self, inputs: Arrays) -> Arrays:
        outputs = self._twin.inference(self._model, self._place(inputs))
        return {name: numpy_of(value) for name, value in outputs.items()}

    def verify(self, inputs: Arrays) -> Arrays:
        kept = self._inputs
        self.feed(inputs)
        self.reset()
        try:
            return self._verify_training() if self.train else self._verify_inference()
        finally:
            self._inputs = kept
            self.reset()

    def _verify_inference(self) -> Arrays:
        outputs = dict(self.step())
        first = next(iter(outputs.values()))
        self._check_placement(first)
        self._seen = first.dtype
        if hasattr(self._twin, "verification"):
            outputs |= self._twin.verification(self.parts or self._model, self._inputs, self._config)
        return {name: numpy_of(value) for name, value in outputs.items()}

    def _verify_training(self) -> Arrays:
        loss, gradients = self._gradients(self._inputs)
        self._check_placement(gradients[0])
        # The gradients' own forward pass has moved BatchNorm's statistics.
        self.reset()
        names = [self._names[variable.path] for variable in self._model.trainable_variables]
        found = {f"grad.{name}": numpy_of(value) for name, value in zip(names, gradients, strict=True)}
        losses = [numpy_of(self.step()) for _ in range(self._verified_steps)]
        fixed = self._model.non_trainable_variables
        state = {f"state.{self._names[variable.path]}": numpy_of(variable.value) for variable in fixed}
        return {"loss": numpy_of(loss), **found, **state, "losses": np.stack(losses)}

    def _check_placement(self, tensor: tf.Tensor) -> None:
        """Soft placement silently runs an operator without a kernel on the CPU (METAL.md, rule 7)."""
        if f"device:{self._device_type}:" not in tensor.device:
            raise Unsupported(f"the result of a step for {self._device_type} lies on {tensor.device}: it fell back")

    def output_dtype(self) -> str:
        return str(self._seen.name)


class TensorFlow(Framework):
    """See the module."""

    name = "tensorflow"
    distributions = (
        "tensorflow", "tensorflow-cpu", "tensorflow-metal", "tensorflow-metal-plugin", "keras", "numpy",
    )  # fmt: skip
    modes = ("eager", "compiled", "xla")

    def open(self, device: str, threads: int) -> str:
        if device not in ("cpu", "metal", "cuda"):
            raise Unavailable("no_device", f"tensorflow has no device {device!r}; it has cpu, metal, cuda")
        if self.auditing:
            # Only now: a context that has begun keeps its silence (seen with 2.21).
            tf.debugging.set_log_device_placement(True)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        allow_tf32(False)
        self._type = "CPU" if device == "cpu" else "GPU"
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        elif device == "cuda" and not tf.test.is_built_with_cuda():
            raise Unavailable("not_built", f"tensorflow {tf.__version__} is built without CUDA")
        elif not tf.config.list_physical_devices("GPU"):
            raise Unavailable("no_device", "tf.config.list_physical_devices('GPU') is empty")
        try:
            self._probe()
        except tf.errors.ResourceExhaustedError as error:
            raise Unavailable("out_of_memory", str(error)) from error
        except tf.errors.OpError as error:
            raise Unavailable("no_device", str(error)) from error
        if device == "cpu":
            return platform.processor() or platform.machine()
        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return str(details.get("device_name", "GPU:0"))

    def _probe(self) -> None:
        """Allocate, compute, read back, compare, and prove the placement from the result (METAL.md, rules 3 and 7)."""
        host = np.arange(16, dtype=np.float32).reshape(4, 4)
        with tf.device(f"/{self._type}:0"):
            product = tf.linalg.matmul(tf.constant(host), tf.constant(host))
        if f"device:{self._type}:" not in product.device:
            raise Unavailable("no_device", f"a product asked for {self._type}:0 was computed on {product.device}")
        if not np.array_equal(product.numpy(), host @ host):
            raise Unavailable("wrong_result", f"a 4x4 product on {self._type}:0 differs from NumPy's")

    def unsupported(self, error: BaseException) -> str | None:
        said = isinstance(error, tf.errors.UnimplementedError | NotImplementedError)
        said = said or (isinstance(error, tf.errors.OpError | ValueError) and bool(LACKS.search(str(error))))
        return str(error).strip().splitlines()[0] if said else None

    def load(self, job: Job) -> Program:
        allow_tf32(job.precision == "tf32")
        return TensorFlowProgram(self._type, job)

    def audit(self, load: Callable[[], Program], mode: str) -> Audit:
        """One iteration with soft placement off, for what TensorFlow says then, and one with its device log."""
        strict_error = self._strictly(load)
        program = load()
        with placement.listening() as heard, program.measuring():
            self.barrier(program.step())
        log = "\n".join(heard)
        seen = placement.tensorflow_placements(log)
        if not seen:
            raise RuntimeError("TensorFlow's device log is empty: nothing is known about its operators")
        fallen = placement.tensorflow_fallbacks(log, self._type)
        note = placement.ON_CPU if self._type == "CPU" else ""
        if mode == "xla":
            note = (
                note + "; " if note else ""
            ) + "XLA compiles for one device: of what it compiled, the log says nothing"
        return Audit("strict placement; TensorFlow's device log", seen.total(), fallen, strict_error, note)

    def _strictly(self, load: Callable[[], Program]) -> str | None:
        """What TensorFlow says when it may place nothing elsewhere; None: nothing.

        Soft placement off concerns only operators that ask for a device: so all of them do.
        """
        tf.config.set_soft_device_placement(False)
        try:
            with tf.device(f"/{self._type}:0"):
                program = load()
                with program.measuring():
                    self.barrier(program.step())
        except (tf.errors.OpError, ValueError) as error:
            return str(error).strip().splitlines()[0]
        finally:
            tf.config.set_soft_device_placement(True)
        return None

    def matmul(self, a: Any, b: Any, precision: str) -> Step:
        """A Dense layer without bias: the policy that casts in a model casts here."""
        layer = keras.layers.Dense(b.shape[1], use_bias=False, dtype=POLICIES[precision])
        layer.build(a.shape)
        # Through tf.cast: out of range becomes infinity without a warning of NumPy's.
        layer.kernel.assign(tf.cast(tf.constant(np.asarray(b)), layer.kernel.dtype))
        operand = tf.cast(tf.constant(np.asarray(a)), layer.kernel.dtype)
        product, wanted = tf.function(layer, jit_compile=False), precision == "tf32"

        def step() -> tf.Tensor:
            # Kernels read the switch when they are launched, which is before the call returns.
            before = tf.config.experimental.tensor_float_32_execution_enabled()
            if before == wanted:
                return product(operand)
            allow_tf32(wanted)
            try:
                return product(operand)
            finally:
                allow_tf32(before)

        return step

    def copy(self, nbytes: int) -> Step:
        source = tf.ones(nbytes // 4, tf.float32)
        # tf.identity may alias; a negation reads and writes the same bytes.
        return partial(tf.negative, source)

    def barrier(self, out: Any) -> None:
        tf.test.experimental.sync_devices()

    def host_read(self, out: Any) -> float:
        leaf = min(tf.nest.flatten(out), key=lambda tensor: tensor.shape.num_elements())
        if leaf.shape.num_elements() * leaf.dtype.size > READ_WHOLE_BYTES:
            leaf = leaf[(0,) * leaf.shape.rank]
        return float(leaf.numpy().flat[0])

    def to_numpy(self, out: Any) -> Any:
        return numpy_of(out)

    def dtype_name(self, out: Any) -> str:
        return str(out.dtype.name)
