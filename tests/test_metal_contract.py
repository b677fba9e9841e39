"""The adapters on a Mac, by contract: which calls they make in which order, and the reason word of every refusal.

There is no Mac here. Frameworks are SYNTHETIC stand-ins that log their calls and compute with NumPy; that the names
exist in the real macOS wheels is `nox -s wheels`, and that the adapters compute what they should is shown on the CPU
and on CUDA, through the same code.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from bench import worker
from bench.errors import Unavailable
from bench.frameworks.base import Framework

ROOT = Path(__file__).resolve().parent.parent


class Tensor:
    """NumPy behind the few methods that a probe uses; remembers its device, and is wrong or raises on demand."""

    dtype = MagicMock(is_floating=True, size=4)

    def __init__(self, value: Any, log: list[str], device: str = "cpu", fault: Any = None) -> None:
        self.value, self.log, self.device, self.fault = np.asarray(value), log, device, fault

    def to(self, device: Any, *_: Any) -> Tensor:
        """torch: copy to a device."""
        self.log.append(f"to {device}")
        if isinstance(self.fault, BaseException):
            raise self.fault
        return Tensor(self.value, self.log, str(device), self.fault)

    def __matmul__(self, other: Tensor) -> Tensor:
        self.log.append(f"matmul on {self.device}")
        return Tensor(self.value @ other.value + (1 if self.fault == "wrong" else 0), self.log, self.device)

    def detach(self) -> Tensor:
        """torch."""
        return self

    def cpu(self) -> Tensor:
        """torch: back to the host."""
        self.log.append("cpu")
        return Tensor(self.value, self.log)

    def is_floating_point(self) -> bool:
        """torch."""
        return True

    itemsize = 4

    def numpy(self) -> Any:
        """The host's array."""
        self.log.append("numpy")
        return self.value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self.log.append("numpy")
        return self.value

    def devices(self) -> set[str]:
        """jax."""
        return {self.device}


def adapter(name: str, monkeypatch: pytest.MonkeyPatch, **modules: Any) -> ModuleType:
    """bench/frameworks/<name>.py with stand-ins for what it imports; the real module is not touched."""
    for called, stand_in in modules.items():
        monkeypatch.setitem(sys.modules, called.replace("__", "."), stand_in)
    path = ROOT / "bench" / "frameworks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"contract_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noted(log: list[str], line: str, answer: Any) -> Any:
    """``answer``, and the call that gave it in the log."""
    log.append(line)
    return answer


def reason_of(framework: Framework, device: str) -> str:
    """The reason word with which opening ``device`` is refused."""
    with pytest.raises(Unavailable) as refused:
        framework.open(device, 4)
    assert len(str(refused.value)) > len(refused.value.reason) + 10, "a reason, not a word"
    return refused.value.reason


# --- torch -----------------------------------------------------------------------------------------------------------


class OutOfMemory(RuntimeError):
    """Stands for torch.OutOfMemoryError."""


def torch_of(monkeypatch: pytest.MonkeyPatch, fault: Any = None) -> tuple[Any, Framework, list[str]]:
    """(stand-in, adapter, log of calls)."""
    log: list[str] = []
    torch = MagicMock(name="torch")
    torch.__version__ = "2.13.0"
    torch.OutOfMemoryError = OutOfMemory
    torch.device = lambda word: type("Device", (), {"type": word, "__str__": lambda self: word})()
    torch.from_numpy = lambda value: Tensor(value, log, fault=fault)
    torch.set_num_threads = lambda count: log.append(f"threads {count}")
    torch.set_float32_matmul_precision = lambda word: log.append(f"precision {word}")
    torch.backends.mps.is_built = lambda: noted(log, "is_built", True)
    torch.backends.mps.is_available = lambda: noted(log, "is_available", True)
    torch.backends.mps.get_name = lambda: "Apple M4 Max"
    torch.mps.synchronize = lambda: log.append("mps.synchronize")
    torch.cuda.synchronize = lambda *_: log.append("cuda.synchronize")
    # What listens to torch's operators, for audits alone, is made of torch's own classes.
    listening = SimpleNamespace(Operators=MagicMock(), warn_always=nullcontext)
    made = adapter("torch", monkeypatch, torch=torch, bench__frameworks__torch_operators=listening)
    return torch, made.Torch(), log


