"""Every way to run this project, from a machine that has only Python 3.11 or newer (with venv) and git.

    python3 noxfile.py -s bench        all default environments in one run, then the report
    python3 noxfile.py -s tests        the project's own tests
    python3 noxfile.py --list

Run as a script, this file first makes ``.nox/bootstrap`` with nox and uv in it and goes on under that; with nox
installed, ``nox -s bench`` does the same. Environments, pins and requirements are read from ``pyproject.toml``. Each
framework gets an interpreter of its own in ``.nox/environments/<name>`` that all sessions share.
"""

from __future__ import annotations

import sys

OLDEST_PYTHON = (3, 11)


def refuse_old_python(version: tuple[object, ...]) -> None:
    """End with a sentence instead of a traceback; everything above and in here must parse on Python 3.8."""
    if tuple(version[:2]) < OLDEST_PYTHON:
        have, need = (".".join(str(part) for part in parts[:2]) for parts in (version, OLDEST_PYTHON))
        sys.exit(
            f"twinbench needs Python {need} or newer, this is {have} ({sys.executable}); try: python{need} noxfile.py"
        )


refuse_old_python(sys.version_info)

import contextlib  # noqa: E402
import fcntl  # noqa: E402
import hashlib  # noqa: E402
import importlib.util  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import tomllib  # noqa: E402
from collections.abc import Iterator, Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).resolve().parent
NOX_DIR = ROOT / ".nox"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENVIRONMENTS: tuple[str, ...] = tuple(PYPROJECT["tool"]["twinbench"]["environments"])
#: What `bench` runs on an Apple silicon Mac, and the environments that are made when asked for by name.
MAC: tuple[str, ...] = tuple(PYPROJECT["tool"]["twinbench"]["mac"])
OPTIONAL: Mapping[str, Mapping[str, Any]] = PYPROJECT["tool"]["twinbench"]["optional"]
#: Pins of plugins whose CPU sides the session `older` tries on Linux.
OLDER: tuple[str, ...] = tuple(PYPROJECT["tool"]["twinbench"]["older"])
#: Those of ENVIRONMENTS that are worth measuring on a Mac only; the tests have them everywhere.
ON_A_MAC: tuple[str, ...] = tuple(PYPROJECT["tool"]["twinbench"]["on-a-mac"])
NIGHTLY: Mapping[str, list[str]] = PYPROJECT["tool"]["twinbench"]["nightly"]
PEERS: Mapping[str, str] = PYPROJECT["tool"]["twinbench"]["peers"]
EXTRAS: Mapping[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]

#: pip's settings that say where packages come from, and uv's names for them: uv reads none of pip's.
PIP_TO_UV = {
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}


class SetupError(Exception):
    """An environment that could not be made; the message is for a person."""


# --- environments ----------------------------------------------------------------------------------------------------


def bridged(variables: Mapping[str, str]) -> dict[str, str]:
    """uv's settings for pip's in ``variables``; what is set for uv already stands.

    A folder that does not exist is left out: pip passes over it, uv fails every installation.
    """
    settings = {"UV_PYTHON_DOWNLOADS": "never"}
    for pip_name, uv_name in PIP_TO_UV.items():
        places = variables.get(pip_name, "").split()
        known = [place for place in places if "://" in place or Path(place).exists()]
        if known:
            settings[uv_name] = ("," if uv_name == "UV_FIND_LINKS" else " ").join(known)
    return {name: value for name, value in settings.items() if name not in variables}


