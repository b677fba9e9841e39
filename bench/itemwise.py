"""The truth of a large batch, an item at a time on all cores.

NumPy computes a batch as a whole on one core in everything but matrix products, and its float64 arrays leave the
caches. Where no item sees another one (inference; never training), each alone gives the same numbers sooner and in
less memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bench.workload import Arrays


def itemwise(compute: Callable[[Arrays], Arrays], inputs: Arrays) -> Arrays:
    """``compute(inputs)`` for a ``compute`` that treats the items of a batch apart from each other.

    ``inputs`` and what ``compute`` returns have the batch as their first axis. Errors of an item are raised.

    Raises:
        ValueError: the inputs' first axes differ.
    """
    # Imported here: workers import workloads, and their interpreters do not hold it. Only the parent computes truth.
    from threadpoolctl import threadpool_limits

    batches = {len(array) for array in inputs.values()}
    if len(batches) != 1:
        raise ValueError(f"the inputs hold {', '.join(map(str, sorted(batches)))} items, wanted the same in each")
    (batch,) = batches
    if batch == 1:
        return compute(inputs)

    def item(index: int) -> Arrays:
        return compute({name: array[index : index + 1] for name, array in inputs.items()})

    # One BLAS thread for each item: two of BLAS's own pools at once wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(batch, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(item, range(batch)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
