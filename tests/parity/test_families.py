"""The same weights give the same logits and gradients in transformers' models of eight families.

Nothing is downloaded: the models are made from configurations and filled by the maps that exports
use, from models whose every weight is random. Compared past the trained length too, and on the
gradients of the loss, so that the backward passes written out here are held to autograd's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from random_weights import random_model
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.interop.huggingface.convert import converted

transformers = pytest.importorskip("transformers")

# Logits spread by 1 to 6, and float32 sums are in another order on the two sides.
CLOSE = 1e-4
TRAINED, PAST = 16, 40
VOCABULARY = 50

GPT = {"norm": "layer", "norm_epsilon": 1e-5, "biases": True, "qk_norm": False}
BLOOM = {**GPT, "position": "alibi", "feed_forward": "gelu_tanh", "embedding_norm": True}
MPT = {**GPT, "position": "alibi", "feed_forward": "gelu", "biases": False}
SIX = {"heads": 6, "width": 48}
BERT = {
    **GPT,
    "position": "learned",
    "feed_forward": "gelu",
    "norm_placement": "after",
    "embedding_norm": True,
    "causal": False,
    "trained_length": PAST,
}
DENSE_DEEPSEEK = {
    "attention": "latent",
    "latent_dim": 12,
    "query_latent_dim": 10,
    "rotary_head_dim": 6,
    "value_head_dim": 5,
    "tied_embeddings": False,
}
DEEPSEEK_V3 = {
    **DENSE_DEEPSEEK,
    "position": "rotary:base=5000,scaling=yarn,factor=4,original_length=8",
    "experts": 6,
    "shared_experts": 2,
    "expert_width": 16,
    "dense_layers": 1,
    "router": "sigmoid",
    "expert_groups": 3,
    "active_groups": 2,
    "routed_scale": 2.5,
}
DEEPSEEK_V2 = {**DEEPSEEK_V3, "router": "softmax", "normalized_routing": False}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3ForCausalLM", {"position": "rotary:base=5000", "key_value_heads": 2}),
    "qwen3-windows": ("Qwen3ForCausalLM", {"position": "rotary:base=5000", "windows": (5, 0)}),
    "qwen3-untied": ("Qwen3ForCausalLM", {"tied_embeddings": False}),
    "llama": (
        "LlamaForCausalLM",
        {
            "position": "rotary:base=10000",
            "key_value_heads": 2,
            "qk_norm": False,
            "tied_embeddings": False,
        },
    ),
    "smollm3": (
        "SmolLM3ForCausalLM",
        {
            "position": "rotary:base=20000/rotary:base=20000/rotary:base=20000/none",
            "key_value_heads": 2,
            "qk_norm": False,
            "layers": 5,
        },
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {**GPT, "position": "learned", "feed_forward": "gelu_tanh", "trained_length": PAST},
    ),
    "gpt-neox": (
        "GPTNeoXForCausalLM",
        {
            **GPT,
            "position": "rotary:fraction=0.25,base=10000",
            "feed_forward": "gelu",
            "parallel_residual": True,
            "tied_embeddings": False,
            "width": 64,
        },
    ),
    "bloom": ("BloomForCausalLM", BLOOM),
    "bloom-6-heads": ("BloomForCausalLM", {**BLOOM, **SIX}),
    "mpt": ("MptForCausalLM", MPT),
    "mpt-6-heads": ("MptForCausalLM", {**MPT, **SIX}),
    "bert": ("BertForMaskedLM", BERT),
    "deepseek-v3": ("DeepseekV3ForCausalLM", DEEPSEEK_V3),
    "deepseek-v2": ("DeepseekV2ForCausalLM", DEEPSEEK_V2),
    "deepseek-dense": ("DeepseekV3ForCausalLM", DENSE_DEEPSEEK),
    "granite-swa": (
        "GraniteSWAForCausalLM",
        {
            "position": "rotary:base=5000/none",
            "qk_norm": False,
            "attention_sinks": True,
            "windows": (5, 0),
        },
    ),
    "gpt-oss": (
        "GptOssForCausalLM",
        {
            "position": "rotary:base=5000,scaling=yarn,factor=4,original_length=8,truncate=false",
            "qk_norm": False,
            "attention_sinks": True,
            "windows": (5, 0),
            "key_value_heads": 2,
            "experts": 6,
            "expert_width": 16,
            "feed_forward": "swiglu_clamped",
            "biases": True,
            "tied_embeddings": False,
        },
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_the_same_weights_give_the_same_logits(family: str, kernel: str) -> None:
    class_name, options = FAMILIES[family]
    # A multiplier of 1, so that the gradients of both tables are the same numbers.
    ours = random_model(
        VOCABULARY, **{"embedding_scale": 1.0, "trained_length": TRAINED, **options}
    )
    theirs = converted(ours, attention="eager")
    assert type(theirs).__name__ == class_name
    ours.attention_kernel = kernel
    tokens = torch.randint(VOCABULARY, (2, PAST), generator=torch.Generator().manual_seed(2))
    targets = tokens.roll(-1, 1)
    logits = theirs(tokens).logits
    assert logits.std() > 0.5
    torch.testing.assert_close(ours(tokens), logits, atol=CLOSE, rtol=0)
    expected = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    (theirs_gradient,) = torch.autograd.grad(expected, theirs.get_input_embeddings().weight)
    (gradient,) = torch.autograd.grad(ours(Batch(tokens, targets)).mean(), ours.embedding.weight)
    torch.testing.assert_close(gradient, theirs_gradient, atol=CLOSE, rtol=0)


def test_a_bidirectional_model_has_the_hidden_states_of_bert() -> None:
    ours = random_model(VOCABULARY, **BERT)
    theirs = converted(ours, attention="eager").bert
    tokens = torch.randint(VOCABULARY, (2, PAST), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = theirs(tokens).last_hidden_state
        torch.testing.assert_close(ours.hidden(tokens), expected, atol=CLOSE, rtol=0)
    assert expected.std() > 0.5
