"""The architecture of a model: one frozen dataclass that covers GPT-2 to Qwen3.

The default is an architecture for which other tools have a stock class (Qwen3: RMSNorm with
weights, QK-norm, SwiGLU, no biases, rotary), so that a model trained with the defaults can be
used everywhere.
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
# Far above the largest models in existence: a larger number is a typing error.
MOST_WIDTH, MOST_HEADS = 1 << 20, 1 << 16
Width = Annotated[int, Interval(ge=1, le=MOST_WIDTH)]
Heads = Annotated[int, Interval(ge=1, le=MOST_HEADS)]
VocabularySize = Annotated[int, Interval(ge=1, le=10_000_000)]
Kind = Literal["transformer", "gru"]
FeedForwardKind = Literal["swiglu", "geglu", "geglu_tanh", "gelu", "gelu_tanh", "relu", "relu2"]
GATED = ("swiglu", "geglu", "geglu_tanh")  # feed-forwards with three matrices
USUAL_DROPOUT = 0.1  # if the size of the corpus is unknown; `training/size.py` has the rule


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a language model.

    Raises:
        BadInput: a value that its annotation does not allow, or sizes that do not fit together.
    """

    kind: Kind = "transformer"
    """a transformer, or a GRU, which processes tokens in order and needs no positions"""
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
    """heads of keys and values, shared by groups of query heads; 0: as many as heads"""
    head_dim: Annotated[int, Interval(ge=0, le=MOST_WIDTH)] = 0
    """width of one head; 0: width / heads"""
    feed_forward: FeedForwardKind = "swiglu"
    feed_forward_width: Annotated[int, Interval(ge=0, le=16 * MOST_WIDTH)] = 0
    """width of the hidden layer; 0: four times the width, or 8/3 of it with a gate"""
    norm: Literal["rms", "layer"] = "rms"
    norm_placement: Literal["before", "after", "both"] = "before"
    """before each branch (GPT-2, Llama), after it is added to the residual (BERT), or both before
    a branch and on its output (Gemma 2)"""
    norm_epsilon: Annotated[float, Gt(0)] = 1e-6
    embedding_norm: bool = False
    """a norm after the embeddings (BLOOM, BERT)"""
    biases: bool = False
    """biases in linear layers and layer norms"""
    parallel_residual: bool = False
    """attention and feed-forward have the same input (GPT-NeoX)"""
    qk_norm: bool = True
    """RMSNorm with weights on the queries and keys of each head (Qwen3)"""
    tied_embeddings: bool = True
    """use the embedding table as the output layer"""
    output_transform: bool = False
    """a linear layer, the function of the feed-forward and a norm before the output layer (BERT)"""
    output_bias: bool = False
    """a bias for each token in the output layer (BERT)"""
    embedding_scale: Rate = 0.0
    """factor of the word embeddings; 0: the square root of the width"""
    logit_softcap: Rate = 0.0
    """replace each logit c by cap * tanh(c / cap); 0: no cap"""
    windows: tuple[NotNegative, ...] = ()
    """sliding window of each layer, as a pattern over layers; 0: no window"""
    causal: bool = True
    """tokens attend only to earlier tokens and themselves"""
    dropout: Probability | None = None
    """dropout on the two residual branches; None: chosen by the number of epochs"""
    trained_length: Positive = 256
    """tokens in one training sequence"""

    def __post_init__(self) -> None:
        check(self)
        if self.kind == "gru" and not self.causal:
            raise BadInput(
                "a GRU processes tokens from left to right, so it is always causal: leave out "
                "--no-causal",
                code="model.gru-bidirectional",
            )
        if not self.head_dim and self.width % self.heads:
            pairs = 2 * self.heads  # rotary needs an even head size
            raise BadInput(
                f"the width {self.width} is not a multiple of {self.heads} heads: use "
                f"--width {self.width // pairs * pairs + pairs}, another number of --heads, or set "
                "--head-dim",
                code="model.width-of-heads",
            )
        if self.norm_placement == "both" and self.parallel_residual:
            raise BadInput(
                "--parallel-residual adds both branches at once, which --norm-placement both does "
                "not have: leave out one of the two",
                code="model.parallel-norms",
            )
        if self.heads % (self.key_value_heads or self.heads):
            raise BadInput(
                f"{self.heads} heads are not a multiple of {self.key_value_heads} key-value heads: "
                f"use --key-value-heads 1 or {self.heads}, or another divisor of {self.heads}",
                code="model.key-value-heads",
            )
        # The default needs no lookup, which would import torch: --help must stay fast.
        if self.position != "rotary":
            from ..positions import canonical

            object.__setattr__(self, "position", canonical(self.position))

    @property
    def resolved(self) -> ModelConfig:
        """The same architecture with every size that is 0 replaced by its computed value.

        A configuration keeps the zeros, so that `replace(config, width=512)` also changes the
        sizes that depend on the width. A model has the resolved configuration.
        """
        # A gate is a third matrix, so 8/3 gives as many parameters as 4.
        hidden = self.width * 8 // 3 if self.feed_forward in GATED else 4 * self.width
        return replace(
            self,
            head_dim=self.head_dim or self.width // self.heads,
            key_value_heads=self.key_value_heads or self.heads,
            feed_forward_width=self.feed_forward_width or -(-hidden // 32) * 32,
            embedding_scale=self.embedding_scale or self._default_embedding_scale(),
            dropout=USUAL_DROPOUT if self.dropout is None else self.dropout,
        )

    def _default_embedding_scale(self) -> float:
        """Return the multiplier that the positional embedding expects, else sqrt(width).

        Source: Vaswani et al. 2017, section 3.4. It helps with every positional embedding:
        without it, word vectors of size 0.02 are small beside what the first layers add, and all
        models learn more slowly.
        """
        from ..positions import word_scale

        scale = word_scale(self.position, self.width) if self.kind == "transformer" else None
        return math.sqrt(self.width) if scale is None else scale

    @property
    def shape(self) -> ModelShape:
        """The sizes that a positional embedding depends on."""
        from ..positions import ModelShape  # imports torch, which parsing options must not

        resolved = self.resolved
        return ModelShape(
            resolved.heads,
            resolved.head_dim,
            resolved.width,
            resolved.layers,
            resolved.trained_length,
            resolved.causal,
            EMBEDDING_STD * resolved.embedding_scale,
        )

    def window(self, layer: int) -> int | None:
        """Return the sliding window of a layer, or None."""
        return (self.windows[layer % len(self.windows)] or None) if self.windows else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, and the generation of the position's defaults."""
        from ..positions.defaults import GENERATION  # imports torch, which parsing options must not

        return {**asdict(self), "windows": list(self.windows), "defaults": GENERATION}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Return the configuration of a dict from `to_dict`, of this version or an older one.

        The older version's defaults are written into the position's spec.

        Raises:
            BadInput: an unknown field, or a record of a newer version.
        """
        from ..positions.defaults import GENERATION, recorded

        values = dict(values)
        generation = values.pop("defaults", 1)
        if generation > GENERATION:
            raise BadInput(
                f"a newer version of wordorder wrote this record (defaults {generation}; this "
                f"version supports up to {GENERATION}): install that version",
                code="model.newer-record",
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