def test_torch_opens_mps_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and precision first, then whether there is MPS, then a product that comes back to the host; on the host
    first, widened after."""
    _, framework, log = torch_of(monkeypatch)
    assert framework.open("metal", 4) == "Apple M4 Max"
    assert log == [
        "threads 4",
        "precision highest",
        "is_built",
        "is_available",
        "to mps",
        "matmul on mps",
        "cpu",
        "numpy",
    ]
    log.clear()
    framework.barrier(None)
    assert log == ["mps.synchronize"], "the backend's own barrier, once"


def test_torch_on_the_cpu_never_asks_for_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for its barrier."""
    _, framework, log = torch_of(monkeypatch)
    framework.open("cpu", 4)
    framework.barrier(None)
    assert not {"is_built", "is_available", "mps.synchronize"} & set(log)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong", "wrong_result"),
        (OutOfMemory("tried to allocate 2 GiB"), "out_of_memory"),
        # The words of torch's MPS allocator; hosted machines say it at 0 bytes (METAL.md).
        (RuntimeError("MPS backend out of memory (MPS allocated: 0 bytes, ...)"), "out_of_memory"),
        (RuntimeError("Invalid buffer size"), "no_device"),
    ],
)
def test_torch_says_why_mps_does_not_work(monkeypatch: pytest.MonkeyPatch, fault: Any, reason: str) -> None:
    _, framework, _ = torch_of(monkeypatch, fault)
    assert reason_of(framework, "metal") == reason


def test_torch_says_why_there_is_no_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, framework, _ = torch_of(monkeypatch)
    torch.backends.mps.is_available = lambda: False
    assert reason_of(framework, "metal") == "no_device"
    torch.backends.mps.is_built = lambda: False
    assert reason_of(framework, "metal") == "not_built"
    torch.version.cuda = torch.version.hip = None
    assert reason_of(framework, "cuda") == "not_built"
    torch.version.cuda, torch.cuda.is_available = "12.8", lambda: False
    assert reason_of(framework, "cuda") == "no_device"
    assert reason_of(framework, "tpu") == "no_device"


def test_an_operator_that_mps_lacks_is_one_cells_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """The very words of torch with the fallback off (METAL.md, rule 7); a lost device and lack of memory fail."""
    _, framework, _ = torch_of(monkeypatch)
    session = worker.Session()
    session.framework = framework
    said = "The operator 'aten::_fft_r2c' is not currently implemented for the MPS device. If you want this op to be..."
    faults = {
        NotImplementedError(said): ("unsupported", said),
        OutOfMemory("MPS backend out of memory"): ("failed", "MPS backend out of memory"),
        RuntimeError("Device lost: command buffer exited with error status"): ("failed", "Device lost"),
    }
    for fault, (kind, words) in faults.items():
        monkeypatch.setattr(session, "first_call", MagicMock(side_effect=fault), raising=False)
        reply = worker.answer(session, {"stage": "first_call"})
        assert reply["outcome"]["kind"] == kind
        assert words in str(reply["outcome"])


# --- TensorFlow ------------------------------------------------------------------------------------------------------


class OpError(Exception):
    """Stands for tf.errors.OpError."""


class ResourceExhausted(OpError):
    """Stands for tf.errors.ResourceExhaustedError."""


