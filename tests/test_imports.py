"""The import rule of DESIGN.md, each time in a fresh interpreter that reports what it has loaded."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import bench
from bench import workload

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = frozenset({"torch", "tensorflow", "keras", "jax", "jaxlib", "optax", "mlx"})
ANALYSIS = frozenset({"pandas", "scipy", "matplotlib", "jinja2", "sklearn", "ruptures"})
WORKER_MAY = frozenset({"numpy", "bench", "workloads"})


def loaded_after(code: str, *arguments: str) -> set[str]:
    """Top-level modules, standard library left out, that a fresh interpreter holds after ``code``."""
    report = "\nimport json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + report, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    # What a bare interpreter holds already comes from .pth files of its site-packages (coverage, editable installs).
    return modules - sys.stdlib_module_names - {"__main__", "__mp_main__"}


@pytest.fixture(scope="module")
def bare() -> set[str]:
    """What is loaded before anything was asked for."""
    return loaded_after("")


def harness_modules() -> list[str]:
    """Every module of bench/ but the adapters, and pytest's plug-in, which has pytest for a parent."""
    found = [module.name for module in pkgutil.walk_packages(bench.__path__, "bench.")]
    left_out = ("bench.frameworks.", "bench.pytest_plugin", "bench.__main__", "bench.launch")
    return [name for name in found if not name.startswith(left_out)]


def test_worker_needs_numpy_only(bare: set[str]) -> None:
    """A framework's interpreter holds nothing of the harness: no msgspec, psutil, rich or typer."""
    assert loaded_after("import bench.worker, bench.frameworks.base") - bare <= WORKER_MAY


@pytest.mark.parametrize("name", workload.names())
def test_workload_specs_need_numpy_only(name: str, bare: set[str]) -> None:
    """Workers import the spec, in every framework's interpreter."""
    assert loaded_after(f"import workloads.{name}") - bare <= WORKER_MAY


def test_nothing_else_imports_a_framework(bare: set[str]) -> None:
    """All of the harness at once: no framework is loaded, also where one happens to be installed beside it.

    None in ``sys.modules`` makes an import fail, and the failure name its module.
    """
    forbidden = f"import sys; sys.modules.update(dict.fromkeys({sorted(FRAMEWORKS)!r}))"
    code = "\n".join([forbidden, *(f"import {name}" for name in harness_modules()), "import bench.frameworks"])
    assert loaded_after(code + f"\nfor name in {sorted(FRAMEWORKS)!r}: del sys.modules[name]") >= {"bench"}


def test_no_framework_is_imported_late_either() -> None:
    """Imports within functions, by the source: only the adapters and the twins may name a framework."""
    for path in sources():
        named = frameworks_named(path.read_text(encoding="utf-8"))
        assert not named, f"{path.relative_to(ROOT)} imports {sorted(named)}"


def sources() -> Sequence[Path]:
    """Files of bench/ and workloads/ that may not import a framework: all but the adapters and the twins."""
    twins = tuple(f"_{name}.py" for name in FRAMEWORKS)
    files = [
        *ROOT.glob("bench/**/*.py"),
        *(path for path in ROOT.glob("workloads/**/*.py") if not path.name.endswith(twins)),
    ]
    return [path for path in files if path.parent != ROOT / "bench" / "frameworks"]


def frameworks_named(source: str) -> set[str]:
    """Frameworks that ``source`` imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found & FRAMEWORKS


def test_help_is_light() -> None:
    """`python -m bench --help` starts without pandas, SciPy, matplotlib, Jinja2 or a framework."""
    code = """
import contextlib, io, runpy, sys
sys.argv[1:] = ["--help"]
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    runpy.run_module("bench", run_name="__main__", alter_sys=False)
assert "Usage" in out.getvalue(), out.getvalue()
"""
    assert not loaded_after(code) & (ANALYSIS | FRAMEWORKS)


def test_the_probes_can_fail() -> None:
    """The saboteurs: a module loaded, a module imported late, a forbidden import."""
    assert "msgspec" in loaded_after("import bench.record")
    assert frameworks_named("def f():\n    from jax import numpy\n    import torch.nn as nn") == {"jax", "torch"}
    with pytest.raises(AssertionError, match="torch"):
        loaded_after("import sys; sys.modules['torch'] = None\nimport torch")
