"""Is the answer right: errors, limits, missing and misshaped outputs and tensors; each check seen to fail."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench import verify
from bench.errors import TensorError, UsageError
from bench.workload import Arrays, Tolerance

REFERENCE: Arrays = {"logits": np.array([[3.0, 4.0]]), "loss": np.array(2.0)}
SHAPES = {"fc1.weight": (3, 2), "fc1.bias": (3,)}


def limits(output: str) -> Tolerance:
    return {"logits": Tolerance(1e-3, "rounding"), "loss": Tolerance(1e-5, "a sum")}[output]


def judge(**changes: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> verify.Comparison:
    return verify.compare({**REFERENCE, **changes}, REFERENCE, limits)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_the_error_is_the_larger_of_l2_and_largest() -> None:
    truth = np.array([3.0, 4.0])
    assert verify.relative_error(np.array([3.0, 4.5]), truth) == pytest.approx(0.5 / 4)
    # Both entries off: L2 is sqrt(2) * 0.5 / 5 = 0.141, the largest 0.125.
    assert verify.relative_error(np.array([3.5, 4.5]), truth) == pytest.approx(np.sqrt(0.5) / 5)
    assert verify.relative_error(truth, truth) == 0


def test_a_single_large_deviation_among_many_values_shows() -> None:
    truth = np.ones(1_000_000)
    given = truth.copy()
    given[7] = 2.0
    assert verify.relative_error(given, truth) == 1.0


def test_against_a_reference_of_zeros_the_error_is_absolute() -> None:
    assert verify.relative_error(np.array([0.0, 0.25]), np.zeros(2)) == 0.25


def test_low_precision_outputs_are_compared_in_float64() -> None:
    assert verify.relative_error(np.array([60000.0], np.float16), np.array([60000.0])) == 0


# --- compare ---------------------------------------------------------------------------------------------------------


def test_equal_outputs_are_right() -> None:
    judged = judge()
    assert judged.ok
    assert judged.error == 0
    assert judged.errors == {"logits": 0.0, "loss": 0.0}


def test_the_worst_is_judged_against_its_own_limit() -> None:
    """logits has the larger error, loss the larger error for its limit."""
    judged = judge(logits=np.array([[3.0, 4.002]]), loss=np.array(2.000015))
    assert judged.ok
    assert (judged.output, judged.limit, judged.reason) == ("loss", 1e-5, "a sum")
    wrong = judge(logits=np.array([[3.0, 4.008]]), loss=np.array(2.00001))
    assert not wrong.ok
    assert (wrong.output, wrong.reason) == ("logits", "rounding")
    assert wrong.error == pytest.approx(2e-3)
    assert "logits" in wrong.detail


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([[3.0, np.nan]]), "logits holds NaN: 1 of 2"),
        (np.array([[np.inf, 4.0]]), "logits holds infinity: 1 of 2"),
        (np.array([[3.0], [4.0]]), r"logits has shape \(2, 1\), the reference has \(1, 2\)"),
    ],
)
def test_what_is_not_a_number_or_has_another_shape_has_no_error(
    value: np.ndarray[tuple[int, ...], np.dtype[np.float64]], words: str
) -> None:
    judged = judge(logits=value, loss=np.array(3.0))
    assert not judged.ok
    assert judged.error is None
    assert judged.errors["logits"] is None
    assert judged.errors["loss"] == pytest.approx(0.5)
    assert re.search(words, judged.detail)


def test_integers_are_names_and_judged_by_the_share_that_differs() -> None:
    truth = {"tokens": np.array([[50258, 11, 12, 13]])}

    def share(*tokens: int) -> float | None:
        return verify.compare({"tokens": np.array([tokens])}, truth, lambda _: Tolerance(0.0, "exact")).error

    assert share(50258, 11, 12, 13) == 0.0
    assert share(50258, 11, 12, 14) == 0.25, "however near the number"
    assert verify.compare({"tokens": np.array([[50257, 11, 12, 13]])}, truth, lambda _: Tolerance(0.5, "")).ok
    assert not verify.compare({"tokens": np.array([[50257, 11, 12, 13]])}, truth, lambda _: Tolerance(0.0, "")).ok


def test_missing_and_surplus_outputs_are_wrong_and_named() -> None:
    missing = verify.compare({"loss": np.array(2.0)}, REFERENCE, limits)
    assert not missing.ok
    assert missing.detail == "logits is missing"
    surplus = verify.compare({**REFERENCE, "extra": np.zeros(1)}, REFERENCE, limits)
    assert not surplus.ok
    assert surplus.detail == "extra is not in the reference"


def test_nothing_is_right_against_a_reference_that_is_empty_or_spoilt() -> None:
    with pytest.raises(ValueError, match="no outputs"):
        verify.compare({}, {}, limits)
    with pytest.raises(ValueError, match="not finite in loss"):
        verify.compare(REFERENCE, {**REFERENCE, "loss": np.array(np.nan)}, limits)


def test_only_what_belongs_to_a_weight_is_remapped() -> None:
    matrix = np.arange(6.0).reshape(3, 2)
    reference = {"loss": np.array(1.0), "grad.fc1.weight": matrix, "state.bn.weight": matrix, "head.weight": matrix}
    mapped = verify.remap_reference(reference, lambda key, value: (key.replace(".weight", "/kernel"), value.T))
    assert list(mapped) == ["loss", "grad.fc1/kernel", "state.bn/kernel", "head.weight"]
    assert [mapped[name].shape for name in mapped] == [(), (2, 3), (2, 3), (3, 2)]


# --- given tensors ---------------------------------------------------------------------------------------------------


def weights(**changes: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Arrays:
    fitting: Arrays = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    return {**fitting, **changes}


def test_every_tensor_that_does_not_fit_is_named() -> None:
    given = weights() | {"fc1.weight": np.ones((2, 3)), "fc1.biass": np.ones(3), "other": np.ones(1)}
    del given["fc1.bias"]
    with pytest.raises(TensorError) as raised:
        verify.check_tensors(given, SHAPES)
    assert str(raised.value).splitlines()[1:] == [
        "  missing 'fc1.bias' (3,) (the file has 'fc1.biass')",
        "  surplus 'fc1.biass' (3,) (did you mean 'fc1.bias'?)",
        "  surplus 'other' (1,)",
        "  misshaped 'fc1.weight': (2, 3), wanted (3, 2)",
    ]


def test_tensors_that_fit_pass() -> None:
    verify.check_tensors(weights(), SHAPES)


def test_weights_are_read_in_the_order_of_the_spec_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    given: Arrays = {
        "fc1.bias": np.array([1.0, 2.0, 3.0], np.float16),
        "fc1.weight": np.arange(6, dtype=np.float64).reshape(3, 2),
    }
    save_file(given, path)
    loaded = verify.load_weights(path, SHAPES)
    assert list(loaded) == ["fc1.weight", "fc1.bias"]
    assert all(value.dtype == np.float32 for value in loaded.values())
    assert np.array_equal(loaded["fc1.weight"], given["fc1.weight"])
    assert np.array_equal(loaded["fc1.bias"], [1, 2, 3])


def test_what_a_workload_ignores_may_be_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({**weights(), "bn.num_batches_tracked": np.array(7)}, path)
    assert set(verify.load_weights(path, SHAPES, lambda key: key.endswith("_tracked"))) == set(SHAPES)
    with pytest.raises(TensorError, match=r"surplus 'bn\.num_batches_tracked'"):
        verify.load_weights(path, SHAPES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fc1.bias": np.ones(3, np.int32)}, "'fc1.bias' is int32"),
        ({"fc1.bias": np.array([1, np.nan, 1], np.float32)}, "NaN or infinity in 'fc1.bias'"),
        ({"fc1.bias": np.array([1, 1e300, 1])}, "finite as float32; NaN or infinity in 'fc1.bias'"),
        ({"fc1.bias": np.ones(4, np.float32)}, r"misshaped 'fc1.bias': \(4,\), wanted \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Arrays, words: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights(**change), path)
    with pytest.raises(TensorError, match=words):
        verify.load_weights(path, SHAPES)


def test_bfloat16_weights_are_refused_in_words(tmp_path: Path) -> None:
    """NumPy has no bfloat16; written by hand, for safetensors' NumPy writer has none either."""
    header = b'{"fc1.bias":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(6))
    with pytest.raises(TensorError, match="save it as float32"):
        verify.load_weights(path, SHAPES)