def tensorflow_of(
    monkeypatch: pytest.MonkeyPatch, fault: Any = None, lands_on: str = "GPU"
) -> tuple[Any, Framework, list[str]]:
    """(stand-in, adapter, log of calls); a product lands on ``lands_on`` whatever was asked."""
    log: list[str] = []
    tf = MagicMock(name="tensorflow")
    tf.__version__ = "2.19.1"
    tf.errors.OpError, tf.errors.ResourceExhaustedError = OpError, ResourceExhausted
    tf.config.threading.set_intra_op_parallelism_threads = lambda count: log.append(f"intra {count}")
    tf.config.threading.set_inter_op_parallelism_threads = lambda count: log.append(f"inter {count}")
    tf.config.experimental.enable_tensor_float_32_execution = lambda on: log.append(f"tf32 {on}")
    tf.config.experimental.get_device_details = lambda device: {"device_name": "METAL"}
    tf.config.list_physical_devices = lambda kind: noted(log, f"list {kind}", ["GPU:0"])
    tf.config.set_visible_devices = lambda devices, kind: log.append(f"visible {devices} {kind}")
    tf.test.experimental.sync_devices = lambda: log.append("sync_devices")
    tf.constant = lambda value: Tensor(value, log)

    def matmul(left: Tensor, right: Tensor) -> Tensor:
        log.append("matmul")
        if isinstance(fault, BaseException):
            raise fault
        value = left.value @ right.value + (1 if fault == "wrong" else 0)
        return Tensor(value, log, f"/job:localhost/replica:0/task:0/device:{lands_on}:0")

    tf.linalg.matmul = matmul
    return tf, adapter("tensorflow", monkeypatch, tensorflow=tf, keras=MagicMock()).TensorFlow(), log


def test_tensorflow_opens_metal_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and precision before the first operation, which fixes both; then the product, and where it lies."""
    tf, framework, log = tensorflow_of(monkeypatch)
    assert framework.open("metal", 4) == "METAL"
    assert log[:6] == ["intra 4", "inter 1", "tf32 False", "list GPU", "matmul", "numpy"]
    tf.device.assert_called_once_with("/GPU:0")
    assert not any(line.startswith("visible") for line in log)
    log.clear()
    framework.barrier(None)
    assert log == ["sync_devices"]


def test_tensorflow_on_the_cpu_hides_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first operation: a plugin would take it otherwise."""
    _, framework, log = tensorflow_of(monkeypatch, lands_on="CPU")
    framework.open("cpu", 4)
    assert log.index("visible [] GPU") < log.index("matmul")


@pytest.mark.parametrize(
    ("fault", "lands_on", "reason"),
    [
        ("wrong", "GPU", "wrong_result"),
        (None, "CPU", "no_device"),  # soft placement: the product was computed, on the CPU
        (ResourceExhausted("OOM when allocating tensor"), "GPU", "out_of_memory"),
        (OpError("device lost"), "GPU", "no_device"),
    ],
)
def test_tensorflow_says_why_metal_does_not_work(
    monkeypatch: pytest.MonkeyPatch, fault: Any, lands_on: str, reason: str
) -> None:
    _, framework, _ = tensorflow_of(monkeypatch, fault, lands_on)
    assert reason_of(framework, "metal") == reason


def test_tensorflow_says_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    tf, framework, _ = tensorflow_of(monkeypatch)
    tf.config.list_physical_devices = lambda kind: []
    assert reason_of(framework, "metal") == "no_device"
    tf.test.is_built_with_cuda = lambda: False
    assert reason_of(framework, "cuda") == "not_built"
    assert reason_of(framework, "tpu") == "no_device"


# --- JAX -------------------------------------------------------------------------------------------------------------


class JaxDevice(str):
    """A device as its name; ``platform`` and ``device_kind`` as jax has them."""

    platform = "mps"
    device_kind = "Apple M4 Max"


