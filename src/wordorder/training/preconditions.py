"""Checks made before a run writes or removes any file: failures that would come only later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.model import ModelConfig, shape_of
from wordorder.numerals import counted
from wordorder.positions import PositionError, find, parse
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.moved_text import init_command
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


def check_was_trained(folder: Path, recorded: Mapping[str, Any]) -> None:
    """Check that a run was trained, from its record.

    Raises:
        BadInput: it was imported, so it has no training to resume.
    """
    if "import" in recorded:
        raise BadInput(
            f"{folder} was imported, so there is no training to resume: train from its weights "
            f"with {init_command(folder)}",
            code="training.resume-of-import",
        )


def check_ranks(config: TrainConfig, ranks: int) -> None:
    """Check that so many processes can train the model together.

    Raises:
        BadInput: experts on several, or weights to be split on a single one.
    """
    if config.model.experts and ranks > 1:
        raise BadInput(
            "a mixture of experts is trained by one process, because its loads are those of the "
            "whole batch: leave out --ranks, or --experts",
            code="training.experts-on-ranks",
        )
    if config.shard and ranks == 1:
        raise BadInput(
            "--shard splits the weights over several ranks, but there is only one: add --ranks 2 "
            "or more, or leave --shard out",
            code="training.shard-alone",
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


def check_layers(model: ModelConfig) -> None:
    """Check a new model's embeddings for what runs of older versions may have.

    Raises:
        PositionError: the same embedding twice in one layer, where it acts once or twice by its
            kind; or one that samples positions in some layers only, although it acts on all.
    """
    spec = parse(model.position)
    for part in spec.parts:
        if any(layer.count(part) > 1 for layer in spec.layers):
            raise PositionError(
                f"{spec}: {part} is twice in one layer: give it once",
                code="positions.twice-in-a-layer",
            )
        samples = "sample_positions" in find(part.name).active_hooks()
        if samples and not all(part in layer for layer in spec.layers):
            raise PositionError(
                f"{spec}: {part.name} samples the positions of all layers: put it in every layer "
                "of the pattern, or in none",
                code="positions.sampled-in-some-layers",
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