def stamp(requirements: Sequence[str]) -> str:
    """What an environment was made of: it is made anew when this changes."""
    facts = [sys.version, sys.base_prefix, platform.machine(), *sorted(requirements)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two sessions that need the same environment at once: the second waits for the first to make it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def environment(
    folder: Path, requirements: Sequence[str], uv: str | None, *more: Sequence[str], base: str = sys.executable
) -> Path:
    """The interpreter of ``folder``, holding exactly ``requirements`` and what they need; made when it is not there.

    ``more``: arguments of further installations after the first, such as ``--no-deps`` and what must go in so.
    ``base``: the Python that it is made with.

    Raises:
        SetupError: it cannot be made.
    """
    other = [] if base == sys.executable else [base]
    wanted = stamp([*other, *(argument for arguments in (requirements, *more) for argument in arguments)])
    python, mark = folder / "bin" / "python", folder / "twinbench-stamp"
    with locked(folder.with_suffix(".lock")):
        if python.exists() and mark.is_file() and mark.read_text() == wanted:
            return python
        shutil.rmtree(folder, ignore_errors=True)
        print(f"twinbench: making {folder.relative_to(ROOT)}: {', '.join(requirements)}", flush=True)
        for command in creation(folder, requirements, uv, *more, base=base):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, env={**os.environ, **bridged(os.environ)})
            if done.returncode:
                raise SetupError(f"cannot make {folder} ({done.returncode} from: {' '.join(command)})")
        # Last, so that an interrupted installation is done again.
        mark.write_text(wanted)
    return python


def creation(
    folder: Path, requirements: Sequence[str], uv: str | None, *more: Sequence[str], base: str = sys.executable
) -> list[list[str]]:
    """The commands that make a virtual environment and fill it. Bytecode is compiled now, not by the first worker.

    Raises:
        SetupError: without uv, this Python must have venv and ensurepip (Debian packs them apart).
    """
    python = str(folder / "bin" / "python")
    if uv is not None:
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
        make = [uv, "venv", "--quiet", "--python", base, str(folder)]
        return [make, *([*install, *arguments] for arguments in (requirements, *more))]
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"{sys.executable} has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)"
        )
    install = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    make = [base, "-m", "venv", str(folder)]
    return [make, *([*install, *arguments] for arguments in (requirements, *more))]


def base_python(name: str, version: tuple[int, ...] = sys.version_info[:2]) -> str:
    """The Python to make environment ``name`` with: this one where it serves, else one that is on the PATH.

    Raises:
        SetupError: this machine has none; says which are wanted.
    """
    wanted: list[str] = OPTIONAL.get(name, {}).get("python", [])
    this = ".".join(map(str, version))
    if not wanted or this in wanted:
        return sys.executable
    for word in wanted:
        if (found := shutil.which(f"python{word}")) is not None:
            return found
    raise SetupError(
        f"{name} needs Python {' or '.join(wanted)}, this is {this} and none of "
        f"{', '.join(f'python{word}' for word in wanted)} is on the PATH"
    )


def check_system(name: str, system: str = sys.platform) -> None:
    """Refuse to measure in an environment that is only half itself here: no plugin installs outside its system.

    Raises:
        SetupError: says where it belongs.
    """
    wanted = OPTIONAL.get(name, {}).get("system", system)
    if system != wanted:
        raise SetupError(f"{name} is complete on {wanted} only, this is {system}; see docs/environments.md")


def default_environments(system: str = sys.platform, machine: str | None = None) -> tuple[str, ...]:
    """What `bench` measures when no environment is named."""
    if system == "darwin" and (machine or platform.machine()) == "arm64":
        return MAC
    return tuple(name for name in ENVIRONMENTS if name not in ON_A_MAC)


def with_baseline(name: str) -> list[str]:
    """``name``, and the environment that holds the CPU which it is compared with."""
    baseline: str | None = OPTIONAL.get(name, {}).get("baseline")
    return [name] if baseline is None else [baseline, name]


def requirements_of(name: str) -> tuple[list[str], list[list[str]]]:
    """What is installed into environment ``name`` first, and the arguments of installations after it."""
    late: list[str] = OPTIONAL.get(name, {}).get("after", [])
    pins = [*EXTRAS[name], *EXTRAS["media"]]
    after = [pin for pin in pins if pin.partition("==")[0] in late]
    return [pin for pin in pins if pin not in after], [["--no-build-isolation", *after]] if after else []


def batches(text: str) -> list[list[str]]:
    """A requirements file as arguments for installations in order.

    A comment that is an option, ``# --no-deps: why``, holds for all that follows: pip has no such thing per line.
    """
    found: list[list[str]] = [[]]
    options: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("# --"):
            options.append(line[2:].partition(":")[0])
            if any(not argument.startswith("--") for argument in found[-1]):
                found.append([])
            found[-1] = list(options)
        elif line and not line.startswith("#"):
            found[-1].append(line)
    return found


