"""What a training run is asked to do: one frozen dataclass, the model's inside it.

Every field is a command-line option of `wordorder train`; the model's fields too.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from wordorder.errors import BadInput
from wordorder.model.config import PRESETS, Kind, ModelConfig
from wordorder.names import file_name
from wordorder.settings import (
    Duration,
    NotNegative,
    Positive,
    Rate,
    Seed,
    Share,
    Threads,
    check,
    checked,
    checked_values,
    formatted,
    from_record,
)
from wordorder.text.objective import Objective
from wordorder.text.split import DevelopmentFraction, ValidationFraction, check_fractions
from wordorder.text.user_text import user_path
from wordorder.training.schedules import Schedule

DEFAULT_SECONDS = 180.0
MOST_ACCUMULATED = 1 << 16
LENGTHS = ("time", "steps", "tokens")  # of a run, one of them


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Raises:
        BadInput: a value that its annotation does not allow, or values that contradict one another.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    auto_size: bool = False
    """choose width, layers and context by the text and the --time, as --preset auto does"""
    data: tuple[str, ...] = ("python-docs",)
    """python-docs, files, folders, or hf:NAME[:CONFIG][:SPLIT]"""
    field: str = "text"
    """column of tables and datasets that holds the text"""
    tokenizer: str = "bpe"
    """bpe, bytes, characters, or the path of a tokenizer.json"""
    validation_fraction: ValidationFraction = 0.1
    """share of the text that is only reported: neither trained on nor used to choose"""
    development_fraction: DevelopmentFraction = 0.04
    """share of the text that chooses what is kept and is not trained on; 0: none, nothing is
    chosen"""
    isolate_documents: bool = False
    """documents packed in one sequence do not see each other"""
    objective: Objective = "next-token"
    """predict the next token, or hidden ones (with --no-causal)"""
    out: str | None = None
    """run folder; by default runs/DATA-POSITION"""
    overwrite: bool = False
    """replace an existing run folder"""
    init: str | None = None
    """fine-tune: start from the weights and tokenizer of this run"""
    time: Duration | None = None
    """how long to train, such as 90s, 3m or 1h; a number is of seconds; reading and measuring
    included"""
    steps: Positive | None = None
    """how many steps to train, instead of --time"""
    tokens: Positive | None = None
    """how many tokens to train on, instead of --time"""
    batch_size: Positive = 8
    """sequences in a batch"""
    accumulate: Annotated[int, Interval(ge=1, le=MOST_ACCUMULATED)] = 1
    """batches whose gradients are summed before one step"""
    learning_rate: Rate = 0.01
    """peak rate of AdamW: embeddings, norms, biases"""
    embedding_rate: Rate = 0.0
    """share of that rate at which the embedding table learns; 0: by what words are multiplied by"""
    matrix_learning_rate: Rate = 0.02
    """peak rate of Muon: the hidden matrices"""
    muon: bool = True
    """Muon for the hidden matrices; otherwise AdamW for all"""
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.95
    """of Muon, from step 300 on; it rises from 0.85, or is the same throughout where lower"""
    schedule: Schedule = "warmup-stable-decay"
    warmup: Share = 0.02
    """share of the steps in which the rate rises"""
    decay: Share = 0.4
    """share of the steps in which it falls, with warmup-stable-decay"""
    weight_decay: Rate = 0.0
    clip: Rate = 1.0
    """largest norm of the whole gradient; 0: no limit"""
    seed: Seed = 0
    """of initial weights, order of the data, and dropout"""
    keep: Literal["best", "last"] = "best"
    """weights to leave: the best on the development text, or the last"""
    evaluate_every: NotNegative = 0
    """steps between validations; 0: ten to twenty in all"""
    checkpoint_every: NotNegative = 0
    """steps between checkpoints; 0: every half minute or so"""
    sample_prompt: str = ""
    """what samples during training go on from"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """dtype of activations; auto measures"""
    kernel: Literal["auto", "plain", "fused", "flex"] = "auto"
    """how attention is computed, flex on CUDA alone; auto measures"""
    compile: Literal["auto", "yes", "no"] = "auto"
    """torch.compile; auto where the run is long enough to repay it"""
    threads: Threads = 0
    """CPU threads; 0: measured, and looked at again while training"""
    tensorboard: bool = False
    """write TensorBoard events too"""

    def __post_init__(self) -> None:
        check(self)
        if not self.data:
            raise BadInput("data names no text: give files, folders, python-docs or hf:NAME")
        check_fractions(self.validation_fraction, self.development_fraction)
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise BadInput(f"--{' and --'.join(given)} are two lengths for one run: give one")
        if self.isolate_documents and self.model.kind == "gru":
            raise BadInput(
                "a GRU cannot keep packed documents apart: leave out --isolate-documents"
            )
        masked = self.objective == "masked-token"
        if masked and self.model.causal and self.model.kind == "transformer":
            raise BadInput("masked-token hides tokens among seen ones: add --no-causal")
        if not masked and not self.model.causal:
            raise BadInput(
                "a model that sees the future cannot learn to predict it: leave out --no-causal, "
                "or add --objective masked-token"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them, the model's apart."""
        values = {k: v for k, v in asdict(self).items() if k != "model"}
        return {**values, "data": list(self.data)}

    @classmethod
    def from_dict(cls, values: dict[str, Any], model: ModelConfig) -> TrainConfig:
        """Return the configuration that `to_dict` wrote.

        A run recorded before there was a development part has none, and one recorded before the
        embedding table had a rate of its own learns it at the rate of the others.

        Raises:
            BadInput: a field that no configuration has.
        """
        before = {"development_fraction": 0.0, "embedding_rate": 1.0}
        return from_record(cls, {**before, **values, "model": model}, "training")


