"""``twinbench import-weights``: a published checkpoint -> a ``.safetensors`` file that ``--weights`` takes.

Nothing is written unless every tensor that the model asks for is there, in its shape and finite, and none is left over.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench import __version__, environments
from bench.errors import TensorError, UsageError
from bench.plan import parse_work
from bench.run import interpreters
from bench.setup import workloads
from bench.verify import check_tensors
from bench.workload import Arrays, Config, Workload

READER = Path(__file__).parent / "frameworks" / "checkpoint.py"
#: Unpickling and copying a checkpoint of gigabytes takes minutes on a slow disk; a hang takes for ever.
READER_TIMEOUT_S = 1800.0
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
#: safetensors' words for dtypes. BF16 is read as its bits.
DTYPES: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What was written: ``parameters`` counts values, ``dropped`` names tensors that no twin loads."""

    work: str
    what: str
    output: Path
    tensors: int
    parameters: int
    dropped: tuple[str, ...]

    @property
    def text(self) -> str:
        """A sentence for a terminal."""
        left = f"; {len(self.dropped)} that no twin loads left out" if self.dropped else ""
        return (
            f"{self.work}: {self.tensors} tensors, {self.parameters:,} values from {self.what}{left}\n"
            f"{self.output}; use it with: twinbench run {self.work} --weights {self.output}"
        )


def import_weights(source: Path, work: str, output: Path, pythons: Sequence[str]) -> Imported:
    """Convert ``source`` for ``work`` (``WORKLOAD:SIZE``) into ``output``; ``pythons`` are ``torch=PATH`` options.

    Raises:
        UsageError: an unknown work, a file that cannot be read or written, no torch to read a ``.pt`` with.
        TensorError: tensors that do not fit or are not finite, each by name; says which size would fit.
    """
    known = workloads()
    name, size = parse_work(work, known)
    _check_paths(source, output)
    what, given = read(source, pythons)
    work, spec = f"{name}:{size}", known[name]
    config = _config(spec, size)
    found, dropped = _canonical(spec, config, given)
    try:
        check_tensors(found, spec.shapes(config))
    except TensorError as error:
        fits = [other for other in fitting(given, known) if other != work]
        hint = f"\nthese are the weights of {' or '.join(fits)}: give --workload {fits[0]}" if fits else ""
        raise TensorError(f"{source} holds no weights of {work}: {error}{hint}") from error
    weights = as_float32(source, {key: found[key] for key in spec.shapes(config)})
    _write(output, weights, _metadata(source, work))
    values = sum(array.size for array in weights.values())
    return Imported(work, what, output, len(weights), values, tuple(dropped))


def read(source: Path, pythons: Sequence[str]) -> tuple[str, Arrays]:
    """(where in the file they were, its tensors under its own names); bfloat16 as float32, other dtypes as they are.

    Raises:
        UsageError: no such file, of another kind, damaged, or one that should not be unpickled.
    """
    if source.suffix == ".safetensors":
        return "a safetensors file", _read_safetensors(source)
    if source.suffix in TORCH_SUFFIXES:
        return _read_torch(source, interpreters(pythons, ["torch"])["torch"])
    valid = ", ".join((".safetensors", *TORCH_SUFFIXES))
    raise UsageError(f"cannot tell what kind of checkpoint {source.name!r} is; valid endings: {valid}")


def fitting(given: Arrays, known: Mapping[str, Workload]) -> list[str]:
    """Every ``WORKLOAD:SIZE`` whose weights these are, by names and shapes."""
    return [
        f"{name}:{size}"
        for name, spec in known.items()
        for size in spec.sizes
        if _fits(spec, _config(spec, size), given)
    ]


def as_float32(source: Path, arrays: Arrays) -> Arrays:
    """The same as contiguous float32.

    Raises:
        TensorError: names tensors that are no floating-point numbers, or not finite as float32.
    """
    wrong = [f"{name!r} is {array.dtype}" for name, array in arrays.items() if array.dtype.kind != "f"]
    if wrong:
        raise TensorError(f"weights in {source} must be floating-point numbers: {', '.join(wrong)}")
    with np.errstate(over="ignore"):
        made: Arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    spoilt = [repr(name) for name, array in made.items() if not np.isfinite(array).all()]
    if spoilt:
        raise TensorError(f"weights in {source} must be finite as float32; NaN or infinity in {', '.join(spoilt)}")
    return made


