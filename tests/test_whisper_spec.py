"""The spec of workload ``whisper``: sizes, bytes, reference, ranges at every layer, tolerances."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import tensors, verify, workload
from bench.errors import TensorError, UsageError
from bench.workload import Arrays, Config
from workloads.whisper import config as sizes
from workloads.whisper import reference, some_tokens
from workloads.whisper import weights as naming

WHISPER = workload.get("whisper")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "amp-fp16", "amp-bf16")


def settings(size: str = "tiny-test", phase: str = "inference", variant: str = "default") -> Config:
    return WHISPER.settings(size, phase, variant)


def materials(phase: str = "inference", variant: str = "default", seed: int = 0) -> tuple[Config, Arrays, Arrays]:
    config = settings("tiny-test", phase, variant)
    return config, WHISPER.weights(config, seed), WHISPER.inputs(config, phase, 2, seed)


def exact(arrays: Arrays) -> Arrays:
    return {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in arrays.items()}


def truth() -> Arrays:
    config, weights, inputs = materials()
    return WHISPER.reference(config, "inference", "default", weights, inputs)


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "published"),
    # Hugging Face's counts, which hold the encoder's sinusoids; openai's tiny has 37,184,640 without them.
    [
        ("tiny", 37_760_640),
        ("base", 72_593_920),
        ("small", 241_734_912),
        ("medium", 763_857_920),
        ("large-v3", 1_543_490_560),
        ("turbo", 808_878_080),
    ],
)
def test_parameters_are_counted_as_published(size: str, published: int) -> None:
    assert sum(math.prod(shape) for shape in WHISPER.shapes(settings(size)).values()) == published
    if size == "tiny":
        assert published - math.prod(WHISPER.shapes(settings(size))["encoder.positional_embedding"]) == 37_184_640


def test_flops_of_tiny_are_those_of_its_products() -> None:
    tiny = settings("tiny")
    assert WHISPER.flops(settings("tiny", variant="encoder"), "inference", 1) == pytest.approx(36.9e9, rel=2e-3)
    prefill = WHISPER.flops(settings("tiny", variant="tokens-1"), "inference", 1) - sizes.encoder_flops(tiny)
    assert prefill == pytest.approx(3.68e9, rel=5e-3), "cross keys and values 3.54, the rest of the prompt 0.14"
    two = WHISPER.flops(settings("tiny", variant="tokens-2"), "inference", 1)
    step = two - WHISPER.flops(settings("tiny", variant="tokens-1"), "inference", 1)
    assert step == pytest.approx(0.0656e9, rel=5e-3)
    assert WHISPER.flops(tiny, "inference", 3) == 3 * WHISPER.flops(tiny, "inference", 1)


def test_a_variant_says_how_many_tokens() -> None:
    assert settings("tiny")["tokens"] == 32
    assert settings("tiny", variant="encoder")["tokens"] == 0
    assert settings("tiny", variant="tokens-445")["tokens"] == 445
    assert sizes.cache_length(settings("tiny", variant="tokens-445")) == 448
    with pytest.raises(UsageError, match=r"1 to 445 tokens here, not 446"):
        settings("tiny", variant="tokens-446")
    with pytest.raises(UsageError, match="1 to 445 tokens here, not 0"):
        settings("tiny", variant="tokens-0")
    with pytest.raises(UsageError, match="tokens-N"):
        settings("tiny", variant="token-5")


def test_items_are_seconds_and_tokens() -> None:
    assert WHISPER.items(settings("tiny"), "inference", 2) == {"audio s": 60.0, "tokens": 64.0}
    assert WHISPER.items(settings("tiny", variant="encoder"), "inference", 2) == {"audio s": 60.0}


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_the_weights_are_the_same_on_every_platform() -> None:
    config, weights, _ = materials()
    # Without the sinusoids: another libm may differ in a last bit that survives the cast to float32.
    drawn = {name: value for name, value in weights.items() if name != "encoder.positional_embedding"}
    assert tensors.digest(drawn)[:16] == "08c371edd969eb92"
    verify.check_tensors(weights, WHISPER.shapes(config))
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in weights.values())
    others = materials(seed=1)[1]
    same = [name for name in weights if np.array_equal(weights[name], others[name])]
    assert same == ["encoder.positional_embedding"]


def test_sinusoids_by_hand() -> None:
    table = naming.sinusoids(7, 6)
    rate = math.exp(-math.log(10000) / 2)
    assert table[5, 1] == pytest.approx(math.sin(5 * rate), rel=1e-6)
    assert table[5, 4] == pytest.approx(math.cos(5 * rate), rel=1e-6)


def test_inputs_hold_speech_and_valid_tokens() -> None:
    config, _, inputs = materials()
    assert inputs["mel"].shape == (2, 80, 100)
    assert inputs["mel"].std() > 0.1
    assert not np.array_equal(inputs["mel"][0], inputs["mel"][1])
    assert inputs["forced_tokens"].shape == (2, config["tokens"])
    assert inputs["forced_tokens"].dtype == np.int32
    assert list(materials(variant="encoder")[2]) == ["mel"]


def test_a_lesson_is_the_same_text_moved_by_one() -> None:
    config, _, inputs = materials("training", "adamw")
    tokens, labels = inputs["tokens"], inputs["labels"]
    assert tokens.shape == labels.shape == (2, len(config["prompt"]) + config["tokens"] - 1)
    assert tuple(tokens[0, :4]) == config["prompt"]
    taught = labels >= 0
    assert (labels[:, :-1][taught[:, :-1]] == tokens[:, 1:][taught[:, :-1]]).all()
    assert (taught.sum(1) == config["tokens"]).all()
    assert (labels[:, -1] == config["eot"]).all()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tokens", 96, "'tokens' holds 96, wanted 0 to 95"),
        ("tokens", -1, "'tokens' holds -1"),
        ("labels", -2, "'labels' holds -2, wanted -1"),
    ],
)
def test_ids_beyond_the_vocabulary_are_refused(name: str, value: int, words: str) -> None:
    config, _, inputs = materials("training", "adamw")
    WHISPER.check_inputs(config, inputs)
    spoilt = inputs[name].copy()
    spoilt[1, 2] = value
    with pytest.raises(TensorError, match=words):
        WHISPER.check_inputs(config, {**inputs, name: spoilt})
    with pytest.raises(TensorError, match="all -1"):
        WHISPER.check_inputs(config, {"labels": np.full((1, 3), -1, np.int32)})


# --- checkpoints -----------------------------------------------------------------------------------------------------


def hugging_face(key: str) -> str:
    """The name that transformers' Whisper has for ``key``: written apart from the code under test."""
    key = key.replace(".blocks.", ".layers.").replace("token_embedding", "embed_tokens")
    key = key.replace("positional_embedding", "embed_positions.weight")
    key = key.replace("cross_attn_ln", "encoder_attn_layer_norm").replace("attn_ln", "self_attn_layer_norm")
    key = key.replace(".cross_attn.", ".encoder_attn.").replace(".attn.", ".self_attn.")
    key = key.replace("mlp_ln", "final_layer_norm").replace("mlp.0", "fc1").replace("mlp.2", "fc2")
    key = key.replace("ln_post", "layer_norm").replace("decoder.ln.", "decoder.layer_norm.")
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
        key = key.replace(f"attn.{ours}.", f"attn.{theirs}.")
    return f"model.{key}"


