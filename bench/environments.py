"""Which environments exist, which devices each may have, and the variables under which its workers start.

An environment is a pinned set of packages in which one framework runs; its pins are the extra of the same name in
``pyproject.toml``. Standard library only, and no framework is imported: what is said here is what can be known before
a worker tries (METAL.md, rules 1 and 4). Whether a device *works* is found by the worker, never here.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cell import Cell
from bench.errors import UsageError, unknown
from bench.plugins import PLUGINS

#: Each scripted behaviour is an environment ``fake-<behaviour>``: a saboteur that one check must catch.
FAKE_BEHAVIOURS = (
    "never-syncing",
    "wrong",
    "nan",
    "crash",
    "hang",
    "oom",
    "small-memory",
    "drifting",
    "throttling",
    "lazy",
    "misprecise",
    "misdtyped",
    "casting",
    "emulating",
    "crowded",
    "falling-back",
    "shouting",
    "slower",
    "impossible",
    "packaged",
)


@dataclass(frozen=True)
class Environment:
    """``devices``: all that the framework could have on some machine, the baseline first.

    ``probe_module`` is the top-level module whose presence says that the environment is installed; never imported by
    the parent. ``hidden`` environments are used by tests and by comparisons with other libraries, and are not listed.
    ``twins`` is the package of the model code: ``benchmarks.peers`` holds other libraries' models.

    ``optional`` environments are listed, but run only when asked for by name or where this interpreter has the plugin.
    ``plugin`` is the distribution (a key of ``bench.plugins.PLUGINS``) that gives the framework its GPU. ``baseline``
    is the environment with the CPU that an accelerator of this one is compared with, at the same version of the
    framework; None: this one. A JAX plugin changes JAX's CPU path too: its CPU is measured where it is not installed.
    """

    name: str
    framework: str
    devices: tuple[str, ...]
    summary: str
    probe_module: str
    hidden: bool = False
    twins: str = "workloads"
    optional: bool = False
    plugin: str | None = None
    baseline: str | None = None

    @property
    def cpu(self) -> str:
        """The name of the environment that holds the CPU baseline."""
        return self.baseline or self.name

    @property
    def behaviour(self) -> str | None:
        """The scripted behaviour of a ``fake-<behaviour>`` environment; None for all others."""
        prefix = "fake-"
        return self.name.partition(AT)[0].removeprefix(prefix) if self.name.startswith(prefix) else None


def _fake(name: str, summary: str) -> Environment:
    return Environment(name, "fake", ("cpu", "cuda"), summary, "bench", hidden=True)


def _peer(name: str, framework: str, summary: str, probe_module: str, twins: str = "") -> Environment:
    """Another library's models, to compare ours with; see benchmarks/peers/. ``twins``: the package within it."""
    package = ".".join(filter(None, ("benchmarks.peers", twins)))
    devices = ("cpu", "cuda") if framework == "torch" else ("cpu",)
    return Environment(name, framework, devices, summary, probe_module, hidden=True, twins=package)


def _metal(name: str, framework: str, summary: str, baseline: str | None = None) -> Environment:
    """A framework whose Metal comes from the plugin of the same name; with its CPU where there is no ``baseline``."""
    devices = ("metal",) if baseline else ("cpu", "metal")
    return Environment(name, framework, devices, summary, framework, optional=True, plugin=name, baseline=baseline)


def _variant(name: str, framework: str, devices: tuple[str, ...], summary: str) -> Environment:
    """Other pins of a framework without a plugin."""
    return Environment(name, framework, devices, summary, framework, optional=True)