@pytest.mark.parametrize("content", [None, b"", b"not a tensor file"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read weights from .*file"):
        verify.load_weights(path, SHAPES)
    with pytest.raises(UsageError, match=r"cannot read inputs from .*file"):
        verify.load_inputs(path, {})


LIKE: Arrays = {"x": np.zeros((2, 3), np.float32), "label": np.zeros(2, np.int32)}


def test_inputs_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, label=np.ones(2, np.int32), x=np.ones((2, 3), np.float32))
    loaded = verify.load_inputs(path, LIKE)
    assert list(loaded) == ["x", "label"]
    assert (loaded["x"] == 1).all()


def test_inputs_of_another_dtype_or_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, label=np.ones(2, np.int64), x=np.ones((2, 3), np.float64))
    with pytest.raises(TensorError, match="'x' is float64, wanted float32, 'label' is int64, wanted int32"):
        verify.load_inputs(path, LIKE)
    np.savez(path, label=np.ones(3, np.int32), x=np.ones((2, 3), np.float32))
    with pytest.raises(TensorError, match="misshaped 'label'"):
        verify.load_inputs(path, LIKE)


def test_pickled_inputs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object), label=np.ones(2, np.int32))
    with pytest.raises(UsageError, match="cannot read inputs"):
        verify.load_inputs(path, LIKE)


