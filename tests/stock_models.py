"""Tiny random models of transformers, saved as folders, one for each thing that is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wordorder.text.backends import ENDS_OF_TEXT, MASKS, add_special, byte_backend

TRAINED, VOCABULARY = 16, 263  # some more rows than the tokenizer of bytes has tokens
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
RMS = {**SIZES, "intermediate_size": 48, "max_position_embeddings": TRAINED}
GROUPED = {**RMS, "num_key_value_heads": 2}


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 5000.0, **settings}}


ORIGINAL = {"original_max_position_embeddings": 8}
DIVISORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 3.0, 4.0]}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 2.0, **ORIGINAL}
ROPES: dict[str, dict[str, Any]] = {
    "default": rope("default"),
    "linear": rope("linear", factor=4.0),
    "dynamic": rope("dynamic", factor=2.0),
    "yarn": rope("yarn", factor=4.0, beta_fast=3.0, beta_slow=0.5, **ORIGINAL),
    "yarn, usual": rope("yarn", factor=4.0, **ORIGINAL),
    "yarn, ends not rounded": rope(
        "yarn", factor=4.0, beta_fast=3.0, beta_slow=0.05, truncate=False, **ORIGINAL
    ),
    "yarn, attention factor": rope("yarn", factor=4.0, attention_factor=1.3, **ORIGINAL),
    "yarn, two scales": rope("yarn", factor=4.0, mscale=0.7, mscale_all_dim=0.3, **ORIGINAL),
    "longrope": rope("longrope", factor=4.0, **DIVISORS, **ORIGINAL),
    "longrope, attention factor": rope(
        "longrope", factor=4.0, attention_factor=1.1, **DIVISORS, **ORIGINAL
    ),
    "llama3": rope("llama3", factor=4.0, **LLAMA3),
    "proportional": rope("proportional", partial_rotary_factor=0.5, factor=2.0),
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": TRAINED}
NEOX = {**RMS, "use_parallel_residual": True}
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": TRAINED}
MPT = {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 2 * TRAINED}
MPT6 = {**MPT, "d_model": 48, "n_heads": 6}
OPT = {**SIZES, "ffn_dim": 48, "max_position_embeddings": TRAINED, "word_embed_proj_dim": 32}
GPT_NEO = {
    **{"hidden_size": 32, "num_layers": 2, "num_heads": 4},
    **{"intermediate_size": 48, "max_position_embeddings": TRAINED, "window_size": 5},
    "attention_types": [[["global", "local"], 1]],
}
MULTIPLIERS = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.7,
    "logits_scaling": 2.0,
}
GEMMA = {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 5}
PATTERN = {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}
LOCAL = {"rope_type": "default", "rope_theta": 1000.0}
NESTED = {
    "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0},
    "sliding_attention": LOCAL,
}
BERT = {**RMS, "type_vocab_size": 2}
GPT_OSS = {
    **GROUPED,
    "head_dim": 8,
    "num_local_experts": 6,
    "num_experts_per_tok": 2,
    "sliding_window": 5,
}

DEEPSEEK = {
    **RMS,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 24,
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "kv_lora_rank": 12,
    "q_lora_rank": 10,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 6,
    "v_head_dim": 5,
    "num_key_value_heads": 4,
}
MODERN = {
    **RMS,
    "num_hidden_layers": 4,
    "local_attention": 6,
    "global_attn_every_n_layers": 3,
    "cls_token_id": None,
    "sep_token_id": None,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
        "sliding_attention": LOCAL,
    },
}
V3 = {**DEEPSEEK, "n_group": 3, "topk_group": 2, "num_nextn_predict_layers": 0}
V3_YARN = rope("yarn", factor=4.0, mscale=1.0, mscale_all_dim=1.0, **ORIGINAL)
V2_YARN = rope("yarn", factor=4.0, mscale=0.707, mscale_all_dim=0.707, **ORIGINAL)

# class -> {what is special about a model: the fields of its configuration}
STOCK: dict[str, dict[str, dict[str, Any]]] = {
    "GPT2LMHeadModel": {
        "default": GPT2,
        "untied": {**GPT2, "tie_word_embeddings": False, "activation_function": "gelu"},
        "inner width": {**GPT2, "n_inner": 40},
    },
    "LlamaForCausalLM": {
        **{name: {**GROUPED, **settings} for name, settings in ROPES.items()},
        "head_dim": {**GROUPED, "head_dim": 12, "tie_word_embeddings": True},
        "attention biases": {**GROUPED, "attention_bias": True},
        "biases": {**GROUPED, "attention_bias": True, "mlp_bias": True},
    },
    "MistralForCausalLM": {
        "window": {**GROUPED, "sliding_window": 5},
        "no window": {**GROUPED, "sliding_window": None},
    },
    "Qwen3ForCausalLM": {
        "default": {**GROUPED, "head_dim": 8},
        "windows": {
            **GROUPED,
            "head_dim": 12,
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
        },
        "yarn, attention factor": {
            **GROUPED,
            "head_dim": 8,
            **ROPES["yarn, attention factor"],
        },
    },
    "GPTNeoXForCausalLM": {
        "partial": {**NEOX, **rope("default", partial_rotary_factor=0.25)},
        "default keys": NEOX,
        "whole, sequential": {
            **NEOX,
            "use_parallel_residual": False,
            **rope("linear", factor=2.0, partial_rotary_factor=1.0),
        },
        "no attention biases, tied": {
            **NEOX,
            "attention_bias": False,
            "tie_word_embeddings": True,
            **rope("default", partial_rotary_factor=0.5),
        },
    },
    "MptForCausalLM": {"4 heads": MPT, "6 heads": MPT6},
    "BloomForCausalLM": {"4 heads": BLOOM, "6 heads": {**BLOOM, "hidden_size": 48, "n_head": 6}},
    "SmolLM3ForCausalLM": {
        "pattern": {**GROUPED, "num_hidden_layers": 5},
        "windows": {
            **GROUPED,
            "no_rope_layers": [0, 1],
            "use_sliding_window": True,
            "sliding_window": 5,
            "attention_bias": True,
        },
    },
    "Qwen2ForCausalLM": {
        "default": GROUPED,
        "windows": {
            **GROUPED,
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 1,
        },
    },
    "GPTNeoForCausalLM": {
        "windows": GPT_NEO,
        "global": {**GPT_NEO, "attention_types": [[["global"], 2]], "tie_word_embeddings": False},
    },
    "OPTForCausalLM": {"default": OPT, "untied": {**OPT, "tie_word_embeddings": False}},
    "GraniteForCausalLM": {
        "default": {**GROUPED, **MULTIPLIERS},
        "tied, biases": {
            **GROUPED,
            **MULTIPLIERS,
            "tie_word_embeddings": True,
            "attention_bias": True,
        },
    },
    "GraniteSWAForCausalLM": {
        "bases": {
            **GROUPED,
            "num_hidden_layers": 3,
            "attention_multiplier": 8**-0.5,
            "sliding_window": 5,
            "layer_rope_theta": [5000.0, 100, 0],
            "attention_bias": True,
        },
        "multipliers": {**GROUPED, **MULTIPLIERS, "sliding_window": 5, "num_hidden_layers": 5},
        "yarn, untied": {
            **GROUPED,
            "layer_types": ["sliding_attention"] * 2,
            "sliding_window": 5,
            "tie_word_embeddings": False,
            **ROPES["yarn, ends not rounded"],
        },
    },
    "GptOssForCausalLM": {
        "default": {**GPT_OSS, **ROPES["yarn, ends not rounded"]},
        "attention factor, no attention biases, tied": {
            **GPT_OSS,
            "num_hidden_layers": 3,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "layer_types": ["full_attention", "full_attention", "sliding_attention"],
            **ROPES["yarn, attention factor"],
        },
        "no windows": {**GPT_OSS, "layer_types": ["full_attention"] * 2, **rope("default")},
    },
    "Gemma3ForCausalLM": {
        "default": {**GEMMA, "num_hidden_layers": 6},
        "linear": {**GEMMA, **PATTERN, "rope_parameters": NESTED},
        "untied, capped": {
            **GEMMA,
            **PATTERN,
            "tie_word_embeddings": False,
            "final_logit_softcapping": 3.0,
        },
    },
    "Gemma2ForCausalLM": {
        "default": {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        "uncapped, attention factor": {
            **GEMMA,
            "layer_types": ["full_attention", "sliding_attention"],
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            **ROPES["yarn, attention factor"],
        },
    },
    "ModernBertForMaskedLM": {
        "default": {**MODERN},
        "biases, untied": {
            **MODERN,
            "norm_bias": True,
            "attention_bias": True,
            "tie_word_embeddings": False,
            "decoder_bias": False,
            "hidden_activation": "silu",
            "classifier_activation": "silu",
        },
    },
    "ModernBertModel": {"default": {**MODERN, "num_hidden_layers": 3}},
    "DeepseekV3ForCausalLM": {
        "yarn": {**V3, **V3_YARN},
        "yarn, two scales": {**V3, **rope("yarn", factor=4.0, mscale_all_dim=0.5, **ORIGINAL)},
        "dense, whole queries, epsilon": {
            **V3,
            "q_lora_rank": None,
            "first_k_dense_replace": 3,
            "rms_norm_eps": 1e-3,
            "rope_interleave": False,
            "num_nextn_predict_layers": 1,
        },
    },
    "DeepseekV2ForCausalLM": {
        "default": {**DEEPSEEK, "n_group": 1, "topk_group": 1},
        "two scales, groups": {
            **DEEPSEEK,
            "topk_method": "group_limited_greedy",
            "n_group": 3,
            "topk_group": 2,
            "routed_scaling_factor": 4.0,
            **V2_YARN,
        },
    },
    "BertForMaskedLM": {
        "default": BERT,
        "tanh, untied": {**BERT, "hidden_act": "gelu_new", "tie_word_embeddings": False},
    },
    "BertModel": {"default": BERT},
}
TOKENS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))


@torch.no_grad()
def stock_model(class_name: str, fields: dict[str, Any]) -> Any:
    """Return a model with random weights, none of them zero or one."""
    import transformers

    kind = getattr(transformers, class_name)
    config_class = kind.config_class
    if class_name.startswith("Gemma3"):
        config_class = transformers.Gemma3TextConfig
    config = config_class(vocab_size=VOCABULARY, **{**TOKENS, **fields})
    model = kind(config)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = parameter.dim() < 2
        scale = 0.3 if is_norm or "embed" in name else parameter.shape[-1] ** -0.5
        around = is_norm and name.endswith("weight") and not class_name.startswith("Gemma")
        parameter.copy_(noise * scale + around)  # Gemma adds the 1
    for name, value in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return model.eval()


def save_tokenizer(folder: Path, *, has_mask: bool = False) -> None:
    """Write a tokenizer of bytes."""
    backend = byte_backend()
    add_special(backend, ENDS_OF_TEXT)
    if has_mask:
        add_special(backend, MASKS)
    backend.save(str(folder / "tokenizer.json"))


def save_stock(folder: Path, class_name: str, fields: dict[str, Any], **options: Any) -> Any:
    """Write the folder of a random model, and return the model."""
    model = stock_model(class_name, fields)
    model.save_pretrained(folder, **options)
    save_tokenizer(folder, has_mask="Bert" in class_name)
    return model
