"""Same bytes in: makes weights, inputs and references once, in a content-addressed cache that all workers read."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import tensors, verify
from bench.cell import Cell
from bench.errors import TensorError
from bench.workload import Arrays, Config, Workload


@dataclass(frozen=True)
class Produced:
    """Who made a reference (``torch 2.13.0 cpu fp32``); ``own_names``: in that framework's own names and layouts."""

    producer: str
    own_names: bool


#: Makes a reference by running ``cell`` (fp32 on a CPU) in a framework and dumping its outputs to the path.
Produce = Callable[[Cell, "Materials", Path], Produced]


def cache_folder() -> Path:
    """``$TWINBENCH_CACHE``, else ``twinbench`` in the user's cache folder."""
    given = os.environ.get("TWINBENCH_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twinbench"


@dataclass(frozen=True)
class Materials:
    """What a worker loads for one work: paths of ``.npz`` files and the SHA-256 of their contents."""

    weights: Path
    weights_sha256: str
    inputs: Path
    inputs_sha256: str


@dataclass(frozen=True)
class Reference:
    """The truth for one work, and who made it; in canonical names and layouts unless ``own_names``."""

    path: Path
    producer: str
    own_names: bool = False

    def arguments(self) -> dict[str, Any]:
        """For the worker's stage ``verify``."""
        return {"reference": str(self.path), "producer": self.producer, "own_names": self.own_names}


class Store:
    """Makes each thing once per run; files that lie in the cache already are not written again."""

    def __init__(
        self,
        seed: int,
        folder: Path | None = None,
        weights_file: Path | None = None,
        inputs_file: Path | None = None,
        produce: Produce | None = None,
    ) -> None:
        self.seed = seed
        self._folder = folder or cache_folder()
        self._weights_file = weights_file
        self._inputs_file = inputs_file
        self._produce = produce
        self._materials: dict[tuple[object, ...], Materials] = {}
        self._references: dict[tuple[object, ...], Reference] = {}

    def materials(self, workload: Workload, cell: Cell) -> Materials:
        """Weights and inputs of ``cell``'s work.

        Raises:
            TensorError: a given file has missing, surplus or misshaped tensors.
        """
        key = cell.work
        if key not in self._materials:
            weights, inputs = self._arrays(workload, cell)
            weights_path, weights_sha = self._put(weights)
            inputs_path, inputs_sha = self._put(inputs)
            self._materials[key] = Materials(weights_path, weights_sha, inputs_path, inputs_sha)
        return self._materials[key]

    def reference(self, workload: Workload, cell: Cell) -> Reference:
        """The truth for ``cell``: float64 NumPy, or fp32 on the CPU by a framework where the size says so.

        The key of the cache holds the bytes of weights and inputs and the source of the workload, so that an edit of
        the reference makes a new one.
        """
        key = cell.work
        if key not in self._references:
            self._references[key] = self._make_reference(workload, cell)
        return self._references[key]

    def _make_reference(self, workload: Workload, cell: Cell) -> Reference:
        materials = self.materials(workload, cell)
        by_framework = workload.producer(cell.size, cell.phase) == "cpu-fp32"
        folder = Path(inspect.getfile(type(workload))).parent
        source = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))]
        facts = (*cell.work, materials.weights_sha256, materials.inputs_sha256, source)
        stem = hashlib.sha256(repr(facts).encode()).hexdigest()
        if by_framework and self._produce is not None:
            # Made anew in every run: it is cheap beside the run, and what made it is then known for sure.
            path = self._folder / "references" / f"{stem}-{cell.environment}.npz"
            made = self._produce(cell, materials, path)
            return Reference(path, made.producer, made.own_names)
        path = self._folder / "references" / f"{stem}-numpy.npz"
        if not path.exists():
            weights, inputs = tensors.load(materials.weights), tensors.load(materials.inputs)
            config = workload.settings(cell.size, cell.phase, cell.variant)
            tensors.save(path, workload.reference(config, cell.phase, cell.variant, weights, inputs))
        return Reference(path, "NumPy float64")

    def _arrays(self, workload: Workload, cell: Cell) -> tuple[Arrays, Arrays]:
        config = workload.settings(cell.size, cell.phase, cell.variant)
        if cell.batch > workload.sizes[cell.size].batch:
            self._check_room(workload, cell)
        if self._weights_file is None:
            weights = workload.weights(config, self.seed)
        else:
            weights = _given(self._weights_file, workload, config, cell)
        if self._inputs_file is not None and self._inputs_file.suffix != ".npz":
            return weights, workload.file_inputs(config, cell.phase, cell.batch, self._inputs_file)
        inputs = workload.inputs(config, cell.phase, cell.batch, self.seed)
        if self._inputs_file is not None:
            inputs = verify.load_inputs(self._inputs_file, inputs)
            workload.check_inputs(config, inputs)
        return weights, inputs

    def _check_room(self, workload: Workload, cell: Cell) -> None:
        """Refuse inputs that cannot fit before they are made: the kernel would end this process, not the allocation.

        Raises:
            MemoryError: names both amounts. The reference in float64 needs twice the inputs, and their copy.
        """
        config = workload.settings(cell.size, cell.phase, cell.variant)
        one = sum(array.nbytes for array in workload.inputs(config, cell.phase, 1, self.seed).values())
        needed, free = 3 * one * cell.batch, psutil.virtual_memory().available
        if needed > free:
            amounts = f"need about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
            raise MemoryError(f"out of memory on the host: inputs and reference of batch {cell.batch} {amounts}")

    def _put(self, arrays: Arrays) -> tuple[Path, str]:
        sha = tensors.digest(arrays)
        path = self._folder / "arrays" / f"{sha}.npz"
        if not path.exists():
            tensors.save(path, arrays)
        return path, sha

    def put(self, arrays: Arrays) -> Path:
        """Any arrays a worker is to read, by content."""
        return self._put(arrays)[0]


def _given(path: Path, workload: Workload, config: Config, cell: Cell) -> Arrays:
    """Weights from the file; where they are another size's, the error says whose."""
    try:
        return verify.load_weights(path, workload.shapes(config), workload.ignores)
    except TensorError as error:
        given = {name: shape for name, shape in verify.shapes_in(path).items() if not workload.ignores(name)}
        others = (size for size in workload.sizes if size != cell.size)
        fits = [s for s in others if workload.shapes(workload.settings(s, cell.phase, cell.variant)) == given]
        if not fits:
            raise
        work = f"{workload.name}:{fits[0]}"
        raise TensorError(f"{error}\n{path} holds weights of {work}, not of {cell.workload}:{cell.size}") from error
