"""Run folders of random weights, one for each thing that the table of holders says is held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from random_weights import random_model
from safetensors.torch import save_file

from wordorder.text.backends import ENDS_OF_TEXT, MASKS, add_special, byte_backend
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.run import Run

TRAINED = 16
RMS: dict[str, Any] = {"position": "rotary", "qk_norm": False}
GPT: dict[str, Any] = {"norm": "layer", "norm_epsilon": 1e-5, "biases": True, "qk_norm": False}
GPT_GELU = {**GPT, "feed_forward": "gelu"}
BLOOM = {**GPT, "feed_forward": "gelu_tanh", "position": "alibi", "embedding_norm": True}
MPT = {**GPT_GELU, "position": "alibi", "biases": False}
BERT = {
    **GPT_GELU,
    "norm_epsilon": 1e-12,
    "position": "learned:length=32",
    "norm_placement": "after",
    "embedding_norm": True,
    "causal": False,
}
DIVISORS = "short_factors=[1,1.1,1.2,1.3],long_factors=[1,2,3,4]"
UNTIED = {"tied_embeddings": False}

LATENT: dict[str, Any] = {
    "attention": "latent",
    "latent_dim": 12,
    "rotary_head_dim": 6,
    "value_head_dim": 5,
    "norm_epsilon": 1e-6,
}
EXPERTS = {**LATENT, "experts": 6, "shared_experts": 1, "expert_width": 24, "router": "sigmoid"}
SOFTMAX = {**EXPERTS, "router": "softmax", "normalized_routing": False, "routed_scale": 4.0}

GPT_OSS: dict[str, Any] = {
    **RMS,
    "attention_sinks": True,
    "experts": 6,
    "expert_width": 24,
    "feed_forward": "swiglu_clamped",
}
GEMMA: dict[str, Any] = {"norm_placement": "both", "feed_forward": "geglu_tanh"}
MODERN: dict[str, Any] = {
    **GPT,
    "position": "rotary:base=1000/rotary:base=20/rotary:base=20",
    "windows": (0, 4, 4),
    "layers": 4,
    "feed_forward": "geglu",
    "biases": False,
    "embedding_norm": True,
    "first_norm": False,
    "causal": False,
}
YARN = "rotary:scaling=yarn,factor=4,beta_fast=3,beta_slow=0.5"
LLAMA3 = "rotary:scaling=llama3,factor=4,high_frequency_factor=2,original_length=8"

# class -> {what is special about a model: its options}
ROWS: dict[str, dict[str, dict[str, Any]]] = {
    "Qwen3ForCausalLM": {
        "default": {},
        "grouped keys": {"key_value_heads": 2, "head_dim": 12, **UNTIED},
        "half layout": {"position": "rotary:layout=half,base=5000"},
        "windows": {"windows": (5, 0)},
        "yarn": {"position": "rotary:scaling=yarn,factor=4,original_length=8"},
        "proportional": {"position": "rotary:proportional=true,fraction=0.5"},
        "none": {"position": "none"},
        "jittered positions": {"position": "offset+rotary"},
    },
    "DeepseekV3ForCausalLM": {
        "dense": LATENT,
        "compressed queries": {**LATENT, "query_latent_dim": 10, **UNTIED},
        "experts": {**EXPERTS, "query_latent_dim": 10, "dense_layers": 1},
        "groups": {
            **EXPERTS,
            "expert_groups": 3,
            "active_groups": 2,
            "routed_scale": 2.5,
            "normalized_routing": False,
        },
        "yarn": {**EXPERTS, "position": "rotary:scaling=yarn,factor=4,original_length=8"},
        "dynamic": {**LATENT, "position": "rotary:scaling=dynamic,factor=2,original_length=12"},
        "llama3": {
            **LATENT,
            "position": "rotary:scaling=llama3,factor=4,high_frequency_factor=2,original_length=8",
        },
        "none": {**LATENT, "position": "none"},
        "half layout, epsilon": {
            **LATENT,
            "position": "rotary:layout=half",
            "query_latent_dim": 10,
            "norm_epsilon": 1e-3,
        },
    },
    "DeepseekV2ForCausalLM": {
        "experts": {**SOFTMAX, "query_latent_dim": 10, "dense_layers": 1, **UNTIED},
        "groups": {**SOFTMAX, "expert_groups": 3, "active_groups": 2},
        "yarn": {**SOFTMAX, "position": "rotary:scaling=yarn,factor=4,original_length=8"},
    },
    "LlamaForCausalLM": {
        "default": RMS,
        "biases": {**RMS, "biases": True, "key_value_heads": 2, **UNTIED},
        "linear": {**RMS, "position": "rotary:scaling=linear,factor=4"},
        "ntk": {**RMS, "position": "rotary:scaling=ntk,factor=4"},
        "dynamic": {**RMS, "position": "rotary:scaling=dynamic,factor=2,original_length=12"},
        "yarn": {**RMS, "position": "rotary:scaling=yarn,factor=4,beta_fast=3,beta_slow=0.5"},
        "yarn, ends not rounded": {**RMS, "position": f"{YARN},truncate=false"},
        "llama3": {
            **RMS,
            "position": "rotary:scaling=llama3,factor=4,high_frequency_factor=2,original_length=8",
        },
        "longrope": {**RMS, "position": f"rotary:scaling=longrope,factor=4,{DIVISORS}"},
        "proportional": {
            **RMS,
            "position": "rotary:proportional=true,fraction=0.5,scaling=linear,factor=2",
        },
    },
    "MistralForCausalLM": {
        "window": {**RMS, "windows": (5,), "key_value_heads": 2},
        "yarn": {**RMS, "windows": (5,), "position": YARN, **UNTIED},
    },
    "GraniteSWAForCausalLM": {
        "bases": {
            **RMS,
            "position": "rotary:base=100/rotary:base=20/none",
            "layers": 3,
            "windows": (5, 0, 5),
            "biases": True,
            "head_dim": 12,
        },
        "ntk": {**RMS, "position": "rotary:base=100/rotary:scaling=ntk,factor=4", **UNTIED},
        "sinks": {**RMS, "attention_sinks": True, "windows": (5, 0), "key_value_heads": 2},
    },
    "GptOssForCausalLM": {
        "yarn": {
            **GPT_OSS,
            "position": f"{YARN},truncate=false",
            "biases": True,
            "windows": (5, 0),
            "key_value_heads": 2,
            "head_dim": 12,
            **UNTIED,
        },
        "without sinks and biases": {**GPT_OSS, "attention_sinks": False},
        "one expert": {**GPT_OSS, "experts": 1, "biases": True, "windows": (5,)},
    },
    "Gemma3ForCausalLM": {
        "two bases": {
            **GEMMA,
            "position": "rotary:base=100/rotary:base=5000",
            "windows": (5, 0),
            "embedding_scale": 3.0,
        },
        "yarn, capped": {
            **GEMMA,
            "position": f"rotary:base=100/{YARN}",
            "windows": (5, 0),
            "logit_softcap": 3.0,
            "key_value_heads": 2,
            "head_dim": 12,
            **UNTIED,
        },
        "windows and none": {**GEMMA, "position": "rotary/none", "windows": (5, 0)},
        "no windows": {**GEMMA, "position": LLAMA3},
        "windows everywhere": {**GEMMA, "windows": (5,)},
    },
    "Gemma2ForCausalLM": {
        "caps": {
            **GEMMA,
            "qk_norm": False,
            "windows": (5, 0),
            "attention_softcap": 2.0,
            "logit_softcap": 3.0,
            "key_value_heads": 2,
        },
        "yarn": {**GEMMA, "qk_norm": False, "position": YARN, "embedding_scale": 3.0},
        "none": {**GEMMA, "qk_norm": False, "position": "none", **UNTIED},
    },
    "SmolLM3ForCausalLM": {
        "pattern": {**RMS, "position": "rotary/none", "biases": True, "layers": 3},
        "windows": {**RMS, "position": "rotary/none", "windows": (0, 5)},
        "none": {**RMS, "position": "none"},
    },
    "GPT2LMHeadModel": {
        "learned": {**GPT_GELU, "position": "learned"},
        "sinusoidal": {**GPT, "position": "sinusoidal", "feed_forward": "relu2", **UNTIED},
        "factored table": {**GPT, "position": "learned:rank=4", "feed_forward": "gelu_tanh"},
        "no biases": {**GPT_GELU, "position": "learned+sinusoidal", "biases": False},
    },
    "GPTNeoXForCausalLM": {
        "partial": {
            **GPT_GELU,
            "position": "rotary:fraction=0.25",
            "width": 64,
            "parallel_residual": True,
            **UNTIED,
        },
        "whole, tied": {**GPT_GELU, "position": "rotary:scaling=yarn,factor=4", "biases": False},
        "none": {**GPT_GELU, "position": "none"},
    },
    "BloomForCausalLM": {
        "4 heads": BLOOM,
        "6 heads": {**BLOOM, "heads": 6, "width": 48, "biases": False, **UNTIED},
    },
    "MptForCausalLM": {"4 heads": MPT, "6 heads": {**MPT, "heads": 6, "width": 48, **UNTIED}},
    "BertForMaskedLM": {
        "learned": BERT,
        "sinusoidal": {**BERT, "position": "sinusoidal", "biases": False, **UNTIED},
    },
    "ModernBertForMaskedLM": {
        "two bases": {**MODERN, "output_transform": True, "output_bias": True},
        "no transform": {**MODERN, "embedding_scale": 3.0, "biases": True},
        "untied, tanh": {**MODERN, "feed_forward": "geglu_tanh", **UNTIED},
        "no windows": {**MODERN, "windows": (), "position": "rotary", "feed_forward": "swiglu"},
    },
}

TANH = {**GPT, "feed_forward": "gelu_tanh"}
PROPORTIONAL = "rotary:proportional=true,fraction=0.5"

# architecture of llama.cpp -> {what is special about a model: its options}
GGUF_ROWS: dict[str, dict[str, dict[str, Any]]] = {
    "qwen3": {
        "default": {"position": "rotary:base=500"},
        "grouped keys": {"key_value_heads": 2, "head_dim": 12, **UNTIED},
        "half layout": {"position": "rotary:layout=half,base=5000"},
        "linear": {"position": "rotary:scaling=linear,factor=4"},
        "ntk": {"position": "rotary:scaling=ntk,factor=4"},
        "none": {"position": "none"},
        "jittered positions": {"position": "offset+rotary"},
    },
    "llama": {
        "default": RMS,
        "half layout": {**RMS, "position": "rotary:layout=half"},
        "biases": {**RMS, "biases": True, "key_value_heads": 2, **UNTIED},
        "linear": {**RMS, "position": "rotary:scaling=linear,factor=4"},
        "ntk": {**RMS, "position": "rotary:scaling=ntk,factor=4"},
        "yarn": {**RMS, "position": YARN},
        "yarn, ends not rounded": {**RMS, "position": f"{YARN},truncate=false"},
        "llama3": {**RMS, "position": LLAMA3},
        "longrope, long": {**RMS, "position": f"rotary:scaling=longrope,factor=4,{DIVISORS}"},
        "longrope, short": {
            **RMS,
            "position": f"rotary:scaling=longrope,factor=4,original_length=256,{DIVISORS}",
        },
        "proportional": {**RMS, "position": f"{PROPORTIONAL},scaling=linear,factor=2"},
        "partial": {**RMS, "position": "rotary:fraction=0.5,scaling=yarn,factor=4"},
        "partial, half layout": {**RMS, "position": "rotary:fraction=0.5,layout=half"},
    },
    "granite": {"none": {**RMS, "position": "none"}},
    "exaone-moe": {
        "yarn": {"position": YARN},
        "llama3": {"position": LLAMA3},
        "proportional": {"position": f"{PROPORTIONAL},layout=half"},
        "pattern": {"position": "rotary/none", "layers": 3, "key_value_heads": 2, **UNTIED},
        "windows": {"windows": (5,)},
        "windows in a pattern": {"position": "rotary/none", "windows": (5, 0)},
    },
    "granite_swa": {
        "pattern": {**RMS, "position": "rotary/none", "biases": True, "layers": 3},
        "windows": {**RMS, "position": "rotary/none", "windows": (0, 5)},
        "windows everywhere": {**RMS, "windows": (5,)},
        "sinks": {**RMS, "attention_sinks": True, "windows": (5, 0)},
    },
    "gemma3": {
        "two bases": {
            **GEMMA,
            "position": "rotary:base=100/rotary:base=100/rotary:base=5000,scaling=linear,factor=4",
            "windows": (5, 5, 0),
            "layers": 4,
            "embedding_scale": 3.0,
        },
        "ntk, untied": {
            **GEMMA,
            "position": "rotary:base=100/rotary:base=100,scaling=ntk,factor=4",
            "windows": (5, 0),
            "key_value_heads": 2,
            "head_dim": 12,
            **UNTIED,
        },
        "windows and none": {**GEMMA, "position": "rotary/none", "windows": (5, 0)},
        "no windows, capped": {
            **GEMMA,
            "logit_softcap": 2.0,
            "position": "rotary:scaling=linear,factor=4",
        },
        "windows everywhere, capped": {
            **GEMMA,
            "logit_softcap": 2.0,
            "windows": (5,),
            "position": "rotary:layout=half",
        },
        "no positions": {**GEMMA, "position": "none"},
    },
    "refact": {
        "4 heads": {**RMS, "position": "alibi"},
        "6 heads": {
            **RMS,
            "position": "alibi",
            "heads": 6,
            "width": 48,
            "key_value_heads": 2,
            **UNTIED,
        },
    },
    "gpt2": {
        "learned": {**TANH, "position": "learned"},
        "sinusoidal": {**TANH, "position": "sinusoidal", "biases": False, **UNTIED},
    },
    "gptneox": {
        "partial": {
            **TANH,
            "position": "rotary:fraction=0.25",
            "width": 64,
            "parallel_residual": True,
            **UNTIED,
        },
        "whole, tied": {**TANH, "position": "rotary:scaling=linear,factor=4", "biases": False},
        "none": {**TANH, "position": "none"},
    },
    "bloom": {
        "4 heads": BLOOM,
        "6 heads": {**BLOOM, "heads": 6, "width": 48, "biases": False, **UNTIED},
    },
    "mpt": {"no biases": {**TANH, "position": "alibi", "biases": False}},
}


def byte_tokenizer(*, mask: bool = False) -> Tokenizer:
    """Return a tokenizer of bytes."""
    backend = byte_backend()
    add_special(backend, ENDS_OF_TEXT)
    if mask:
        add_special(backend, MASKS)
    return Tokenizer(backend)


def write_run(
    folder: Path, tokenizer: Tokenizer | None = None, *, trust: bool = False, **options: Any
) -> Run:
    """Return a run of a random model, by default with a tokenizer of bytes."""
    is_masked = not options.get("causal", True)
    tokenizer = tokenizer or byte_tokenizer(mask=is_masked)
    model = random_model(tokenizer.vocabulary_size, **{"trained_length": TRAINED, **options})
    folder.mkdir()
    tokenizer.save(folder / "tokenizer.json")
    save_file(model.state_dict(), folder / "model.safetensors")
    objective = "masked-token" if is_masked else "next-token"
    record = {
        "wordorder": "0",
        "model": model.config.to_dict(),
        "training": {"objective": objective},
    }
    (folder / "config.json").write_text(json.dumps(record), encoding="utf-8")
    return Run.load(folder, trust=trust)
