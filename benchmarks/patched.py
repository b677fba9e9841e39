"""Make an interpreter that is another one with a single module patched: to plant a fault and see that it is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: Runs in the patched interpreter when it starts, behind the text that defines ``patch(module)``: the one module is
#: patched after it was imported, whoever imports it.
HOOK = '''
import importlib.machinery
import sys


class Finder:
    """Finds the module as ever, and patches it once it has run."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != {module!r}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)
'''


def interpreter(python: Path, folder: Path, module: str, patch: str, needs: str) -> Path:
    """A virtual environment in ``folder`` that sees the packages of ``python``; the path of its interpreter.

    ``patch`` is the source of a function ``patch(module)``, called with ``module`` right after its first import.

    Raises:
        SystemExit: ``python`` cannot be started, or has no distribution ``needs``.
    """
    code = f"import sysconfig, importlib.metadata as m; m.version({needs!r}); print(sysconfig.get_path('purelib'))"
    try:
        asked = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"{python}: {error.strerror}")
    if asked.returncode:
        sys.exit(f"{python} has no {needs}: {asked.stderr.strip().splitlines()[-1]}")
    theirs = asked.stdout.splitlines()[0]
    subprocess.run([str(python), "-m", "venv", "--without-pip", "--clear", str(folder)], check=True)
    (ours,) = folder.glob("lib/python*/site-packages")
    (ours / "planted.py").write_text(patch + HOOK.format(module=module), encoding="utf-8")
    # addsitedir, not a line of its own: the other one's packages may have such files too.
    added = f"import site; site.addsitedir({theirs!r})"
    (ours / "planted.pth").write_text(f"{added}\nimport planted\n", encoding="utf-8")
    return folder / "bin" / "python"
