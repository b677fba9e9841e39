"""What one environment's wheels say about the names that our code uses for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.environments import Environment, variables
from bench.plugins import PLUGINS
from benchmarks.wheels.lookup import BINARIES, Found, Wheels, unknown_keywords
from benchmarks.wheels.names import Use, used

#: Framework -> the top-level modules that its files may name.
ROOTS: Mapping[str, frozenset[str]] = {
    "torch": frozenset({"torch"}),
    "tensorflow": frozenset({"tensorflow", "keras"}),
    "jax": frozenset({"jax", "optax"}),
    "mlx": frozenset({"mlx"}),
}
#: Variables that a framework or its plugin must read for them to mean anything; the others are of BLAS and OpenMP.
OWN_VARIABLES = ("PYTORCH_", "TORCH_", "TF_", "JAX_", "XLA_", "MLX_", "METALJAX_", "ENABLE_PJRT_", "NPROC")


@dataclass
class Report:
    """``found``: how -> names. ``problems``: sentences; none means that all is there."""

    environment: str
    found: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, how: str, name: str) -> None:
        """Count a name that is there."""
        self.found.setdefault(how, []).append(name)


def files_of(framework: str, root: Path) -> list[Path]:
    """The adapter and the twins of a framework."""
    return [root / "bench" / "frameworks" / f"{framework}.py", *sorted(root.glob(f"workloads/*/*_{framework}.py"))]


def uses_of(framework: str, root: Path) -> set[Use]:
    """All uses in the adapter and the twins."""
    files = [path for path in files_of(framework, root) if path.exists()]
    return {use for path in files for use in used(path.read_text(encoding="utf-8"), ROOTS[framework])}


def check_names(uses: Iterable[Use], wheels: Wheels, report: Report) -> None:
    """Every name must be in the sources, else as a word in a stub, else as a word in a binary."""
    found: dict[str, Found | None] = {}
    wanted: set[str] = set()
    for use in sorted(uses):
        place = found.setdefault(use.name, wheels.find(use.name))
        if place is None:
            wanted.add(use.name)
        elif use.keywords and (strange := unknown_keywords(place, use.keywords)):
            report.problems.append(f"{use.name} in {place.place} does not take {', '.join(strange)}")
    for how, suffixes in (("stub", (".pyi",)), ("binary", BINARIES)):
        words = wheels.words({name.rpartition(".")[2] for name in wanted}, suffixes)
        for name in sorted(wanted):
            if name.rpartition(".")[2] in words:
                report.add(how, name)
                wanted.discard(name)
    for name in sorted(name for name, place in found.items() if place is not None):
        report.add("source", name)
    for name in sorted(wanted):
        optional = all(use.optional for use in uses if use.name == name)
        if optional:
            report.add("absent, and asked for first", name)
        else:
            report.problems.append(f"{name} is in no source, stub or binary")


def check_variables(environment: Environment, wheels: Wheels, report: Report) -> None:
    """Every variable of the framework's own must be a word of some file: a misspelt one is silently ignored."""
    names = [name for name in variables(environment, "metal", 1) if name.startswith(OWN_VARIABLES)]
    words = wheels.words(names, (".py", *BINARIES))
    for name in names:
        if name in words:
            report.add("variable", name)
        else:
            report.problems.append(f"nothing reads the variable {name}")


def check_plugin(environment: Environment, paths: Iterable[Path], wheels: Wheels, report: Report) -> None:
    """Entry point, platform word and oldest macOS of the plugin, as bench/plugins.py has them."""
    if environment.plugin is None:
        return
    plugin = PLUGINS[environment.plugin]
    stem = plugin.distribution.replace("-", "_")
    tags = [match for path in paths if (match := re.match(rf"{stem}-.*macosx_(\d+)_(\d+)_arm64", path.name, re.I))]
    if not tags:
        report.add("not downloaded", plugin.distribution)
        return
    tagged = tuple(int(part) for part in tags[0].groups())
    if tagged != plugin.macos:
        report.problems.append(f"{plugin.distribution}'s wheel is for macOS {tagged}, our table says {plugin.macos}")
    if plugin.framework == "jax":
        check_registration(plugin.platform, wheels, report)


def check_registration(platform: str, wheels: Wheels, report: Report) -> None:
    """The first argument of ``register_plugin`` in the modules of ``jax_plugins``."""
    said = set()
    for name in wheels.names():
        if name.startswith("jax_plugins/") and name.endswith(".py"):
            calls = (node for node in ast.walk(ast.parse(wheels.read(name))) if isinstance(node, ast.Call))
            said |= {
                call.args[0].value
                for call in calls
                if isinstance(call.func, ast.Attribute)
                and call.func.attr == "register_plugin"
                and call.args
                and isinstance(call.args[0], ast.Constant)
            }
    if said == {platform}:
        report.add("platform", platform)
    else:
        report.problems.append(f"the plugin registers {sorted(map(str, said))}, our table says {platform!r}")


def check(environment: Environment, paths: list[Path], root: Path) -> Report:
    """All of it for one environment."""
    report, wheels = Report(environment.name), Wheels(paths)
    check_names(uses_of(environment.framework, root), wheels, report)
    check_variables(environment, wheels, report)
    check_plugin(environment, paths, wheels, report)
    return report
