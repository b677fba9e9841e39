"""A "release" of torch that is slower: to see with one's own eyes that a nightly run finds it.

    python -m benchmarks.planted /path/to/torch/bin/python /tmp/planted --share 0.25
    twinbench nightly --quick --python torch=/path/to/torch/bin/python --python torch@newest=/tmp/planted/bin/python

A virtual environment that sees the packages of the given interpreter, says another version of torch in its metadata,
and computes a share of every linear layer twice. Outputs stay the same, so nothing but the time gives it away.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import patched

PATCH = """
def patch(module):
    forward = module.Linear.forward

    def slower(self, given):
        rows = max(1, round({share} * given.shape[0]))
        forward(self, given[:rows])
        return forward(self, given)

    module.Linear.forward = slower
"""


def plant(python: Path, folder: Path, share: float, version: str) -> Path:
    """The planted interpreter in ``folder``; ``python`` is one with torch.

    Raises:
        SystemExit: ``python`` has no torch, or ``share`` is no share.
    """
    if not 0 < share <= 1:
        sys.exit(f"--share must be above 0 and at most 1, got {share:g}")
    made = patched.interpreter(python, folder, "torch.nn.modules.linear", PATCH.format(share=share), needs="torch")
    (ours,) = folder.glob("lib/python*/site-packages")
    facts = ours / f"torch-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n", encoding="utf-8")
    return made


def main() -> None:
    """Make it and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path, help="an interpreter with torch")
    parser.add_argument("folder", type=Path, help="where the planted one is made")
    parser.add_argument("--share", type=float, default=0.25, help="of the linear layers' work that is done twice")
    parser.add_argument("--version", default="2.13.1+planted", help="what its metadata says")
    given = parser.parse_args()
    print(plant(given.python, given.folder, given.share, given.version))


if __name__ == "__main__":
    main()