def distribution(requirement: str) -> str:
    """``name`` of ``name[extra]>=0.32,<1; sys_platform == 'linux'``."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def newest_requirements(name: str) -> list[str]:
    """Environment ``name`` with ranges in place of the pins that ``[tool.twinbench.nightly]`` frees."""
    ranges = NIGHTLY[name]
    free = {distribution(one) for one in ranges}
    return [pin for pin in (*EXTRAS[name], *EXTRAS["media"]) if distribution(pin) not in free] + ranges


def resolved(requirements: Sequence[str], uv: str | None, base: str) -> list[str]:
    """The newest releases that fit, as exact pins of everything, dependencies included.

    Raises:
        SetupError: nothing fits, no index answers, or there is no uv.
    """
    if uv is None:
        raise SetupError("the newest releases are found by uv, which is not here: pip install uv")
    command = [uv, "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--upgrade", "--python", base]
    environment = {**os.environ, **bridged(os.environ)}
    done = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SetupError(" ".join(done.stderr.split())[-400:])
    return [line for line in done.stdout.splitlines() if "==" in line]


def installed(python: Path) -> list[str]:
    """What ``python`` holds, as exact pins."""
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    # Metadata may spell a name with an underscore, where an index has a hyphen.
    pairs = (line.lower().split("==") for line in done.stdout.splitlines())
    return [f"{name.replace('_', '-')}=={version}" for name, version in pairs]


def given_pythons(arguments: Sequence[str]) -> set[str]:
    """The environments whose interpreters stand among ``arguments`` already."""
    words = [word.removeprefix("--python=") for word in arguments if word.startswith("--python=")]
    words += [word for flag, word in itertools.pairwise(arguments) if flag == "--python"]
    return {word.partition("=")[0] for word in words}


def newest(name: str, uv: str | None, pinned: Sequence[str], base: str) -> list[str]:
    """What the newest side of environment ``name`` holds.

    Raises:
        SetupError: why it is not made: no ranges, nothing newer, no resolution, or gigabytes that the pinned one lacks.
    """
    if name not in NIGHTLY:
        raise SetupError(f"{name} has no line in [tool.twinbench.nightly]")
    pins = resolved(newest_requirements(name), uv, base)
    heavy = tuple(NIGHTLY["without"])
    if not any(pin.startswith(heavy) for pin in pinned):
        brought = [pin for pin in pins if pin.startswith(heavy)]
        if brought:
            raise SetupError(
                f"the newest release brings {len(brought)} packages of CUDA ({brought[0]}, ...), the pinned one none; "
                "give a folder of CPU wheels with PIP_FIND_LINKS, or change `without` in pyproject.toml"
            )
    frameworks = {distribution(one) for one in NIGHTLY[name]}
    if {pin for pin in pins if distribution(pin) in frameworks} <= set(pinned):
        raise SetupError("the pinned release is the newest allowed one")
    return pins


def bootstrap(arguments: Sequence[str]) -> None:
    """Go on under a nox of our own; does not return."""
    try:
        python = environment(NOX_DIR / "bootstrap", PYPROJECT["dependency-groups"]["nox"], uv=None)
    except SetupError as error:
        sys.exit(f"twinbench: {error}")
    os.execv(python, [str(python), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *arguments])


if __name__ == "__main__":
    bootstrap(sys.argv[1:])


# --- sessions --------------------------------------------------------------------------------------------------------

import nox  # noqa: E402
import nox.virtualenv  # noqa: E402

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]
os.environ.update(bridged(os.environ))


def interpreters(session: nox.Session, names: Sequence[str], lenient: bool = False) -> dict[str, Path]:
    """The interpreter of each named environment, made where missing: the extra's pins and nothing of ours.

    One that cannot be made ends the session; when ``lenient`` it is left out, and that is said.
    """
    has_uv, uv, _ = nox.virtualenv.find_uv()
    found = {}
    for name in names:
        first, more = requirements_of(name)
        folder = NOX_DIR / "environments" / name
        try:
            found[name] = environment(folder, first, uv if has_uv else None, *more, base=base_python(name))
        except SetupError as error:
            if not lenient:
                session.error(str(error))
            session.warn(f"{error}; left out")
    return found


def peer_interpreters(session: nox.Session) -> dict[str, Path]:
    """The interpreter of each other library that is compared with; one that cannot be made costs the others nothing."""
    has_uv, uv, _ = nox.virtualenv.find_uv()
    found = {}
    for name, requirements in PEERS.items():
        first, *more = batches((ROOT / requirements).read_text(encoding="utf-8"))
        try:
            found[name] = environment(NOX_DIR / "environments" / name, first, uv if has_uv else None, *more)
        except SetupError as error:
            session.warn(str(error))
    return found


def newest_interpreters(session: nox.Session, pinned: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """The interpreter of each newest side, made anew when a release came; and why some have none."""
    has_uv, uv, _ = nox.virtualenv.find_uv()
    found, notes = {}, []
    for name, python in pinned.items():
        try:
            base = base_python(name)
            pins = newest(name, uv if has_uv else None, installed(python), base)
            folder = NOX_DIR / "environments" / f"{name}@newest"
            found[f"{name}@newest"] = environment(folder, pins, uv if has_uv else None, base=base)
        except SetupError as error:
            notes.append(f"{name}: measured against itself: {error}")
            session.warn(notes[-1])
    return found, notes


def install(session: nox.Session, *groups: str) -> None:
    """The harness with its analysis, and dependency groups."""
    session.install("-e", ".[report,exports,media]", *nox.project.dependency_groups(PYPROJECT, *groups))


def run_bench(session: nox.Session, names: Sequence[str], lenient: bool = False) -> None:
    """One run over the environments, then its report: also after wrong or failed cells, which the report shows."""
    install(session)
    pythons = [f"--python={name}={path}" for name, path in interpreters(session, names, lenient).items()]
    if not pythons:
        session.error("no environment could be made")
    try:
        session.run("twinbench", "run", *pythons, *session.posargs)
    except nox.command.CommandFailed:
        with contextlib.suppress(nox.command.CommandFailed):
            session.run("twinbench", "report", "--figures")
        raise
    session.run("twinbench", "report", "--figures")
    session.run("twinbench", "report", "--index")


def run_pytest(session: nox.Session, names: Sequence[str], *arguments: str) -> None:
    """pytest with the interpreters as ``TWINBENCH_PYTHON_<NAME>``; tests/conftest.py reads them."""
    install(session, "test")
    variables = {
        f"TWINBENCH_PYTHON_{name.upper().replace('-', '_')}": str(path)
        for name, path in interpreters(session, names).items()
    }
    session.run("pytest", "--durations=15", "--durations-min=10", *arguments, *session.posargs, env=variables)


def run_verify(session: nox.Session, name: str) -> None:
    """Every workload at test size against the reference, on every device that the environment has here."""
    install(session)
    (python,) = interpreters(session, [name]).values()
    for spec in sorted(ROOT.glob("workloads/*/__init__.py")):
        work = [f"{spec.parent.name}:tiny-test", f"--python={name}={python}", f"--environment={name}"]
        session.run("twinbench", "verify", *work, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure in all default environments, then report; arguments after -- go to `twinbench run`."""
    # A Mac's defaults need more than one version of Python: what cannot be made there costs the others nothing.
    run_bench(session, default_environments(), lenient=default_environments() == MAC)


