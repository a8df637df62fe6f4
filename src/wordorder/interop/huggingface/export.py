"""A run as a folder that transformers loads: configuration, weights, tokenizer and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from wordorder.atomic import write_text
from wordorder.interop.architecture import Architecture
from wordorder.interop.comparison import LogitComparison, exact
from wordorder.interop.export import Target, Written
from wordorder.interop.holders import Holder, stock_class
from wordorder.model import LanguageModel
from wordorder.patience import notify_if_slow
from wordorder.training.run import Run

from .card import model_card
from .convert import configuration, loaded, quiet_transformers, tensors
from .families import FAMILIES
from .rotary import static_length
from .tokenizer import check_tokenizer, write_tokenizer
from .verify import compare

FILES = (
    "config.json",
    "model.safetensors",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
)
# Of `wordorder generate`.
SAMPLING = {
    "do_sample": True,
    "temperature": 0.8,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.05,
    "max_new_tokens": 200,
}


def write(folder: Path, run: Run, model: LanguageModel, name: str) -> Written:
    """Write a run for a stock class of transformers, and compare both models.

    Args:
        folder: new and empty.
        name: of the folder in the end, for the model card.

    Raises:
        Refused: transformers' model or tokenizer differs from the run's.
    """
    import transformers

    holder = stock_class(run.model_config)
    with quiet_transformers():
        notes = _write(folder, run, model, holder)
        texts = check_tokenizer(folder, run.tokenizer)
        with notify_if_slow("comparing transformers' logits with the run's"):
            comparisons = _compared(folder, run, model, holder)
    write_text(folder / "README.md", model_card(name, run, holder, comparisons, notes))
    program = f"transformers {transformers.__version__}"
    return Written(holder.class_name, program, comparisons, texts, notes)


def _write(folder: Path, run: Run, model: LanguageModel, holder: Holder) -> tuple[str, ...]:
    """Write everything but the model card; return what a user must know."""
    import transformers

    architecture = Architecture.of(model)
    weights = tensors(model, holder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    end = run.tokenizer.end_of_text
    special = {"bos_token_id": end, "eos_token_id": end}
    config = {
        **configuration(model, holder),
        **special,
        "dtype": "float32",
        "torch_dtype": "float32",  # version 4's name
        "transformers_version": transformers.__version__,
    }
    _write_json(folder / "config.json", config)
    if not run.fills_in:
        _write_json(folder / "generation_config.json", _generation(architecture, special))
    write_tokenizer(
        folder,
        run.tokenizer,
        trained_length=model.config.trained_length,
        fills_in=run.fills_in,
    )
    return _notes(architecture)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def _generation(architecture: Architecture, special: dict[str, int]) -> dict[str, Any]:
    """Return generation_config.json: the sampling of `wordorder generate`."""
    settings: dict[str, Any] = {
        **special,
        "pad_token_id": special["eos_token_id"],
        **SAMPLING,
    }
    if _static_length(architecture) is not None:
        settings["use_cache"] = False
    return settings


def _static_length(architecture: Architecture) -> int | None:
    return static_length(next(iter(architecture.rotaries), None))


def _notes(architecture: Architecture) -> tuple[str, ...]:
    if (length := _static_length(architecture)) is None:
        return ()
    rotary = architecture.rotaries[0]
    notes = [
        f"past {length:,} tokens transformers' cache keeps keys that {rotary.scaling} scaling "
        "turned for a shorter text: generation_config.json has use_cache false, which is exact"
    ]
    if rotary.scaling == "dynamic":
        notes.append(
            "transformers keeps the frequencies of the longest text so far: after one, load the "
            f"model anew before a shorter text of more than {length:,} tokens"
        )
    return tuple(notes)


def _compared(
    folder: Path, run: Run, model: LanguageModel, holder: Holder
) -> tuple[LogitComparison, ...]:
    """Return the comparisons of a written folder with its run.

    Raises:
        Refused: one that is not exact.
    """
    import transformers

    auto = getattr(transformers, holder.auto_class)
    theirs = loaded(auto, folder, use_safetensors=True, local_files_only=True)
    architecture = Architecture.of(model)
    longest = FAMILIES[holder.family].longest(architecture)
    static = _static_length(architecture)
    comparisons = compare(model, theirs, longest=longest, static_length=static)
    return exact(comparisons, holder=holder.class_name, original=str(run.folder))


HUGGING_FACE = Target("hf", "transformers", ("transformers",), stock_class, write, FILES)
