"""JAX: cpu, cuda and metal (whichever plugin is installed); always compiled by XLA through jax.jit.

Threads are the parent's to set (``NPROC``, see bench/environments.py): JAX has no call for them.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench.errors import Unavailable, Unsupported
from bench.frameworks.base import READ_WHOLE_BYTES, Framework, Job, Program, Step, built_kernels
from bench.frameworks.placement import ON_CPU, Audit, Fallback
from bench.workload import Arrays

DTYPES = {
    "fp32": jnp.float32,
    "tf32": jnp.float32,
    "fp16": jnp.float16,
    "bf16": jnp.bfloat16,
    "amp-fp16": jnp.float16,
    "amp-bf16": jnp.bfloat16,
}
#: Names under which plugins register: Apple's jax-metal, jax-mps and its kin, metaljax (METAL.md, first table).
PLATFORMS = {"cpu": ("cpu",), "cuda": ("cuda", "gpu"), "metal": ("metal", "mps")}
#: What JAX says of a platform that nobody registered.
UNKNOWN = ("Unknown backend", "not in the list of known backends")
#: Dynamic loss scaling of amp-fp16: the initial scale is every adapter's, the rest torch's and Keras' defaults.
LOSS_SCALE, GROWTH_INTERVAL = 2.0**12, 2000
#: For the products that measure the device, not for models: XLA tries its Triton kernels on every new shape, 7 s for a
#: 4096 x 4096 one in fp32 on an H100, and cuBLAS' own reaches the same rate after 0.1 s.
CUBLAS_ONLY = {"xla_gpu_enable_triton_gemm": False}
#: What the name of a training output begins with that is the new value of a weight that is not trained.
STATE = "state."

#: Dotted path -> parameter.
Flat = dict[str, jax.Array]
Inputs = dict[str, jax.Array]


def matmul_precision(precision: str) -> str:
    """JAX's word. XLA's default for fp32 is TF32 on NVIDIA and bfloat16 passes on others; fp32 must mean fp32."""
    return "tensorfloat32" if precision == "tf32" else "highest"


def numpy_of(array: jax.Array) -> Any:
    """On the host, and there widened to float32 where NumPy alone has no such dtype."""
    host = np.asarray(array)
    return host.astype(np.float32) if host.dtype.itemsize < 4 and jnp.issubdtype(host.dtype, jnp.floating) else host


def cast(tree: Any, dtype: Any) -> Any:
    """The floating-point leaves in ``dtype``, the others as they are."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def tree_of(flat: dict[str, Any]) -> dict[str, Any]:
    """{"fc1.weight": w} -> {"fc1": {"weight": w}}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def optimizer_of(options: Mapping[str, float | str]) -> optax.GradientTransformation:
    """The optax optimizer with the workload's hyper-parameters."""
    lr = float(options["lr"])
    if options["name"] == "sgd":
        return optax.sgd(lr, momentum=float(options["momentum"]), nesterov=bool(options.get("nesterov", False)))
    moments = {"b1": float(options["beta1"]), "b2": float(options["beta2"]), "eps": float(options["eps"])}
    if options["name"] == "adamw":
        return optax.adamw(lr, weight_decay=float(options["weight_decay"]), **moments)
    return optax.adam(lr, **moments)


@jax.jit
def first_value(array: jax.Array) -> jax.Array:
    """One scalar, sliced on the device, so that reading it back moves four bytes and not the whole array."""
    return array[(0,) * array.ndim]


def elsewhere_of(outputs: Any, device: Any) -> list[str]:
    """The other devices on which an array of ``outputs`` lies."""
    found = {other for leaf in jax.tree.leaves(outputs) for other in leaf.devices() if other != device}
    return sorted(map(str, found))


def primitives(jaxpr: Any) -> Counter[str]:
    """How often each primitive stands in ``jaxpr`` and in all that it holds; loops count their body once."""
    found: Counter[str] = Counter()
    for equation in jaxpr.eqns:
        held = jax.tree.leaves(list(equation.params.values()))
        inner = [getattr(value, "jaxpr", value) for value in held if hasattr(value, "eqns")]
        if not inner:
            found[equation.primitive.name] += 1
        for each in inner:
            found += primitives(each)
    return found


