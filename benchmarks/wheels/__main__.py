"""Download the macOS wheels of every environment with Metal, and check the names that our adapters and twins use.

usage: python -m benchmarks.wheels --folder FOLDER [ENVIRONMENT ...]       needs pip and packaging (`nox -s wheels`)
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

from bench import environments
from bench.plugins import normalised
from benchmarks.wheels.check import ROOTS, Report, check

ROOT = Path(__file__).resolve().parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: Not of the framework: nothing of ours names them in an adapter.
LEFT_OUT = ("numpy", "setuptools", "wheel")
#: A wheel that holds the library of another, at the same version.
BESIDE = {"mlx": "mlx-metal"}


def pins(environment: str) -> list[str]:
    """``name==version`` of what a Mac installs into the environment, NumPy and build tools left out."""
    from packaging.requirements import Requirement

    found = []
    for text in PYPROJECT["project"]["optional-dependencies"][environment]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"sys_platform": "darwin"}):
            name = normalised(requirement.name)
            found += [f"{name}{requirement.specifier}"] if name not in LEFT_OUT else []
            found += [f"{BESIDE[name]}{requirement.specifier}"] if name in BESIDE else []
    return found


def download(pin: str, python: str, folder: Path) -> Path | None:
    """The wheel of ``pin`` in ``folder``, fetched when it is not there; None where there is only a source archive."""
    name, _, version = pin.partition("==")
    stem = f"{name.replace('-', '_')}-{version}-"
    tag = f"cp{python.replace('.', '')}-"

    def there() -> Path | None:
        near = [path for path in folder.glob("*.whl") if path.name.lower().startswith(stem)]
        return next((path for path in near if f"-{tag}" in path.name or "-py3-" in path.name), None)

    if (path := there()) is not None:
        return path
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--platform", "macosx_15_0_arm64", "--python-version", python, "--dest", str(folder), pin]
    print(f"fetching {pin} for macOS on arm64, Python {python}", flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"  no wheel: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
    return there()


def show(report: Report, size_bytes: int) -> None:
    """A paragraph for the terminal."""
    counts = ", ".join(f"{len(names)} by {how}" for how, names in report.found.items())
    print(f"{report.environment}: {counts} ({size_bytes / 1e6:.0f} MB of wheels)")
    for how in ("stub", "binary", "absent, and asked for first", "not downloaded"):
        if names := report.found.get(how):
            print(f"  {how}: {', '.join(names)}")
    for problem in report.problems:
        print(f"  MISSING {problem}")


def main() -> int:
    """Exit code 1 when anything is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("environment", nargs="*")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    all_of_them = [name for name in environments.listed() if "metal" in environments.get(name).devices]
    missing = 0
    for name in arguments.environment or all_of_them:
        entry = environments.get(name)
        if entry.framework not in ROOTS:
            print(f"{name}: no names are known for {entry.framework}")
            continue
        python = PYPROJECT["tool"]["twinbench"]["optional"].get(name, {}).get("python", ["3.11"])[-1]
        paths = [path for pin in pins(name) if (path := download(pin, python, arguments.folder)) is not None]
        report = check(entry, paths, ROOT)
        show(report, sum(path.stat().st_size for path in paths))
        missing += len(report.problems)
    print(f"{missing} missing" if missing else "every name is there")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
