"""``twinbench export``: records in the formats of other tools, one module a format; ``docs/exports.md`` has the units.

Each module has ``write(records, path) -> int``: how many benchmarks (cells) are in what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path

from bench.errors import UsageError, unknown
from bench.record import Record

#: Name of the format -> its module.
FORMATS: Mapping[str, str] = {
    "pytest-benchmark": "pytest_benchmark",
    "pyperf": "pyperf_suite",
    "asv": "asv_results",
    "bencher": "bencher",
    "github-action-benchmark": "github_action",
    "csv": "csv_table",
    "parquet": "parquet_table",
}


def write(records: Iterable[Record], format_: str, path: Path) -> int:
    """Write ``records`` to ``path`` (for asv a folder); returns how many benchmarks (cells) it holds.

    Raises:
        UsageError: no such format, a missing package, records that the format cannot hold, or a file that cannot be
            written.
    """
    if format_ not in FORMATS:
        raise unknown("format", format_, FORMATS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        count: int = import_module(f"bench.exports.{FORMATS[format_]}").write(records, path)
    except ModuleNotFoundError as error:
        raise UsageError(f"this format needs {error.name}: pip install 'twinbench[report,exports]'") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return count