class JaxProgram(Program):
    """One cell in JAX. Parameters, optimizer state and inputs are arguments of the compiled function, never constants
    that XLA could fold; the state is donated and threaded through the closure of ``step``."""

    def __init__(self, device: Any, job: Job) -> None:
        self._device, self._twin, self._config = device, job.twin, job.config
        self._dtype, self._amp = DTYPES[job.precision], job.precision.startswith("amp-")
        self._stored = jnp.float32 if self._amp else self._dtype
        job.twin.build(job.config)
        self.kernel_build_ns = built_kernels(job.twin, job.config, device)
        flat = dict(job.twin.remap(name, value) for name, value in job.weights.items())
        self._initial: Flat = jax.device_put(cast(flat, self._stored), device)
        self._inputs = self._place(job.inputs)
        self._scaled = job.precision == "amp-fp16"
        self.train, self._verified_steps = job.optimizer is not None, job.verified_steps
        if job.optimizer is None:
            self._load_inference()
            return
        trainable = getattr(job.twin, "trainable", lambda path: True)
        self._trained = [path for path in self._initial if trainable(path)]
        self._state: dict[str, Any] = {}
        self._optimizer = optimizer_of(job.optimizer)
        self._infer = jax.jit(self._inference)
        self._gradients = jax.jit(self._loss_and_gradients)
        self._update = jax.jit(self._training, donate_argnums=self._donated((0,)))
        self.step = self._train
        self.reset()

    def _donated(self, positions: tuple[int, ...]) -> tuple[int, ...]:
        """Arguments whose buffers results may take over. Apple's jax-metal cannot donate (jax#20212)."""
        return () if self._device.platform == "METAL" else positions

    def _load_inference(self) -> None:
        twin = self._twin
        self._params = tree_of(self._initial)
        if hasattr(twin, "PARTS"):
            self.parts = SimpleNamespace(**{name: self._part(name) for name in twin.PARTS})
            self.step = lambda: twin.inference(self.parts, self._inputs, self._config)
            return
        self._infer = self._inference if getattr(twin, "COMPILES_ITSELF", False) else jax.jit(self._inference)
        self.step = lambda: self._infer(self._params, self._inputs)

    def _part(self, name: str) -> Callable[..., Any]:
        """One of the twin's parts, compiled, with the parameters bound."""
        function = getattr(self._twin, name)

        def part(params: Any, *tensors: Any) -> Any:
            return function(self._lower(params), *self._lower(tensors), config=self._config)

        # The parameters come first in what is compiled.
        donated = tuple(position + 1 for position in getattr(self._twin, "DONATED", {}).get(name, ()))
        return partial(jax.jit(part, donate_argnums=self._donated(donated)), self._params)

    def _place(self, inputs: Arrays) -> dict[str, jax.Array]:
        """Floats in the stored dtype, indices as int32, on the device."""
        return {name: jax.device_put(cast(value, self._stored), self._device) for name, value in inputs.items()}

    def _lower(self, tree: Any) -> Any:
        """What automatic mixed precision does at the entry of the model: half copies of the fp32 master values."""
        return cast(tree, self._dtype) if self._amp else tree

    def _inference(self, params: Any, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return self._twin.inference(self._lower(params), self._lower(inputs), self._config)

    def _loss(self, trained: Flat, fixed: Flat, inputs: Inputs, scale: jax.Array) -> tuple[jax.Array, Any]:
        """The scaled loss; the unscaled one and the new values of weights that are not trained."""
        params = tree_of({**self._lower(trained), **fixed})
        outputs = self._twin.training(params, self._lower(inputs), self._config)
        loss = self._twin.loss(cast(outputs, jnp.float32) if self._amp else outputs, inputs)
        moved = {path: outputs.get(f"{STATE}{path}", value).astype(value.dtype) for path, value in fixed.items()}
        return loss * scale.astype(loss.dtype), (loss, moved)

    def _loss_and_gradients(self, params: Flat, inputs: Inputs, scale: jax.Array) -> tuple[Any, Any, Any]:
        """The unscaled loss, the unscaled gradients in the dtype of the stored parameters, and what else moved."""
        trained = {path: params[path] for path in self._trained}
        fixed = {path: value for path, value in params.items() if path not in trained}
        (_, (loss, moved)), gradients = jax.value_and_grad(self._loss, has_aux=True)(trained, fixed, inputs, scale)
        if self._scaled:
            gradients = jax.tree.map(lambda gradient: gradient / scale, gradients)
        return loss, gradients, moved

    def _training(self, state: dict[str, Any], inputs: Inputs) -> tuple[Any, jax.Array]:
        """One step. With loss scaling, a step whose gradients are not finite is skipped and the scale halved."""
        loss, gradients, moved = self._loss_and_gradients(state["params"], inputs, state["scale"])
        trained = {path: state["params"][path] for path in self._trained}
        updates, moments = self._optimizer.update(gradients, state["moments"], trained)
        after = {"trained": optax.apply_updates(trained, updates), "moments": moments}
        if not self._scaled:
            return {**state, "params": {**after["trained"], **moved}, "moments": moments}, loss
        finite = jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)]))
        kept = jax.tree.map(partial(jnp.where, finite), after, {"trained": trained, "moments": state["moments"]})
        good = state["good"] + 1
        grown = jnp.where(good >= GROWTH_INTERVAL, state["scale"] * 2, state["scale"])
        scale = jnp.where(finite, grown, state["scale"] / 2)
        good = jnp.where(finite & (good < GROWTH_INTERVAL), good, 0)
        # As torch and Keras do, a skipped step has moved BatchNorm's statistics all the same.
        params = {**kept["trained"], **moved}
        return {"params": params, "moments": kept["moments"], "scale": scale, "good": good}, loss

    def _train(self) -> jax.Array:
        # The loss is one output of the executable that also makes the new state: it is ready when all of them are.
        self._state, loss = self._update(self._state, self._inputs)
        return loss

    def reset(self) -> None:
        if not self.train:
            return
        params = jax.tree.map(jnp.copy, self._initial)  # a copy, for the step donates its state
        scale = jnp.asarray(LOSS_SCALE if self._scaled else 1.0, jnp.float32)
        moments = self._optimizer.init({path: params[path] for path in self._trained})
        state = {"params": params, "moments": moments, "scale": scale, "good": jnp.int32(0)}
        # Here, and not by a barrier: JAX can only wait for arrays that it is given.
        self._state = jax.block_until_ready(jax.device_put(state, self._device))

    def feed(self, inputs: Arrays) -> None:
        self._inputs = self._place(inputs)

    def evaluate(self, inputs: Arrays) -> Arrays:
        if not self.train:
            kept, self._inputs = self._inputs, self._place(inputs)
            try:
                outputs = self.step()
            finally:
                self._inputs = kept
        else:
            outputs = self._infer(tree_of(self._state["params"]), self._place(inputs))
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
        self._check_placement(outputs)
        self._seen = next(iter(outputs.values())).dtype
        if hasattr(self._twin, "verification"):
            outputs |= self._twin.verification(self.parts or self._params, self._inputs, self._config)
        return {name: numpy_of(value) for name, value in outputs.items()}

    def _verify_training(self) -> Arrays:
        params = self._initial
        self._seen = next(iter(jax.eval_shape(self._outputs, params, self._inputs).values())).dtype
        loss, gradients, _ = self._gradients(params, self._inputs, self._state["scale"])
        self._check_placement(gradients)
        found = {f"grad.{name}": numpy_of(value) for name, value in gradients.items()}
        losses = [numpy_of(self._train()) for _ in range(self._verified_steps)]
        after = self._state["params"]
        state = {STATE + path: numpy_of(value) for path, value in after.items() if path not in gradients}
        return {"loss": numpy_of(loss), **found, **state, "losses": np.stack(losses)}

    def _check_placement(self, outputs: Any) -> None:
        """A step computes where its operands lie: anything else is not this cell (METAL.md, rule 7)."""
        if elsewhere := elsewhere_of(outputs, self._device):
            raise Unsupported(f"the result of a step for {self._device} lies on {', '.join(elsewhere)}: it fell back")

    def _outputs(self, params: Flat, inputs: Inputs) -> Any:
        """What the twin gives for training, for its dtype."""
        fixed = {path: value for path, value in params.items() if path not in self._trained}
        return self._twin.training(tree_of({**self._lower(params), **fixed}), self._lower(inputs), self._config)

    def output_dtype(self) -> str:
        return str(self._seen)