@nox.session
def tests(session: nox.Session) -> None:
    """The project's own tests; arguments after -- go to pytest (--no-frameworks: without any framework)."""
    run_pytest(session, () if "--no-frameworks" in session.posargs else ENVIRONMENTS)


@nox.session
def older(session: nox.Session) -> None:
    """The tests on the older frameworks of Metal's plugins (Linux; five minutes, so not among `tests`)."""
    run_pytest(session, OLDER, "tests/test_older_pins.py", "--older")


def install_browser(session: nox.Session) -> None:
    """Playwright, and Chromium where the machine has none: Debian's as root, otherwise Playwright's own build."""
    install(session, "test", "browser")
    has = "import benchmarks.screenshots as s; print(s.chromium() or '')"
    if str(session.run("python", "-c", has, silent=True)).strip():
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", external=True)
        session.run("apt-get", "install", "--yes", "chromium", external=True)
    else:
        session.run("playwright", "install", "chromium")


@nox.session
def browser(session: nox.Session) -> None:
    """The report in a real browser, headless Chromium; arguments after -- go to pytest."""
    install_browser(session)
    session.run("pytest", "--browser", "tests/browser", *session.posargs)


@nox.session
def screenshots(session: nox.Session) -> None:
    """Maintenance: the sample report and its pictures in docs/, made again."""
    install_browser(session)
    session.run("python", "-m", "benchmarks.screenshots")


