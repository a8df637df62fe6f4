"""A model of wordorder as a configuration, as weights and as a module of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordorder.errors import Refused
from wordorder.interop.architecture import Architecture
from wordorder.interop.holders import Holder, stock_class
from wordorder.model import LanguageModel
from wordorder.positions.spec import as_line

from .families import FAMILIES
from .fields import TRAINED_LENGTH


def configuration(model: LanguageModel, holder: Holder) -> dict[str, Any]:
    """Return the fields of config.json, but for those of the tokenizer.

    No token is for padding: embedding tables of transformers do not train the row of one. The
    trained length is for imports, because the classes have a field for it only where it limits
    them, and some have another length there.
    """
    family = FAMILIES[holder.family]
    return {
        "architectures": [holder.class_name],
        "model_type": family.model_type,
        TRAINED_LENGTH: model.config.trained_length,
        **family.configuration(Architecture.of(model)),
        "tie_word_embeddings": model.head is None,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    }


def tensors(model: LanguageModel, holder: Holder) -> dict[str, Tensor]:
    """Return the weights under the names of a class, each a float32 tensor of its own."""
    weights = FAMILIES[holder.family].weights(model)
    return {name: value.float().contiguous().clone() for name, value in weights.items()}


def converted(model: LanguageModel, *, attention: str | None = None) -> Any:
    """Return transformers' module with a model's weights, in evaluation mode.

    Args:
        attention: transformers' name of the attention kernel, such as "eager"; None: its choice.

    Raises:
        BadInput: no stock class holds the model.
        Refused: transformers does not take the weights or the configuration.
    """
    import transformers

    holder = stock_class(model.config)
    config = transformers.AutoConfig.for_model(**configuration(model, holder))
    options: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    return loaded(
        getattr(transformers, holder.class_name),
        None,
        config=config,
        state_dict=tensors(model, holder),
        **options,
    )


def loaded(kind: Any, folder: Path | None, *, is_export: bool = True, **options: Any) -> Any:
    """Return transformers' model of a folder, or of a `config` and a `state_dict`, in float32.

    Args:
        kind: the class, or an Auto class.
        is_export: wordorder wrote the folder, so that no weight may be left over.

    Raises:
        Refused: a weight is missing, unknown or of another shape, or this version of transformers
            lacks what the model needs.
    """
    import transformers

    try:
        with quiet_transformers():
            module, report = kind.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, **options
            )
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        what = as_line(error) if is_export else f"{type(error).__name__} {error}"
        problem = " ".join(what.split())[:200]
        raise Refused(
            f"transformers {transformers.__version__} cannot load "
            f"{'the export' if is_export else folder} ({problem}): nothing was written",
            code="interop.cannot-be-loaded",
        ) from error
    for problem, names in report.items():
        if names and (is_export or problem != "unexpected_keys"):
            what = "the export" if is_export else str(folder)
            raise Refused(
                f"transformers loads {what} with {problem.replace('_', ' ')}: "
                f"{', '.join(sorted(map(str, names)))}: nothing was written",
                code="interop.weights-do-not-fit",
            )
    return module.eval()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from printing its progress bars and advice."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
