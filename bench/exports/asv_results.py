"""A folder that ``asv publish`` reads: seconds of one iteration, lower is better, on the commit that measured.

    OUT/asv.conf.json                                  made when it is not there; names this checkout as the repository
    OUT/results/benchmarks.json                        one per work and environment; its parameter is the rest of a cell
    OUT/results/<machine>/machine.json
    OUT/results/<machine>/<commit>-<environment>.json  one file per commit, environment and set of versions

Exports into one folder add up, cell by cell; a cell that is exported again has the newer figures. asv calls None failed
and NaN skipped, and that is what cells without a speed become.
Format: results of version 2, https://asv.readthedocs.io/en/stable/dev.html
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.cell import DEFAULT_VARIANT
from bench.errors import UsageError
from bench.exports.samples import Sampled, gather
from bench.machine.command import run
from bench.record import Fingerprint, Record
from bench.report.facts import Work, by_work
from bench.setup import ROOT
from bench.stats import Interval
from bench.summary import CellSummary

CONFIGURATION = "asv.conf.json"
PROJECT = "twinbench"
DIRTY = "+dirty"
#: What asv compares before it takes a result for one of today's benchmark; ours are told apart by their names.
VERSION = "1"
COLUMNS = (
    "result",
    "params",
    "version",
    "started_at",
    "duration",
    "stats_ci_99_a",
    "stats_ci_99_b",
    "stats_q_25",
    "stats_q_75",
    "stats_number",
    "stats_repeat",
    "samples",
)
#: Those with one element per cell.
BY_CELL = tuple(name for name in COLUMNS if name not in ("params", "version", "started_at", "duration"))


@dataclass(frozen=True)
class _Place:
    """What asv draws apart: one file of results."""

    machine: str
    commit: str
    environment: str
    versions: tuple[tuple[str, str], ...]
    python: str

    @property
    def file(self) -> str:
        """Readable as far as a name may be long; the hash keeps apart what is cut off."""
        told = "-".join(f"{name}{version}" for name, version in self.versions)
        dirty = "-dirty" if self.commit.endswith(DIRTY) else ""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return _word(f"{self.commit[:8]}-{self.environment}-{told}{dirty}")[:110] + f"-{digest}.json"


def write(records: Iterable[Record], path: Path, repository: Path = ROOT) -> int:
    """Write or add to the folder ``path``; returns how many cells have a speed in it.

    Raises:
        UsageError: a record without a commit, a commit that ``repository`` has not, or a folder or file of something
            else; nothing is written then.
    """
    places: dict[_Place, list[Record]] = {}
    for record in records:
        places.setdefault(_place(record.fingerprint, record.cell.environment), []).append(record)
    dates = _dates_ms([place.commit.removesuffix(DIRTY) for place in places], repository)
    listing = path / "results" / "benchmarks.json"
    documents: dict[Path, Mapping[str, Any]] = {path / CONFIGURATION: _configuration(path, repository, list(dates))}
    benchmarks = _before(listing) or {"version": 2}
    count = 0
    for place, members in places.items():
        folder = path / "results" / place.machine
        sampled, summaries = gather(members)
        works = by_work(summaries)
        made = _results(place, members, works, sampled, dates[place.commit.removesuffix(DIRTY)])
        documents[folder / "machine.json"] = _machine(place.machine, members[0].fingerprint.machine)
        documents[folder / place.file] = _together(folder / place.file, made)
        _add_benchmarks(benchmarks, listing, place.environment, works)
        count += len(sampled)
    for file, document in {**documents, listing: benchmarks}.items():
        _put(file, document)
    return count


def _place(fingerprint: Fingerprint, environment: str) -> _Place:
    if fingerprint.git_revision is None:
        raise UsageError("asv puts results on commits, and these records name none: twinbench ran outside a checkout")
    versions = {name: version for name, version in fingerprint.versions.items() if name not in ("python", "twinbench")}
    return _Place(
        _word(str(fingerprint.machine.get("host") or "unknown")),
        fingerprint.git_revision,
        environment,
        tuple(sorted(versions.items())),
        fingerprint.versions.get("python", ""),
    )


def _dates_ms(commits: Sequence[str], repository: Path) -> dict[str, int]:
    """When the commits were made, in JavaScript's ms. asv knows those that a branch or tag leads to."""
    log = run(["git", "-C", str(repository), "log", "--all", "--format=%H %ct"]) or ""
    dates = {commit: int(second) * 1000 for commit, second in (line.split() for line in log.splitlines())}
    for commit in commits:
        if commit not in dates:
            raise UsageError(
                f"no branch or tag of {repository} has commit {commit}: export in the checkout that measured"
            )
    return {commit: dates[commit] for commit in commits}


