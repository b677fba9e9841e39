"""twinbench import-weights: what does not fit is named, nothing hostile runs, nothing is half written."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bench import importing, verify
from bench.errors import TensorError, TwinbenchError, UsageError
from bench.workload import Arrays, Config, Workload
from tests.conftest import interpreter_of
from tests.harness import command_line
from workloads.mlp import MLP

SHAPES = MLP().shapes(MLP.sizes["tiny-test"].config)


class Published(MLP):
    """As a real one: another naming is known, and BatchNorm's tensors are nothing that a twin loads."""

    name = "published"

    def from_upstream(self, config: Config, given: Arrays) -> Arrays:
        """``dense_1.w`` is one project's name for ``fc1.weight``."""
        names = {f"dense_{number}.w": f"fc{number}.weight" for number in (1, 2, 3)}
        return {names.get(key, key): array for key, array in given.items()}

    def ignores(self, key: str) -> bool:
        """BatchNorm is not part of this model."""
        return key.startswith("bn.")


KNOWN: dict[str, Workload] = {"mlp": MLP(), "published": Published()}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workloads, the second of which knows how to rename."""
    monkeypatch.setattr(importing, "workloads", lambda: KNOWN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of checkpoints that the torch interpreter wrote."""
    folder = tmp_path_factory.mktemp("checkpoints")
    script = Path(__file__).parent / "checkpoints.py"
    subprocess.run([interpreter_of("torch"), "-I", script, folder], check=True, capture_output=True, text=True)
    return folder


def convert(source: Path, output: Path, work: str = "published:tiny-test") -> Arrays:
    """What ``--weights`` reads of the file that came out."""
    importing.import_weights(source, work, output, [f"torch={interpreter_of('torch')}"])
    return verify.load_weights(output, SHAPES)


@pytest.fixture
def already_read(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's answers as they were given when the files were made; nothing else is replaced."""

    def run(command: list[str], **facts: Any) -> subprocess.CompletedProcess[str]:
        source, target = Path(command[-2]), Path(command[-1])
        if source.with_suffix(".npz").exists():
            target.symlink_to(source.with_suffix(".npz"))
        return subprocess.CompletedProcess(command, 0, stdout=source.with_suffix(".json").read_text())

    monkeypatch.setattr(subprocess, "run", run)


def constant(value: float) -> Callable[[Arrays], bool]:
    """Whether all values are ``value``."""
    return lambda arrays: all(array.dtype == np.float32 and bool((array == value).all()) for array in arrays.values())


def safetensors(path: Path, value: float = 0.5, **replaced: np.ndarray[Any, Any] | None) -> Path:
    """Weights of mlp:tiny-test with some tensors replaced (None: left out)."""
    arrays: dict[str, Any] = {name: np.full(shape, value, np.float32) for name, shape in SHAPES.items()}
    arrays |= {name.replace("_", "."): array for name, array in replaced.items()}
    save_file({name: array for name, array in arrays.items() if array is not None}, path)
    return path


@pytest.mark.frameworks
@pytest.mark.usefixtures("already_read")
@pytest.mark.parametrize(
    ("name", "value"),
    [("ema", 0.25), ("released", 0.5), ("whisper", 0.75), ("plain", 1.5), ("legacy", 1.25)],
)
def test_published_checkpoints(made: Path, tmp_path: Path, name: str, value: float) -> None:
    """Pickled modules as YOLOv5 writes them (the moving average first), Whisper's, bare tensors in bf16, old format."""
    output = tmp_path / "deep" / "out.safetensors"
    assert constant(value)(convert(made / f"{name}.pt", output))
    with safe_open(output, framework="np") as file:
        facts = file.metadata()
    assert facts["source"] == f"{name}.pt"
    assert facts["work"] == "published:tiny-test"
    assert len(facts["source_sha256"]) == 64
    assert facts["imported_at"].startswith("20")
    assert [path.name for path in output.parent.iterdir()] == ["out.safetensors"]


@pytest.mark.frameworks
@pytest.mark.usefixtures("already_read")
def test_what_a_module_holds(made: Path) -> None:
    """As state_dict would give it: parameters and persistent buffers, no attributes, no scratch buffer."""
    what, arrays = importing.read(made / "ema.pt", [f"torch={interpreter_of('torch')}"])
    assert what == "the module 'ema'"
    batch_norm = {f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert set(arrays) == set(SHAPES) | batch_norm
    assert arrays["fc1.weight"].dtype == np.float16


@pytest.mark.frameworks
def test_in_processes_of_its_own(made: Path, tmp_path: Path) -> None:
    """One good file and one hostile one through a real interpreter; the saboteur, pickle, runs the command."""
    output = tmp_path / "out.safetensors"
    assert constant(0.25)(convert(made / "ema.pt", output))
    with pytest.raises(UsageError, match=r"names what no checkpoint needs, .*: (posix|nt)\.system$"):
        convert(made / "evil.pt", tmp_path / "evil.safetensors")
    assert not (made / "owned").exists()
    assert list(tmp_path.iterdir()) == [output]
    naive = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
    environment = {**os.environ, "PYTHONPATH": str(made)}
    subprocess.run([interpreter_of("torch"), "-c", naive, made / "evil.pt"], env=environment, check=True)
    assert (made / "owned").exists()
    (made / "owned").unlink()


@pytest.mark.frameworks
@pytest.mark.usefixtures("already_read")
def test_another_size_is_told(made: Path, tmp_path: Path) -> None:
    """Every misshaped tensor, and the size that these weights are of."""
    with pytest.raises(TensorError) as caught:
        convert(made / "other-size.pt", tmp_path / "out.safetensors")
    text = str(caught.value)
    assert "misshaped 'fc1.weight': (128, 64), wanted (16, 12)" in text
    assert text.endswith("these are the weights of published:digits: give --workload published:digits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.frameworks
@pytest.mark.usefixtures("already_read")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan", r"must be finite as float32; NaN or infinity in 'fc2.weight'$"),
        ("scores", r"no weights under 'ema', 'model'.*it has: 'epoch', 'loss'"),
        ("junk", r"cannot read .*junk\.pt: it is not a file of torch\.save$"),
        ("evil-legacy", r"names what no checkpoint needs, .*: (posix|nt)\.system$"),
    ],
)
def test_files_without_usable_weights(made: Path, tmp_path: Path, name: str, message: str) -> None:
    """NaN by name; a file of something else says what it has; junk and hostile files are no traceback."""
    with pytest.raises(TwinbenchError, match=message):
        convert(made / f"{name}.pt", tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == []
    assert not (made / "owned").exists()


def test_safetensors_of_any_float(tmp_path: Path) -> None:
    """fp16, fp64 and bfloat16 become float32; BatchNorm's counter is left out, integers elsewhere are refused."""
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    half, double = np.full((16,), 0.5, np.float16), np.full((16,), 0.5, np.float64)
    safetensors(source, fc1_bias=half, fc2_bias=double, bn_steps=np.array([7]))
    found = importing.import_weights(source, "published:tiny-test", output, [])
    assert (found.tensors, found.parameters) == (6, sum(int(np.prod(shape)) for shape in SHAPES.values()))
    assert found.dropped == ("bn.steps",)
    assert constant(0.5)(load_file(output))
    safetensors(source, fc1_bias=np.ones(16, np.int64))
    with pytest.raises(TensorError, match=r"'fc1\.bias' is int64"):
        importing.import_weights(source, "published:tiny-test", output, [])


def test_bfloat16_bits(tmp_path: Path) -> None:
    """The bits of 1, -2.5, the smallest normal number and 3.140625, as the format defines them."""
    bits = np.array([0x3F80, 0xC020, 0x0080, 0x4049], dtype="<u2").tobytes()
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, len(bits)]}}).encode()
    path = tmp_path / "bf16.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bits)
    what, arrays = importing.read(path, [])
    assert what == "a safetensors file"
    np.testing.assert_array_equal(arrays["x"], np.array([[1, -2.5], [2.0**-126, 3.140625]], np.float32))


