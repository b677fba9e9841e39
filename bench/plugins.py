"""What gives a framework a GPU on a Mac: which distributions fit together, known before anything is imported.

A plugin is identified by its distribution, never by the platform name that it registers: four JAX plugins claim ``mps``
(METAL.md). Everything here is read from ``importlib.metadata`` and asks no framework, because a pair that does not fit
fails at the framework's import, or not at all and computes on the CPU. Standard library only; workers import this.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.errors import Unavailable

Release = tuple[int, ...]


@dataclass(frozen=True)
class Plugin:
    """One distribution. ``hosts``: distribution -> (lowest release, first release that is too new).

    ``platform`` is the word for JAX_PLATFORMS. ``macos`` is the oldest system: the tag of the pinned wheel, or what the
    project says. ``alters_cpu``: what it does to the framework's CPU path, "" when nothing is known.
    """

    distribution: str
    framework: str
    hosts: Mapping[str, tuple[Release, Release]]
    macos: Release
    platform: str = ""
    alters_cpu: str = ""


#: Read in the macOS wheels named by each line; bounds that pip does not know stand here and in the pins.
PLUGINS: Mapping[str, Plugin] = {
    plugin.distribution: plugin
    for plugin in (
        # 1.2.0 names no TensorFlow in its metadata, but 2.20 lacks 38 symbols that its library needs, 2.21 lacks 40;
        # `import tensorflow` itself then fails, for the CPU too (METAL.md).
        Plugin("tensorflow-metal", "tensorflow", {"tensorflow": ((2, 18), (2, 20))}, (12, 0)),
        # 0.4.1's setup.py: "tensorflow==2.21.*", README: macOS 15. It is compiled against the TensorFlow beside it.
        Plugin("tensorflow-metal-plugin", "tensorflow", {"tensorflow": ((2, 21), (2, 22))}, (15, 0)),
        # 0.1.1 asks for jax>=0.4.34 without an upper bound, and stopped working after 0.5.0 (METAL.md).
        Plugin(
            "jax-metal",
            "jax",
            {"jax": ((0, 4, 34), (0, 5, 1)), "jaxlib": ((0, 4, 34), (0, 5, 1))},
            (13, 0),
            platform="METAL",
        ),
        # 0.10.11's METADATA: jax and jaxlib >=0.10.0,<0.11. Its initialize() runs whatever JAX_PLATFORMS says.
        Plugin(
            "jax-mps",
            "jax",
            {"jax": ((0, 10), (0, 11)), "jaxlib": ((0, 10), (0, 11))},
            (14, 0),
            platform="mps",
            alters_cpu="it turns the shardy partitioner off and replaces jax.nn.gelu and jax.nn.dot_product_attention",
        ),
        # 0.11.9's METADATA: jax>=0.11,<0.12.
        Plugin(
            "metaljax",
            "jax",
            {"jax": ((0, 11), (0, 12)), "jaxlib": ((0, 11), (0, 12))},
            (14, 0),
            platform="metal",
            alters_cpu="it registers lowerings of its own for linear algebra and callbacks",
        ),
    )
}
#: Oldest macOS of frameworks that need no plugin: the tags of the wheels of torch 2.13.0 and mlx 0.32.4 (macosx_14_0).
BUILT_IN: Mapping[str, Release] = {"torch": (14, 0), "mlx": (14, 0)}
#: JAX's own CUDA plugins: they leave its CPU path alone.
HARMLESS = ("jax-cuda", "jax-rocm")
#: Distributions that are the same framework under another name.
ALIASES: Mapping[str, tuple[str, ...]] = {"tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos")}

Versions = Mapping[str, str]
#: The frameworks that have plugins at all.
FRAMEWORKS = frozenset(plugin.framework for plugin in PLUGINS.values())


def of(framework: str) -> list[str]:
    """The plugins of a framework, whose versions belong to a fingerprint."""
    return [name for name, plugin in PLUGINS.items() if plugin.framework == framework]


def normalised(name: str) -> str:
    """``Jax_Metal`` -> ``jax-metal``, as PEP 503 says."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Distribution -> version of the plugins, and of the frameworks they extend, in this interpreter.

    Nothing is imported.
    """
    hosts = [host for plugin in PLUGINS.values() for host in plugin.hosts]
    names = [*PLUGINS, *(alias for host in hosts for alias in ALIASES.get(host, (host,)))]
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if version:  # a half-removed distribution has none
            found[name] = version
    return found


def registered() -> set[str]:
    """The distributions that JAX will load as plugins: all entry points of its group."""
    entries = importlib.metadata.entry_points(group="jax_plugins")
    return {normalised(entry.dist.name) for entry in entries if entry.dist is not None}


def release(version: str) -> Release:
    """``2.19.1rc2+local`` -> (2, 19, 1); () where it does not begin with numbers."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def of_framework(framework: str, versions: Versions, entries: Iterable[str] = ()) -> list[str]:
    """Plugins that change ``framework`` here, known ones and, for JAX, any that registers itself; sorted."""
    known = {name for name, plugin in PLUGINS.items() if plugin.framework == framework and name in versions}
    strange = {name for name in entries if not name.startswith(HARMLESS)} if framework == "jax" else set()
    return sorted(known | strange)


def check(
    framework: str, plugin: str | None, versions: Versions, entries: Iterable[str] = (), needed: bool = True
) -> None:
    """Refuse an environment whose distributions do not fit.

    ``plugin`` is the one that may be there, and must be when ``needed``; with None there may be none.

    Raises:
        Unavailable: ``not_installed`` or ``version_pair``, with what is installed and what would fit.
    """
    found = of_framework(framework, versions, entries)
    if plugin is not None and needed and plugin not in found:
        raise Unavailable("not_installed", f"{plugin} is not installed here; it is what gives {framework} its GPU")
    for name in found:
        if name in PLUGINS:
            check_pair(PLUGINS[name], versions)
    strange = [name for name in found if name != plugin]
    if strange:
        named = ", ".join(f"{name} {versions.get(name, '')}".strip() for name in found)
        wanted = f"{plugin} alone" if plugin else "no plugin"
        altered = "; ".join(
            PLUGINS[name].alters_cpu for name in strange if name in PLUGINS and PLUGINS[name].alters_cpu
        )
        raise Unavailable(
            "version_pair",
            f"this environment is to have {wanted}, and has {named}{f': {altered}' if altered else ''}; "
            "one plugin per environment, of the environment's own name",
        )


def check_pair(plugin: Plugin, versions: Versions) -> None:
    """Refuse versions of the framework that ``plugin`` cannot work with.

    Raises:
        Unavailable: ``version_pair`` with both versions and the range.
    """
    for host, (low, high) in plugin.hosts.items():
        names = ALIASES.get(host, (host,))
        have = next((versions[name] for name in names if name in versions), None)
        if have is None or not low <= release(have) < high:
            span = f">={'.'.join(map(str, low))},<{'.'.join(map(str, high))}"
            raise Unavailable(
                "version_pair",
                f"{plugin.distribution} {versions[plugin.distribution]} needs {host} {span}, here is {have or 'none'}",
            )


def oldest_macos(framework: str, plugin: str | None) -> Release | None:
    """The oldest macOS on which this can have Metal; None where nothing is known."""
    return PLUGINS[plugin].macos if plugin is not None else BUILT_IN.get(framework)
