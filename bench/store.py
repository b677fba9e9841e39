"""Run folders on disk: append-only JSON lines that survive kill -9, and readers that never stop at a bad line.

results/<run>/run.json          what was asked: the plan can be made again from it
results/<run>/records.jsonl     one record a line, fsynced before the next block starts
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.errors import UsageError, unknown
from bench.record import SCHEMA_VERSION, Measurement, Record

RECORDS = "records.jsonl"
RUN = "run.json"
#: Read at once: a line has several KB, and the usual 8 KB cut every second one in two.
READ_BYTES = 2**18
Line = TypeVar("Line")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class _Version(msgspec.Struct):
    """The one field that every version of the schema has."""

    schema: int


_version_decoder = msgspec.json.Decoder(_Version)


def new_run(results: Path, facts: dict[str, Any]) -> Path:
    """Make a run folder with a name of its own; names of one machine sort as the runs began, within a second, too."""
    while True:
        now = datetime.now(UTC)
        fraction = now.microsecond * 2**16 // 10**6
        folder = results / f"{now:%Y%m%d-%H%M%S}-{fraction:04x}"
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot make a run folder in {results}: {error.strerror}") from error
    temporary = folder / f"{RUN}.part"
    temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, folder / RUN)
    return folder


def run_facts(folder: Path) -> dict[str, Any]:
    """What ``new_run`` wrote.

    Raises:
        UsageError: the folder is not a run, or its file is damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{folder} is not a run folder: it has no {RUN}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / RUN} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise UsageError(f"{folder / RUN} is not a run's: it holds no object")
    return facts


class Appender:
    """Writes records of one run. Holds a lock: a second ``--resume`` of the same run is refused, not interleaved."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise UsageError(f"{folder} is being written by another twinbench") from None
        self._end_last_line()

    def append(self, records: Iterable[Record]) -> None:
        """Write ``records`` in one piece and wait until the disk has them."""
        data = b"".join(_encoder.encode(record) + b"\n" for record in records)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)

    def _end_last_line(self) -> None:
        """A killed writer may have left half a line; ours must not be glued to it."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")


@contextmanager
def appending(folder: Path) -> Iterator[Appender]:
    """An Appender that is closed at the end."""
    appender = Appender(folder)
    try:
        yield appender
    finally:
        appender.close()


def read(folder: Path, problems: list[str]) -> Iterator[Record]:
    """The records of a run, one at a time; what cannot be read is skipped.

    ``problems`` collects a sentence for each skipped line, ``file:line: why``, for the caller to show.
    """
    return lines(folder, problems, parse)


def lines(folder: Path, problems: list[str], parse_line: Callable[[bytes], Line]) -> Iterator[Line]:
    """Like ``read``, with another reader of a line: one that looks at less is faster.

    ``problems`` collects a sentence for each skipped line, ``file:line: why``, for the caller to show.
    """
    path = folder / RECORDS
    try:
        file = path.open("rb", buffering=READ_BYTES)
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                yield parse_line(line)
            except ValueError as error:
                state = "truncated line" if not line.endswith(b"\n") else "not a record"
                problems.append(f"{path}:{number}: {state}: {error}")


def parse(line: bytes) -> Record:
    """One line as a record, from any schema version that was ever published.

    Raises:
        ValueError: the line is no record, or its version is newer than this twinbench.
    """
    try:
        record = _decoder.decode(line)
        version = record.schema
    except msgspec.DecodeError as error:
        try:
            version = _version_decoder.decode(line).schema
        except msgspec.DecodeError:
            version = 0
        if version <= SCHEMA_VERSION:
            raise ValueError(str(error)) from error
    if version > SCHEMA_VERSION:
        raise ValueError(f"schema {version} is newer than this twinbench reads ({SCHEMA_VERSION})")
    if record.measurement is not None:
        _check(record.measurement)
    return record


def _check(measurement: Measurement) -> None:
    """What a type cannot say; a line that fails was not written by twinbench.

    Raises:
        ValueError: columns of unequal length, a count below 1, or a burst that took no time.
    """
    bursts = measurement.bursts
    # Empty: an imported file does not say.
    may_be_empty = [len(column) for column in (bursts.cpu_ns, bursts.started_ns) if column]
    lengths = {len(bursts.iterations), len(bursts.wall_ns), len(bursts.foreign_cpu_ns), *may_be_empty}
    if len(lengths) > 1:
        raise ValueError("columns of bursts have unequal lengths")
    if not bursts.iterations or min(bursts.iterations) < 1 or measurement.items_per_iteration <= 0:
        raise ValueError("a measurement without bursts, iterations or items")
    check_wall(bursts.wall_ns)


def check_wall(wall_ns: Sequence[int]) -> None:
    """No rate comes from a burst without time.

    Raises:
        ValueError: names the first such burst, counted from 1.
    """
    if min(wall_ns) < 1:
        number, found = next((number, ns) for number, ns in enumerate(wall_ns, 1) if ns < 1)
        raise ValueError(f"burst {number} took {found} ns")


def runs(results: Path) -> list[Path]:
    """All run folders, oldest first (their names begin with the time)."""
    if not results.is_dir():
        return []
    return sorted(path.parent for path in results.glob(f"*/{RUN}"))


def find(results: Path, name: str) -> Path:
    """A run by folder path, by name, or ``latest``.

    Raises:
        UsageError: there is none; names the nearest.
    """
    known = runs(results)
    if name == "latest":
        if not known:
            raise UsageError(f"no runs in {results} yet; make one with: twinbench run")
        return known[-1]
    as_path = Path(name)
    if (as_path / RECORDS).exists() or (as_path / RUN).exists():
        return as_path
    for folder in known:
        if folder.name == name:
            return folder
    raise unknown("run", name, [*(folder.name for folder in known[-20:]), "latest"])


def read_all(folders: Sequence[Path], problems: list[str]) -> Iterator[Record]:
    """The records of several runs, in the order given."""
    for folder in folders:
        yield from read(folder, problems)
