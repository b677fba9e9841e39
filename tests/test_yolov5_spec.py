"""The spec of workload ``yolov5``: architecture, bytes, folding, reference, ranges in half precision; NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from bench import tensors, verify, workload
from bench.errors import TensorError, UsageError
from bench.verify import relative_error
from bench.workload import Arrays, Config
from workloads.yolov5 import config as architecture
from workloads.yolov5 import photographs_of, reference
from workloads.yolov5.config import ANCHORS, DETECT, EPSILON, MOMENTUM, MULTIPLES, STRIDES, Layer
from workloads.yolov5.weights import fold

Array = np.ndarray[Any, Any]
YOLO = workload.get("yolov5")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "amp-fp16", "amp-bf16")
#: As upstream publishes them for 80 classes.
PARAMETERS = {"n": 1_872_157, "s": 7_235_389, "m": 21_190_557, "l": 46_563_709, "x": 86_749_405}


def settings(size: str = "tiny-test", phase: str = "inference", variant: str = "default") -> Config:
    return YOLO.settings(size, phase, variant)


def exact(arrays: Arrays) -> Arrays:
    return {name: value.astype(np.float64) for name, value in arrays.items()}


@cache
def materials(size: str = "tiny-test", phase: str = "inference", seed: int = 0) -> tuple[Arrays, Arrays]:
    config = settings(size, phase, {"training": "sgd"}.get(phase, "default"))
    return YOLO.weights(config, seed), YOLO.inputs(config, phase, YOLO.sizes[size].batch, seed)


@cache
def truth(size: str = "tiny-test") -> Arrays:
    return YOLO.reference(settings(size), "inference", "default", *materials(size))


# --- architecture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", sorted(PARAMETERS))
def test_parameters_are_as_many_as_upstream_publishes(size: str) -> None:
    config = settings(size)
    assert architecture.parameters(config) == PARAMETERS[size]
    shapes = YOLO.shapes(config)
    trained = [name for name in shapes if not name.endswith((".running_mean", ".running_var", ".anchors"))]
    assert sum(int(np.prod(shapes[name])) for name in trained) == PARAMETERS[size]


def test_the_small_size_is_upstreams_in_every_published_figure() -> None:
    config = settings("s")
    assert architecture.parameters(config, fused=True) == 7_225_885
    names = YOLO.shapes(config)
    counters = sum(name.endswith(".running_mean") for name in names)  # upstream's files also count batches
    assert len(names) + counters == 349
    assert YOLO.flops(config, "inference", 1) == pytest.approx(16.43e9, rel=1e-3)
    assert names["model.0.conv.weight"] == (32, 3, 6, 6)
    assert names["model.4.m.1.cv2.conv.weight"] == (64, 64, 3, 3)
    assert names["model.9.cv2.conv.weight"] == (512, 1024, 1, 1)
    assert names["model.24.m.1.weight"] == (255, 256, 1, 1)
    assert names["model.24.anchors"] == (3, 3, 2)
    assert YOLO.default_size == "n"


def test_a_training_step_is_three_forward_passes_less_the_gradient_of_the_image() -> None:
    config = settings("s", "training", "sgd")
    stem = 2.0 * 3 * 32 * 36 * 320**2
    assert YOLO.flops(config, "training", 4) == pytest.approx(3 * YOLO.flops(config, "inference", 4) - 4 * stem)


@pytest.mark.parametrize(
    ("variant", "said"),
    [("imgsz-100", "the nearest is 96"), ("imgsz-0", "the nearest is 32"), ("imgsz-big", "'big' must be")],
)
def test_a_side_that_the_network_cannot_take_is_refused(variant: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings("s", "inference", variant)


def test_variants_say_what_they_change() -> None:
    assert settings("s")["fused"] is True
    assert settings("s", variant="unfused")["fused"] is False
    assert settings("s", "training", "sgd")["fused"] is False
    assert settings("s", variant="channels-last")["layout"] == "channels-last"
    config = settings("tiny-test", variant="imgsz-96")
    assert YOLO.inputs(config, "inference", 1, 0)["images"].shape == (1, 3, 96, 96)
    assert YOLO.flops(config, "inference", 1) == pytest.approx(YOLO.flops(settings(), "inference", 1) * 2.25)


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_the_weights_are_the_same_on_every_platform() -> None:
    assert tensors.digest(materials()[0])[:16] == "1ca85b9f3f9f52db"


@pytest.mark.parametrize("size", ["tiny-test", "n"])
def test_weights_have_the_promised_names_and_none_is_trivial(size: str) -> None:
    weights, _ = materials(size)
    verify.check_tensors(weights, YOLO.shapes(settings(size)))
    for name, value in weights.items():
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
        assert len(np.unique(value)) > value.size // 2 or name.endswith("anchors"), name
        if name.endswith("running_var"):
            assert (value.min() > 0.4, value.max() < 1.6) == (True, True)
    pixels = weights[f"model.{DETECT}.anchors"] * np.array(STRIDES)[:, None, None]
    assert np.array_equal(pixels, ANCHORS)


def test_another_seed_gives_other_weights_and_targets() -> None:
    weights, inputs = materials(phase="training")
    others, other_inputs = materials(phase="training", seed=1)
    same = [name for name in weights if np.array_equal(weights[name], others[name])]
    assert same == [f"model.{DETECT}.anchors"]
    assert not np.array_equal(inputs["targets"], other_inputs["targets"])


def test_a_batch_shows_the_photograph_in_different_places() -> None:
    images = photographs_of(4, 64)
    assert images.shape == (4, 3, 64, 64)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    assert np.array_equal(images[1], images[0, :, :, ::-1])
    assert np.array_equal(images[2], np.roll(images[0], 8, axis=1))
    assert len({image.tobytes() for image in images}) == 4


def test_inputs_that_cannot_be_meant_are_refused() -> None:
    _, inputs = materials(phase="training")
    config = settings("tiny-test", "training", "sgd")
    YOLO.check_inputs(config, inputs)
    with pytest.raises(TensorError, match="'images' holds 255, wanted 0 to 1"):
        YOLO.check_inputs(config, {"images": inputs["images"] * 0 + 255})
    wrong = inputs["targets"].copy()
    wrong[0, 0, 0] = 4
    with pytest.raises(TensorError):
        YOLO.check_inputs(config, {**inputs, "targets": wrong})


def test_what_upstreams_files_hold_beside_the_weights_is_known() -> None:
    assert YOLO.ignores("model.0.bn.num_batches_tracked")
    assert YOLO.ignores("model.24.anchor_grid")
    assert not YOLO.ignores("model.24.anchors")


def test_training_follows_nesterov_and_nothing_else() -> None:
    assert YOLO.optimizer("sgd") == {"name": "sgd", "lr": 0.01, "momentum": 0.937, "nesterov": 1.0}
    with pytest.raises(UsageError, match="not 'adam'"):
        YOLO.optimizer("adam")


# --- folding ---------------------------------------------------------------------------------------------------------


def test_folded_weights_give_the_same_answer() -> None:
    config, (weights, inputs) = settings(), materials()
    folded = YOLO.prepared(config, "inference", weights)
    assert not any(".bn." in name for name in folded)
    found = reference.forward(config, exact(folded), inputs["images"].astype(np.float64))
    for name, value in truth().items():
        assert relative_error(found[name], value) < 1e-6, name
    assert YOLO.prepared(settings(variant="unfused"), "inference", weights) is weights


@pytest.mark.parametrize("forgotten", ["running_mean", "running_var", "weight", "bias"])
def test_folding_that_forgets_a_vector_is_seen_at_every_precision(forgotten: str) -> None:
    config, (weights, inputs) = settings(), materials()
    neutral = {"running_mean": 0, "running_var": 1 - EPSILON, "weight": 1, "bias": 0}[forgotten]
    spoilt = {
        name: np.full_like(value, neutral) if name.endswith(f".bn.{forgotten}") else value
        for name, value in weights.items()
    }
    found = reference.forward(config, exact(fold(config, spoilt)), inputs["images"].astype(np.float64))
    beyond_every_limit(found)


# --- the reference ---------------------------------------------------------------------------------------------------


def test_a_convolution_is_its_definition() -> None:
    stream = np.random.RandomState(0)
    x, weight = stream.random_sample((2, 3, 7, 9)), stream.random_sample((4, 3, 3, 3))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = reference.convolve(x, weight, 2, 1)
    assert found.shape == (2, 4, 4, 5)
    for b, o, i, j in [(0, 0, 0, 0), (1, 3, 3, 4), (0, 2, 1, 3)]:
        window = padded[b, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        assert found[b, o, i, j] == pytest.approx(float((window * weight[o]).sum()), rel=1e-12)


def test_a_convolution_in_blocks_of_rows_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = np.random.RandomState(1)
    x, weight = stream.random_sample((1, 3, 12, 12)), stream.random_sample((4, 3, 3, 3))
    whole = reference.convolve(x, weight, 1, 1)
    monkeypatch.setattr(reference, "_BLOCK", 27 * 12 * 5)  # five rows at a time
    assert np.allclose(reference.convolve(x, weight, 1, 1), whole, rtol=1e-13, atol=0)


def test_a_pool_looks_two_pixels_around_and_nowhere_beyond_the_border() -> None:
    x = -1 - np.arange(36.0).reshape(1, 1, 6, 6)
    found = reference.max_pool(x, 5)
    assert found[0, 0, 0, 0] == -1, "zero padding would give 0"
    assert found[0, 0, 5, 5] == x[0, 0, 3, 3]
    assert found.shape == x.shape


def test_boxes_are_decoded_as_defined_and_in_order() -> None:
    stream = np.random.RandomState(2)
    heads = [stream.random_sample((2, 3, 64 // stride, 64 // stride, 9)) * 4 - 2 for stride in STRIDES]
    anchors = stream.random_sample((3, 3, 2)) * 4
    rows = reference.decode(heads, anchors)
    assert rows.shape == (2, 3 * (64 + 16 + 4), 9)
    image, head, anchor, y, x = 1, 1, 2, 3, 1
    row = rows[image, 3 * 64 + anchor * 16 + y * 4 + x]
    s = 1 / (1 + np.exp(-heads[head][image, anchor, y, x]))
    assert row[0] == pytest.approx((2 * s[0] + x - 0.5) * 16)
    assert row[1] == pytest.approx((2 * s[1] + y - 0.5) * 16)
    assert row[2] == pytest.approx((2 * s[2]) ** 2 * anchors[head, anchor, 0] * 16)
    assert row[3] == pytest.approx((2 * s[3]) ** 2 * anchors[head, anchor, 1] * 16)
    assert np.allclose(row[4:], s[4:])


def test_sigmoid_survives_both_ends() -> None:
    with np.errstate(all="raise"):
        assert reference.sigmoid(np.array([-700.0, 0.0, 700.0])).tolist() == pytest.approx([0, 0.5, 1])


def test_training_normalises_by_the_batch_and_moves_the_running_statistics() -> None:
    weights, inputs = materials(phase="training")
    seen: dict[str, Array] = {}
    config = settings("tiny-test", "training", "sgd")
    network = reference.Network(config, exact(weights), train=True, observe=seen.__setitem__)
    network.heads(inputs["images"].astype(np.float64))
    before, after = seen["model.3.conv"], seen["model.3.bn"]
    gamma, beta = weights["model.3.bn.weight"], weights["model.3.bn.bias"]
    assert np.allclose(after.mean(axis=(0, 2, 3)), beta)
    assert np.allclose(after.std(axis=(0, 2, 3)), gamma, rtol=0.02)  # but for epsilon
    variance = np.var(before, axis=(0, 2, 3), ddof=1)
    wanted = (1 - MOMENTUM) * weights["model.3.bn.running_var"] + MOMENTUM * variance
    assert np.allclose(network.state["model.3.bn.running_var"], wanted)
    wanted = (1 - MOMENTUM) * weights["model.3.bn.running_mean"] + MOMENTUM * before.mean(axis=(0, 2, 3))
    assert np.allclose(network.state["model.3.bn.running_mean"], wanted)
    outputs = reference.training(config, exact(weights), inputs["images"].astype(np.float64))
    assert outputs["head.2"].shape == (2, 3, 2, 2, 9)
    assert relative_error(outputs["head.2"], truth()["head.2"]) > 0.1, "not the running statistics"


def test_training_has_no_truth_in_numpy_and_says_so() -> None:
    assert YOLO.producer("n", "training") == "cpu-fp32"
    assert YOLO.producer("x", "inference") == "numpy-fp64"
    with pytest.raises(UsageError, match="comes from a framework"):
        YOLO.reference(settings("tiny-test", "training", "sgd"), "training", "sgd", *materials(phase="training"))


# --- the photograph --------------------------------------------------------------------------------------------------


def test_the_pipeline_goes_from_a_file_to_words() -> None:
    config = settings(phase="pipeline")
    weights, inputs = materials(phase="pipeline")
    outputs = YOLO.reference(config, "pipeline", "default", weights, inputs)
    assert outputs["images"].shape == (2, 3, 64, 64)
    _, context = YOLO.preprocess(config, inputs)
    results = YOLO.postprocess(config, {name: value.astype(np.float32) for name, value in outputs.items()}, context)
    assert results["detections"].shape == (2, 300, 6)
    assert "object" in YOLO.answer(config, inputs, results)


def test_a_picture_can_be_given_but_not_for_training() -> None:
    from workloads.yolov5.images import asset

    config = settings()
    assert YOLO.file_inputs(config, "inference", 3, asset())["images"].shape == (3, 3, 64, 64)
    assert YOLO.file_inputs(config, "pipeline", 3, asset())["files"].shape[0] == 3
    with pytest.raises(UsageError, match="with boxes"):
        YOLO.file_inputs(config, "training", 1, asset())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_realistic_number_of_rows_looks_like_an_object(seed: int) -> None:
    config = settings("n")
    weights, inputs = materials("n", seed=seed)
    folded = YOLO.prepared(config, "inference", weights)
    scores = reference.forward(config, folded, inputs["images"])["predictions"][0]
    assert 5 < int((scores[:, 4] > 0.25).sum()) < 2000


# --- half precision, layer by layer ----------------------------------------------------------------------------------


def bfloat16(x: Array) -> Array:
    """float32 rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def layers_of(config: Config, weights: Arrays, images: Array) -> dict[str, Array]:
    """Every intermediate result by name."""
    seen: dict[str, Array] = {}
    reference.Network(config, weights, observe=seen.__setitem__).heads(images)
    return seen


