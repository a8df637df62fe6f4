"""The configuration of a training run: a frozen dataclass with the model's inside.

Every field, those of the model included, is an option of `wordorder train`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from wordorder.errors import BadInput
from wordorder.model.config import PRESETS, Kind, ModelConfig
from wordorder.model.presets import FAMILIES, preset_fields, preset_names
from wordorder.names import file_name
from wordorder.settings import (
    ByteCount,
    DataName,
    Duration,
    Epochs,
    NotNegative,
    PathName,
    Positive,
    Rate,
    Seed,
    Share,
    Threads,
    TokenCount,
    TokenizerName,
    WordCount,
    check,
    checked,
    checked_values,
    formatted,
    from_record,
)
from wordorder.text.corpus import BUILT_IN, HUB_PREFIX
from wordorder.text.data_names import mixture_of, weighted_name
from wordorder.text.objective import Objective, TemplateName
from wordorder.text.split import DevelopmentFraction, ValidationFraction, check_fractions
from wordorder.text.user_text import OPEN_PIPES, named_folder, whole_path
from wordorder.training.schedules import Schedule

DEFAULT_SECONDS = 180.0
MOST_ACCUMULATED = 1 << 16
LENGTHS = ("time", "steps", "tokens", "epochs")  # alternative lengths of a run
TEXTS = ("data", "validation_data", "development_data")  # settings that name texts
TrainingDevice = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run.

    Raises:
        BadInput: a value is invalid, or two settings contradict each other.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    auto_size: bool = False
    """choose width, layers and context from the text and --time, as --preset auto does"""
    data: tuple[DataName, ...] = ("python-docs",)
    """python-docs, files, folders, hf:NAME[:CONFIG][:SPLIT], or a store of wordorder data --store;
    NAME=WEIGHT for a mixture, in which each has that share of the training tokens"""
    field: str = "text"
    """column of tables and datasets that holds the text"""
    most_bytes: ByteCount = "200MB"
    """text to read of each hf: dataset, such as 500MB or 2GB; it is held in memory"""
    tokenizer: TokenizerName = "bpe"
    """bpe, bytes, characters, the path of a tokenizer.json, or hf:NAME for one on the Hugging Face
    Hub"""
    validation_fraction: ValidationFraction = 0.1
    """share of the text for the reported loss, neither trained on nor used to choose anything"""
    development_fraction: DevelopmentFraction = 0.04
    """share of the text for choosing the weights to keep, not trained on; 0: the last weights are
    kept"""
    validation_data: tuple[DataName, ...] = ()
    """files or folders that are all validation text, instead of a share of the text"""
    development_data: tuple[DataName, ...] = ()
    """files or folders that are all development text, instead of a share of the text"""
    isolate_documents: bool = False
    """documents packed in one sequence do not attend to each other"""
    chat_template: TemplateName = "auto"
    """how conversations are written: plain, chatml, or the tokenizer's own (with --init); auto:
    that of the --init run, else plain for prompts and answers, and chatml for other forms"""
    objective: Objective = "next-token"
    """predict the next token, or masked tokens (with --no-causal)"""
    out: PathName | None = None
    """run folder; by default runs/DATA-POSITION"""
    overwrite: bool = False
    """replace an existing run folder"""
    init: PathName | None = None
    """fine-tune: start from the weights and tokenizer of this run"""
    time: Duration | None = None
    """training time, such as 90s, 3m or 1h30m (a plain number is seconds), including reading the
    data and measuring"""
    steps: Positive | None = None
    """number of optimizer steps, instead of --time"""
    tokens: TokenCount | None = None
    """number of tokens to train on, such as 10M, instead of --time"""
    epochs: Epochs | None = None
    """number of times to read the training text, such as 3 or 0.5, instead of --time"""
    batch_size: Positive = 8
    """sequences in a batch"""
    accumulate: Annotated[int, Interval(ge=1, le=MOST_ACCUMULATED)] = 1
    """batches whose gradients are accumulated before each step"""
    learning_rate: Rate = 0.01
    """peak learning rate of AdamW: embeddings, norms, biases"""
    embedding_rate: Rate = 0.0
    """learning rate of the token embedding as a share of that rate; 0: chosen by the width"""
    matrix_learning_rate: Rate = 0.02
    """peak learning rate of Muon: the hidden matrices"""
    muon: bool = True
    """use Muon for the hidden matrices; otherwise AdamW for all weights"""
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.95
    """momentum of Muon from step 300 on; it rises from 0.85, unless this is lower"""
    schedule: Schedule = "warmup-stable-decay"
    warmup: Share = 0.02
    """share of the steps in which the learning rate rises"""
    decay: Share = 0.4
    """share of the steps in which it falls, with warmup-stable-decay"""
    weight_decay: Rate = 0.0
    clip: Rate = 1.0
    """largest norm of the whole gradient; 0: no limit"""
    seed: Seed = 0
    """seed of initial weights, data order, and dropout"""
    keep: Literal["best", "last"] = "best"
    """weights to save: the best on the development text, or the last"""
    average: Literal["none", "ema", "tail"] = "none"
    """also average the weights over steps, and keep the average if it is better on the development
    text: ema weights recent steps more, tail is the mean over the last tenth of the steps"""
    evaluate_every: NotNegative = 0
    """steps between validations; 0: ten to twenty validations in all"""
    checkpoint_every: NotNegative = 0
    """steps between checkpoints; 0: about every half minute"""
    checkpoint_at_words: tuple[WordCount, ...] = ()
    """numbers of words, such as 1M 2M 5M: keep the weights that the model has after reading so
    many, each as a run in RUN/words"""
    sample_prompt: str = ""
    """prompt of the samples generated during training"""
    device: TrainingDevice = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """dtype of activations; auto measures"""
    kernel: Literal["auto", "plain", "fused", "flex"] = "auto"
    """attention kernel (flex only on CUDA); auto measures"""
    compile: Literal["auto", "yes", "no"] = "auto"
    """use torch.compile; auto: if the run is long enough to repay it"""
    recompute: bool = False
    """compute each layer again in the backward pass instead of storing its activations: less
    memory, a third more arithmetic, the same bits"""
    shard: bool = False
    """with several ranks: split weights, gradients and optimizer state over them (FSDP2)"""
    threads: Threads = 0
    """CPU threads; 0: measured before and during training"""
    tensorboard: bool = False
    """also write TensorBoard events"""

    def __post_init__(self) -> None:
        check(self)
        if not self.data:
            raise BadInput(
                "data is empty: give files, folders, python-docs or hf:NAME",
                code="training.no-data",
            )
        if mixture_of(self.data) and (self.validation_data or self.development_data):
            name = "validation-data" if self.validation_data else "development-data"
            raise BadInput(
                f"--{name} needs --data without weights: each text of a mixture is split by "
                "--validation-fraction and --development-fraction",
                code="training.held-out-data-of-mixture",
            )
        check_fractions(self.validation_fraction, self.development_fraction)
        if self.average != "none" and (self.keep == "last" or not self.has_development):
            setting = "--keep last" if self.keep == "last" else "--development-fraction 0"
            raise BadInput(
                f"--average {self.average} is kept if it is better on the development text, "
                f"which {setting} does not use: leave out one of the two",
                code="training.average-without-choice",
            )
        lengths = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise BadInput(
                f"--{' and --'.join(lengths)} both set the length of the run: give one",
                code="training.two-lengths",
            )
        if self.isolate_documents and self.model.kind == "gru":
            raise BadInput(
                "--isolate-documents is not possible with a GRU, which cannot separate packed "
                "documents: leave it out",
                code="training.gru-isolates",
            )
        if self.recompute and self.model.kind == "gru":
            raise BadInput(
                "--recompute is an option of transformers, but --model is gru: leave it out",
                code="training.gru-recomputes",
            )
        masked = self.objective == "masked-token"
        if masked and self.model.causal and self.model.kind == "transformer":
            raise BadInput(
                "the masked-token objective needs a bidirectional model: add --no-causal",
                code="training.masked-causal",
            )
        if not masked and not self.model.causal:
            raise BadInput(
                "a bidirectional model sees the token that next-token training predicts: leave out "
                "--no-causal, or train it with wordorder train --objective masked-token",
                code="training.next-token-bidirectional",
            )

    @property
    def has_development(self) -> bool:
        """Whether a development text is configured: a share of the text, or text of its own."""
        return bool(self.development_fraction or self.development_data)

    @property
    def tokens_per_step(self) -> int:
        """The number of tokens of an optimizer step."""
        return self.batch_size * self.accumulate * self.model.trained_length

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON, without those of the model.

        Settings added in later versions are omitted while they have their defaults, so that results
        stored by earlier versions still match by their settings.
        """
        values = {k: v for k, v in asdict(self).items() if k != "model"}
        for name in ("average", "recompute", "validation_data", "development_data", "epochs"):
            if values[name] == getattr(type(self), name):
                del values[name]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], model: ModelConfig) -> TrainConfig:
        """Return the configuration that `to_dict` wrote.

        Old records without `development_fraction` had no development part, and those without
        `embedding_rate` trained the token embedding at the rate of the other weights.

        Raises:
            BadInput: an unknown field or an invalid value.
        """
        old_defaults = {"development_fraction": 0.0, "embedding_rate": 1.0}
        return from_record(cls, {**old_defaults, **values, "model": model}, "training")