def _config(spec: Workload, size: str) -> Config:
    """Canonical shapes depend on the size alone: any phase's config will do."""
    phase, variants = next(iter(spec.phases.items()))
    return spec.settings(size, phase, variants[0])


def _canonical(spec: Workload, config: Config, given: Arrays) -> tuple[Arrays, list[str]]:
    """Under canonical names without what no twin loads, and the names of that."""
    renamed = spec.from_upstream(config, given)
    wanted = spec.shapes(config)
    dropped = [key for key in renamed if key not in wanted and spec.ignores(key)]
    return {key: array for key, array in renamed.items() if key not in dropped}, dropped


def _fits(spec: Workload, config: Config, given: Arrays) -> bool:
    try:
        found, _ = _canonical(spec, config, given)
    except (IndexError, KeyError, TensorError, UsageError, ValueError):
        return False  # names or shapes of another model are nothing this one's naming knows
    return {key: array.shape for key, array in found.items()} == {
        key: tuple(shape) for key, shape in spec.shapes(config).items()
    }


def _check_paths(source: Path, output: Path) -> None:
    if not source.is_file():
        raise UsageError(f"no such file: {source}")
    if output.suffix != ".safetensors":
        raise UsageError(f"--output takes a .safetensors file, got {output.name!r}")
    if output.is_dir():
        raise UsageError(f"--output takes a file, {output} is a folder")
    if output.exists() and output.samefile(source):
        raise UsageError(f"--output would overwrite the checkpoint {source}; give another name")


def _read_safetensors(source: Path) -> Arrays:
    """All tensors, mapped from the file. safetensors' own NumPy reader has no bfloat16, so only its checks are used."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="np"):
            pass  # the header is well-formed, and the offsets lie within the file without gaps
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read {source} as safetensors: {error}") from error
    with source.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    strange = sorted(
        {f"{name!r} is {facts['dtype']}" for name, facts in header.items() if facts["dtype"] not in DTYPES}
    )
    if strange:
        raise UsageError(f"{source} holds dtypes that weights cannot be read from: {', '.join(strange)}")
    data = np.memmap(source, mode="r")[8 + length :] if header else np.zeros(0, np.uint8)
    return {name: _tensor(data, facts) for name, facts in header.items()}


def _tensor(data: np.ndarray[Any, Any], facts: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    begin, end = facts["data_offsets"]
    array = data[begin:end].view(DTYPES[facts["dtype"]]).reshape(facts["shape"])
    if facts["dtype"] == "BF16":  # the upper half of a float32
        return np.asarray(array.astype("<u4") << 16, dtype="<u4").view("<f4")
    return np.asarray(array)


def _read_torch(source: Path, python: str) -> tuple[str, Arrays]:
    variables = environments.child_environment(os.environ, environments.get("torch"), "cpu", 1)
    with tempfile.TemporaryDirectory(prefix="twinbench-import-") as folder:
        target = Path(folder) / "tensors.npz"
        try:
            done = subprocess.run(
                [python, "-I", str(READER), str(source.resolve()), str(target)],
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=READER_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as late:
            raise UsageError(f"{source} was not read within {late.timeout:g} s") from late
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            raise UsageError(f"{python} could not read {source} ({done.returncode}): {done.stderr.strip()[-500:]}")
        said = json.loads(lines[-1])
        if "error" in said:
            raise UsageError(f"cannot read {source}: {said['error']}")
        with np.load(target, allow_pickle=False) as archive:
            return said["what"], {name: archive[f"arr_{index}"] for index, name in enumerate(said["names"])}


def _metadata(source: Path, work: str) -> dict[str, str]:
    with source.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "work": work,
        "source": source.name,
        "source_sha256": sha,
        "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "twinbench": __version__,
    }


def _write(output: Path, weights: Arrays, metadata: dict[str, str]) -> None:
    """Whole or not at all."""
    from safetensors.numpy import save_file

    output.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files are readable by their owner only.
    temporary = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        save_file(weights, temporary, metadata)
        os.replace(temporary, output)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