def test_both_namings_of_checkpoints_become_canonical() -> None:
    config, weights, _ = materials()
    theirs = {hugging_face(name): value for name, value in weights.items()}
    assert "model.decoder.layers.1.encoder_attn.q_proj.weight" in theirs
    assert not set(theirs) & set(weights)
    theirs["proj_out.weight"] = weights["decoder.token_embedding.weight"]
    ours = {**weights, "decoder.mask": np.zeros((4, 4)), "alignment_heads": np.zeros(4)}
    del ours["encoder.positional_embedding"]
    for given in (theirs, ours):
        found = WHISPER.from_upstream(config, given)
        verify.check_tensors(found, WHISPER.shapes(config))
        assert all(np.array_equal(found[name], weights[name]) for name in weights)
    assert not any(WHISPER.ignores(name) for name in weights)
    strange = WHISPER.from_upstream(config, {"decoder.blocks.0.attn.rotary": np.zeros(1)})
    assert "decoder.blocks.0.attn.rotary" in strange, "what is not known is named later, not dropped"


# --- the reference ---------------------------------------------------------------------------------------------------


def test_operations_by_hand() -> None:
    x = np.array([[[-1.0, 0.5]]])
    assert reference.gelu(x)[0, 0] == pytest.approx([-0.15865525393145707, 0.34573123063700656], rel=1e-12)
    normed = reference.layer_norm({"n.weight": np.array([1.0, 2.0]), "n.bias": np.array([0.0, 1.0])}, "n", x)
    assert normed[0, 0] == pytest.approx([-1.0, 3.0], rel=1e-4)
    stream = np.random.RandomState(0)
    weights = {"c.weight": stream.random_sample((3, 2, 3)), "c.bias": stream.random_sample(3)}
    y, padded = stream.random_sample((1, 6, 2)), np.zeros((8, 2))
    padded[1:7] = y[0]
    by_hand = [(weights["c.weight"] * padded[2 * t : 2 * t + 3].T).sum((1, 2)) + weights["c.bias"] for t in range(3)]
    assert reference.conv1d(weights, "c", y, 2)[0] == pytest.approx(np.array(by_hand))
    assert reference.conv1d(weights, "c", y, 1).shape == (1, 6, 3)


