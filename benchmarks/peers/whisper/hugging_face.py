"""What the TensorFlow and the Flax peer share: transformers' names for weights, and its configuration. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Canonical words between dots -> transformers'.
_WORDS = {
    "blocks": "layers",
    "attn": "self_attn",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn": "encoder_attn",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp_ln": "final_layer_norm",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "out_proj",
    "ln_post": "layer_norm",
    "ln": "layer_norm",
    "token_embedding": "embed_tokens",
}


def renamed(key: str) -> str:
    """``encoder.blocks.0.attn.query.weight`` -> ``model.encoder.layers.0.self_attn.q_proj.weight``."""
    key = key.replace(".mlp.0.", ".fc1.").replace(".mlp.2.", ".fc2.")
    key = key.replace("positional_embedding", "embed_positions.weight")
    return ".".join(["model", *(_WORDS.get(word, word) for word in key.split("."))])


def transposed(name: str, value: Any) -> Any:
    """A weight in the layout of Keras and Flax: dense [in, out], convolution [width, in, out]; others as they are."""
    if "embed_" in name or value.ndim == 1:
        return value
    return value.transpose(2, 1, 0) if value.ndim == 3 else value.T


def whisper_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``WhisperConfig``. Ids of special tokens are the workload's; only its eot is suppressed."""
    return {
        "vocab_size": config["vocab"],
        "num_mel_bins": config["mels"],
        "d_model": config["state"],
        "encoder_layers": config["audio_layers"],
        "decoder_layers": config["text_layers"],
        "encoder_attention_heads": config["heads"],
        "decoder_attention_heads": config["heads"],
        "encoder_ffn_dim": 4 * config["state"],
        "decoder_ffn_dim": 4 * config["state"],
        "max_source_positions": config["audio_ctx"],
        "max_target_positions": config["text_ctx"],
        "decoder_start_token_id": config["prompt"][0],
        "bos_token_id": config["eot"],
        "eos_token_id": config["eot"],
        "pad_token_id": config["eot"],
        "suppress_tokens": [config["eot"]],
        "begin_suppress_tokens": None,
    }
