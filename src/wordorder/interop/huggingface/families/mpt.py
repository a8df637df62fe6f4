"""MPT: ALiBi, LayerNorm, no biases, and GELU by the error function."""

from __future__ import annotations

from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.weights import WeightMap, table_length

MODEL_TYPE = "mpt"
WEIGHTS = WeightMap(
    table="transformer.wte",
    head="lm_head",
    norm="transformer.norm_f",
    layer="transformer.blocks.{}.",
    names={
        "attention_norm": "norm_1",
        "joined": "attn.Wqkv",
        "attention.output": "attn.out_proj",
        "feed_forward_norm": "norm_2",
        "feed_forward.up": "ffn.up_proj",
        "feed_forward.down": "ffn.down_proj",
    },
    joined="parts",
)


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    return {
        "vocab_size": config.vocabulary_size,
        "d_model": config.width,
        "n_heads": config.heads,
        "n_layers": config.layers,
        "expansion_ratio": 4,
        "max_seq_len": table_length(architecture),
        "layer_norm_epsilon": config.norm_epsilon,
        "no_bias": True,
        "resid_pdrop": 0.0,
        "emb_pdrop": 0.0,
        "attn_config": {"alibi": True, "attn_pdrop": 0},
    }


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    width, heads = fields.integer("d_model"), fields.integer("n_heads")
    fields.fixed(
        expansion_ratio=4, logit_scale=None, no_bias=True, embedding_fraction=1.0, verbose=0
    )
    # ALiBi replaces the learned positions that this is the default of, and norms are LayerNorm
    # under both names that files give them.
    fields.get("learned_pos_emb")
    fields.choice("norm_type", dict.fromkeys(("low_precision_layernorm", "layernorm")), "layernorm")
    attention = fields.part("attn_config")
    attention.get("attn_impl")
    attention.fixed(
        attn_type="multihead_attention",
        clip_qkv=None,
        softmax_scale=(width / heads) ** -0.5,
        prefix_lm=False,
        qk_ln=False,
        attn_uses_sequence_id=False,
        alibi=True,
        alibi_bias_max=8,
    )
    attention.check_unread()
    options: dict[str, Any] = {
        "position": "alibi",
        "vocabulary_size": fields.integer("vocab_size"),
        "width": width,
        "layers": fields.integer("n_layers"),
        "heads": heads,
        "feed_forward": "gelu",
        "feed_forward_width": 4 * width,
        "norm": "layer",
        "norm_epsilon": fields.number("layer_norm_epsilon", 1e-5),
        "biases": False,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", True),
        "trained_length": fields.integer("max_seq_len"),
    }
    return Imported(options, WEIGHTS, longest=options["trained_length"])
