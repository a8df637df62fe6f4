"""DeepSeek's maps: a model written and read again, and transformers' random weights read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exported_runs import ROWS
from random_weights import random_model

from wordorder.interop.huggingface.families import deepseek
from wordorder.model import LanguageModel

transformers = pytest.importorskip("transformers")

CLASSES = ("DeepseekV3ForCausalLM", "DeepseekV2ForCausalLM")
MODELS = [options for name in CLASSES for options in ROWS[name].values()]


@pytest.mark.parametrize("options", MODELS)
def test_reading_is_the_inverse_of_writing(options: dict[str, Any]) -> None:
    model = random_model(50, **options)
    stored = deepseek.WEIGHTS.write(model)
    with torch.device("meta"):
        shapes = LanguageModel(model.config)
    read = dict(deepseek.WEIGHTS.read(stored, shapes))
    assert read.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(read[name], value, atol=1e-7, rtol=1e-6)


@torch.no_grad()
def test_random_weights_of_transformers_give_its_logits() -> None:
    """The scores' factor of V3's own YaRN settings, with mscale 1, is the paper's."""
    torch.manual_seed(0)
    settings = {
        "rope_type": "yarn",
        "rope_theta": 5000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 4.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }
    theirs = transformers.DeepseekV3ForCausalLM(
        transformers.DeepseekV3Config(
            vocab_size=50, hidden_size=32, intermediate_size=48, moe_intermediate_size=24,
            num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, n_routed_experts=8,
            num_experts_per_tok=3, n_shared_experts=1, n_group=4, topk_group=2, kv_lora_rank=12,
            q_lora_rank=10, qk_nope_head_dim=8, qk_rope_head_dim=6, v_head_dim=5,
            first_k_dense_replace=1, max_position_embeddings=64, rope_parameters=settings,
            num_nextn_predict_layers=0, initializer_range=0.3, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    for name, value in theirs.named_buffers():
        if name.endswith(deepseek.STORED_BIAS):
            value.copy_(0.2 * torch.randn_like(value))
    model = LanguageModel(
        random_model(
            50, layers=3, heads=4, head_dim=8, attention="latent", latent_dim=12,
            query_latent_dim=10, rotary_head_dim=6, value_head_dim=5, feed_forward_width=48,
            experts=8, active_experts=3, shared_experts=1, expert_width=24, dense_layers=1,
            router="sigmoid", expert_groups=4, active_groups=2, routed_scale=2.5,
            tied_embeddings=False, embedding_scale=1.0, trained_length=16,
            position="rotary:base=5000,scaling=yarn,factor=4,original_length=16,beta_fast=4",
        ).config
    ).eval()  # fmt: skip
    stored = _as_files(theirs.state_dict())
    model.load_state_dict(dict(deepseek.WEIGHTS.read(stored, model)))
    tokens = torch.randint(50, (2, 40))
    expected = theirs(tokens).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(model(tokens), expected, atol=1e-4, rtol=1e-4)
    cache = model.new_cache()
    pieces = [model(piece, cache) for piece in tokens.tensor_split((20, 21), 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), expected, atol=1e-4, rtol=1e-4)


def _as_files(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights as files hold them: a tensor for each matrix of each expert."""
    stored = {}
    for name, value in state.items():
        owner, experts, kind = name.partition(".experts.")
        if not experts:
            stored[name] = value
            continue
        for e, matrix in enumerate(value):
            if kind == "down_proj":
                stored[f"{owner}.experts.{e}.down_proj.weight"] = matrix
            else:
                gate, up = matrix.chunk(2)
                stored[f"{owner}.experts.{e}.gate_proj.weight"] = gate
                stored[f"{owner}.experts.{e}.up_proj.weight"] = up
    return stored