def jax_of(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, Any], fault: Any = None, lands_on: str = "mps:0"
) -> tuple[Framework, list[str]]:
    """(adapter, log of calls). ``has``: platform -> its devices, or what asking for it raises."""
    log: list[str] = []
    jax = MagicMock(name="jax")
    jax.config.update = lambda name, value: log.append(f"{name}={value}")
    jax.jit = lambda function, **_: function
    jax.device_put = lambda value, device: noted(log, f"put on {device}", Tensor(value, log, device))
    jax.block_until_ready = lambda out: noted(log, "block_until_ready", out)

    def devices(name: str) -> Any:
        log.append(f"devices {name}")
        answer = has.get(name, RuntimeError(f"Unknown backend: '{name}' requested, but no platforms that are..."))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def matmul(left: Tensor, right: Tensor) -> Tensor:
        log.append(f"matmul on {left.device}")
        if isinstance(fault, BaseException):
            raise fault
        return Tensor(left.value @ right.value + (1 if fault == "wrong" else 0), log, lands_on)

    jax.devices = devices
    jax.numpy.matmul = matmul
    made = adapter("jax", monkeypatch, jax=jax, jax__numpy=jax.numpy, optax=MagicMock())
    return made.Jax(), log


@pytest.mark.parametrize("platform_word", ["METAL", "mps", "metal"])
def test_jax_opens_whichever_plugin_is_there(monkeypatch: pytest.MonkeyPatch, platform_word: str) -> None:
    """Precision before anything else; the result's device proves the placement; the barrier is JAX's own, and every
    fence reads back too (metaljax's block_until_ready is a no-op)."""
    framework, log = jax_of(monkeypatch, {platform_word: [JaxDevice("mps:0")]})
    assert framework.open("metal", 4) == "Apple M4 Max"
    assert log[0] == "jax_default_matmul_precision=highest"
    assert log.index("put on mps:0") < log.index("matmul on mps:0") < log.index("numpy")
    log.clear()
    framework.barrier("out")
    assert log == ["block_until_ready"]
    assert framework.reads_back


@pytest.mark.parametrize(
    ("has", "fault", "lands_on", "reason"),
    [
        ({}, None, "mps:0", "not_built"),
        ({"metal": RuntimeError("Unable to initialize backend 'mps': INTERNAL: no Metal")}, None, "", "no_device"),
        ({"metal": RuntimeError()}, None, "", "no_device"),
        ({"mps": [JaxDevice("mps:0")]}, "wrong", "mps:0", "wrong_result"),
        ({"mps": [JaxDevice("mps:0")]}, None, "cpu:0", "no_device"),
        ({"mps": [JaxDevice("mps:0")]}, RuntimeError("RESOURCE_EXHAUSTED: out of memory"), "", "out_of_memory"),
        ({"mps": [JaxDevice("mps:0")]}, RuntimeError("INTERNAL: device lost"), "", "no_device"),
    ],
)
def test_jax_says_why_metal_does_not_work(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, Any], fault: Any, lands_on: str, reason: str
) -> None:
    framework, _ = jax_of(monkeypatch, has, fault, lands_on)
    assert reason_of(framework, "metal") == reason


def test_apples_plugin_is_never_asked_to_donate(monkeypatch: pytest.MonkeyPatch) -> None:
    """jax-metal cannot (jax#20212); its platform is METAL, metaljax's is metal, and that one can."""
    jax_of(monkeypatch, {})  # its stand-ins stay in place until the end of the test
    module = adapter("jax", monkeypatch)
    program = module.JaxProgram.__new__(module.JaxProgram)
    for word, donated in (("METAL", ()), ("metal", (0,)), ("mps", (0,))):
        program._device = MagicMock(platform=word)
        assert program._donated((0,)) == donated


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_reason_word_is_tested() -> None:
    """Each word of the closed list stands in a test of a refusal: here, or in tests/test_plugins.py."""
    text = "".join((ROOT / "tests" / name).read_text() for name in ("test_metal_contract.py", "test_plugins.py"))
    for reason in Unavailable.REASONS:
        assert f'"{reason}"' in text or f"{reason}:" in text, reason