def test_attention_is_a_weighted_mean_of_what_may_be_seen() -> None:
    q = np.zeros((1, 1, 2, 4))
    v = np.arange(8.0).reshape(1, 1, 2, 4)
    assert reference.attend(q, (q, v), False)[0, 0] == pytest.approx(np.tile([2.0, 3, 4, 5], (2, 1)))
    assert reference.attend(q, (q, v), True)[0, 0, 0] == pytest.approx(v[0, 0, 0])
    q[..., 0], k = math.log(3) * 2, np.zeros((1, 1, 2, 4))
    k[0, 0, 1, 0] = 1.0
    assert reference.attend(q, (k, v), False)[0, 0, 0, 0] == pytest.approx(3.0), "weights 1/4 and 3/4"


def test_the_walk_and_the_masked_pass_agree_where_the_own_tokens_are_forced() -> None:
    config, weights, inputs = materials()
    tokens = truth()["tokens"]
    forced = reference.inference(exact(weights), config, inputs["mel"].astype(np.float64), tokens)["forced_logits"]
    forced[..., config["eot"]] = -np.inf
    assert np.array_equal(forced.argmax(-1), tokens)
    assert forced.shape == (2, config["tokens"], config["vocab"])


@pytest.mark.parametrize("size", ["tiny-test"])
def test_greedy_tokens_are_many_and_clear(size: str) -> None:
    outputs = truth()
    config = settings(size)
    assert all(len(set(row)) >= 4 for row in outputs["tokens"].tolist())
    assert (outputs["tokens"] != config["eot"]).all()
    ranked = np.sort(outputs["forced_logits"], -1)
    margin = (ranked[..., -1] - ranked[..., -2]).min()
    assert margin > 100 * 1e-6 * np.abs(ranked).max(), "fp32 rounding must not flip a token"


def test_end_of_text_is_never_said() -> None:
    config, weights, inputs = materials()
    loud = {**weights, "decoder.ln.bias": weights["decoder.token_embedding.weight"][config["eot"]] * 100}
    outputs = WHISPER.reference(config, "inference", "default", loud, inputs)
    assert (outputs["first_logits"].argmax(-1) == config["eot"]).all(), "it would be the best"
    assert (outputs["tokens"] != config["eot"]).all()


def test_the_loss_is_cross_entropy_of_the_labels_alone() -> None:
    scores = np.zeros((1, 3, 2))
    scores[0, 1, 0], scores[0, 2] = math.log(3), np.nan
    loss = reference.cross_entropy(scores, np.array([[0, 1, -1]]))
    assert float(loss) == pytest.approx((math.log(2) + math.log(4)) / 2)
    config, weights, inputs = materials("training", "adamw")
    found = WHISPER.reference(config, "training", "adamw", weights, inputs)
    assert float(found["loss"]) == pytest.approx(math.log(config["vocab"]), rel=0.2), "nothing is learnt yet"


# --- ranges and half precision at every layer ------------------------------------------------------------------------


