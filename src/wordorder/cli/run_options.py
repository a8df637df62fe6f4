"""The options of a training run, shared by all commands that train.

Options that are not typed come from the --config file, then from the --preset, then from the
defaults, so these two are parsed first. Each value is checked when it is read; combinations are
checked when all values are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

import tyro

from wordorder.cli.arguments import about_option, hidden_names, refuse_typed, typed_names
from wordorder.cli.config_file import read_config_file
from wordorder.errors import BadInput
from wordorder.model.config import Kind, ModelConfig
from wordorder.model.presets import preset_names
from wordorder.settings import PathName, Positive, WrongSetting, checked
from wordorder.training.config import (
    LENGTHS,
    PRESET_NAMES,
    TrainConfig,
    by_name,
    preset_options,
)

AUTO = "auto"  # the preset chosen by the text and the time
# Options that fix the size of the model.
SIZES = frozenset(
    "width layers heads key_value_heads head_dim feed_forward_width expert_width trained_length "
    "init".split()
)
OF_TRANSFORMERS = (
    "position key_value_heads head_dim feed_forward feed_forward_width norm_placement "
    "parallel_residual qk_norm windows first_norm embedding_norm attention_softcap attention_sinks"
)


@dataclass(frozen=True)
class ModelOptions(ModelConfig):
    """The options of a model."""

    kind: Annotated[Kind, tyro.conf.arg(name="model")] = "transformer"
    """a transformer, or a recurrent network for comparison"""


@dataclass(frozen=True)
class RunOptions(TrainConfig):
    """The options of a training run."""

    model: ModelOptions = field(default_factory=ModelOptions)
    auto_size: Annotated[bool, tyro.conf.Suppress] = False  # set by --preset auto

    def plain(self) -> TrainConfig:
        """Return the configuration as a plain TrainConfig."""
        values = {f.name: getattr(self, f.name) for f in fields(TrainConfig)}
        model = {f.name: getattr(self.model, f.name) for f in fields(ModelConfig)}
        return TrainConfig(**{**values, "model": ModelConfig(**model)})


@dataclass(frozen=True)
class Given:
    """The defaults of a command line, and the sources of its options.

    Args:
        preset: the requested preset; None: to be chosen by the text and the time.
        run: defaults of options that are not typed; their combination is not checked yet.
        typed: names of typed options.
        written: names of options in the --config file.
    """

    preset: str | None
    run: Any
    typed: frozenset[str]
    written: frozenset[str]


def defaults(
    arguments: Sequence[str],
    preset: str | None = None,
    kind: type[RunOptions] = RunOptions,
    typed_alone: Iterable[str] = (),
    **values: Any,
) -> Given:
    """Return the defaults for a command line.

    The size of the model is left open if neither a preset nor a size is set.

    Args:
        arguments: the arguments after the command.
        preset: the preset of this command by default.
        kind: the class of the options; a --config file may not set fields that it hides.
        typed_alone: further options of the command, which a --config file may not set either.
        values: further defaults of this command.

    Raises:
        BadInput: an unknown preset, or an invalid --config file.
    """
    typed = typed_names(arguments)
    early = _peek(arguments, ("preset", "config", "init", "trained_length"))
    for name in ("config", "init"):
        if name in early:
            checked(f"--{name}", PathName, early[name])
    length = early.get("trained_length")
    if length is not None:
        length = checked("--trained-length", Positive, length)
    written = read_config_file(early["config"]) if "config" in early else {}
    requested = _preset(early, written)
    model, run = _of_file(early.get("config", ""), written, kind, typed_alone)
    if typed & {*LENGTHS}:  # a typed length replaces any length in the file
        run = {name: value for name, value in run.items() if name not in LENGTHS}
    own_model, own_run = by_name(values)
    first = early.get("init") or run.get("init")
    if first is not None and not requested:
        own_length = length or model.get("trained_length")
        of_first = _of_run(first, own_length, trust="--trust" in arguments)
        own_model, own_run = own_model | of_first[0], own_run | of_first[1]
    sizes, of_preset = preset_options(requested or preset or "tiny")
    run["auto_size"] = not (requested or preset or SIZES & (typed | set(written)))
    run["model"] = _unchecked(type(kind().model), {**sizes, **own_model, **model})
    options = _unchecked(kind, {**of_preset, **own_run, **run})
    return Given(requested, options, typed, frozenset(written))


def only_typed(options: type) -> list[str]:
    """Return the options of a command besides those of its run, which a file cannot set."""
    return [each.name for each in fields(options) if each.name not in ("preset", "train")]


def _preset(early: Mapping[str, str], written: dict[str, Any]) -> str | None:
    """Return the typed preset, else that of the --config file; None leaves the size open."""
    in_file = written.pop("preset", AUTO)
    for name, preset in (
        ("--preset", early.get("preset", AUTO)),
        ("preset in the --config file", in_file),
    ):
        if preset not in (AUTO, *preset_names()):
            raise WrongSetting(name, preset, f"auto or one of {PRESET_NAMES}")
    preset = early.get("preset", in_file)
    return None if preset == AUTO else preset


def _of_file(
    name: str,
    written: Mapping[str, Any],
    kind: type[RunOptions],
    typed_alone: Iterable[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a --config file sets of the model and of the run, each value checked by itself.

    Raises:
        BadInput: an unknown option, an option of other commands, or an invalid value.
    """
    if hidden := sorted(hidden_names(kind) & set(written)):
        raise BadInput(
            f"{hidden[0]} in {name}: this command has no such option, leave it out",
            code="cli.config-hidden-option",
        )
    if option := next((option for option in typed_alone if option in written), None):
        raise BadInput(
            f"{option} in {name}: a file cannot set it, type --{option.replace('_', '-')}",
            code="cli.config-typed-alone",
        )
    try:
        return by_name(written)
    except WrongSetting as error:
        raise error.spelled(f"{error.name} in {name}") from None
    except BadInput as error:
        raise BadInput(f"--config {name}: {error}", code="cli.config-invalid") from None