ENVIRONMENTS: Mapping[str, Environment] = {
    environment.name: environment
    for environment in (
        Environment("torch", "torch", ("cpu", "metal", "cuda"), "PyTorch; MPS is built in", "torch"),
        Environment("tensorflow", "tensorflow", ("cpu", "cuda"), "TensorFlow without a plugin", "tensorflow"),
        Environment("jax", "jax", ("cpu", "cuda"), "JAX without a plugin", "jax"),
        Environment("mlx", "mlx", ("cpu", "metal", "cuda"), "MLX; on Linux its CPU build, for tests", "mlx"),
        _metal("tensorflow-metal", "tensorflow", "TensorFlow 2.19 with Apple's plugin (last release 2025-01)"),
        _metal("tensorflow-metal-plugin", "tensorflow", "TensorFlow 2.21 with the community's plugin"),
        _metal("jax-mps", "jax", "JAX 0.10 with the plugin that is alive", baseline="jax"),
        _metal("jax-metal", "jax", "JAX 0.5 with Apple's plugin (last release 2024-10)", baseline="jax-metal-cpu"),
        _metal("metaljax", "jax", "JAX 0.11 with a younger plugin", baseline="metaljax-cpu"),
        _variant("jax-metal-cpu", "jax", ("cpu",), "the CPU baseline of jax-metal: JAX 0.5 without a plugin"),
        _variant("metaljax-cpu", "jax", ("cpu",), "the CPU baseline of metaljax: JAX 0.11 without a plugin"),
        _variant("torch-cuda", "torch", ("cpu", "cuda"), "PyTorch for CUDA 12"),
        _variant("jax-cuda", "jax", ("cpu", "cuda"), "JAX for CUDA 12"),
        _variant("mlx-cuda", "mlx", ("cpu", "cuda"), "MLX for CUDA 12"),
        _peer("peer-yolov5", "torch", "yolov5 7.0.14", "yolov5"),
        _peer("peer-openai-whisper", "torch", "openai-whisper 20250625", "whisper"),
        _peer("peer-transformers-torch", "torch", "transformers 5.17.0", "transformers", "transformers_torch"),
        _peer("peer-timm", "torch", "timm 1.0", "timm", "timm_torch"),
        _peer("peer-transformers-tensorflow", "tensorflow", "transformers' TensorFlow models", "transformers"),
        _peer("peer-transformers-jax", "jax", "transformers' Flax models", "transformers"),
        _fake("fake", "scripted framework that behaves well"),
        *(_fake(f"fake-{behaviour}", f"scripted framework: {behaviour}") for behaviour in FAKE_BEHAVIOURS),
    )
}


#: ``torch@newest``: the environment ``torch`` with other packages. The same in all but its interpreter.
AT = "@"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


def get(name: str) -> Environment:
    """The environment of that name, hidden ones included; ``NAME@LABEL`` is the same one with other packages in it.

    Raises:
        UsageError: there is none; names the nearest.
    """
    base, at, label = name.partition(AT)
    if base not in ENVIRONMENTS:
        raise unknown("environment", base, listed() if not name.startswith("fake") else ENVIRONMENTS)
    if not at:
        return ENVIRONMENTS[base]
    if LABEL.fullmatch(label) is None:
        raise UsageError(
            f"environment {name!r}: after {AT} comes a label of letters, digits, '.', '_', '+', '!' or '-'"
        )
    return replace(ENVIRONMENTS[base], name=name)


def names() -> list[str]:
    """The default environments, in the order in which they are run and reported."""
    return [name for name in listed() if not ENVIRONMENTS[name].optional]


def listed() -> list[str]:
    """The environments that people see: the default ones, then the optional ones."""
    return [name for name, environment in ENVIRONMENTS.items() if not environment.hidden]


def here(spec: Callable[[str], object], installed: Mapping[str, str]) -> list[str]:
    """The environments that one interpreter is, by what is installed in it and without importing anything.

    ``spec`` finds a top-level module (``importlib.util.find_spec``), ``installed`` is distribution -> version. With a
    plugin the interpreter is the plugin's environment and not the plain one. Other optional ones must be asked for.
    """
    found = [name for name in listed() if spec(ENVIRONMENTS[name].probe_module) is not None]
    plugged = [name for name in found if ENVIRONMENTS[name].plugin in installed]
    changed = {ENVIRONMENTS[name].framework for name in plugged}
    return [name for name in found if name in names() and ENVIRONMENTS[name].framework not in changed] + plugged


def cpu_twin(cell: Cell) -> Cell:
    """The cell that an accelerator's is compared with: the same on the CPU, in the environment of its baseline.

    A record may name an environment that this version does not know: then the same one.
    """
    entry = ENVIRONMENTS.get(cell.environment)
    return cell.but(device="cpu", environment=entry.cpu if entry is not None else cell.environment)


# --- devices ---------------------------------------------------------------------------------------------------------


def _exists(path: str) -> bool:
    return Path(path).exists()