def test_renamed_missing_and_surplus(tmp_path: Path) -> None:
    """Another project's naming is understood; what is missing or left over is named with its neighbour."""
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    safetensors(source, fc1_weight=None)
    arrays = load_file(source) | {"dense_1.w": np.full(SHAPES["fc1.weight"], 0.5, np.float32)}
    save_file(arrays, source)
    importing.import_weights(source, "published:tiny-test", output, [])
    assert constant(0.5)(load_file(output))
    before = output.read_bytes()
    save_file({key.replace("fc3", "fc_3"): value for key, value in arrays.items()}, source)
    with pytest.raises(TensorError) as caught:
        importing.import_weights(source, "published:tiny-test", output, [])
    assert "missing 'fc3.weight' (5, 16) (the file has 'fc_3.weight')" in str(caught.value)
    assert "surplus 'fc_3.bias' (5,) (did you mean 'fc3.bias'?)" in str(caught.value)
    assert output.read_bytes() == before


def test_weights_of_another_workload(tmp_path: Path) -> None:
    """All that fit are named."""
    arrays = load_file(safetensors(tmp_path / "in.safetensors"))
    assert importing.fitting(arrays, KNOWN) == ["mlp:tiny-test", "published:tiny-test"]
    arrays["fc1.bias"] = arrays["fc1.bias"][:-1]
    assert importing.fitting(arrays, KNOWN) == []


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("gone.pt", "out.safetensors", "no such file: .*gone.pt"),
        ("in.safetensors", "in.safetensors", "would overwrite the checkpoint"),
        ("in.safetensors", "out.npz", "takes a .safetensors file, got 'out.npz'"),
        ("in.safetensors", "folder.safetensors", "is a folder"),
        ("in.onnx", "out.safetensors", "cannot tell what kind .*'in.onnx' is; valid endings: .safetensors, .pt"),
        ("cut.safetensors", "out.safetensors", "cannot read .*cut.safetensors as safetensors"),
    ],
)
def test_paths(tmp_path: Path, source: str, output: str, message: str) -> None:
    """Said before anything is read or written."""
    data = safetensors(tmp_path / "in.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:-100])
    (tmp_path / "in.onnx").write_bytes(b"")
    (tmp_path / "folder.safetensors").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=message):
        importing.import_weights(tmp_path / source, "mlp:tiny-test", tmp_path / output, [])
    assert sorted(tmp_path.iterdir()) == before


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 and the next command; else not 0, a sentence, and no file."""
    run = command_line(monkeypatch, capsys)
    source, output = safetensors(tmp_path / "in.safetensors"), tmp_path / "out.safetensors"
    code, out, _ = run("import-weights", source, "--workload", "mlp:tiny-test", "--output", output)
    assert code == 0
    assert f"twinbench run mlp:tiny-test --weights {output}" in out
    output.unlink()
    code, _, error = run("import-weights", source, "--workload", "mlp:wide", "--output", output)
    assert code == 2
    assert "these are the weights of mlp:tiny-test" in error
    assert not output.exists()
    code, _, error = run("import-weights", source, "--workload", "mlp:wife", "--output", output)
    assert code == 2
    assert "did you mean 'wide'?" in error


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle: the old file stands, no part of the new one."""
    source, output = safetensors(tmp_path / "in.safetensors"), tmp_path / "out.safetensors"
    output.write_bytes(b"old")

    def full(source: str, target: str) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        importing.import_weights(source, "mlp:tiny-test", output, [])
    assert output.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
