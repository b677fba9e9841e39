"""The spec of workload ``mlp``: bytes, reference, gradient, optimizers, tolerances; NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bench import tensors, verify, workload
from bench.errors import TensorError, UsageError
from bench.workload import Arrays, Tolerance
from workloads.mlp import EPOCHS, OPTIMIZERS, digits, reference

MLP = workload.get("mlp")
TINY = MLP.sizes["tiny-test"]
DIGITS = MLP.sizes["digits"]
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "amp-fp16", "amp-bf16")


def materials(size: str = "tiny-test", phase: str = "training", seed: int = 0) -> tuple[Arrays, Arrays]:
    config, batch = MLP.sizes[size].config, MLP.sizes[size].batch
    return MLP.weights(config, seed), MLP.inputs(config, phase, batch, seed)


def tolerance(phase: str, precision: str, output: str, size: str = "digits") -> Tolerance:
    return MLP.tolerance(MLP.sizes[size].config, phase, precision, output)


def exact(arrays: Arrays) -> Arrays:
    return {name: value.astype(np.float64) for name, value in arrays.items()}


def truth(size: str, phase: str, variant: str) -> Arrays:
    return MLP.reference(MLP.sizes[size].config, phase, variant, *materials(size, phase))


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "weights_sha", "inputs_sha"),
    [
        ("tiny-test", "8fb5cbab846e4956", "5d8213d839f3eccb"),
        ("digits", "0786542bf19e8513", "236ec616137e607a"),
    ],
)
def test_the_bytes_are_the_same_on_every_platform(size: str, weights_sha: str, inputs_sha: str) -> None:
    weights, inputs = materials(size)
    assert (tensors.digest(weights)[:16], tensors.digest(inputs)[:16]) == (weights_sha, inputs_sha)


@pytest.mark.parametrize("size", sorted(MLP.sizes))
def test_weights_have_the_promised_names_shapes_and_scale(size: str) -> None:
    config = MLP.sizes[size].config
    weights = MLP.weights(config, 3)
    verify.check_tensors(weights, MLP.shapes(config))
    for name, value in weights.items():
        assert value.dtype == np.float32
        assert (value != 0).all(), "a zero bias or weight would hide a mistake"
        assert np.abs(value).max() <= (np.sqrt(6 / value.shape[1]) if value.ndim == 2 else 0.1), name


def test_another_seed_gives_other_weights_and_inputs() -> None:
    (weights, inputs), (others, other_inputs) = materials(), materials(seed=1)
    assert not any(np.array_equal(weights[name], others[name]) for name in weights)
    assert not np.array_equal(inputs["x"], other_inputs["x"])


def test_inference_has_no_labels_and_training_has_valid_ones() -> None:
    assert list(materials(phase="inference")[1]) == ["x"]
    _, inputs = materials()
    assert inputs["label"].dtype == np.int32
    assert inputs["x"].dtype == np.float32
    assert ((inputs["label"] >= 0) & (inputs["label"] < TINY.config["classes"])).all()
    assert 0 <= inputs["x"].min() < inputs["x"].max() <= 1


@pytest.mark.parametrize("value", [-1, 5, 2**31 - 1])
def test_a_label_that_is_no_class_is_refused(value: int) -> None:
    _, inputs = materials()
    MLP.check_inputs(TINY.config, inputs)
    MLP.check_inputs(TINY.config, {"x": inputs["x"]})
    inputs["label"][2] = value
    with pytest.raises(TensorError, match=rf"'label' holds {value}, wanted 0 to 4"):
        MLP.check_inputs(TINY.config, inputs)


def test_the_digits_are_scikit_learns_own() -> None:
    upstream = load_digits()
    pixels, labels = digits()
    assert np.array_equal(pixels * 16, upstream.data)
    assert np.array_equal(labels, upstream.target)


def test_a_batch_larger_than_the_digits_wraps_around() -> None:
    x = MLP.inputs(DIGITS.config, "inference", 1800, 0)["x"]
    assert np.array_equal(x[1797:], x[:3])
    assert not np.array_equal(x[0], x[1])


# --- the reference ---------------------------------------------------------------------------------------------------


def test_the_forward_pass_is_three_layers_by_hand() -> None:
    weights, inputs = materials(phase="inference")
    w, x = exact(weights), inputs["x"][1].astype(np.float64)
    hidden = [max(0.0, sum(w["fc1.weight"][i, j] * x[j] for j in range(12)) + w["fc1.bias"][i]) for i in range(16)]
    deep = [max(0.0, sum(w["fc2.weight"][i, j] * hidden[j] for j in range(16)) + w["fc2.bias"][i]) for i in range(16)]
    logit = sum(w["fc3.weight"][4, j] * deep[j] for j in range(16)) + w["fc3.bias"][4]
    assert truth("tiny-test", "inference", "default")["logits"][1, 4] == pytest.approx(logit, rel=1e-12)


def test_the_loss_is_softmax_cross_entropy() -> None:
    logits = np.array([[0.0, 0.0], [np.log(3.0), 0.0]])
    loss, _ = reference.cross_entropy(logits, np.array([0, 1]))
    assert float(loss) == pytest.approx((np.log(2) + np.log(4)) / 2)


def finite_difference_error(gradients: Arrays, weights: Arrays, x: Any, label: Any) -> float:
    """Largest deviation from central differences over a few entries of every weight, relative to its largest entry."""
    worst, step = 0.0, 1e-6
    for name, value in weights.items():
        scale = np.abs(gradients[name]).max()
        for index in list(np.ndindex(value.shape))[:: max(1, value.size // 7)]:
            losses = []
            for sign in (1, -1):
                moved = {**weights, name: value.copy()}
                moved[name][index] += sign * step
                losses.append(float(reference.loss_and_gradients(moved, x, label)[0]))
            worst = max(worst, abs((losses[0] - losses[1]) / (2 * step) - gradients[name][index]) / scale)
    return worst


def test_the_analytic_gradient_agrees_with_finite_differences() -> None:
    weights, inputs = materials()
    args = (exact(weights), inputs["x"].astype(np.float64), inputs["label"])
    _, gradients = reference.loss_and_gradients(*args)
    assert list(gradients) == list(weights)
    assert finite_difference_error(gradients, *args) < 1e-6
    spoilt = {**gradients, "fc1.weight": gradients["fc1.weight"] * 1.01}
    assert finite_difference_error(spoilt, *args) > 1e-3, "the check must see a gradient that is 1 % off"


@pytest.mark.parametrize("variant", ["sgd", "adam"])
def test_five_losses_begin_with_the_loss_and_fall(variant: str) -> None:
    outputs = truth("digits", "training", variant)
    losses = outputs["losses"]
    assert losses.shape == (5,)
    assert losses[0] == outputs["loss"]
    assert losses[-1] < 0.95 * losses[0]
    assert set(outputs) == {"loss", "losses", *(f"grad.{name}" for name in MLP.shapes(DIGITS.config))}


def test_sgd_with_momentum_by_hand() -> None:
    weights, state = {"w": np.array([1.0])}, dict[str, Arrays]()
    for gradient in (2.0, 1.0):
        reference.sgd(weights, {"w": np.array([gradient])}, state, {"lr": 0.1, "momentum": 0.9})
    # v: 2, then 0.9 * 2 + 1 = 2.8
    assert weights["w"][0] == pytest.approx(1.0 - 0.1 * 2.0 - 0.1 * 2.8)


def test_the_first_step_of_adam_is_the_learning_rate() -> None:
    weights = {"w": np.array([1.0, 1.0])}
    options = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    reference.adam(weights, {"w": np.array([5.0, -1e-3])}, {}, options)
    assert weights["w"] == pytest.approx([0.9, 1.1], rel=1e-4)


def test_the_place_of_keras_eps_stays_inside_the_tolerance() -> None:
    """Keras' Adam is the reference's with eps / sqrt(1 - beta2^t); five losses move by far less than the limit."""
    weights, inputs = materials("digits")
    current, state, losses = exact(weights), dict[str, Arrays](), []
    for step in range(1, 6):
        options = MLP.optimizer("adam")
        loss, gradients = reference.loss_and_gradients(current, inputs["x"].astype(np.float64), inputs["label"])
        losses.append(float(loss))
        options["eps"] = float(options["eps"]) / np.sqrt(1 - float(options["beta2"]) ** step)
        reference.adam(current, gradients, state, options)
    error = verify.relative_error(np.array(losses), truth("digits", "training", "adam")["losses"])
    assert 0 < error < 0.2 * tolerance("training", "fp32", "losses").limit


def test_the_optimizers_stay_sane_in_half_precision() -> None:
    """1 - beta2 and beta2 must survive bf16 (0.999 is 1.0 there: Keras' Adam would never move)."""
    adam = OPTIMIZERS["adam"]
    beta2 = np.float32(adam["beta2"]).view(np.uint32)
    as_bf16 = ((beta2 + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
    assert as_bf16 < 1
    assert np.float16(OPTIMIZERS["sgd"]["lr"]) > 0


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UsageError, match="sgd or adam, not 'lion'"):
        MLP.optimizer("lion")


# --- tolerances ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", ["tiny-test", "digits"])
def test_a_wrong_model_exceeds_every_tolerance(size: str, precision: str) -> None:
    """Saboteurs: a forgotten bias, a layer left out, a transposed square weight, no ReLU, an optimizer that stands."""
    weights, inputs = materials(size)
    clean = truth(size, "training", "sgd")
    config = MLP.sizes[size].config
    saboteurs = {
        "bias": {**weights, "fc2.bias": np.zeros_like(weights["fc2.bias"])},
        "layer": {**weights, "fc2.weight": np.eye(*weights["fc2.weight"].shape, dtype=np.float32)},
        "flipped": {**weights, "fc3.weight": weights["fc3.weight"][::-1]},
    }
    for name, spoilt in saboteurs.items():
        outputs = MLP.reference(config, "training", "sgd", spoilt, inputs)
        judged = verify.compare(outputs, clean, lambda output: tolerance("training", precision, output, size))
        assert not judged.ok, name
    for variant in ("sgd", "adam"):
        moving = truth(size, "training", variant)
        standing = {**moving, "losses": np.full(5, moving["losses"][0])}
        judged = verify.compare(standing, moving, lambda output: tolerance("training", precision, output, size))
        assert not judged.ok, variant
        assert judged.output == "losses"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("output", ["logits", "loss", "losses", "grad.fc1.weight"])
def test_every_tolerance_has_a_reason_and_amp_is_no_looser_than_the_whole_cast(precision: str, output: str) -> None:
    found = tolerance("training", precision, output)
    assert "u = " in found.reason
    assert found.limit <= tolerance("training", precision.removeprefix("amp-"), output).limit


def test_rounding_operands_to_half_stays_inside_the_tolerance() -> None:
    weights, inputs = materials("digits", "inference")
    rounded = {name: value.astype(np.float16).astype(np.float64) for name, value in weights.items()}
    logits = reference.forward(rounded, inputs["x"].astype(np.float64))[-1]
    clean = truth("digits", "inference", "default")
    error = verify.relative_error(logits, clean["logits"])
    assert tolerance("inference", "fp32", "logits").limit < error
    assert error < tolerance("inference", "fp16", "logits").limit


# --- work and convergence --------------------------------------------------------------------------------------------


def test_flops_count_matrix_products_only() -> None:
    forward = 2 * 64 * (64 * 128 + 128 * 64 + 64 * 10)
    assert MLP.flops(DIGITS.config, "inference", 64) == forward
    assert MLP.flops(DIGITS.config, "training", 64) == 3 * forward - 2 * 64 * 64 * 128


def test_convergence_holds_out_digits_that_it_never_trains_on() -> None:
    data = MLP.convergence(DIGITS.config, 0)
    assert data is not None
    assert data.batches["x"].shape == (EPOCHS * 22, 64, 64)
    assert data.batches["label"].shape == (EPOCHS * 22, 64)
    assert len(data.held_out["label"]) == 360
    seen = {row.tobytes() for row in data.batches["x"].reshape(-1, 64)}
    unseen = {row.tobytes() for row in data.held_out["x"]}
    assert not seen & unseen, "the 1,797 digits are all different"
    first_epoch = [row.tobytes() for row in data.batches["x"][:22].reshape(-1, 64)]
    assert len(set(first_epoch)) == len(first_epoch), "an epoch sees no digit twice"


def test_only_the_real_digits_can_converge() -> None:
    assert MLP.convergence(TINY.config, 0) is None


def test_the_reference_itself_converges() -> None:
    data = MLP.convergence(DIGITS.config, 0)
    assert data is not None
    weights, state = MLP.weights(DIGITS.config, 0), dict[str, Arrays]()

    def accuracy() -> float:
        scores = reference.forward(weights, data.held_out["x"])[-1]
        return float((scores.argmax(axis=1) == data.held_out["label"]).mean())

    assert accuracy() < 0.3
    for x, label in zip(data.batches["x"], data.batches["label"], strict=True):
        _, gradients = reference.loss_and_gradients(weights, x, label)
        reference.sgd(weights, gradients, state, MLP.optimizer("sgd"))
    assert accuracy() >= data.accuracy
