"""One file per family: what its config.json says of a model, and what it calls the weights.

Each file maps both ways: `configuration` and a table of weights for exports, and `imported`, which
reads a config.json, with the same table for imports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.holders import OWN_CODE
from wordorder.interop.weights import table_length
from wordorder.model import LanguageModel

from ..fields import Fields, Imported
from ..own_code import holder as own_code
from . import (
    bert,
    bloom,
    deepseek,
    gemma2,
    gemma3,
    gpt2,
    gpt_neo,
    gpt_neox,
    gpt_oss,
    granite,
    granite_swa,
    llama,
    mistral,
    modernbert,
    mpt,
    opt,
    qwen2,
    qwen3,
    rms_decoder,
    smollm3,
)


class Family(NamedTuple):
    """The maps of one family, for exports.

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
    "qwen3": Family(qwen3.MODEL_TYPE, qwen3.configuration, rms_decoder.WEIGHTS.write),
    "llama": Family(llama.MODEL_TYPE, llama.configuration, rms_decoder.WEIGHTS.write),
    "mistral": Family(mistral.MODEL_TYPE, mistral.configuration, rms_decoder.WEIGHTS.write),
    "smollm3": Family(smollm3.MODEL_TYPE, smollm3.configuration, rms_decoder.WEIGHTS.write),
    "granite_swa": Family(
        granite_swa.MODEL_TYPE, granite_swa.configuration, granite_swa.WEIGHTS.write
    ),
    "gpt_oss": Family(gpt_oss.MODEL_TYPE, gpt_oss.configuration, gpt_oss.WEIGHTS.write),
    "gemma3": Family(gemma3.MODEL_TYPE, gemma3.configuration, gemma3.WEIGHTS.write),
    "gemma2": Family(gemma2.MODEL_TYPE, gemma3.settings, gemma3.WEIGHTS.write),
    "deepseek_v3": Family(deepseek.V3, deepseek.configuration_v3, deepseek.WEIGHTS.write),
    "deepseek_v2": Family(deepseek.V2, deepseek.configuration_v2, deepseek.WEIGHTS.write),
    "gpt2": Family(gpt2.MODEL_TYPE, gpt2.configuration, gpt2.WEIGHTS.write, table_length),
    "gpt_neox": Family(gpt_neox.MODEL_TYPE, gpt_neox.configuration, gpt_neox.WEIGHTS.write),
    "bloom": Family(bloom.MODEL_TYPE, bloom.configuration, bloom.WEIGHTS.write),
    "mpt": Family(mpt.MODEL_TYPE, mpt.configuration, mpt.WEIGHTS.write, table_length),
    "bert": Family(bert.MODEL_TYPE, bert.configuration, bert.BertWeights().write, table_length),
    "modernbert": Family(
        modernbert.MODEL_TYPE,
        modernbert.configuration,
        modernbert.ModernBertWeights().write,
    ),
    OWN_CODE[True].family: Family(own_code.MODEL_TYPE, own_code.configuration, own_code.weights),
}
# By transformers' name of the family.
IMPORTED: dict[str, Callable[[Fields], Imported]] = {
    "bert": bert.imported,
    "bloom": bloom.imported,
    "deepseek_v2": deepseek.imported_v2,
    "deepseek_v3": deepseek.imported_v3,
    "gemma2": gemma2.imported,
    "gemma3_text": gemma3.imported,
    "gpt2": gpt2.imported,
    "gpt_neo": gpt_neo.imported,
    "gpt_neox": gpt_neox.imported,
    "gpt_oss": gpt_oss.imported,
    "granite": granite.imported,
    "granite_swa": granite_swa.imported,
    "llama": llama.imported,
    "mistral": mistral.imported,
    "modernbert": modernbert.imported,
    "mpt": mpt.imported,
    "opt": opt.imported,
    "qwen2": qwen2.imported,
    "qwen3": qwen3.imported,
    "smollm3": smollm3.imported,
}
