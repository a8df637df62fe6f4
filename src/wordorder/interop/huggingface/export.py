"""A run as a folder that transformers loads: configuration, weights, tokenizer and model card."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from wordorder.atomic import write_text
from wordorder.batch import Batch
from wordorder.interop import chat_templates
from wordorder.interop.architecture import Architecture
from wordorder.interop.comparison import TOLERANCE, LogitComparison, exact
from wordorder.interop.export import Target, Written
from wordorder.interop.holders import Holder
from wordorder.interop.tokenizer_files import CHAT_TEMPLATE, beginning, padding, write_tokenizer
from wordorder.interop.verify import compare, exported_samples
from wordorder.interop.weights import DTYPES, rounded
from wordorder.model import LanguageModel
from wordorder.patience import notify_if_slow
from wordorder.training.run import Run

from .card import model_card
from .convert import configuration, loaded, quiet_transformers, tensors
from .families import FAMILIES
from .own_code.export import FILES as CODE_FILES
from .own_code.export import module_cache, write_code
from .own_code.holder import holder_of, why_own_code
from .rotary import static_length
from .tokenizer import chat_template_differs, check_tokenizer

FILES = (
    CHAT_TEMPLATE,
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
}
# Differences that rounded weights may make, as shares of the spread of logits: some three times the
# largest measured, on random models of up to 12 layers of width 384.
SHARES = {"f16": 0.04, "bf16": 0.3}


def write(
    folder: Path,
    run: Run,
    model: LanguageModel,
    name: str,
    *,
    own_code: bool = False,
    dtype: str = "f32",
) -> Written:
    """Write a run for a class of transformers, and compare both models.

    Weights of f16 or bf16 differ by their rounding. That the maps are right is shown first by a
    folder of f32, which is exact and does not stay.

    Args:
        folder: new and empty.
        name: of the folder in the end, for the model card.
        own_code: write a modelling file although a stock class holds the model.
        dtype: of the weights.

    Raises:
        BadInput: the file of a user's embedding has imports that cannot come along, or a weight is
            too large for the dtype.
        Refused: transformers' model or tokenizer differs from the run's.
    """
    import transformers

    holder = holder_of(run.model_config, own_code=own_code)
    with quiet_transformers(), module_cache():
        if dtype != "f32":
            with tempfile.TemporaryDirectory(dir=folder.parent) as spare:
                write_model(Path(spare), run, model, holder)
                _compared(Path(spare), run, model, holder)
        notes = write_model(folder, run, model, holder, dtype=dtype)
        texts = check_tokenizer(folder, run, has_code=holder.has_code)
        notes += _check_chat_template(folder, run, holder)
        with notify_if_slow("comparing transformers' logits with the run's"):
            comparisons = _compared(folder, run, model, holder, dtype=dtype)
    write_text(folder / "README.md", model_card(name, run, holder, comparisons, notes))
    program = f"transformers {transformers.__version__}"
    return Written(holder.class_name, program, comparisons, texts, notes)


def write_model(
    folder: Path, run: Run, model: LanguageModel, holder: Holder, *, dtype: str = "f32"
) -> tuple[str, ...]:
    """Write everything but the model card, without comparing; return what a user must know."""
    import transformers

    architecture = Architecture.of(model)
    written = tensors(model, holder)
    weights = {name: rounded(name, weight, dtype) for name, weight in written.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    ends = chat_templates.ends_of_answer(run)
    special: dict[str, int | list[int]] = {
        "bos_token_id": beginning(run),
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
    }
    config = {
        **configuration(model, holder),
        **special,
        "dtype": (name := str(DTYPES[dtype]).removeprefix("torch.")),
        "torch_dtype": name,  # version 4's name
        "transformers_version": transformers.__version__,
    }
    _write_json(folder / "config.json", config)
    if not run.fills_in:
        static = None if holder.has_code else _static_length(architecture)
        special["pad_token_id"] = padding(run.tokenizer)
        settings = _generation(special, static, model.config.trained_length)
        _write_json(folder / "generation_config.json", settings)
    write_tokenizer(
        folder,
        run,
        trained_length=model.config.trained_length,
        chat_template=chat_templates.exported_template(run),
    )
    if holder.has_code:
        return (why_own_code(run.model_config), *write_code(folder, run.model_config))
    return _notes(architecture)


def _check_chat_template(folder: Path, run: Run, holder: Holder) -> tuple[str, ...]:
    """Remove a chat template that writes other tokens than training did, and say so."""
    if run.chat is None or not chat_template_differs(folder, run, has_code=holder.has_code):
        return ()
    (folder / CHAT_TEMPLATE).unlink()
    return (
        "transformers writes conversations with other tokens than training did, as it does with "
        "templates that write the date, so the folder has no chat template",
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def _generation(
    special: dict[str, int | list[int]], static_length: int | None, trained_length: int
) -> dict[str, Any]:
    """Return generation_config.json: the sampling of `wordorder generate`.

    Without a limit from the caller `generate` writes up to the trained length. max_new_tokens would
    overrule the max_length of a caller, such as lm_eval.
    """
    settings: dict[str, Any] = {
        **special,
        **SAMPLING,
        "max_length": trained_length,
    }
    if static_length is not None:
        settings["use_cache"] = False
    return settings


def _static_length(architecture: Architecture) -> int | None:
    return static_length(next(iter(architecture.rotaries), None))


def _notes(architecture: Architecture) -> tuple[str, ...]:
    if architecture.config.attention_softcap:
        return (
            "version 4 of transformers caps attention scores only where the model is loaded with "
            'attn_implementation="eager"',
        )
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
    folder: Path, run: Run, model: LanguageModel, holder: Holder, *, dtype: str = "f32"
) -> tuple[LogitComparison, ...]:
    """Return the comparisons of a written folder with its run.

    Raises:
        Refused: one that is not exact.
    """
    import transformers

    architecture = Architecture.of(model)
    longest = FAMILIES[holder.family].longest(architecture)
    static = None if holder.has_code else _static_length(architecture)
    theirs = loaded(
        getattr(transformers, holder.auto_class),
        folder,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=holder.has_code,
    )
    limits = {"longest": longest, "static_length": static}
    allowed = TOLERANCE
    if share := SHARES.get(dtype):
        allowed = max(allowed, share * _spread(model, **limits))
    comparisons = (replace(each, tolerance=allowed) for each in compare(model, theirs, **limits))
    return exact(comparisons, holder=holder.class_name, original=str(run.folder))


@torch.no_grad()
def _spread(model: LanguageModel, **limits: int | None) -> float:
    """Return the standard deviation of the logits of the first compared text."""
    sample = next(exported_samples(model, **limits))
    hidden = model.hidden(Batch(sample.whole[None], context_length=sample.length))
    return float(model.logits(hidden[0]).float().std())


HUGGING_FACE = Target(
    "hf",
    "transformers",
    ("transformers",),
    holder_of,
    write,
    (*FILES, *CODE_FILES),
    dtypes=tuple(DTYPES)[1:],
)
OWN_CODE_TARGET = replace(
    HUGGING_FACE, holds=partial(holder_of, own_code=True), write=partial(write, own_code=True)
)
