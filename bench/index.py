"""One entry a run, for the index page: what was run, where, and how its cells ended.

Entries are derived from the JSON lines, which stay the only truth. They are remembered in ``results/.index.jsonl``
under the sizes and times of the run's two files, so that a night costs its own records and not those of ten years. A
file that changed, a memory that cannot be read or one of another version means that the records are read again;
``--recheck`` never looks at it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from bench import environments, store
from bench.cell import Cell
from bench.errors import UsageError
from bench.labels import STABLE, disturbed, plausible
from bench.record import SCHEMA_VERSION, Fingerprint, Measured, Outcome
from bench.summary import TAGS, reason_of

MEMORY = ".index.jsonl"
#: Entries of another version are made anew. 1  2026-11  first version. 2  2026-11  ``noisy`` by ``labels.state_of``.
VERSION = 2
#: Packages that every environment has; what is compared is the framework.
COMMON = frozenset({"python", "numpy", "twinbench"})


class Entry(Struct, frozen=True):
    """One run. Times are ISO 8601 text as recorded; ``cells`` counts cells by outcome, as the report does.

    ``works`` are ``workload:size``, ``places`` ``environment/device``; ``versions`` holds those of the frameworks.
    ``noisy`` counts measured processes around which the machine was not quiet, ``skipped`` lines that could not be
    read; ``problem`` says what is wrong with the folder itself ("" for nothing).
    """

    name: str
    started_at: str | None
    finished_at: str | None
    command: str
    machine: str
    system: str
    works: list[str]
    places: list[str]
    precisions: list[str]
    versions: list[str]
    cells: dict[str, int]
    records: int
    noisy: int
    skipped: int
    problem: str


class _Bursts(Struct, frozen=True, gc=False):
    iterations: list[int]
    wall_ns: list[int]


class _Measurement(Struct, frozen=True, gc=False):
    items_per_iteration: float
    bursts: _Bursts


class Glance(Struct, frozen=True, gc=False):
    """The fields of a record that an index looks at; the others are passed over, which is more than twice as fast.

    ``fingerprint`` is decoded for the first record of each place only.
    """

    schema: int
    cell: Cell
    started_at: str
    outcome: Outcome
    fingerprint: msgspec.Raw
    labels: list[str] = []
    measurement: _Measurement | None = None

    @property
    def is_timed(self) -> bool:
        """Whether it gives a rate that can be believed: the condition of ``summary``."""
        timed = self.measurement is not None and min(self.measurement.bursts.wall_ns) > 0
        return timed and isinstance(self.outcome, Measured) and plausible(self.labels)


class _Remembered(Struct, frozen=True):
    """A line of the memory; ``key`` is what ``_key`` gave when ``entry`` was made."""

    key: list[int]
    entry: Entry


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Remembered)
_glance_decoder = msgspec.json.Decoder(Glance)
_fingerprint_decoder = msgspec.json.Decoder(Fingerprint)


def glance(line: bytes) -> Glance:
    """One line as far as an index looks at it.

    Raises:
        ValueError: it is no record, its version is newer than this twinbench, or its measurement is empty or timeless.
    """
    found = _glance_decoder.decode(line)
    if found.schema > SCHEMA_VERSION:
        raise ValueError(f"schema {found.schema} is newer than this twinbench reads ({SCHEMA_VERSION})")
    if (measured := found.measurement) is not None:
        bursts = measured.bursts
        if not bursts.iterations or len(bursts.iterations) != len(bursts.wall_ns) or min(bursts.iterations) < 1:
            raise ValueError("a measurement without bursts or iterations")
        if measured.items_per_iteration <= 0:
            raise ValueError("a measurement without items")
        store.check_wall(bursts.wall_ns)
    return found


def entries(results: Path, remember: bool = True) -> list[Entry]:
    """All runs in ``results``, newest first. ``remember=False`` neither reads nor writes the memory."""
    folders = store.runs(results)
    known = _memory(results) if remember else {}
    made: list[_Remembered] = []
    for folder in folders:
        key = _key(folder)
        old = known.get(folder.name)
        made.append(old if old is not None and old.key == key else _Remembered(key, entry_of(folder)))
    if remember and folders and {one.entry.name: one for one in made} != known:
        _remember(results, made)
    return sorted(
        (one.entry for one in made), key=lambda entry: (entry.started_at or entry.name, entry.name), reverse=True
    )


def entry_of(folder: Path) -> Entry:
    """The entry of one run, from its records."""
    problems: list[str] = []
    seen = _Seen()
    for record in store.lines(folder, problems, glance):
        seen.add(record)
    command, created_at, problem = "", None, ""
    try:
        facts = store.run_facts(folder)
        command, created_at = str(facts.get("command", "")), facts.get("created_at")
    except UsageError as error:
        problem = str(error)
    if not seen.records and not problem:
        problem = "no records"
    return Entry(
        name=folder.resolve().name,
        started_at=seen.first or (created_at if isinstance(created_at, str) else None),
        finished_at=seen.last,
        command=command,
        machine=", ".join(seen.machines) or "unknown",
        system=", ".join(seen.systems) or "unknown",
        works=sorted({f"{cell.workload}:{cell.size}" for cell in seen.cells}),
        places=sorted({f"{cell.environment}/{cell.device}" for cell in seen.cells}),
        precisions=sorted({cell.precision for cell in seen.cells}),
        versions=sorted(seen.versions),
        cells=dict(Counter(sorted(ways.outcome for ways in seen.cells.values()))),
        records=seen.records,
        noisy=seen.noisy,
        skipped=len(problems),
        problem=problem,
    )


@dataclass
class _Ways:
    """How the processes of one cell ended; the rule of ``CellSummary`` on counts alone."""

    wrong: bool = False
    rated: bool = False
    measured: bool = False
    others: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def outcome(self) -> str:
        if self.wrong:
            return "wrong"
        if self.rated:
            return "measured"
        return "implausible" if self.measured else self.others.most_common(1)[0][0][0]


class _Seen:
    """What is kept of a run while its records stream by."""

    def __init__(self) -> None:
        self.records = self.noisy = 0
        self.first: str | None = None
        self.last: str | None = None
        self.cells: dict[Cell, _Ways] = {}
        self.machines: dict[str, None] = {}
        self.systems: dict[str, None] = {}
        self.versions: set[str] = set()
        self._environments: set[tuple[str, str]] = set()

    def add(self, record: Glance) -> None:
        self.records += 1
        self.first = min(self.first or record.started_at, record.started_at)
        self.last = max(self.last or record.started_at, record.started_at)
        ways = self.cells.get(record.cell)
        if ways is None:
            ways = self.cells[record.cell] = _Ways()
        outcome = TAGS[type(record.outcome)]
        self.noisy += record.labels not in ([STABLE], []) and disturbed(outcome, record.labels)
        ways.wrong |= outcome == "wrong"
        if isinstance(record.outcome, Measured):
            ways.measured = True
            ways.rated = ways.rated or record.is_timed
        else:
            ways.others[(outcome, reason_of(record.outcome))] += 1
        place = (record.cell.environment, record.cell.device)
        if place not in self._environments:
            self._environments.add(place)
            with suppress(msgspec.DecodeError):  # a fingerprint that cannot be read leaves the machine unknown
                self._surroundings(record.cell, _fingerprint_decoder.decode(record.fingerprint))

    def _surroundings(self, cell: Cell, found: Fingerprint) -> None:
        """The first record of a place stands for its others: a run has one machine and one version of each."""
        facts = found.machine
        chips = [str(facts[key]) for key in ("model", "chip", "gpu") if facts.get(key)]
        device = [found.device_name] if cell.device != "cpu" and found.device_name else []
        self.machines |= dict.fromkeys(chips + device)
        system = " ".join(str(facts[key]) for key in ("os_version", "architecture") if facts.get(key))
        self.systems |= dict.fromkeys([system or str(facts.get("system") or "unknown")])
        known = environments.ENVIRONMENTS.get(cell.environment)
        names = (known.framework, f"{known.framework}-cpu", known.plugin or "") if known else (cell.environment,)
        told = [f"{name} {found.versions[name]}" for name in names if name in found.versions]
        self.versions.update(told or [f"{name} {word}" for name, word in found.versions.items() if name not in COMMON])


def _key(folder: Path) -> list[int]:
    """Version, and size and time in ns of the run's two files; zeros for one that is missing."""
    key = [VERSION]
    for name in (store.RECORDS, store.RUN):
        try:
            found = (folder / name).stat()
            key += [found.st_size, found.st_mtime_ns]
        except OSError:
            key += [0, 0]
    return key


def _memory(results: Path) -> dict[str, _Remembered]:
    """What was remembered; a line that cannot be read is forgotten."""
    found: dict[str, _Remembered] = {}
    try:
        lines = (results / MEMORY).read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            one = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        found[one.entry.name] = one
    return found


def _remember(results: Path, made: Sequence[_Remembered]) -> None:
    """Replace the memory. A folder that cannot be written costs the next index its time and nothing else."""
    path = results / MEMORY
    temporary = path.with_name(f"{MEMORY}.{os.getpid()}.part")
    try:
        temporary.write_bytes(b"".join(_encoder.encode(one) + b"\n" for one in made))
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