@nox.session
def report(session: nox.Session) -> None:
    """Write the report of runs that are there already; arguments after -- go to `twinbench report`."""
    install(session)
    session.run("twinbench", "report", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """The pinned releases beside the newest allowed ones; arguments after -- go to `twinbench nightly` (--quick)."""
    install(session)
    pinned = interpreters(session, default_environments(), lenient=True)
    if not pinned:
        session.error("no environment could be made")
    given = given_pythons(session.posargs)
    wanted = {name: path for name, path in pinned.items() if f"{name}@newest" not in given}
    newer, notes = newest_interpreters(session, wanted)
    pythons = {name: path for name, path in {**pinned, **newer}.items() if name not in given}
    options = [f"--python={name}={path}" for name, path in pythons.items()]
    options += [f"--note={note}" for note in notes]
    session.run("twinbench", "nightly", *options, *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Our twins against what a user would run instead; arguments after -- go to `python -m benchmarks.peers`."""
    install(session)
    pythons = interpreters(session, default_environments()) | peer_interpreters(session)
    given = [f"--python={name}={path}" for name, path in pythons.items()]
    session.run("python", "-m", "benchmarks.peers", *given, *session.posargs)


@nox.session
def wheels(session: nox.Session) -> None:
    """Maintenance: do the macOS wheels have every name that our adapters use? Downloads about 1 GB into .nox/wheels."""
    session.install("pip>=24.2", "packaging>=24")
    session.run("python", "-m", "benchmarks.wheels", "--folder", str(NOX_DIR / "wheels"), *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """Outputs of the default environments on every device here, at test size; times nothing. For hosted Macs."""
    install(session)
    found = interpreters(session, default_environments(), lenient=True)
    if not found:
        session.error("no environment could be made")
    pythons = [f"--python={name}={path}" for name, path in found.items()]
    works = [f"{spec.parent.name}:tiny-test" for spec in sorted(ROOT.glob("workloads/*/__init__.py"))]
    failed = []
    for command in (["doctor"], *(["verify", work, *session.posargs] for work in works)):
        try:
            session.run("twinbench", *command, *pythons)
        except nox.command.CommandFailed:  # the others are worth knowing, too
            failed.append(" ".join(command))
    if failed:
        session.error(f"failed: {', '.join(failed)}")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff and mypy --strict over everything; actionlint and zizmor, which asks nobody outside, over the workflows."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    folders = [name for name in ("bench", "workloads", "tests", "benchmarks") if any((ROOT / name).rglob("*.py"))]
    session.run("mypy", *folders, "noxfile.py")
    session.run("actionlint")
    session.run("zizmor", "--offline", "--persona=pedantic", "--no-progress", "--quiet", ".github")


def add_sessions(name: str) -> None:
    """``bench(<name>)`` and ``parity(<name>)``: sessions of their own, so that `bench` can be one run over all."""

    @nox.session(name=f"bench({name})")
    def bench_one(session: nox.Session) -> None:
        try:
            check_system(name)
        except SetupError as error:
            session.error(str(error))
        run_bench(session, with_baseline(name))

    @nox.session(name=f"parity({name})")
    def parity_one(session: nox.Session) -> None:
        if name in OPTIONAL:
            run_verify(session, name)
            return
        # The first environment makes the references of training and of large sizes.
        run_pytest(session, list(dict.fromkeys((name, ENVIRONMENTS[0]))), "--environment", name)

    bench_one.__doc__ = f"Measure in {name} only, then report."
    parity_one.__doc__ = f"Compare {name}'s outputs with the reference; measures nothing."


for _name in (*ENVIRONMENTS, *OPTIONAL):
    add_sessions(_name)
