"""Gemma 2: as Gemma 3, with one rotary embedding, caps of scores and logits, and no QK-norm."""

from __future__ import annotations

from dataclasses import replace

from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.huggingface.rope_fields import read_rotary

from . import gemma3, rms_decoder
from .layer_kinds import FULL, SLIDING

MODEL_TYPE = "gemma2"
SCORE_CAP, LOGIT_CAP = 50.0, 30.0  # where a file has none; null is no cap


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    layers, head_dim = fields.integer("num_hidden_layers"), fields.integer("head_dim", 256)
    kinds = fields.sequence("layer_types", layers, rms_decoder.KINDS)
    if kinds is None:
        kinds = [FULL if i % 2 else SLIDING for i in range(layers)]
    window = fields.integer("sliding_window", 4096)
    rotary = read_rotary(fields, head_dim)
    fields.fixed(use_bidirectional_attention=False, attention_bias=False)
    options = {
        **gemma3.options_of(fields, head_dim),
        "position": rotary.spec,
        "windows": tuple(pattern([window if kind == SLIDING else 0 for kind in kinds])),
        "trained_length": rotary.trained_length,
        "attention_softcap": _cap(fields, "attn_logit_softcapping", SCORE_CAP),
        "logit_softcap": _cap(fields, "final_logit_softcapping", LOGIT_CAP),
    }
    constant = fields.number("query_pre_attn_scalar", 256.0)
    factor = rotary.score_factor * (head_dim / constant) ** 0.5
    return Imported(options, replace(gemma3.WEIGHTS, query_factor=factor))


def _cap(fields: Fields, name: str, default: float) -> float:
    """Return a cap; 0 where it is null."""
    is_null = name in fields.values and fields.get(name) is None
    return 0.0 if is_null else fields.number(name, default)