def default_devices(
    system: str = sys.platform,
    machine: str | None = None,
    exists: Callable[[str], bool] = _exists,
) -> list[str]:
    """The devices that this machine may have, by what can be seen without a framework: ``cpu`` always.

    ``metal`` on macOS on arm64 only (an Intel Mac's GPU is not supported by today's frameworks); ``cuda`` where the
    driver's device file is. A virtual machine that shows a device may still fail: the worker says so.
    """
    devices = ["cpu"]
    if system == "darwin" and (machine or platform.machine()) == "arm64":
        devices.append("metal")
    if any(exists(path) for path in ("/dev/nvidia0", "/dev/nvidiactl")):
        devices.append("cuda")
    return devices


def available_devices(environment: Environment, devices: list[str] | None = None) -> list[str]:
    """Those of the environment's devices that this machine may have. The scripted framework's are never hardware."""
    if environment.framework == "fake":
        return list(environment.devices)
    here = default_devices() if devices is None else devices
    return [device for device in environment.devices if device in here]


# --- variables -------------------------------------------------------------------------------------------------------

#: What a child may inherit by name: to find programs and libraries, to write temporary files, to speak and to
#: download. VIRTUAL_ENV, PYTHONPATH and PYTHONHOME are missing on purpose: a child's interpreter is its own.
ALLOWED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TEMP", "TMP", "LANG", "LANGUAGE", "TZ",
        "CC", "CXX", "LD_PRELOAD", "SDKROOT", "DEVELOPER_DIR", "MACOSX_DEPLOYMENT_TARGET", "LD_LIBRARY_PATH",
        "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT",
    }
)  # fmt: skip
#: What a child may inherit by prefix; the second of the two changes what a framework does, and is recorded.
ALLOWED_PREFIXES = ("LC_", "DYLD_")
RECORDED_PREFIXES = (
    "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "JAX_", "XLA_", "TF_", "KERAS_", "MLX_", "OMP_", "MKL_", "KMP_", "GOMP_",
    "OPENBLAS_", "VECLIB_", "CUDA_", "CUBLAS_", "CUDNN_", "NCCL_", "NVIDIA_", "MTL_", "METAL_", "ENABLE_PJRT_",
    # Apple's two plugins and jax-mps read MPS_*, metaljax METALJAX_* (strings of their libraries).
    "MPS_", "METALJAX_",
)  # fmt: skip
#: The share of extra work in every iteration: a slow-down of known size, see ``twinbench selftest --live``.
EXTRA_WORK = "TWINBENCH_EXTRA_WORK"
RECORDED = frozenset({"NPROC", "PYTHONHASHSEED", "LD_PRELOAD", EXTRA_WORK})
#: Terraform owns two prefixes within TF_, and TF_VAR_ is where people put passwords: neither inherited nor recorded.
_FOREIGN_PREFIXES = ("TF_VAR_", "TF_CLI_")
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY", "ACCESS_KEY")


def variables(environment: Environment, device: str, threads: int) -> dict[str, str]:
    """The variables that a worker of this environment needs before it imports anything. Pure.

    Verified on Linux with the pinned releases, by process CPU time over wall time of a matrix product: ``NPROC`` is
    what sets the pools of JAX 0.10.2 on the CPU (XLA reads it in place of the count of cores; OMP_NUM_THREADS and
    ``--xla_cpu_multi_thread_eigen=false`` change nothing), and the two ``TF_NUM_*`` what sets TensorFlow 2.21's.
    """
    count = str(threads)
    ours = {
        # One thread count for every BLAS and OpenMP that may be inside: torch's OpenMP and MKL, NumPy's OpenBLAS,
        # Apple's Accelerate. A thread count set in one framework only is a classic unfairness.
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "VECLIB_MAXIMUM_THREADS": count,
        # With dynamic adjustment the number of threads depends on the load that others make.
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        # Order of sets and dicts of strings must not differ between the processes of one cell.
        "PYTHONHASHSEED": "0",
    }
    match environment.framework:
        case "torch":
            ours |= _torch(device)
        case "tensorflow":
            ours |= _tensorflow(device, count)
        case "jax":
            ours |= _jax(device, count, environment.plugin)
        case "mlx":
            ours |= _mlx()
    return ours


def _torch(device: str) -> dict[str, str]:
    ours = {
        # A fallback would time the CPU under the name of the GPU; unset also means off, 0 says so in the record.
        "PYTORCH_ENABLE_MPS_FALLBACK": "0",
    }
    if device != "cuda":
        # No CUDA context (hundreds of MB, a second of start-up) in a process that must not use the GPU.
        ours["CUDA_VISIBLE_DEVICES"] = ""
    return ours