def _of_run(
    folder: str, length: int | None, *, trust: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model of a run that is fine-tuned, and its objective, as fields.

    Not here: its dropout, which was chosen for its text.
    """
    from wordorder.training.run import Run  # imports torch, which --help does not need

    run = Run.load(folder, trust=trust)
    objective = run.config.get("training", {}).get("objective")  # runs of old versions have none
    model = {**asdict(_at_length(run.model_config, length)), "dropout": None}
    return model, {"objective": objective} if objective else {}


def _at_length(model: ModelConfig, length: int | None) -> ModelConfig:
    """Return a model whose position keeps its options when the trained length changes."""
    if model.kind == "gru" or length in (None, model.trained_length):
        return model
    from wordorder.extension.methods import Stretch, respelled  # imports torch

    stretch = Stretch(model.trained_length, length, model.rotated_dim)
    return replace(model, position=respelled("unchanged", model, stretch))


def _unchecked(kind: type, values: Mapping[str, Any]) -> Any:
    """Return an instance of a dataclass without running its checks."""
    instance: Any = object.__new__(kind)
    for each in fields(kind):
        value = values.get(each.name, each.default)
        object.__setattr__(instance, each.name, value)
    return instance


def _peek(arguments: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the values of options that affect the defaults of others."""
    values = {}
    for number, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if flag.startswith("--") and name in names and (equals or number + 1 < len(arguments)):
            values[name] = value if equals else arguments[number + 1]
    return values


def _check_tokenizer(given: Given, init: str) -> None:
    """Check that no tokenizer is set beside --init, which uses that of the first run.

    Raises:
        BadInput: a tokenizer or its size is set.
    """
    typed, written = given.typed, given.written if "init" in given.written else frozenset()
    if conflicts := sorted({"tokenizer", "vocabulary_size"} & (typed | written)):
        from wordorder.training.preconditions import tokenizer_conflict
        from wordorder.training.run import Run

        raise tokenizer_conflict(Run.load(init, trust=True), conflicts)


def check_overruled(given: Given, options: RunOptions) -> None:
    """Check that no option is made ineffective by another one.

    A typed option may override an option in the --config file in this way.

    Raises:
        BadInput: an option has no effect.
    """
    family, _, size = (given.preset or "").rpartition("-")
    if family and options.model.kind == "gru":
        raise BadInput(
            f"--preset {given.preset} is an architecture of transformers, but --model is gru: use "
            f"--preset {size}",
            code="cli.family-of-gru",
        )
    if options.init is not None:
        _check_tokenizer(given, options.init)
    for condition, overruling, names, error in _overruling(options):
        refuse_typed(given.typed, (condition, names, error))
        for name in names.split() if condition and overruling not in given.typed else ():
            if name in given.written:
                raise about_option(error, f"{name} in the --config file")


def _overruling(options: RunOptions) -> Iterator[tuple[bool, str, str, BadInput]]:
    """Yield rules: a condition, the overruling option, the options without effect, the error."""
    model, tokenizer = options.model, options.tokenizer
    yield (
        tokenizer != "bpe",
        "tokenizer",
        "vocabulary_size",
        BadInput(
            f"{{}} has an effect only with --tokenizer bpe, not {tokenizer}: leave it out",
            code="cli.overruled-vocabulary-size",
        ),
    )
    for part in ("validation", "development"):
        yield (
            bool(getattr(options, f"{part}_data") and getattr(options, f"{part}_fraction")),
            f"{part}_data",
            f"{part}_fraction",
            BadInput(
                f"{{}} has no effect with --{part}-data: leave out one of the two",
                code="cli.overruled-by-held-out-data",
            ),
        )
    yield (
        model.kind == "gru",
        "model",
        OF_TRANSFORMERS,
        BadInput(
            "{} is an option of transformers, but --model is gru: leave it out",
            code="cli.overruled-by-gru",
        ),
    )
    yield (
        not options.muon,
        "muon",
        "matrix_learning_rate momentum",
        BadInput(
            "{} is an option of Muon, which --no-muon disables: leave out one of the two",
            code="cli.overruled-by-no-muon",
        ),
    )
    yield (
        options.schedule == "cosine",
        "schedule",
        "decay",
        BadInput(
            "{} is an option of warmup-stable-decay, but --schedule is cosine: leave out one of "
            "the two",
            code="cli.overruled-by-cosine",
        ),
    )
    yield (
        options.keep == "best" and not options.has_development,
        "development_fraction",
        "keep",
        BadInput(
            "{} best needs a development text, but --development-fraction is 0: leave out one of "
            "the two",
            code="cli.overruled-keep",
        ),
    )
