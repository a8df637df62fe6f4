"""The options of a training run, as every command that trains takes them.

What is not typed comes from the --config file, then from the --preset, then from the
defaults; so these two are looked for before the rest is read. Each value is checked where it is
read, and how they fit together when all of them are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

import tyro

from wordorder.cli.arguments import hidden_names, refuse_typed, typed_names
from wordorder.cli.config_file import read_config_file
from wordorder.errors import BadInput
from wordorder.model.config import PRESETS, Kind, ModelConfig
from wordorder.settings import WrongSetting
from wordorder.training.config import LENGTHS, TrainConfig, by_name, preset_sizes

AUTO = "auto"  # the preset that follows from the text and the time
# Whoever gives one of these has decided how large the model is.
SIZES = frozenset(
    "width layers heads key_value_heads head_dim feed_forward_width trained_length init".split()
)


@dataclass(frozen=True)
class ModelOptions(ModelConfig):
    """A model, as the command line spells it."""

    kind: Annotated[Kind, tyro.conf.arg(name="model")] = "transformer"
    """a transformer, or the contrast that reads in order"""


@dataclass(frozen=True)
class RunOptions(TrainConfig):
    """A training run, as the command line spells it."""

    model: ModelOptions = field(default_factory=ModelOptions)
    auto_size: Annotated[bool, tyro.conf.Suppress] = False  # --preset auto says it

    def plain(self) -> TrainConfig:
        """Return the configuration without what only the command line knows."""
        values = {f.name: getattr(self, f.name) for f in fields(TrainConfig)}
        model = {f.name: getattr(self.model, f.name) for f in fields(ModelConfig)}
        return TrainConfig(**{**values, "model": ModelConfig(**model)})


@dataclass(frozen=True)
class Given:
    """What was asked for, before the rest is filled in.

    Args:
        preset: None: left open.
        run: the options that are not typed; how they fit together is not checked yet.
        typed: names of the options that were typed.
        written: names of those that the --config file holds.
    """

    preset: str | None
    run: Any
    typed: frozenset[str]
    written: frozenset[str]


def defaults(
    arguments: Sequence[str],
    preset: str | None = None,
    kind: type[RunOptions] = RunOptions,
    **values: Any,
) -> Given:
    """Return the preset that was asked for, and what is not typed.

    The size of the model is left open where no preset is asked for and no size is given.

    Args:
        arguments: what was typed after the command.
        preset: where none is asked for.
        kind: the class of the options; a field that it hides is not taken from a file.
        values: fields that are this command's own defaults.

    Raises:
        BadInput: an unknown preset, or a file that is no configuration.
    """
    typed = typed_names(arguments)
    early = _peek(arguments, ("preset", "config", "init", "trained_length"))
    written = read_config_file(early["config"]) if "config" in early else {}
    asked = _preset(early, written)
    model, run = _of_file(early.get("config", ""), written, kind)
    if typed & {*LENGTHS}:  # which is meant instead of those in the file
        run = {name: value for name, value in run.items() if name not in LENGTHS}
    own_model, own_run = by_name(values)
    first = early.get("init") or run.get("init")
    if first is not None and not asked:
        length = early.get("trained_length") or model.get("trained_length")
        own_model |= _of_run(first, length, trust="--trust" in arguments)
    sizes = preset_sizes(asked or preset or "tiny")
    run["auto_size"] = not (asked or preset or SIZES & (typed | set(written)))
    run["model"] = _unchecked(type(kind().model), {**sizes, **own_model, **model})
    options = _unchecked(kind, {**own_run, **run})
    return Given(asked, options, typed, frozenset(written))


def _preset(early: Mapping[str, str], written: dict[str, Any]) -> str | None:
    """Return the preset that was typed, or else written; None leaves the size open."""
    file = written.pop("preset", AUTO)
    for name, asked in (
        ("--preset", early.get("preset", AUTO)),
        ("preset in the --config file", file),
    ):
        if asked not in (AUTO, *PRESETS):
            raise WrongSetting(name, asked, f"auto or one of {', '.join(PRESETS)}")
    asked = early.get("preset", file)
    return None if asked == AUTO else asked


def _of_file(
    name: str, written: Mapping[str, Any], kind: type[RunOptions]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a --config file sets of the model and of the run, each value checked by itself.

    Raises:
        BadInput: an unknown option, one that the command does not have, or a value that cannot be.
    """
    if odd := sorted(hidden_names(kind) & set(written)):
        raise BadInput(f"{odd[0]} in {name}: this command has no such option, leave it out")
    try:
        return by_name(written)
    except WrongSetting as error:
        raise error.spelled(f"{error.name} in {name}") from None
    except BadInput as error:
        raise BadInput(f"--config {name}: {error}") from None