def test_inputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for value in (np.nan, np.inf):
        np.savez(path, label=np.ones(2, np.int32), x=np.full((2, 3), value, np.float32))
        with pytest.raises(TensorError, match=r"inputs in .*x\.npz must be finite .* in 'x'$"):
            verify.load_inputs(path, LIKE)


def damaged(kind: str, folder: Path) -> bytes:
    """A file that is nearly the archive that ``load_inputs`` wants."""
    path = folder / "whole.npz"
    np.savez_compressed(path, label=np.ones(2, np.int32), x=np.ones((2, 3), np.float32))
    whole = path.read_bytes()
    match kind:
        case "truncated":
            return whole[: len(whole) // 2]
        case "junk":
            return b"PK\x03\x04junk"
        case "flipped":
            return whole[:60] + bytes([whole[60] ^ 0xFF]) + whole[61:]
        case "unknown compression":
            at = whole.index(b"PK\x01\x02") + 10
            return whole[:at] + b"\x63" + whole[at + 1 :]
        case "an .npy":
            np.save(folder / "one.npy", np.ones(3))
            return (folder / "one.npy").read_bytes()
        case _:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("readme.txt" if kind == "no arrays" else "x.npy", "hello")
            return path.read_bytes()


@pytest.mark.parametrize(
    "kind", ["truncated", "junk", "flipped", "unknown compression", "an .npy", "no arrays", "text for an array"]
)
def test_damaged_inputs_are_named_and_not_a_traceback(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "given.npz"
    path.write_bytes(damaged(kind, tmp_path))
    with pytest.raises(UsageError, match=r"cannot read inputs from .*given\.npz"):
        verify.load_inputs(path, LIKE)


def test_folders_and_truncated_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights(), path)
    path.write_bytes(path.read_bytes()[:-4])
    for given in (path, tmp_path):
        with pytest.raises(UsageError, match="cannot read weights from"):
            verify.load_weights(given, SHAPES)
    with pytest.raises(UsageError, match="cannot read inputs from"):
        verify.load_inputs(tmp_path, LIKE)
