"""The default model's weights give the same logits in transformers' Qwen3.

Rotary dimensions are interleaved here and half-split there: rows of the query and key
projections, and the weights of their norms, are permuted. Qwen3 does not multiply word vectors:
the multiplier is folded into the table, and where the output layer is that table, its inverse
into the weights of the final norm.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wordorder.model import LanguageModel, ModelConfig

transformers = pytest.importorskip("transformers")

CLOSE = 1e-4


def half_split(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder each head's rows from pairs (0,1), (2,3), ... to all firsts, then all seconds."""
    heads = weight.unflatten(0, (-1, head_dim // 2, 2))
    return heads.transpose(1, 2).flatten(0, 2)


def as_qwen3(model: LanguageModel, attention: str = "eager") -> torch.nn.Module:
    """Return transformers' Qwen3 with a model's weights; `benchmarks/decode.py` uses it too."""
    config, rotary = model.config, model.position.instances[0]
    there = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=config.vocabulary_size,
            hidden_size=config.width,
            intermediate_size=config.feed_forward_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": rotary.resolved_base},
            tie_word_embeddings=config.tied_embeddings,
            max_position_embeddings=config.trained_length,
            attn_implementation=attention,
        )
    ).eval()
    own, weights = {part.name: part.value for part in model.parts()}, {}
    scale = config.embedding_scale
    weights["model.embed_tokens.weight"] = own["embedding.weight"] * scale
    weights["model.norm.weight"] = own["final_norm.weight"] / scale
    if not config.tied_embeddings:
        weights["lm_head.weight"] = own["head.weight"]
        weights["model.norm.weight"] = own["final_norm.weight"]
    names = {
        "attention_norm": "input_layernorm",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj",
    }
    turned = {
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
    }
    for layer in range(config.layers):
        for ours, theirs in names.items():
            weights[f"model.layers.{layer}.{theirs}.weight"] = own[f"blocks.{layer}.{ours}.weight"]
        for ours, theirs in turned.items():
            weight = half_split(own[f"blocks.{layer}.{ours}.weight"], config.head_dim)
            weights[f"model.layers.{layer}.{theirs}.weight"] = weight
    missing, unexpected = there.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    return there


@pytest.mark.parametrize(
    "options", [{}, {"key_value_heads": 2}, {"tied_embeddings": False}], ids=str
)
def test_default_model_is_qwen3_past_the_trained_length_too(options: dict) -> None:
    config = replace(ModelConfig(), vocabulary_size=101, trained_length=32, **options)
    model = LanguageModel(config).eval()
    assert model.config.embedding_scale == 192**0.5
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.3 if "norm" in name else parameter.shape[-1] ** -0.5
            if name == "embedding.weight":  # so that words are as large as what layers add
                spread /= model.config.embedding_scale
            value = torch.randn(parameter.shape, generator=generator) * spread
            parameter.copy_(value + ("norm" in name))
        tokens = torch.randint(0, 101, (2, 96), generator=generator)
        ours, theirs = model(tokens), as_qwen3(model)(tokens).logits
    assert ours.std() > 0.05
    torch.testing.assert_close(ours, theirs, rtol=0, atol=CLOSE)