def _configuration(folder: Path, repository: Path, commits: Sequence[str]) -> dict[str, Any]:
    """asv.conf.json, new or completed.

    asv shows only commits on the first-parent line of a branch; one that is on none gets a "branch" of its own, which
    asv takes as any name of a commit.
    """
    path = folder / CONFIGURATION
    if path.exists():
        settings = _settings(path)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and was not made by this export: give a folder of its own")
    else:
        head = run(["git", "-C", str(repository), "rev-parse", "--abbrev-ref", "HEAD"])
        settings = {
            "version": 1,
            "project": PROJECT,
            "repo": str(repository),
            "dvcs": "git",
            "branches": [(head or "HEAD").strip()],
            "results_dir": "results",
            "html_dir": "html",
        }
    for commit in commits:
        if not any(commit in _line(repository, branch) for branch in settings["branches"]):
            settings["branches"].append(commit)
    return settings


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        project, branches = settings["project"], settings["branches"]
    except (ValueError, KeyError, TypeError):
        project, branches, settings = None, None, {}
    if project != PROJECT or not isinstance(branches, list):
        raise UsageError(f"{path} is not of this export (project {project!r}): give a folder of its own")
    found: dict[str, Any] = settings
    return found


def _line(repository: Path, branch: str) -> list[str]:
    """The commits that asv shows for a branch."""
    return (run(["git", "-C", str(repository), "rev-list", "--first-parent", str(branch), "--"]) or "").split()


def _machine(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "machine": name,
        "os": facts.get("os_version") or facts.get("system"),
        "arch": facts.get("architecture"),
        "cpu": facts.get("chip"),
        "num_cpu": facts.get("logical_cores"),
        "ram": facts.get("memory_bytes"),
    }
    return {**{key: "" if value is None else str(value) for key, value in told.items()}, "version": 1}


def _results(
    place: _Place,
    records: Sequence[Record],
    works: Mapping[Work, Sequence[CellSummary]],
    sampled: Sequence[Sampled],
    date_ms: int,
) -> dict[str, Any]:
    facts = records[0].fingerprint.machine
    machine = {key: value for key, value in _machine(place.machine, facts).items() if key != "version"}
    by_cell = {one.cell: one for one in sampled}
    started = {work: min(r.started_at for r in records if r.cell.work == work) for work in works}
    return {
        "version": 2,
        "commit_hash": place.commit.removesuffix(DIRTY),
        "env_name": place.environment,
        "date": date_ms,
        # asv draws a line for each set of these.
        "params": {
            **machine,
            **dict(place.versions),
            "python": place.python,
            "checkout": "changed" if place.commit.endswith(DIRTY) else "clean",
        },
        "python": place.python,
        "requirements": dict(place.versions),
        "env_vars": {},
        "result_columns": list(COLUMNS),
        "results": {
            _name(work, place.environment): _row(
                members, [by_cell.get(one.cell) for one in members], datetime.fromisoformat(started[work])
            )
            for work, members in works.items()
        },
        "durations": {},
    }


def _row(members: Sequence[CellSummary], sampled: Sequence[Sampled | None], started: datetime) -> list[Any]:
    """One benchmark's entry, in the order of COLUMNS; lists have one element per cell."""
    medians = [[process.median_s for process in one.processes] if one else None for one in sampled]
    within = [one.iteration_s(0.99) if one else None for one in sampled]
    return [
        [_value(one, time) for one, time in zip(members, within, strict=True)],
        [[_parameter(one) for one in members]],
        VERSION,
        round(started.timestamp() * 1000),
        None,
        [_bound(time, -math.inf) for time in within],
        [_bound(time, math.inf) for time in within],
        [_quartile(each, 0) for each in medians],
        [_quartile(each, 2) for each in medians],
        [1 if each else None for each in medians],
        [len(each) if each else None for each in medians],
        medians,
    ]


