"""What a training run is asked to do: one frozen dataclass, the model's inside it.

Every field is a command-line option of `wordorder train`; the model's fields too.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from wordorder.errors import BadInput
from wordorder.model.config import PRESETS, ModelConfig
from wordorder.names import file_name
from wordorder.text.objective import Objective
from wordorder.text.split import check_fractions
from wordorder.training.schedules import Schedule

DEFAULT_SECONDS = 180.0


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Raises:
        BadInput: values that cannot be, or that contradict one another.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    auto_size: bool = False
    """choose width, layers and context by the text and the --time, as --preset auto does"""
    data: tuple[str, ...] = ("python-docs",)
    """python-docs, files, folders, or hf:NAME[:CONFIG][:SPLIT]"""
    field: str = "text"
    """field of .jsonl, .parquet and datasets that holds the text"""
    tokenizer: str = "bpe"
    """bpe, bytes, characters, or the path of a tokenizer.json"""
    validation_fraction: float = 0.1
    """share of the text that is only reported: neither trained on nor used to choose"""
    development_fraction: float = 0.04
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
    time: str | None = None
    """how long to train, such as 90s, 3m or 1h; reading and measuring included"""
    steps: int | None = None
    """how many steps to train, instead of --time"""
    tokens: int | None = None
    """how many tokens to train on, instead of --time"""
    batch_size: int = 8
    """sequences in a batch"""
    accumulate: int = 1
    """batches whose gradients are summed before one step"""
    learning_rate: float = 0.01
    """peak rate of AdamW: embeddings, norms, biases"""
    matrix_learning_rate: float = 0.02
    """peak rate of Muon: the hidden matrices"""
    muon: bool = True
    """Muon for the hidden matrices; otherwise AdamW for all"""
    momentum: float = 0.95
    """of Muon, from step 300 on; it rises from 0.85, or is the same throughout where lower"""
    schedule: Schedule = "warmup-stable-decay"
    warmup: float = 0.02
    """share of the steps in which the rate rises"""
    decay: float = 0.4
    """share of the steps in which it falls, with warmup-stable-decay"""
    weight_decay: float = 0.0
    clip: float = 1.0
    """largest norm of the whole gradient; 0: no limit"""
    seed: int = 0
    """of initial weights, order of the data, and dropout"""
    keep: Literal["best", "last"] = "best"
    """weights to leave: the best on the development text, or the last"""
    evaluate_every: int = 0
    """steps between validations; 0: ten to twenty in all"""
    checkpoint_every: int = 0
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
    threads: int = 0
    """CPU threads; 0: measured, and looked at again while training"""
    tensorboard: bool = False
    """write TensorBoard events too"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", tuple(self.data))
        check_fractions(self.validation_fraction, self.development_fraction)
        given = [n for n in ("time", "steps", "tokens") if getattr(self, n) is not None]
        if len(given) > 1:
            raise BadInput(f"--{' and --'.join(given)} are two lengths for one run: give one")
        for name in ("batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("steps", "tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"{name} is {value}: it must be at least 1")
        if not 0 <= self.momentum < 1:
            raise BadInput(f"momentum is {self.momentum}: it must be at least 0 and below 1")
        if self.seed < 0:
            raise BadInput(f"seed is {self.seed}: it must be 0 or more")
        if self.time is not None:
            seconds(self.time)
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

        A run recorded before there was a development part has none.

        Raises:
            BadInput: a field that no configuration has.
        """
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise BadInput(f"unknown training fields: {', '.join(sorted(unknown))}")
        return cls(model=model, **{"development_fraction": 0.0, **values})


def folder_of(config: TrainConfig) -> Path:
    """Return the run folder: as asked for, or runs/DATA-POSITION."""
    if config.out is not None:
        return Path(config.out).expanduser()
    names = [Path(name.rstrip("/")).name.partition(".")[0] or "data" for name in config.data]
    model = config.model
    reader = model.position if model.kind == "transformer" else model.kind
    return Path("runs") / file_name(f"{'+'.join(names)}-{reader}")


def seconds(text: str) -> float:
    """Return the seconds that `90s`, `3m`, `1.5h` or a plain number of seconds spell."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    value = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"] if match else 0
    if not value:
        raise BadInput(f"time {text!r} is no length of time: write 90s, 3m or 1h")
    return value


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
    if preset is not None and preset not in PRESETS:
        raise BadInput(f"unknown preset {preset!r}: it is one of {', '.join(PRESETS)}")
    model_fields = {f.name for f in fields(ModelConfig)}
    train_fields = {f.name for f in fields(TrainConfig)} - {"model"}
    if unknown := set(values) - model_fields - train_fields - {"model"}:
        raise BadInput(f"unknown option {sorted(unknown)[0]!r} in the configuration")
    chosen = dict(PRESETS[preset or "tiny"])
    chosen.update({k: v for k, v in values.items() if k in model_fields})
    if "model" in values:
        chosen["kind"] = values["model"]
    model = ModelConfig(**chosen)
    return TrainConfig(model=model, **{k: v for k, v in values.items() if k in train_fields})


def with_vocabulary(config: TrainConfig, size: int) -> TrainConfig:
    """Return the configuration with the size that the tokenizer turned out to have."""
    return replace(config, model=replace(config.model, vocabulary_size=size))
