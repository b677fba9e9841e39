"""Is the answer right? Outputs against the reference, and given tensors against what a workload asks for.

Pure NumPy but for the two loaders, which only the parent calls. Nothing here knows a framework.
"""

from __future__ import annotations

import difflib
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import TensorError, UsageError
from bench.workload import Arrays, Tolerance

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
GRADIENT = "grad."
#: Prefixes of outputs that bear a weight's name and layout.
OF_WEIGHTS = (GRADIENT, "state.")

#: What NumPy and zipfile raise for a file that is junk, cut off, damaged, encrypted or no archive at all.
UNREADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Comparison:
    """The judgement over all outputs.

    ``error``, ``limit`` and ``reason`` belong to ``output``, the one that lies farthest beyond (or nearest to) its own
    limit; ``error`` is None where it is not a number (NaN, shape, missing). ``detail`` is text for people.
    """

    ok: bool
    output: str
    error: float | None
    limit: float
    reason: str
    detail: str
    errors: dict[str, float | None]


def relative_error(given: Array, truth: Array) -> float:
    """The larger of relative L2 error and largest absolute error over largest absolute reference.

    The first sees many small deviations, the second a single large one. Where the reference is all zero both are
    absolute errors.
    """
    exact = truth.astype(np.float64)
    difference = given.astype(np.float64) - exact
    if difference.size == 0:
        return 0.0
    norm, largest = float(np.linalg.norm(exact)), float(np.abs(exact).max())
    root = float(np.linalg.norm(difference)) / (norm or 1.0)
    return max(root, float(np.abs(difference).max()) / (largest or 1.0))


def _judge(given: Array, truth: Array) -> tuple[float | None, str]:
    """The error of one output, or None and what is the matter with it."""
    if given.shape != truth.shape:
        return None, f"has shape {given.shape}, the reference has {truth.shape}"
    if truth.dtype.kind in "iu":
        # Names of things (tokens), not amounts: how far apart they are says nothing.
        return float((given != truth).mean()) if truth.size else 0.0, ""
    finite = np.isfinite(given)
    if not finite.all():
        kind = "NaN" if np.isnan(given).any() else "infinity"
        return None, f"holds {kind}: {given.size - int(finite.sum())} of {given.size} values are not finite"
    return relative_error(given, truth), ""


def compare(outputs: Arrays, reference: Arrays, tolerance: Callable[[str], Tolerance]) -> Comparison:
    """Judge each output against its own limit; the worst one speaks for all.

    ``outputs`` and ``reference`` have the same names and layouts (see ``remap_reference``). An output that is missing
    or surplus is as wrong as NaN.

    Raises:
        ValueError: the reference is empty or not finite: then nothing can be judged, and nothing may be called right.
    """
    if not reference:
        raise ValueError("the reference has no outputs")
    spoilt = [name for name, truth in reference.items() if not np.isfinite(truth).all()]
    if spoilt:
        raise ValueError(f"the reference is not finite in {', '.join(spoilt)}")
    errors: dict[str, float | None] = {}
    faults: dict[str, str] = {}
    limits: dict[str, Tolerance] = {}
    for name in (*reference, *(name for name in outputs if name not in reference)):
        # A surplus name may be one that the spec has no tolerance for.
        limits[name] = tolerance(name) if name in reference else Tolerance(0.0, "no such output in the reference")
        if name not in outputs:
            errors[name], faults[name] = None, "is missing"
        elif name not in reference:
            errors[name], faults[name] = None, "is not in the reference"
        else:
            errors[name], faults[name] = _judge(outputs[name], reference[name])

    def excess(name: str) -> float:
        error = errors[name]
        if error is None or limits[name].limit <= 0:
            return 0.0 if error == 0 else np.inf
        return error / limits[name].limit

    worst = max(errors, key=excess)
    error, limit = errors[worst], limits[worst].limit
    ok = excess(worst) <= 1
    if error is None:
        detail = "; ".join(f"{name} {fault}" for name, fault in faults.items() if fault)
    else:
        detail = f"{worst}: error {error:.2e}, limit {limit:.2e}"
    return Comparison(ok, worst, error, limit, limits[worst].reason, detail, errors)