def _tensorflow(device: str, threads: str) -> dict[str, str]:
    ours = {
        # The worker's output is kept as the log of a failure: errors only, or the tail shows banners.
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # The Eigen pools; the adapter may set the same through tf.config. One operator at a time, each on all threads.
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1",
        # By default TensorFlow takes the whole memory of the GPU, and the other worker of a duet has none.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    if device != "cuda":
        # set_visible_devices comes after the CUDA libraries were loaded and has been forgotten by many a script; an
        # empty list works before import. TF_ENABLE_ONEDNN_OPTS is left alone: it is what users get.
        ours["CUDA_VISIBLE_DEVICES"] = ""
    return ours


#: What each plugin reads before it initialises (METAL.md, first table; names are strings of the pinned libraries).
JAX_METAL: Mapping[str, Mapping[str, str]] = {
    # Without it jaxlib refuses the older PJRT API that the plugin speaks.
    "jax-metal": {"ENABLE_PJRT_COMPATIBILITY": "1"},
    # MLX is inside: its fp32 products are of TF32's precision on an M5 unless told otherwise.
    "jax-mps": {"MLX_ENABLE_TF32": "0"},
    "metaljax": {"MLX_ENABLE_TF32": "0", "METALJAX_MATMUL_PRECISION": "high"},
}


def _jax(device: str, threads: str, plugin: str | None) -> dict[str, str]:
    # The words that plugins register are their own: METAL, mps, metal.
    platform_word = PLUGINS[plugin].platform if device == "metal" and plugin is not None else device
    ours = {
        # Explicit: a plugin that fails to load is otherwise only logged, and JAX goes on with the CPU. The CPU stays
        # in the list for host-side work; the first named is the default.
        "JAX_PLATFORMS": "cpu" if device == "cpu" else f"{platform_word},cpu",
        "NPROC": threads,
        # 75 % of the GPU's memory would be taken at start, and the other worker of a duet has none.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    if device != "cuda":
        ours["CUDA_VISIBLE_DEVICES"] = ""
    if device == "metal":
        ours |= JAX_METAL.get(plugin or "", {})
    return ours


def _mlx() -> dict[str, str]:
    # CUDA_VISIBLE_DEVICES stays as it is: MLX for CUDA cannot be imported without a GPU in sight (cudaMallocManaged).
    return {
        # On an M5 and on CUDA a float32 product is otherwise TF32's (METAL.md, first table): fp32 must mean fp32.
        "MLX_ENABLE_TF32": "0",
    }


def precision_variables(variables: Mapping[str, str], precision: str) -> dict[str, str]:
    """What of ``variables`` is otherwise in a worker of ``precision``: MLX reads its TF32 switch once per process."""
    return {"MLX_ENABLE_TF32": "1"} if precision == "tf32" and "MLX_ENABLE_TF32" in variables else {}


def audit_variables(environment: Environment) -> dict[str, str]:
    """What a worker of a coverage pass has otherwise than one that is timed."""
    match environment.framework:
        case "torch":
            # An operator that MPS lacks runs on the CPU, and torch says so, where a timed worker stops.
            return {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
        case "tensorflow":
            # The device log is of level INFO.
            return {"TF_CPP_MIN_LOG_LEVEL": "0"}
        case _:
            return {}


def _private(name: str) -> bool:
    return name.startswith(_FOREIGN_PREFIXES) or any(word in name.upper() for word in _SECRET_WORDS)


def child_environment(parent: Mapping[str, str], environment: Environment, device: str, threads: int) -> dict[str, str]:
    """The whole environment of a worker: what of ``parent`` is allowed, and ours on top. Sorted by name."""
    inherited = {
        name: value
        for name, value in parent.items()
        if name in ALLOWED or (name.startswith(ALLOWED_PREFIXES + RECORDED_PREFIXES) and not _private(name))
    }
    return dict(sorted((inherited | variables(environment, device, threads)).items()))


def recorded(child: Mapping[str, str]) -> dict[str, str]:
    """The part of a child's environment that can change a figure, for the fingerprint. Sorted by name."""
    return {
        name: value
        for name, value in sorted(child.items())
        if name in RECORDED or (name.startswith(RECORDED_PREFIXES) and not _private(name))
    }
