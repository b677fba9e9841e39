"""Tables for ``twinbench list``."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from bench.environments import Environment, available_devices
from bench.workload import Workload


def workloads_table(workloads: Iterable[Workload]) -> Table:
    """Workloads with sizes (the default one marked), phases and variants."""
    table = Table(title="Workloads", title_justify="left")
    for column in ("workload", "sizes (* default)", "batch", "phases", "counted in"):
        table.add_column(column)
    for spec in workloads:
        sizes = [f"{name}{' *' if name == spec.default_size else ''}" for name in spec.sizes]
        batches = [str(size.batch) for size in spec.sizes.values()]
        phases = [f"{phase} ({', '.join(v)})" if len(v) > 1 else phase for phase, v in spec.phases.items()]
        table.add_row(spec.name, "\n".join(sizes), "\n".join(batches), "\n".join(phases), f"{spec.item}/s")
    return table


def environments_table(environments: Iterable[Environment]) -> Table:
    """The environments that people see, with the devices of this machine."""
    table = Table(title="Environments", title_justify="left")
    for column in ("environment", "framework", "devices here", "devices at all", "what it is"):
        table.add_column(column)
    for entry in environments:
        if not entry.hidden:
            here = ", ".join(available_devices(entry))
            table.add_row(entry.name, entry.framework, here, ", ".join(entry.devices), entry.summary)
    return table