def rounded(x: Any, precision: str) -> Any:
    """``x`` as the nearest fp16 or bf16, in float32."""
    if precision == "fp16":
        return x.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


class Watch:
    """A ``layer`` of the reference that rounds as ``precision`` does (None: not) and keeps every result."""

    def __init__(self, precision: str | None = None) -> None:
        self.precision = precision
        self.seen: Arrays = {}

    def __call__(self, name: str, x: Any) -> Any:
        x = x if self.precision is None else rounded(x, self.precision)
        assert name not in self.seen
        self.seen[name] = x
        return x


def watched(config: Config, weights: Arrays, mel: Any, tokens: Any, precision: str | None = None) -> Arrays:
    """The result of every operation of one masked pass, in float32 arithmetic, perhaps rounded after each."""
    layer = Watch(precision)
    if precision is not None:
        weights = {name: rounded(value, precision) for name, value in weights.items()}
        mel = rounded(mel, precision)
    cross = reference.cross_key_values(weights, config, reference.encode(weights, config, mel, layer), layer)
    x, _ = reference.decode(weights, config, tokens, cross, None, layer)
    reference.logits(weights, x, layer)
    return layer.seen


def check_ranges(seen: Arrays) -> None:
    for name, value in seen.items():
        assert np.abs(value).max() < 1000, f"{name}: fp16 ends at 65,504, and products of activations need room"
        # Deviation over the last axis: a constant would be a layer that carries nothing.
        assert value.std(axis=-1).mean() > 0.02, name


def test_activations_stay_within_fp16_at_every_layer() -> None:
    config, weights, inputs = materials()
    seen = watched(config, weights, inputs["mel"], inputs["forced_tokens"])
    assert len(seen) > 60
    check_ranges(seen)
    loud = {**weights, "encoder.blocks.0.mlp.2.weight": weights["encoder.blocks.0.mlp.2.weight"] * 1000}
    with pytest.raises(AssertionError, match="fp16 ends"):
        check_ranges(watched(config, loud, inputs["mel"], inputs["forced_tokens"]))


def test_activations_of_the_deepest_model_stay_within_fp16() -> None:
    """large-v3's 32 blocks with a tenth of their channels on a fifteenth of the audio: residuals grow with depth."""
    config = {
        **settings("large-v3"),
        "audio_layers": 32,
        "text_layers": 32,
        "audio_ctx": 100,
        "vocab": 1000,
        "state": 128,
    }
    config |= {"heads": 2, "prompt": (1, 2), "eot": 3}
    mel = WHISPER.inputs({**config, "tokens": 0}, "inference", 1, 0)["mel"]
    check_ranges(watched(config, WHISPER.weights(config, 0), mel, some_tokens({"eot": 900}, 1, 6, 0)))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_within_tolerance_at_every_layer(precision: str) -> None:
    config, weights, inputs = materials()
    check_layers(config, weights, inputs["mel"], inputs["forced_tokens"], precision)


def check_layers(config: Config, weights: Arrays, mel: Any, tokens: Any, precision: str) -> None:
    """Every operation's result beside the unrounded one; residual branches may err more than what they are added to."""
    clean, rough = (watched(config, weights, mel, tokens, word) for word in (None, precision))
    limit = WHISPER.tolerance(config, "inference", precision, "audio_features").limit
    for name, value in clean.items():
        assert 0 < verify.relative_error(rough[name], value) < limit, name


@pytest.mark.slow
def test_half_precision_of_tiny_is_within_tolerance_at_every_layer() -> None:
    """A real size, on a third of its audio, to be done in seconds."""
    config = {**settings("tiny"), "audio_ctx": 500}
    inputs = WHISPER.inputs({**config, "tokens": 8}, "inference", 1, 0)
    weights = WHISPER.weights({**config, "vocab": 1000}, 0)
    small = {**config, "vocab": 1000}
    for precision in ("fp16", "bf16"):
        check_layers(small, weights, inputs["mel"], inputs["forced_tokens"] % 1000, precision)
    check_ranges(watched(small, weights, inputs["mel"], inputs["forced_tokens"] % 1000))


