"""The classes of the modelling file, which hold every transformer of wordorder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor

from wordorder.errors import BadInput
from wordorder.interop.architecture import Architecture
from wordorder.interop.holders import OWN_CODE, Holder, stock_class
from wordorder.model import LanguageModel, ModelConfig

MODEL_TYPE = "wordorder"
UNHELD = ("interop.no-class", "interop.no-class-for-position")


def holder_of(config: ModelConfig, *, own_code: bool = False) -> Holder:
    """Return the stock class that holds a model, or if there is none that of the modelling file.

    Args:
        own_code: take the modelling file in any case.

    Raises:
        BadInput: neither holds the model: it is a GRU.
    """
    try:
        stock = stock_class(config)
    except BadInput as error:
        if error.code not in UNHELD:
            raise
        return OWN_CODE[config.causal]
    return OWN_CODE[config.causal] if own_code else stock


def why_own_code(config: ModelConfig) -> str:
    """Return why a model has a modelling file of its own, as a note for its user."""
    try:
        stock = stock_class(config)
    except BadInput:
        return (
            "no stock class of transformers holds this model, so the folder has a modelling file: "
            "load it with trust_remote_code=True"
        )
    return (
        f"the folder has a modelling file: load it with trust_remote_code=True; without --own-code "
        f"it would be a {stock.class_name}, which needs no code"
    )


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that the modelling file reads."""
    values = asdict(architecture.config)
    holder = OWN_CODE[architecture.config.causal]
    return {
        **{name: value for name, value in values.items() if name != "tied_embeddings"},
        "auto_map": {
            "AutoConfig": "configuration_wordorder.WordorderConfig",
            "AutoModel": "modelling_wordorder.WordorderModel",
            holder.auto_class: f"modelling_wordorder.{holder.class_name}",
        },
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under their names in the modelling file."""
    return {f"model.{name}": value.detach() for name, value in model.state_dict().items()}