def folder_of(config: TrainConfig) -> Path:
    """Return the run folder: as asked for, or runs/DATA-POSITION."""
    if config.out is not None:
        return user_path(config.out)
    names = [Path(name.rstrip("/")).name.partition(".")[0] or "data" for name in config.data]
    model = config.model
    reader = model.position if model.kind == "transformer" else model.kind
    return Path("runs") / file_name(f"{'+'.join(names)}-{reader}")


def seconds(text: str) -> float:
    """Return the seconds that `90s`, `3m`, `1.5h` or a plain number of seconds spell.

    Raises:
        BadInput: no such spelling.
    """
    spelled: str = checked("time", Duration, text.strip())
    unit = {"m": 60, "h": 3600}.get(spelled[-1], 1)
    return unit * float(spelled.rstrip("smh "))


def budget_seconds(config: TrainConfig) -> float:
    """Return the seconds that a run may take where its steps are not asked for."""
    return seconds(config.time) if config.time else DEFAULT_SECONDS


def whole_paths(data: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of data whose paths hold from every folder."""
    return tuple(str(Path(name).resolve()) if Path(name).exists() else name for name in data)


def from_mapping(values: dict[str, Any], preset: str | None = None) -> TrainConfig:
    """Return a configuration from flat names, a preset's values under them.

    Args:
        values: fields of TrainConfig and ModelConfig by name, as a YAML file holds them.
        preset: nano, tiny, mini, small or medium; sizes of the model.

    Raises:
        BadInput: an unknown name, with what was probably meant.
    """
    model, run = by_name(values)
    return TrainConfig(model=ModelConfig(**{**preset_sizes(preset or "tiny"), **model}), **run)


def preset_sizes(name: str) -> dict[str, Any]:
    """Return the fields of ModelConfig that a preset sets.

    Raises:
        BadInput: no such preset.
    """
    if name not in PRESETS:
        raise BadInput(f"unknown preset {formatted(name)}: it is one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])


def by_name(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what flat names set of ModelConfig and of TrainConfig, each value checked by itself.

    Args:
        values: fields of both by name, the model's kind as `model`.

    Raises:
        BadInput: an unknown name, with what was probably meant, or a value that cannot be.
    """
    model_fields = {"model" if f.name == "kind" else f.name for f in fields(ModelConfig)}
    run_fields = {f.name for f in fields(TrainConfig)} - {"model"}
    if unknown := sorted(set(values) - model_fields - run_fields):
        near = difflib.get_close_matches(unknown[0], [*model_fields, *run_fields], n=1)
        hint = f"did you mean {near[0]}?" if near else "wordorder train --help lists them"
        raise BadInput(f"there is no option {unknown[0]!r}: {hint}")
    run = checked_values(TrainConfig, {n: v for n, v in values.items() if n in run_fields})
    model = {n: v for n, v in values.items() if n in model_fields - {"model"}}
    model = checked_values(ModelConfig, model)
    if "model" in values:
        model["kind"] = checked("model", Kind, values["model"])
    return model, run


def with_vocabulary(config: TrainConfig, size: int) -> TrainConfig:
    """Return the configuration with the size that the tokenizer turned out to have.

    Raises:
        BadInput: another size was asked for, and only bpe learns as many tokens as are asked for.
    """
    asked = config.model.vocabulary_size
    if config.tokenizer != "bpe" and asked not in (ModelConfig.vocabulary_size, size):
        raise BadInput(
            f"vocabulary_size is {asked}, and the tokenizer {config.tokenizer} has {size}: leave "
            "it out, or use bpe"
        )
    return replace(config, model=replace(config.model, vocabulary_size=size))
