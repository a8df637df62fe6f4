"""Checks made before a run writes or removes any file: failures that would come only later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from wordorder.errors import BadInput
from wordorder.model import ModelConfig, shape_of
from wordorder.numerals import counted
from wordorder.positions import parse
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run


def check_extras(config: TrainConfig) -> None:
    """Check that the optional packages that a run needs are installed.

    Raises:
        BadInput: a package is missing.
    """
    if config.tensorboard and find_spec("tensorboard") is None:
        raise BadInput(
            "--tensorboard needs the tensorboard package: pip install 'wordorder[tensorboard]'",
            code="training.tensorboard-missing",
        )


def with_tokenizer_from(first: Run, config: TrainConfig) -> TrainConfig:
    """Return the configuration of a fine-tuned run, with the tokenizer of the first run.

    Raises:
        BadInput: the configuration asks for another tokenizer.
    """
    tokenizer, model = first.config["training"]["tokenizer"], config.model
    size = first.tokenizer.vocabulary_size
    default = TrainConfig.tokenizer, type(model).vocabulary_size
    conflicts = {
        "tokenizer": config.tokenizer not in (tokenizer, default[0]),
        "vocabulary_size": model.vocabulary_size not in (size, default[1]),
    }
    if any(conflicts.values()):
        raise tokenizer_conflict(first, [name for name, differs in conflicts.items() if differs])
    return replace(config, tokenizer=tokenizer, model=replace(model, vocabulary_size=size))


def tokenizer_conflict(first: Run, options: Sequence[str]) -> BadInput:
    """Return the error for options that conflict with the tokenizer of the first run."""
    tokenizer, flags = first.tokenizer, [f"--{name.replace('_', '-')}" for name in options]
    return BadInput(
        f"--init {first.folder} uses the tokenizer of that run ({tokenizer.kind}, "
        f"{tokenizer.vocabulary_size:,} tokens): leave out {' and '.join(flags)}, or train without "
        "--init",
        code="training.init-tokenizer",
    )


def notes_on_layers(model: ModelConfig) -> list[str]:
    """Return a note for each pattern over layers that is longer than the model."""
    patterns = {
        f"--position {model.position}": len(parse(model.position).layers),
        f"--windows {' '.join(map(str, model.windows))}": len(model.windows),
    }
    return [
        f"note: {name} is a pattern of {counted(length, 'layer')}, and the model has "
        f"{model.layers}: the rest of the pattern is left out"
        for name, length in patterns.items()
        if length > model.layers and model.kind == "transformer"
    ]


def check_sample_prompt(config: TrainConfig, tokenizer: Tokenizer) -> None:
    """Check that the model can generate samples from the prompt.

    Raises:
        BadInput: the tokenizer cannot encode the prompt, the model is bidirectional, or the prompt
            is longer than the embedding has positions for.
    """
    if not config.sample_prompt:
        return
    try:
        tokens = 1 + len(tokenizer.encode(config.sample_prompt))  # 1: end-of-text before it
    except BadInput as error:
        raise BadInput(
            f"--sample-prompt: {error}", code="training.sample-prompt-not-encoded"
        ) from None
    if config.objective != "next-token":
        raise BadInput(
            "--sample-prompt has no effect, because a model of masked tokens generates no samples: "
            "leave it out",
            code="training.sample-of-masked",
        )
    if shape_of(config.model).room(tokens) == 0:
        raise BadInput(
            f"--sample-prompt has {counted(tokens, 'token')}, the end-of-text token before it "
            f"included, which is more than {config.model.position} has positions for: shorten it",
            code="training.sample-prompt-too-long",
        )