def folder_of(config: TrainConfig) -> Path:
    """Return the run folder: the configured one, or runs/DATA-POSITION."""
    if config.out is not None:
        return named_folder(config.out)
    data = [weighted_name(text).name for text in config.data]
    names = [Path(name.rstrip("/")).name.partition(".")[0] or "data" for name in data]
    model = config.model
    reader = model.position if model.kind == "transformer" else model.kind
    return Path("runs") / file_name(f"{'+'.join(names)}-{reader}")


def seconds(text: str) -> float:
    """Return a duration such as `90s`, `3m`, `1.5h`, `1 h 30 min` or `90` in seconds.

    Raises:
        BadInput: the text is not a duration.
    """
    duration: str = checked("time", Duration, text.strip())
    units = {"m": 60, "h": 3600}
    parts = re.findall(r"([\d.]+)\s*([smh]?)", duration)
    return sum(float(number) * units.get(unit, 1) for number, unit in parts)


def budget_seconds(config: TrainConfig) -> float:
    """Return the time budget in seconds, for a run whose number of steps is not set."""
    return seconds(config.time) if config.time else DEFAULT_SECONDS


def whole_paths(data: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of data with absolute paths for existing files."""
    return tuple(map(_whole_path, data))


def with_whole_paths(config: TrainConfig) -> TrainConfig:
    """Return a configuration that can be read from another working directory."""
    paths: dict[str, Any] = {name: whole_paths(getattr(config, name)) for name in TEXTS}
    return replace(config, **paths)


def with_moved_texts(config: TrainConfig, texts: Mapping[str, tuple[str, ...]]) -> TrainConfig:
    """Return a configuration whose texts are elsewhere now; their contents are not compared here.

    Args:
        texts: the new names, by those of `TEXTS` that changed.

    Raises:
        BadInput: the weights of a mixture differ from the recorded ones.
    """
    for name, new in texts.items():
        old: tuple[str, ...] = getattr(config, name)
        before, now = ([weighted_name(text).weight for text in each] for each in (old, new))
        if any(before + now) and before != now:
            raise BadInput(
                f"--{name.replace('_', '-')} says where the text of the run is now, and the run "
                f"mixes {' '.join(old)}: give the same number of names with the same weights",
                code="training.other-mixture",
            )
    moved: dict[str, Any] = {**texts}
    return with_whole_paths(replace(config, **moved))


def _whole_path(text: str) -> str:
    name, weight = weighted_name(text)
    named = name == BUILT_IN or name.startswith((HUB_PREFIX, *OPEN_PIPES))
    if named or not name or not Path(name).exists():  # "" is not the current folder
        return text
    return str(whole_path(name)) + ("" if weight is None else f"={weight!r}")


def from_mapping(values: dict[str, Any], preset: str | None = None) -> TrainConfig:
    """Return a configuration from a flat mapping, with a preset as defaults.

    Args:
        values: fields of TrainConfig and ModelConfig by name, as in a YAML file.
        preset: a size (nano, tiny, mini, small or medium), or a family at a size, such as
            gpt2-nano; None: tiny.

    Raises:
        BadInput: an unknown name or an invalid value.
    """
    model, run = by_name(values)
    of_model, of_run = preset_options(preset or "tiny")
    return TrainConfig(model=ModelConfig(**{**of_model, **model}), **{**of_run, **run})


PRESET_NAMES = f"{', '.join(PRESETS)}, or FAMILY-SIZE with {', '.join(FAMILIES)}"


def preset_options(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of ModelConfig and of TrainConfig that a preset sets.

    A bidirectional family is trained on masked tokens, the only objective that it has.

    Raises:
        BadInput: the preset is unknown.
    """
    if name not in preset_names():
        raise BadInput(
            f"unknown preset {formatted(name)}: use one of {PRESET_NAMES}",
            code="training.unknown-preset",
        )
    model = preset_fields(name)
    return model, {} if model.get("causal", True) else {"objective": "masked-token"}


def by_name(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a flat mapping into the fields of ModelConfig and of TrainConfig.

    Args:
        values: fields of both by name, with the model's kind as `model`. Each value is validated
            independently of the others.

    Raises:
        BadInput: an unknown name or an invalid value.
    """
    model_fields = {"model" if f.name == "kind" else f.name for f in fields(ModelConfig)}
    run_fields = {f.name for f in fields(TrainConfig)} - {"model"}
    if unknown := sorted(set(values) - model_fields - run_fields):
        near = difflib.get_close_matches(unknown[0], [*model_fields, *run_fields], n=1)
        hint = f"did you mean {near[0]}?" if near else "wordorder train --help lists them"
        raise BadInput(f"unknown option {unknown[0]!r}: {hint}", code="training.unknown-option")
    run = checked_values(TrainConfig, {n: v for n, v in values.items() if n in run_fields})
    model = {n: v for n, v in values.items() if n in model_fields - {"model"}}
    model = checked_values(ModelConfig, model)
    if "model" in values:
        model["kind"] = checked("model", Kind, values["model"])
    return model, run


def with_vocabulary(config: TrainConfig, size: int) -> TrainConfig:
    """Return the configuration with the actual vocabulary size of the tokenizer.

    Raises:
        BadInput: another size is configured for a tokenizer other than bpe.
    """
    configured = config.model.vocabulary_size
    if (
        config.init is None
        and config.tokenizer != "bpe"
        and configured not in (ModelConfig.vocabulary_size, size)
    ):
        raise BadInput(
            f"vocabulary_size is {configured}, but the tokenizer {config.tokenizer} has {size} "
            "tokens: leave it out, or use bpe",
            code="training.vocabulary-size",
        )
    return replace(config, model=replace(config.model, vocabulary_size=size))
