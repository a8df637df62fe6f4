"""What would fail only in the middle of a run, found before anything is written or removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from wordorder.errors import BadInput
from wordorder.model import shape_of
from wordorder.numerals import counted
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run


def check_extras(config: TrainConfig) -> None:
    """Raise where a package that the run needs is not installed.

    Raises:
        BadInput: with the command that installs it.
    """
    if config.tensorboard and find_spec("tensorboard") is None:
        raise BadInput("--tensorboard needs an extra: pip install 'wordorder[tensorboard]'")


def with_tokenizer_from(first: Run, config: TrainConfig) -> TrainConfig:
    """Return the configuration of a run that begins from another, with that one's tokenizer.

    Raises:
        BadInput: another tokenizer was asked for.
    """
    tokenizer, model = first.config["training"]["tokenizer"], config.model
    size = first.tokenizer.vocabulary_size
    default = TrainConfig.tokenizer, type(model).vocabulary_size
    asked = {
        "tokenizer": config.tokenizer not in (tokenizer, default[0]),
        "vocabulary_size": model.vocabulary_size not in (size, default[1]),
    }
    if any(asked.values()):
        raise BadInput(
            tokenizer_conflict(first, [name for name, differs in asked.items() if differs])
        )
    return replace(config, tokenizer=tokenizer, model=replace(model, vocabulary_size=size))


def tokenizer_conflict(first: Run, options: Sequence[str]) -> str:
    """Return what to say of options that a run's own tokenizer overrules."""
    tokenizer, flags = first.tokenizer, [f"--{name.replace('_', '-')}" for name in options]
    return (
        f"--init {first.folder} brings its tokenizer, {tokenizer.kind} of "
        f"{tokenizer.vocabulary_size:,}: leave out {' and '.join(flags)}, or train without --init"
    )


def check_sample_prompt(config: TrainConfig, tokenizer: Tokenizer) -> None:
    """Raise where no sample can go on from the prompt.

    Raises:
        BadInput: a character that the tokenizer does not know, or a prompt longer than the
            embedding has positions for.
    """
    if not config.sample_prompt:
        return
    try:
        tokens = 1 + len(tokenizer.encode(config.sample_prompt))  # after the end of text
    except BadInput as error:
        raise BadInput(f"--sample-prompt: {error}") from None
    if not config.model.causal:
        raise BadInput(
            "--sample-prompt: a model that fills in hidden tokens writes no samples: leave it out"
        )
    if shape_of(config.model).room(tokens) == 0:
        raise BadInput(
            f"--sample-prompt is {counted(tokens, 'token')}, the end of text that opens it "
            f"included, longer than {config.model.position} has positions for: shorten it"
        )
