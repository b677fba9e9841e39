"""How far Whisper's outputs may lie from the reference, and why.

u is the unit roundoff: 2^-24 (fp32), 2^-11 (fp16), 2^-8 (bf16). The error is the larger of the relative L2 error and
the largest error over the largest value. Each limit was settled beside the errors measured in torch, TensorFlow and JAX
on a CPU (table in README.md) and lies 2 to 10 times above the largest of them. A forgotten bias, a wrong mask, a cache
entry in the wrong place or an optimizer that stands still lies beyond it; tests/test_whisper_spec.py proves that.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.workload import Config, Tolerance

#: output -> precision -> limit. fp32's ``losses``: Keras adds eps before the bias correction, the others after it.
LIMITS: Mapping[str, Mapping[str, float]] = {
    "mel": dict.fromkeys(("fp32", "fp16", "bf16", "amp-fp16", "amp-bf16"), 1e-5),
    "forced_tokens": dict.fromkeys(("fp32", "fp16", "bf16", "amp-fp16", "amp-bf16"), 0.0),
    "audio_features": {"fp32": 1e-5, "fp16": 8e-3, "bf16": 4e-2, "amp-fp16": 8e-3, "amp-bf16": 4e-2},
    "logits": {"fp32": 1e-5, "fp16": 8e-3, "bf16": 4e-2, "amp-fp16": 8e-3, "amp-bf16": 4e-2},
    "tokens": {"fp32": 0.0, "fp16": 1.0, "bf16": 1.0, "amp-fp16": 1.0, "amp-bf16": 1.0},
    "loss": {"fp32": 2e-6, "fp16": 1e-3, "bf16": 8e-3, "amp-fp16": 2e-4, "amp-bf16": 2e-3},
    "gradient": {"fp32": 1e-4, "fp16": 4e-2, "bf16": 2e-1, "amp-fp16": 4e-2, "amp-bf16": 2e-1},
    "losses": {"fp32": 2e-4, "fp16": 8e-3, "bf16": 6e-2, "amp-fp16": 2e-3, "amp-bf16": 1e-2},
    "state": {"fp32": 0.0, "fp16": 1e-3, "bf16": 8e-3, "amp-fp16": 1e-3, "amp-bf16": 8e-3},
}
KINDS: Mapping[str, str] = {
    "first_logits": "logits", "forced_logits": "logits",
}  # fmt: skip
_ROUNDING = {
    "fp32": "u = 6e-8; products of depth K <= 5120 summed in any order add sqrt(K) u at most",
    "tf32": "u = 4.9e-4 for the products' operands alone, as with amp-fp16, whose limits hold; all else is fp32",
    "fp16": "u = 4.9e-4; weights and activations are rounded at every operation",
    "bf16": "u = 3.9e-3; weights and activations are rounded at every operation",
    "amp-fp16": "u = 4.9e-4 for the products' operands and results; master weights and loss stay in fp32",
    "amp-bf16": "u = 3.9e-3 for the products' operands and results; master weights and loss stay in fp32",
}
_SPREAD = {
    "mel": "made on the host in float32 by one implementation; another NumPy may sum in another order",
    "forced_tokens": "made on the host",
    "audio_features": "each residual block adds rounding, and the last norm keeps its share",
    "logits": "the encoder's and the decoder's errors add up; one wrong cache entry moves them by far more",
    "tokens": "at fp32 every greedy token must be the same; in half precision one best token that flips between two "
    "near ones changes all after it, so the share that differs is reported and not judged",
    "loss": "a mean over the labels of differences of logits",
    "gradient": "errors of the forward pass and of the backward pass through softmax add up",
    "losses": "each of five steps starts from the rounding of the one before, and AdamW moves every weight by the "
    "learning rate whatever the size of its gradient, so small gradients' signs count in full",
    "state": "not trained: the encoder's sinusoids, rounded once",
}


def kind_of(output: str) -> str:
    """The row of ``LIMITS`` for an output's name."""
    head = output.split(".")[0]
    return {"grad": "gradient"}.get(head, KINDS.get(head, head))


def tolerance(config: Config, precision: str, output: str) -> Tolerance:
    """The limit of an output of inference, pipeline or training; the same for all sizes.

    Raises:
        KeyError: no such precision or output.
    """
    kind = kind_of(output)
    row = precision
    if precision == "tf32":  # what no product makes is as at fp32
        row = "fp32" if kind in ("mel", "forced_tokens", "state") else "amp-fp16"
    return Tolerance(LIMITS[kind][row], f"{_ROUNDING[precision]}; {_SPREAD[kind]}")