# --- tolerances ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_wrong_model_exceeds_every_tolerance(precision: str) -> None:
    """Saboteurs: forgotten biases, a missing norm, tokens that see the future, a cache that is one position late."""
    config, weights, inputs = materials()
    clean = truth()

    def judged(outputs: Arrays) -> verify.Comparison:
        return verify.compare(outputs, clean, lambda name: WHISPER.tolerance(config, "inference", precision, name))

    assert judged(clean).ok
    scrambled = weights["decoder.positional_embedding"].copy()
    scrambled[5:] = np.roll(scrambled[5:], 1, axis=0)
    saboteurs = {
        "bias": {**weights, "encoder.blocks.1.mlp.2.bias": weights["encoder.blocks.1.mlp.2.bias"] * 0},
        "conv": {**weights, "encoder.conv2.weight": weights["encoder.conv2.weight"][..., ::-1]},
        "cross": {
            **weights,
            "decoder.blocks.1.cross_attn.out.weight": weights["decoder.blocks.1.cross_attn.out.weight"] * 0,
        },
        "late": {**weights, "decoder.positional_embedding": scrambled},
    }
    for name, spoilt in saboteurs.items():
        assert not judged(WHISPER.reference(config, "inference", "default", spoilt, inputs)).ok, name
    cross = reference.cross_key_values(exact(weights), config, clean["audio_features"])
    prompt = np.tile(np.asarray(config["prompt"]), (2, 1))
    tokens = np.concatenate([prompt, inputs["forced_tokens"][:, :-1]], 1)
    x = leaking(exact(weights), config, tokens, cross)
    leaked = reference.logits(exact(weights), x[:, len(config["prompt"]) - 1 :])
    assert not judged({**clean, "forced_logits": leaked}).ok, "future tokens"


def leaking(weights: Arrays, config: Config, tokens: Any, cross: Any) -> Any:
    """The decoder without its causal mask: as if all of it came after keys and values of no position."""
    original = reference.attend
    try:
        reference.attend = lambda q, kv, causal: original(q, kv, False)
        return reference.decode(weights, config, tokens, cross)[0]
    finally:
        reference.attend = original


def test_an_optimizer_that_stands_still_is_found_where_it_can_move() -> None:
    """Five losses of tiny-test fall by 20 % (torch, fp32); standing still is that far off."""
    for precision in PRECISIONS:
        assert WHISPER.tolerance(settings(), "training", precision, "losses").limit < 0.1


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("output", ["audio_features", "forced_logits", "loss", "losses", "grad.decoder.ln.weight"])
def test_every_tolerance_has_a_reason_and_amp_is_no_looser_than_the_whole_cast(precision: str, output: str) -> None:
    found = WHISPER.tolerance(settings(), "training", precision, output)
    assert "u = " in found.reason
    assert found.limit <= WHISPER.tolerance(settings(), "training", precision.removeprefix("amp-"), output).limit
    assert WHISPER.tolerance(settings(), "inference", "fp32", output).limit <= (1e-4 if output != "losses" else 2e-4)


def test_only_adamw_trains() -> None:
    assert WHISPER.optimizer("adamw")["weight_decay"] == 0.01
    with pytest.raises(UsageError, match="adamw, not 'sgd'"):
        WHISPER.optimizer("sgd")


# --- pipeline --------------------------------------------------------------------------------------------------------


def test_a_pipeline_hears_the_same_speech() -> None:
    config = settings(phase="pipeline")
    files = WHISPER.inputs(config, "pipeline", 2, 0)
    model, context = WHISPER.preprocess(config, files)
    spoken = materials()[2]["mel"]
    assert np.array_equal(model["mel"][0], spoken[0])
    outputs = WHISPER.reference(config, "pipeline", "default", WHISPER.weights(config, 0), files)
    assert set(outputs) == {"mel", "forced_tokens", "audio_features", "first_logits", "tokens", "forced_logits"}
    results = WHISPER.postprocess(config, {"tokens": outputs["tokens"]}, context)
    words = WHISPER.answer(config, {**files, "vocabulary": np.zeros(0, np.uint8)}, results)
    assert str(outputs["tokens"][0, 0]) in words


def test_training_takes_no_recording() -> None:
    with pytest.raises(UsageError, match=r"tensors \(.npz\)"):
        WHISPER.file_inputs(settings(phase="training", variant="adamw"), "training", 1, Path("a.wav"))
