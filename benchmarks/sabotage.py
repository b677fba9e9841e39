"""An interpreter in which the harness itself is broken: to see on a real device that its checks find that.

    python -m benchmarks.sabotage barrier /path/to/python /tmp/broken
    twinbench run mlp:wide --environment torch --device cuda --python torch=/tmp/broken/bin/python

barrier      the framework's barrier returns at once. The self-test must say ``fence:host-read``, and the figures stay
             what they are with the true barrier, since every fence then reads a value back.
lost-device  torch only: the third burst trips a device-side assertion on CUDA, after which the process can never use
             the GPU again. This cell must be ``failed: burst``, and the next be measured.

Frameworks that compute before they return (torch on the CPU) have nothing to wait for, and ``barrier`` changes
nothing there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import patched

#: What is done to ``bench.worker``, as the source of ``patch(module)``.
FAULTS = {
    "barrier": """
def patch(module):
    make = module.framework_for

    def framework_for(*names):
        framework = make(*names)
        framework.barrier = lambda out: None
        return framework

    module.framework_for = framework_for
""",
    "lost-device": """
def patch(module):
    burst, bursts = module.Session.burst, []

    def fatal(self):
        bursts.append(None)
        if len(bursts) == 3:
            self.program.step = tripped(self.program.step, self.device)
        return burst(self)

    module.Session.burst = fatal


def tripped(step, device):
    import torch

    where = "cuda" if device == "cuda" else "cpu"

    def run():
        out = step()
        # Beyond the end: an assertion within the kernel on CUDA, an IndexError on the CPU.
        torch.zeros(1, device=where)[torch.tensor([9], device=where)]
        return out

    return run
""",
}


def main() -> None:
    """Make it and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", choices=list(FAULTS))
    parser.add_argument("python", type=Path, help="the interpreter of a framework's environment")
    parser.add_argument("folder", type=Path, help="where the broken one is made")
    given = parser.parse_args()
    print(patched.interpreter(given.python, given.folder, "bench.worker", FAULTS[given.fault], needs="numpy"))


if __name__ == "__main__":
    main()
