"""Named arrays on disk and their fingerprint. NumPy only: parent and workers share this file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from bench.workload import Arrays


def digest(arrays: Arrays) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian bytes, in name order: the same on every platform."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{name}\0{little.dtype.str}\0{array.shape}\0".encode())
        sha.update(little.data)
    return sha.hexdigest()


def save(path: Path, arrays: Arrays) -> None:
    """Write an ``.npz`` whole or not at all: a reader never sees half a file.

    Raises:
        ValueError: an array of Python objects, which ``load`` would refuse.
    """
    objects = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if objects:
        raise ValueError(f"arrays of Python objects cannot be kept: {', '.join(objects)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            # Not savez(allow_pickle=...): NumPy before 2.2 takes the word for the name of an array, and writes it.
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: Path) -> Arrays:
    """All arrays of an ``.npz``; pickled objects are refused."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
