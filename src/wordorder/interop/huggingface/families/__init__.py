"""One file per family: what its config.json says of a model, and what it calls the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.model import LanguageModel

from ..own_code import holder as own_code
from ..weights import table_length
from . import bert, bloom, gpt2, gpt_neox, llama, mpt, qwen3, smollm3


class Family(NamedTuple):
    """The maps of one family.

    Args:
        model_type: transformers' name of the family.
        configuration: returns the fields of config.json that its class reads.
        weights: returns a model's weights under its class's names.
        longest: returns how many tokens the class has positions for; None: any number.
    """

    model_type: str
    configuration: Callable[[Architecture], dict[str, Any]]
    weights: Callable[[LanguageModel], dict[str, Tensor]]
    longest: Callable[[Architecture], int | None] = lambda architecture: None


# By the name that the table of holders gives.
FAMILIES = {
    "qwen3": Family(qwen3.MODEL_TYPE, qwen3.configuration, qwen3.weights),
    "llama": Family(llama.MODEL_TYPE, llama.configuration, llama.weights),
    "smollm3": Family(smollm3.MODEL_TYPE, smollm3.configuration, smollm3.weights),
    "gpt2": Family(gpt2.MODEL_TYPE, gpt2.configuration, gpt2.weights, table_length),
    "gpt_neox": Family(gpt_neox.MODEL_TYPE, gpt_neox.configuration, gpt_neox.weights),
    "bloom": Family(bloom.MODEL_TYPE, bloom.configuration, bloom.weights),
    "mpt": Family(mpt.MODEL_TYPE, mpt.configuration, mpt.weights, table_length),
    "bert": Family(bert.MODEL_TYPE, bert.configuration, bert.weights, table_length),
    own_code.FAMILY: Family(own_code.MODEL_TYPE, own_code.configuration, own_code.weights),
}