def remap_reference(reference: Arrays, remap: Callable[[str, Any], tuple[str, Any]]) -> Arrays:
    """The reference in a framework's names and layouts: ``remap`` on what belongs to a weight, the rest as it is."""
    mapped: Arrays = {}
    for name, value in reference.items():
        prefix = next((prefix for prefix in OF_WEIGHTS if name.startswith(prefix)), None)
        if prefix is None:
            mapped[name] = value
        else:
            key, turned = remap(name.removeprefix(prefix), value)
            mapped[prefix + key] = turned
    return mapped


def _nearest(name: str, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def check_tensors(given: Mapping[str, Array], shapes: Mapping[str, Shape]) -> None:
    """Every tensor that ``shapes`` asks for is there, in its shape, and none else.

    Raises:
        TensorError: names every missing, surplus and misshaped tensor, a line each.
    """
    missing = [name for name in shapes if name not in given]
    surplus = [name for name in given if name not in shapes]
    lines = [f"missing {name!r} {shapes[name]}{_nearest_given(name, surplus)}" for name in missing]
    lines += [f"surplus {name!r} {given[name].shape}{_nearest(name, missing)}" for name in surplus]
    lines += [
        f"misshaped {name!r}: {given[name].shape}, wanted {shape}"
        for name, shape in shapes.items()
        if name in given and given[name].shape != tuple(shape)
    ]
    if lines:
        raise TensorError("tensors do not fit:\n  " + "\n  ".join(lines))


def _nearest_given(name: str, surplus: list[str]) -> str:
    near = difflib.get_close_matches(name, surplus, n=1, cutoff=0.6)
    return f" (the file has {near[0]!r})" if near else ""


def load_weights(path: Path, shapes: Mapping[str, Shape], ignores: Callable[[str], bool] = lambda key: False) -> Arrays:
    """Weights from a ``.safetensors`` file under upstream names, as float32, in the order of ``shapes``.

    Keys that ``ignores`` knows may be there and are left out.

    Raises:
        UsageError: no such file, or not a safetensors file.
        TensorError: tensors that do not fit, or are not floating-point numbers that float32 can hold.
    """
    # Imported here: workers import this module, and their interpreters hold no safetensors.
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        given = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read weights from {path}: {error}") from error
    except (KeyError, TypeError) as error:
        # NumPy has no bfloat16 and no fp8, and safetensors' NumPy reader then fails on its own table of dtypes.
        raise TensorError(f"{path} holds a dtype that NumPy has not ({error}); save it as float32") from error
    given = {name: array for name, array in given.items() if name in shapes or not ignores(name)}
    check_tensors(given, shapes)
    wrong = [f"{name!r} is {array.dtype}" for name, array in given.items() if array.dtype.kind != "f"]
    if wrong:
        raise TensorError(f"weights in {path} must be floating-point numbers: {', '.join(wrong)}")
    with np.errstate(over="ignore"):
        weights: Arrays = {name: np.ascontiguousarray(given[name], dtype=np.float32) for name in shapes}
    _check_finite("weights", path, weights)
    return weights


def shapes_in(path: Path) -> dict[str, Shape]:
    """What is in a ``.safetensors`` file that ``load_weights`` could open, without reading the values."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _check_finite(what: str, path: Path, arrays: Arrays) -> None:
    wrong = [repr(name) for name, array in arrays.items() if not np.isfinite(array).all()]
    if wrong:
        raise TensorError(f"{what} in {path} must be finite as float32; NaN or infinity in {', '.join(wrong)}")


def load_inputs(path: Path, like: Arrays) -> Arrays:
    """Inputs from an ``.npz`` file with the names, shapes and dtypes of ``like``, in its order.

    Raises:
        UsageError: no such file, not an ``.npz``, or a damaged one.
        TensorError: tensors that do not fit, or hold NaN or infinity.
    """
    try:
        # Opened here: NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            given = {name: file[name] for name in file.files}
        strangers = [name for name, value in given.items() if not isinstance(value, np.ndarray)]
        if strangers:
            raise ValueError(f"{strangers[0]!r} in it is not an array")
    except UNREADABLE as error:
        raise UsageError(f"cannot read inputs from {path} as an .npz archive: {error}") from error
    check_tensors(given, {name: array.shape for name, array in like.items()})
    wrong = [
        f"{name!r} is {given[name].dtype}, wanted {array.dtype}"
        for name, array in like.items()
        if given[name].dtype != array.dtype
    ]
    if wrong:
        raise TensorError(f"inputs of another dtype in {path}: {', '.join(wrong)}")
    inputs = {name: given[name] for name in like}
    _check_finite("inputs", path, inputs)
    return inputs