def _of_run(folder: str, length: object, *, trust: bool) -> dict[str, Any]:
    """Return the fields of a run's model, from which another begins."""
    from wordorder.training.run import Run  # imports torch, which --help does without

    return asdict(_at_length(Run.load(folder, trust=trust).model_config, length))


def _at_length(model: ModelConfig, length: object) -> ModelConfig:
    """Return a model whose position no longer follows from a length that it is to have."""
    new = str(length or "")
    if model.kind == "gru" or not new.isdigit() or int(new) == model.trained_length:
        return model
    from wordorder.extension.methods import Stretch, respelled  # imports torch

    stretch = Stretch(model.trained_length, int(new), model.resolved.head_dim)
    return replace(model, position=respelled("unchanged", model, stretch))


def _unchecked(kind: type, values: Mapping[str, Any]) -> Any:
    """Return an instance of a dataclass whose values may not fit together yet."""
    instance = object.__new__(kind)
    for each in fields(kind):
        value = values.get(each.name, each.default)
        object.__setattr__(instance, each.name, value)
    return instance


def _peek(arguments: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the values of options that decide the defaults of others."""
    found = {}
    for number, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if flag.startswith("--") and name in names and (equals or number + 1 < len(arguments)):
            found[name] = value if equals else arguments[number + 1]
    return found


def _check_brought(given: Given, init: str) -> None:
    """Refuse a tokenizer beside a run that brings its own.

    Raises:
        BadInput: which option, and what the run brings.
    """
    typed, written = given.typed, given.written if "init" in given.written else frozenset()
    if odd := sorted({"tokenizer", "vocabulary_size"} & (typed | written)):
        from wordorder.training.preconditions import tokenizer_conflict
        from wordorder.training.run import Run

        raise BadInput(tokenizer_conflict(Run.load(init, trust=True), odd))


def check_overruled(given: Given, options: RunOptions) -> None:
    """Refuse an option that another one makes mean nothing.

    One in the --config file may be overruled by one that is typed: that is what typing is for.

    Raises:
        BadInput: which, and what to do.
    """
    model, tokenizer = options.model, options.tokenizer
    if options.init is not None:
        _check_brought(given, options.init)
    rules = (
        (
            tokenizer != "bpe",
            "tokenizer",
            "vocabulary_size",
            f"{{}} is of bpe, and --tokenizer {tokenizer} has the size that it has: leave it out",
        ),
        (
            model.kind == "gru",
            "model",
            "position key_value_heads head_dim feed_forward feed_forward_width norm_placement "
            "parallel_residual qk_norm windows",
            "{} is of a transformer, and --model is gru: leave it out",
        ),
        (
            not options.muon,
            "muon",
            "matrix_learning_rate momentum",
            "{} is of Muon, and --no-muon goes without: leave out one of the two",
        ),
        (
            options.schedule == "cosine",
            "schedule",
            "decay",
            "{} is of warmup-stable-decay, and --schedule is cosine: leave out one of the two",
        ),
        (
            options.keep == "best" and not options.development_fraction,
            "development_fraction",
            "keep",
            "{} best needs a development text, and --development-fraction is 0: leave out one of "
            "the two",
        ),
        (
            not model.causal,
            "causal",
            "sample_prompt",
            "{} begins samples, and a model with --no-causal writes none: leave it out",
        ),
    )
    for holds, by, names, why in rules:
        refuse_typed(given.typed, (holds, names, why))
        for name in names.split() if holds and by not in given.typed else ():
            if name in given.written:
                raise BadInput(why.replace("{}", f"{name} in the --config file", 1))