class Jax(Framework):
    """See the module."""

    name = "jax"
    distributions = ("jax", "jaxlib", "optax", "numpy")
    modes = ("compiled",)
    mode_reasons = {
        "eager": "JAX has no eager kernels: outside jit it compiles each primitive and runs it as a program of its own",
        "xla": "every JAX program is compiled by XLA: that is mode compiled",
    }

    def open(self, device: str, threads: int) -> str:
        jax.config.update("jax_default_matmul_precision", matmul_precision("fp32"))
        self._device = self._find(device)
        try:
            self._probe()
        except RuntimeError as error:
            reason = "out_of_memory" if "RESOURCE_EXHAUSTED" in str(error) else "no_device"
            raise Unavailable(reason, str(error)) from error
        return str(self._device.device_kind) if device != "cpu" else platform.processor() or platform.machine()

    def _find(self, device: str) -> Any:
        names = PLATFORMS.get(device)
        if names is None:
            raise Unavailable("no_device", f"jax has no device {device!r}; it has {', '.join(PLATFORMS)}")
        said = []
        for name in (*names, *(name.upper() for name in names if device == "metal")):
            try:
                return jax.devices(name)[0]
            except RuntimeError as error:
                said.append((str(error).splitlines() or [type(error).__name__])[0])
        # A plugin that is there and fails is told from one that is not: only then is every name unknown.
        failed = [words for words in said if not any(unknown in words for unknown in UNKNOWN)]
        raise Unavailable("no_device" if failed else "not_built", [*failed, *said][0])

    def _probe(self) -> None:
        """Allocate, compute, read back, compare, and prove the placement from the result (METAL.md, rules 3 and 7)."""
        host = np.arange(16, dtype=np.float32).reshape(4, 4)
        operand = jax.device_put(host, self._device)
        product = jax.jit(jnp.matmul)(operand, operand)
        if product.devices() != {self._device}:
            raise Unavailable("no_device", f"a product asked for {self._device} was computed on {product.devices()}")
        if not np.array_equal(np.asarray(product), host @ host):
            raise Unavailable("wrong_result", f"a 4x4 product on {self._device} differs from NumPy's")

    def unsupported(self, error: BaseException) -> str | None:
        said = isinstance(error, NotImplementedError) or str(error).startswith("UNIMPLEMENTED")
        return str(error).splitlines()[0] if said else None

    def load(self, job: Job) -> Program:
        # For all that is traced from here on: the program compiles at its first call.
        jax.config.update("jax_default_matmul_precision", matmul_precision(job.precision))
        return JaxProgram(self._device, job)

    def audit(self, load: Callable[[], Program], mode: str) -> Audit:
        """The devices of one iteration's results, and its calls back to the host.

        XLA compiles a program for one device: what it cannot compile is an error, never a fallback.
        """
        program = load()
        with program.measuring():
            out = program.step()
            self.barrier(out)
        where = elsewhere_of(out, self._device)
        found = [Fallback("results", other, None, f"a result of the iteration lies on {other}") for other in where]
        seen = primitives(jax.make_jaxpr(load().step)().jaxpr)
        found += [
            Fallback(name, "host", calls, f"{name} leaves the device for Python")
            for name, calls in seen.items()
            if "callback" in name
        ]
        note = ON_CPU if self._device.platform == "cpu" else ""
        return Audit("devices of the results; primitives that call the host", seen.total(), found, None, note)

    def matmul(self, a: Any, b: Any, precision: str) -> Step:
        amp, dtype = precision.startswith("amp-"), DTYPES[precision]

        def product(left: jax.Array, right: jax.Array) -> jax.Array:
            with jax.default_matmul_precision(matmul_precision(precision)):
                return jnp.matmul(left.astype(dtype), right.astype(dtype)) if amp else jnp.matmul(left, right)

        stored = jnp.float32 if amp else dtype
        left, right = (jax.device_put(np.asarray(host), self._device).astype(stored) for host in (a, b))
        options = CUBLAS_ONLY if self._device.platform == "gpu" else None
        return partial(jax.jit(product, compiler_options=options), left, right)

    def copy(self, nbytes: int) -> Step:
        source = jax.device_put(np.ones(nbytes // 4, np.float32), self._device)
        # A plain copy could be elided; a negation reads and writes the same bytes.
        return partial(jax.jit(jnp.negative), source)

    def barrier(self, out: Any) -> None:
        jax.block_until_ready(out)

    def host_read(self, out: Any) -> float:
        leaf = min(jax.tree.leaves(out), key=lambda array: array.size)
        if leaf.nbytes > READ_WHOLE_BYTES:
            leaf = first_value(leaf)
        return float(np.asarray(leaf).flat[0])

    def to_numpy(self, out: Any) -> Any:
        return numpy_of(out)

    def dtype_name(self, out: Any) -> str:
        return str(out.dtype)