@pytest.mark.parametrize("size", ["tiny-test", "n", pytest.param("s", marks=pytest.mark.slow)])
def test_every_layer_stays_in_range_and_close_in_fp16(size: str) -> None:
    """float16 in NumPy: each layer's result is rounded; products are summed in float32, as hardware does."""
    config = {**settings(size), "imgsz": 64 if size == "tiny-test" else 256}
    weights = YOLO.prepared(config, "inference", materials(size)[0])
    images = YOLO.inputs(config, "inference", 1, 0)["images"]
    wide = layers_of(config, weights, images)
    half = layers_of(
        config, {name: value.astype(np.float16) for name, value in weights.items()}, images.astype(np.float16)
    )
    limit = YOLO.tolerance(config, "inference", "fp16", "head.0").limit
    assert list(half) == list(wide)
    for name, value in wide.items():
        assert half[name].dtype == np.float16
        assert np.abs(value).max() < 1e3, f"{name} leaves too little room below 65504"
        assert value.std() > 1e-2, f"{name} vanishes"
        assert relative_error(half[name], value) < limit, name


def test_every_layer_stays_close_in_bf16() -> None:
    """The same with a convolution whose result is rounded to bfloat16; 8 bits of exponent cannot overflow here."""
    config, (weights, inputs) = settings(), materials()
    folded = YOLO.prepared(config, "inference", weights)
    wide = layers_of(config, folded, inputs["images"])
    exactly = reference.convolve

    def rounded(*arguments: Any) -> Array:
        return bfloat16(exactly(*arguments))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "convolve", rounded)
        half = layers_of(config, {name: bfloat16(value) for name, value in folded.items()}, bfloat16(inputs["images"]))
    limit = YOLO.tolerance(config, "inference", "bf16", "head.0").limit
    errors = {name: relative_error(half[name], value) for name, value in wide.items()}
    assert max(errors.values()) < limit
    assert max(errors.values()) > 1e-3, "rounding to 8 bits must show"


