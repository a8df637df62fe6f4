"""What a model is: one frozen dataclass that covers GPT-2's shape to Qwen3's.

The default is a shape that a stock class of other tools holds exactly (Qwen3's: RMSNorm
with weights, QK-norm, SwiGLU, no biases, rotary), so that what people train without
thinking ships everywhere.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, Interval

from ..errors import BadInput
from ..settings import NotNegative, Positive, Probability, Rate, check, from_record

if TYPE_CHECKING:
    from ..positions import ModelShape

# Initial standard deviation of the entries of the embedding table (GPT-2's).
EMBEDDING_STD = 0.02
# Far past the largest models that there are: a slip of the keyboard, not a model.
MOST_WIDTH, MOST_HEADS = 1 << 20, 1 << 16
Width = Annotated[int, Interval(ge=1, le=MOST_WIDTH)]
Heads = Annotated[int, Interval(ge=1, le=MOST_HEADS)]
VocabularySize = Annotated[int, Interval(ge=1, le=10_000_000)]
Kind = Literal["transformer", "gru"]
USUAL_DROPOUT = 0.1  # where nothing is known of the text; `training/size.py` has the rule


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a language model.

    Raises:
        BadInput: a value that its annotation does not allow, or sizes that do not fit one another.
    """

    kind: Kind = "transformer"
    """a transformer, or the contrast that reads in order"""
    position: str = "rotary"
    """positional embedding, such as rotary:base=500000 or learned+alibi or rotary/none"""
    vocabulary_size: VocabularySize = 4096
    """number of tokens; training sets it from the tokenizer"""
    width: Width = 192
    """width of the residual stream"""
    layers: Annotated[int, Interval(ge=1, le=1000)] = 4
    heads: Heads = 6
    """query heads"""
    key_value_heads: Annotated[int, Interval(ge=0, le=MOST_HEADS)] = 0
    """heads of keys and values, which groups of query heads share; 0: as many as heads"""
    head_dim: Annotated[int, Interval(ge=0, le=MOST_WIDTH)] = 0
    """width of one head; 0: width / heads"""
    feed_forward: Literal["swiglu", "gelu", "gelu_tanh", "relu2"] = "swiglu"
    feed_forward_width: Annotated[int, Interval(ge=0, le=16 * MOST_WIDTH)] = 0
    """0: four times the width, or 8/3 of it for swiglu, as many parameters"""
    norm: Literal["rms", "layer"] = "rms"
    norm_placement: Literal["before", "after"] = "before"
    """before each branch (GPT-2, Llama) or after its sum (BERT)"""
    norm_epsilon: Annotated[float, Gt(0)] = 1e-6
    embedding_norm: bool = False
    """a norm on the embeddings (BLOOM, BERT)"""
    biases: bool = False
    """biases in linear layers and layer norms"""
    parallel_residual: bool = False
    """attention and feed-forward read the same input (GPT-NeoX)"""
    qk_norm: bool = True
    """RMSNorm with weights on the queries and keys of each head (Qwen3)"""
    tied_embeddings: bool = True
    """the output layer is the embedding table"""
    embedding_scale: Rate = 0.0
    """what word embeddings are multiplied by; 0: the square root of the width"""
    logit_softcap: Rate = 0.0
    """logits c become cap * tanh(c / cap); 0: none"""
    windows: tuple[NotNegative, ...] = ()
    """sliding window of each layer, as a pattern over layers; 0: none"""
    causal: bool = True
    """the future is hidden"""
    dropout: Probability | None = None
    """dropout on the two residual branches; None: by how often training reads the text"""
    trained_length: Positive = 256
    """tokens in one training sequence"""

    def __post_init__(self) -> None:
        check(self)
        if self.kind == "gru" and not self.causal:
            raise BadInput("a GRU reads from left to right: leave out --no-causal")
        if not self.head_dim and self.width % self.heads:
            pairs = 2 * self.heads  # rotary turns pairs of numbers
            raise BadInput(
                f"{self.heads} heads do not divide the width {self.width}: "
                f"choose --width {self.width // pairs * pairs + pairs}, "
                "other --heads, or give --head-dim"
            )
        if self.heads % (self.key_value_heads or self.heads):
            raise BadInput(
                f"{self.key_value_heads} key-value heads do not divide {self.heads} heads: choose "
                f"--key-value-heads 1 or {self.heads}, or another number that divides them"
            )
        if self.position != "rotary":  # which has its name; positions import torch, --help does not
            from ..positions import canonical

            object.__setattr__(self, "position", canonical(self.position))

    @property
    def resolved(self) -> ModelConfig:
        """The same architecture with every size that was left to others (0) worked out.

        A configuration keeps what was asked for, so that `replace(config, width=512)`
        changes what follows from the width; a model has the resolved one.
        """
        wide = self.width * 8 // 3 if self.feed_forward == "swiglu" else 4 * self.width
        return replace(
            self,
            head_dim=self.head_dim or self.width // self.heads,
            key_value_heads=self.key_value_heads or self.heads,
            feed_forward_width=self.feed_forward_width or -(-wide // 32) * 32,
            embedding_scale=self.embedding_scale or self._default_embedding_scale(),
            dropout=USUAL_DROPOUT if self.dropout is None else self.dropout,
        )

    def _default_embedding_scale(self) -> float:
        """Return what the positional embedding presumes of the words, else sqrt(width).

        Source: Vaswani et al. 2017, section 3.4, for every embedding: without it, tables drawn
        at 0.02 are drowned by whatever the first layers add, and all models learn slower.
        """
        from ..positions import word_scale

        presumed = word_scale(self.position, self.width) if self.kind == "transformer" else None
        return math.sqrt(self.width) if presumed is None else presumed

    @property
    def shape(self) -> ModelShape:
        """What a positional embedding knows of the model."""
        from ..positions import ModelShape  # imports torch, which options do without

        whole = self.resolved
        return ModelShape(
            whole.heads,
            whole.head_dim,
            whole.width,
            whole.layers,
            whole.trained_length,
            whole.causal,
            EMBEDDING_STD * whole.embedding_scale,
        )

    def window(self, layer: int) -> int | None:
        """Return the sliding window of a layer; None: it sees everything."""
        return (self.windows[layer % len(self.windows)] or None) if self.windows else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them, and which defaults the position relies on."""
        from ..positions.defaults import GENERATION  # imports torch, which options do without

        return {**asdict(self), "windows": list(self.windows), "defaults": GENERATION}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Return the configuration that `to_dict` wrote, in this version or an older one.

        Defaults of the position that were others then are written out in it.

        Raises:
            BadInput: a field that no configuration has, or a record of a newer version.
        """
        from ..positions.defaults import GENERATION, recorded

        values = dict(values)
        generation = values.pop("defaults", 1)
        if generation > GENERATION:
            raise BadInput(
                f"a newer wordorder wrote this (defaults {generation}, this one knows "
                f"{GENERATION}): install that version"
            )
        if "position" in values:
            values["position"] = recorded(values["position"], generation)
        return from_record(cls, values, "model")


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"width": 128, "layers": 4, "heads": 4, "trained_length": 128},
    "tiny": {"width": 192, "layers": 4, "heads": 6, "trained_length": 256},
    "mini": {"width": 256, "layers": 6, "heads": 8, "trained_length": 256},
    "small": {"width": 384, "layers": 6, "heads": 6, "trained_length": 512},
    "medium": {"width": 768, "layers": 12, "heads": 12, "trained_length": 1024},
}
