"""What an interpreter must know about its machine before it opens a GPU. Standard library only; workers import this.

``bench/machine`` gathers facts for people and needs psutil; here are only those that refuse a device: another system,
one that is too old, Rosetta, and a virtual machine (METAL.md, rules 2, 3 and 13).
"""

from __future__ import annotations

import platform
import subprocess

from bench.errors import Unavailable


def sysctl(name: str, timeout_s: float = 5.0) -> str | None:
    """``sysctl -n NAME``, or None where there is no such name, no such program, or no answer in time."""
    try:
        done = subprocess.run(
            ["sysctl", "-n", name], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() or None


def refuse_translation() -> None:
    """Refuse an x86_64 Python on an arm64 Mac: each of its figures would be Rosetta's, those of the CPU too.

    Raises:
        Unavailable: ``translated``.
    """
    if platform.system() == "Darwin" and sysctl("sysctl.proc_translated") == "1":
        raise Unavailable(
            "translated", "this Python is x86_64 and runs under Rosetta; make the environment with an arm64 Python"
        )


def refuse_metal(oldest: tuple[int, ...] | None) -> None:
    """Refuse Metal where it cannot be.

    Raises:
        Unavailable: ``not_darwin``, ``no_device`` (an Intel Mac) or ``os_too_old``.
    """
    if platform.system() != "Darwin":
        raise Unavailable("not_darwin", f"Metal needs macOS, this is {platform.system()}")
    if platform.machine() != "arm64":
        raise Unavailable(
            "no_device", f"today's frameworks have Metal on Apple silicon only, this is {platform.machine()}"
        )
    have = platform.mac_ver()[0]
    numbers = tuple(int(part) for part in have.split(".") if part.isdecimal())
    # An unreadable version proves nothing: the probe will tell.
    if oldest is not None and numbers and numbers < oldest:
        raise Unavailable("os_too_old", f"needs macOS {'.'.join(map(str, oldest))} or newer, this is {have}")


def virtual_gpu(device: str, device_name: str) -> str | None:
    """Why this Metal device is a virtual one, or None. Its results may be right; its times say nothing about a Mac.

    Hosted machines show a paravirtual GPU with about 1 GB (METAL.md, known traps).
    """
    if device != "metal":
        return None
    if "paravirtual" in device_name.lower():
        return f"the GPU is {device_name}"
    return "kern.hv_vmm_present is 1" if sysctl("kern.hv_vmm_present") == "1" else None
