"""Metal plugins: which versions fit, who may be beside whom, and how a Mac refuses before anything is imported.

Nothing here has seen a Mac: versions and answers of sysctl are made up, the names and bounds are from the wheels.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import environments, host, plugins, worker
from bench.cell import Cell
from bench.errors import Unavailable
from bench.frameworks.fake import Fake
from bench.plan import blocks

ROOT = Path(__file__).resolve().parent.parent

FITTING = {
    "tensorflow-metal": {"tensorflow": "2.19.1", "tensorflow-metal": "1.2.0"},
    "tensorflow-metal-plugin": {"tensorflow": "2.21.0", "tensorflow-metal-plugin": "0.4.1"},
    "jax-mps": {"jax": "0.10.2", "jaxlib": "0.10.2", "jax-mps": "0.10.11"},
    "jax-metal": {"jax": "0.5.0", "jaxlib": "0.5.0", "jax-metal": "0.1.1"},
    "metaljax": {"jax": "0.11.2", "jaxlib": "0.11.2", "metaljax": "0.11.9"},
}


def reason_of(*arguments: Any, **named: Any) -> str:
    """The reason word with which ``plugins.check`` refuses."""
    with pytest.raises(Unavailable) as refused:
        plugins.check(*arguments, **named)
    return refused.value.reason


@pytest.mark.parametrize("name", list(plugins.PLUGINS))
def test_pinned_versions_fit(name: str) -> None:
    """What pyproject.toml pins is what the table allows."""
    plugin = plugins.PLUGINS[name]
    plugins.check(plugin.framework, name, FITTING[name], {name})
    assert environments.get(name).plugin == name
    assert environments.get(name).framework == plugin.framework


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tensorflow-metal", {"tensorflow": "2.21.0"}),
        ("tensorflow-metal", {"tensorflow": "2.20.0rc0"}),
        ("tensorflow-metal", {"tensorflow": "2.17.1"}),
        ("tensorflow-metal-plugin", {"tensorflow": "2.19.1"}),
        ("jax-metal", {"jax": "0.5.1", "jaxlib": "0.5.1"}),
        ("jax-metal", {"jaxlib": "0.10.2"}),
        ("jax-mps", {"jax": "0.11.2"}),
        ("jax-mps", {"jaxlib": "0.9.2"}),
        ("metaljax", {"jax": "0.10.2", "jaxlib": "0.10.2"}),
        ("metaljax", {"jax": "unreadable"}),
    ],
)
def test_a_bad_pair_is_refused_on_every_device(name: str, change: dict[str, str]) -> None:
    """Also for the CPU: tensorflow-metal beside TensorFlow 2.20 makes `import tensorflow` itself fail."""
    plugin = plugins.PLUGINS[name]
    for needed in (True, False):
        assert reason_of(plugin.framework, name, FITTING[name] | change, {name}, needed=needed) == "version_pair"
    with pytest.raises(
        Unavailable, match=f"needs {next(iter(change))} >=.*,<.*, here is {next(iter(change.values()))}"
    ):
        plugins.check(plugin.framework, name, FITTING[name] | change, {name})


def test_a_missing_plugin_is_told_where_it_is_needed() -> None:
    """On Linux the environment of a plugin holds its CPU side only, and that is all right for the CPU."""
    bare = {"tensorflow-cpu": "2.19.1"}
    assert reason_of("tensorflow", "tensorflow-metal", bare) == "not_installed"
    plugins.check("tensorflow", "tensorflow-metal", bare, needed=False)
    missing = {"jax-mps": "0.10.11", "jax": "0.10.2"}
    assert reason_of("jax", "jax-mps", missing, {"jax-mps"}) == "version_pair", "jaxlib is not there at all"


def test_one_plugin_per_environment() -> None:
    """Two known ones, one that only its entry point shows, and one in the environment that is to have none."""
    both = FITTING["jax-mps"] | {"applejax": "0.3"}
    with pytest.raises(Unavailable, match=r"jax-mps alone, and has applejax 0\.3, jax-mps 0\.10\.11"):
        plugins.check("jax", "jax-mps", both, {"jax-mps", "applejax"})
    two = {"tensorflow": "2.19.1", "tensorflow-metal": "1.2.0", "tensorflow-metal-plugin": "0.4.1"}
    assert reason_of("tensorflow", "tensorflow-metal", two) == "version_pair"
    assert reason_of("jax", None, {"jax": "0.10.2"}, {"jax-graft"}) == "version_pair"
    with pytest.raises(Unavailable, match=r"no plugin, and has jax-mps .*shardy.*gelu"):
        plugins.check("jax", None, FITTING["jax-mps"], {"jax-mps"})
    plugins.check("jax", None, {"jax": "0.10.2"}, {"jax-cuda12-plugin"})
    plugins.check("torch", None, FITTING["jax-mps"], {"jax-mps"})


def test_distributions_are_read_without_importing(tmp_path: Path) -> None:
    """From an interpreter's own folders: names as they are written, and entry points by their distribution."""
    info = tmp_path / "Jax_MPS-0.10.11.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Jax_MPS\nVersion: 0.10.11\n")
    (info / "entry_points.txt").write_text("[jax_plugins]\nmps = jax_plugins.mps\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from bench import plugins; "
    code += "print(plugins.registered(), plugins.installed(), 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "{'jax-mps'} {'jax-mps': '0.10.11'} False\n"


@pytest.mark.parametrize(
    ("version", "release"), [("2.19.1", (2, 19, 1)), ("2.20.0rc0", (2, 20, 0)), ("0.5", (0, 5)), ("x1", ()), ("", ())]
)
def test_release(version: str, release: tuple[int, ...]) -> None:
    assert plugins.release(version) == release


# --- the host --------------------------------------------------------------------------------------------------------


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A SYNTHETIC Apple silicon Mac; sysctl answers from the returned table."""
    answers = {"sysctl.proc_translated": "0", "kern.hv_vmm_present": "0"}
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.6", ("", "", ""), "arm64"))
    monkeypatch.setattr(host, "sysctl", answers.get)
    return answers


def test_metal_is_refused_with_its_reason(mac: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which a person would look: system, chip, version."""
    host.refuse_metal((15, 0))
    host.refuse_metal(None)
    with pytest.raises(Unavailable, match=r"os_too_old: needs macOS 26\.0 or newer, this is 15\.6"):
        host.refuse_metal((26, 0))
    monkeypatch.setattr(platform, "mac_ver", lambda: ("", ("", "", ""), ""))
    host.refuse_metal((26, 0))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(Unavailable, match=r"no_device: .*Apple silicon only, this is x86_64"):
        host.refuse_metal((15, 0))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(Unavailable, match="not_darwin: Metal needs macOS, this is Linux"):
        host.refuse_metal((15, 0))


def test_rosetta_is_refused_for_every_device(mac: dict[str, str]) -> None:
    """The CPU too: its figures would be the translator's. Unknown (an Intel Mac has no such sysctl) refuses nothing."""
    for device in ("cpu", "metal"):
        worker.preflight("torch", device)
    del mac["sysctl.proc_translated"]
    worker.preflight("torch", "cpu")
    mac["sysctl.proc_translated"] = "1"
    for device in ("cpu", "metal"):
        with pytest.raises(Unavailable, match=r"translated: .*arm64 Python"):
            worker.preflight("torch", device)


def test_sysctl_gives_none_for_every_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Missing, failing, silent and slow programs; a good one gives its stripped answer."""
    program = tmp_path / "sysctl"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for script, answer in (("echo 1", "1"), ("exit 1", None), ("true", None), ("sleep 60", None)):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert host.sysctl("kern.hv_vmm_present", timeout_s=0.5) == answer, script
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert host.sysctl("kern.hv_vmm_present") is None


def test_a_virtual_gpu_is_known_by_its_name_or_the_kernel(mac: dict[str, str]) -> None:
    assert host.virtual_gpu("metal", "Apple M4 Max") is None
    assert host.virtual_gpu("metal", "Apple Paravirtual device") == "the GPU is Apple Paravirtual device"
    mac["kern.hv_vmm_present"] = "1"
    assert host.virtual_gpu("metal", "Apple M4 Max") == "kern.hv_vmm_present is 1"
    assert host.virtual_gpu("cpu", "arm64") is None
    mac.clear()
    assert host.virtual_gpu("metal", "Apple M4 Max") is None


def test_preflight_knows_what_is_installed(mac: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker refuses by metadata before it imports anything, and asks for no plugin on the CPU."""
    monkeypatch.setattr(plugins, "registered", lambda: set())
    monkeypatch.setattr(plugins, "installed", lambda: {"tensorflow": "2.19.1"})
    worker.preflight("tensorflow-metal", "cpu")
    with pytest.raises(Unavailable, match="not_installed: tensorflow-metal"):
        worker.preflight("tensorflow-metal", "metal")
    monkeypatch.setattr(plugins, "installed", lambda: {"tensorflow": "2.21.0", "tensorflow-metal": "1.2.0"})
    imported: list[str] = []
    monkeypatch.setattr(worker, "framework_for", lambda *names: imported.append(names[0]))
    message = {"stage": "open", "framework": "tensorflow", "environment": "tensorflow-metal", "device": "cpu"}
    reply = worker.answer(worker.Session(), {**message, "threads": 1})
    assert reply["outcome"]["kind"] == "unsupported"
    assert reply["outcome"]["reason"].startswith("version_pair: tensorflow-metal 1.2.0 needs tensorflow >=2.18,<2.20")
    assert imported == []


def test_a_virtual_gpu_is_checked_and_never_timed(mac: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening it and comparing outputs go on; the stage that prepares a timing refuses."""
    mac["kern.hv_vmm_present"] = "1"
    monkeypatch.setattr(Fake, "open", lambda self, device, threads: "Apple M1 (Virtual)")
    for device, refused in (("metal", True), ("cpu", False)):
        session = worker.Session()
        monkeypatch.setattr(worker, "preflight", lambda environment, device: None)
        session.open("fake", "fake", device, 1)
        reply = worker.answer(session, {"stage": "prepare", "burst_ns": 1, "warm_up_ns": 1})
        said = reply["outcome"].get("reason", "")
        assert said.startswith("virtualized: kern.hv_vmm_present is 1") == refused, reply


# --- baselines -------------------------------------------------------------------------------------------------------


def cell_of(environment: str, device: str, precision: str = "fp32") -> Cell:
    """A cell of mlp."""
    return Cell("mlp", "tiny-test", "inference", "default", 4, environment, device, precision, "compiled")


def test_an_accelerator_is_paired_with_its_own_version_of_the_framework() -> None:
    """In its environment, or in its plugin-free twin; never in an environment with another version."""
    pairs = {"jax-mps": "jax", "jax-metal": "jax-metal-cpu", "metaljax": "metaljax-cpu"}
    for name, cpu in pairs.items():
        assert environments.cpu_twin(cell_of(name, "metal")) == cell_of(cpu, "cpu")
    for name, device in (("torch", "metal"), ("tensorflow-metal", "metal"), ("jax-cuda", "cuda"), ("gone", "metal")):
        assert environments.cpu_twin(cell_of(name, device)) == cell_of(name, "cpu")
    assert environments.get("jax-mps").devices == ("metal",), "its CPU is not JAX's"


def test_duets_are_across_environments() -> None:
    """jax-mps takes turns with jax; jax-metal finds no baseline in it and is measured alone."""
    cells = [cell_of("jax", "cpu"), cell_of("jax-mps", "metal"), cell_of("jax-metal", "metal")]
    groups = {block.cells for block in blocks(cells, 1, 0)}
    assert groups == {(cells[0], cells[1]), (cells[2],)}


def test_this_interpreter_is_its_plugins_environment() -> None:
    """By what is installed: with a plugin the plain environment is not offered, and variants are never guessed."""

    def spec(*modules: str) -> Any:
        return lambda module: module if module in modules else None

    assert environments.here(spec("torch", "jax"), {}) == ["torch", "jax"]
    assert environments.here(spec("torch", "jax"), {"jax-mps": "0.10.11"}) == ["torch", "jax-mps"]
    assert environments.here(spec("tensorflow"), {"tensorflow-metal": "1.2.0"}) == ["tensorflow-metal"]
    assert environments.here(spec(), {"jax-mps": "0.10.11"}) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jax-mps", {"JAX_PLATFORMS": "mps,cpu", "MLX_ENABLE_TF32": "0"}),
        ("jax-metal", {"JAX_PLATFORMS": "METAL,cpu", "ENABLE_PJRT_COMPATIBILITY": "1"}),
        ("metaljax", {"JAX_PLATFORMS": "metal,cpu", "METALJAX_MATMUL_PRECISION": "high"}),
    ],
)
def test_plugins_get_their_variables_and_they_are_recorded(name: str, expected: dict[str, str]) -> None:
    """Set before the child starts, so before any import; the CPU is kept free of them."""
    child = environments.child_environment({}, environments.get(name), "metal", 4)
    assert expected.items() <= environments.recorded(child).items()
    assert environments.child_environment({}, environments.get("jax"), "cpu", 4)["JAX_PLATFORMS"] == "cpu"
    for device in ("cpu", "metal"):
        found = environments.variables(environments.get("tensorflow-metal"), device, 4)
        assert found["CUDA_VISIBLE_DEVICES"] == ""