def _value(one: CellSummary, time_s: Interval | None) -> float | None:
    if time_s is not None:
        return time_s.estimate
    return math.nan if one.outcome == "unsupported" else None


def _bound(time_s: Interval | None, unknown: float) -> float | None:
    """An end of the 99 % interval; asv writes an infinite one where there are too few samples."""
    if time_s is None:
        return None
    bound = time_s.low if unknown < 0 else time_s.high
    return unknown if bound is None else bound


def _quartile(values: Sequence[float] | None, which: int) -> float | None:
    if not values:
        return None
    return values[0] if len(values) == 1 else statistics.quantiles(values, n=4, method="inclusive")[which]


def _together(path: Path, made: dict[str, Any]) -> dict[str, Any]:
    """``made``, and the cells of an earlier export into the same file that it does not have.

    Raises:
        UsageError: the file is not of this export.
    """
    before = _before(path)
    if before is None:
        return made
    try:
        if before["result_columns"] != list(COLUMNS):
            raise _foreign(path)
        rows = {name: _joined(row, made["results"].get(name)) for name, row in before["results"].items()}
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise _foreign(path) from error
    return {**made, "results": {**made["results"], **rows}}


def _joined(before: Sequence[Any], made: Sequence[Any] | None) -> list[Any]:
    """Two entries of one benchmark: of a cell that both have, the newer figures."""
    if made is None:
        return list(before)
    old, new = (dict(zip(COLUMNS, row, strict=True)) for row in (before, made))
    (known,) = old["params"]
    (parameters,) = new["params"]
    kept = [place for place, parameter in enumerate(known) if parameter not in parameters]
    for column in BY_CELL:
        new[column] = [*(old[column][place] for place in kept), *new[column]]
    new["params"] = [[*(known[place] for place in kept), *parameters]]
    new["started_at"] = min(old["started_at"], new["started_at"])
    return list(new.values())


def _before(path: Path) -> dict[str, Any] | None:
    """What an earlier export wrote; None where there is nothing.

    Raises:
        UsageError: the file is not of this export.
    """
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _foreign(path) from error
    if not isinstance(found, dict):
        raise _foreign(path)
    return found


def _foreign(path: Path) -> UsageError:
    return UsageError(f"{path} is damaged or not of this export: mend or remove it, or give a folder of its own")


def _add_benchmarks(
    known: dict[str, Any], path: Path, environment: str, works: Mapping[Work, Sequence[CellSummary]]
) -> None:
    """Benchmarks and parameters that are there stay: older results in the folder need them."""
    for work, members in works.items():
        name = _name(work, environment)
        try:
            before = known[name]["params"][0] if name in known else []
        except (KeyError, TypeError, IndexError) as error:
            raise _foreign(path) from error
        known[name] = {
            "name": name,
            "pretty_name": name,
            "code": f"twinbench run: {name}, one iteration",
            "type": "time",
            "unit": "seconds",
            "version": VERSION,
            "param_names": ["cell"],
            "params": [list(dict.fromkeys([*before, *map(_parameter, members)]))],
        }
    _put(path, known)


def _parameter(one: CellSummary) -> str:
    return f"{one.cell.device} {one.cell.precision} {one.cell.mode}"


def _name(work: Work, environment: str) -> str:
    """``mlp.digits.training.sgd.b64.torch``: asv's tree is made at the dots."""
    workload, size, phase, variant, batch = work
    parts = [workload, size, phase, *([] if variant == DEFAULT_VARIANT else [variant]), f"b{batch}", environment]
    return ".".join(_word(part.replace(".", "_")) for part in parts)


def _word(text: str) -> str:
    """What may stand in a file's name."""
    return re.sub(r"[^\w.+-]", "_", text)


def _put(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