# --- tolerances ------------------------------------------------------------------------------------------------------


def beyond_every_limit(found: Arrays) -> None:
    """Some output is wrong at every precision."""
    for precision in PRECISIONS:
        excess = [
            relative_error(found[name], value) / YOLO.tolerance(settings(), "inference", precision, name).limit
            for name, value in truth().items()
        ]
        assert max(excess) > 1, precision


def without_shortcuts(plan: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return tuple(layer._replace(shortcut=False) for layer in plan)


def with_shortcuts_in_the_head(plan: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return tuple(layer._replace(shortcut=layer.kind == "C3") for layer in plan)


def with_small_pools(plan: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return tuple(layer._replace(kernel=1) if layer.kind == "SPPF" else layer for layer in plan)


@pytest.mark.parametrize("mistake", [without_shortcuts, with_shortcuts_in_the_head, with_small_pools])
def test_a_network_that_is_built_otherwise_is_found_at_every_precision(
    mistake: Callable[[tuple[Layer, ...]], tuple[Layer, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, (weights, inputs) = settings(), materials()
    monkeypatch.setattr(reference, "layers", lambda given: mistake(architecture.layers(given)))
    beyond_every_limit(reference.forward(config, exact(weights), inputs["images"].astype(np.float64)))


@pytest.mark.parametrize("wrong", [{"anchors": 1.3}, {"image": 1}])
def test_wrong_anchors_or_mirrored_images_are_found_at_every_precision(wrong: dict[str, float]) -> None:
    config, (weights, inputs) = settings(), materials()
    key = f"model.{DETECT}.anchors"
    spoilt = {**weights, key: weights[key] * np.float32(wrong.get("anchors", 1))}
    images = inputs["images"][..., ::-1] if "image" in wrong else inputs["images"]
    beyond_every_limit(reference.forward(config, exact(spoilt), images.astype(np.float64)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_limit_has_its_reason(precision: str) -> None:
    for output in ("images", "head.0", "predictions", "loss", "grad.model.0.conv.weight", "losses", "state.x"):
        limit = YOLO.tolerance(settings(), "inference", precision, output)
        assert dataclasses.asdict(limit)["limit"] > 0
        assert "u = " in limit.reason
    assert YOLO.tolerance(settings("x"), "inference", "fp32", "head.2").limit <= 1e-4


def test_sizes_are_upstreams() -> None:
    assert list(YOLO.sizes) == ["tiny-test", *MULTIPLES]
