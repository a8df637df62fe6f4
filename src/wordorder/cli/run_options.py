"""The options of a training run, as every command that trains takes them.

What is not typed comes from the --config file, then from the --preset, then from the
defaults; so these two are looked for before the rest is read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal

import tyro
import yaml

from wordorder.errors import BadInput
from wordorder.model.config import PRESETS, ModelConfig
from wordorder.text.user_text import printable, read_text
from wordorder.training.config import TrainConfig, from_mapping

AUTO = "auto"  # the preset that follows from the text and the time
# Whoever gives one of these has decided how large the model is.
SIZES = frozenset(
    "width layers heads key_value_heads head_dim feed_forward_width trained_length init".split()
)


@dataclass(frozen=True)
class ModelOptions(ModelConfig):
    """A model, as the command line spells it."""

    kind: Annotated[Literal["transformer", "gru"], tyro.conf.arg(name="model")] = "transformer"
    """a transformer, or the contrast that reads in order"""


@dataclass(frozen=True)
class RunOptions(TrainConfig):
    """A training run, as the command line spells it."""

    model: ModelOptions = field(default_factory=ModelOptions)
    auto_size: Annotated[bool, tyro.conf.Suppress] = False  # --preset auto says it

    def plain(self) -> TrainConfig:
        """Return the configuration without what only the command line knows."""
        values = {f.name: getattr(self, f.name) for f in fields(TrainConfig)}
        return TrainConfig(**{**values, "model": ModelConfig(**asdict(self.model))})


def defaults(
    arguments: list[str], preset: str | None = None, **values: Any
) -> tuple[str | None, RunOptions]:
    """Return the preset that was asked for, and what is not typed.

    The size of the model is left open where no preset is asked for and no size is given.

    Args:
        arguments: what was typed after the command.
        preset: where none is asked for.
        values: fields that are this command's own defaults.

    Raises:
        BadInput: an unknown preset, or a file that is no configuration.
    """
    early = _peek(arguments, ("--preset", "--config", "--init", "--trained-length"))
    written = _read_yaml(early["--config"]) if "--config" in early else {}
    asked = early.get("--preset") or written.pop("preset", None)
    asked = None if asked == AUTO else asked
    first = early.get("--init") or written.get("init")
    if first is not None and not asked:
        from wordorder.training.run import Run  # imports torch, which --help does without

        model = Run.load(first, trust="--trust" in arguments).model_config
        length = early.get("--trained-length") or written.get("trained_length")
        values = {**values, **asdict(_at_length(model, length))}
    config = from_mapping({**values, **written}, asked or preset)
    model = ModelOptions(**asdict(config.model))
    rest = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "model"}
    typed = (word.partition("=")[0] for word in arguments if word.startswith("--"))
    given = {word.removeprefix("--").replace("-", "_") for word in typed} | set(written)
    rest["auto_size"] = not (asked or preset or SIZES & given)
    return asked, RunOptions(model=model, **rest)


def _at_length(model: ModelConfig, length: object) -> ModelConfig:
    """Return a model whose position no longer follows from a length that it is to have."""
    new = str(length or "")
    if model.kind == "gru" or not new.isdigit() or int(new) == model.trained_length:
        return model
    from wordorder.extension.methods import Stretch, respelled  # imports torch

    stretch = Stretch(model.trained_length, int(new), model.resolved.head_dim)
    return replace(model, position=respelled("unchanged", model, stretch))


def _peek(arguments: list[str], names: tuple[str, ...]) -> dict[str, str]:
    """Return the values of options that decide the defaults of others."""
    found = {}
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in names and (equals or number + 1 < len(arguments)):
            found[name] = value if equals else arguments[number + 1]
    if found.get("--preset", AUTO) not in (AUTO, *PRESETS):
        raise BadInput(f"no preset {found['--preset']!r}: choose from {', '.join(PRESETS)}")
    return found


def _read_yaml(name: str) -> dict[str, Any]:
    text = read_text(name, f"--config {printable(name)}: no such file")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"--config {name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadInput(f"--config {name} must hold options by name, as trained_length: 128")
    return {key.replace("-", "_"): value for key, value in values.items()}
