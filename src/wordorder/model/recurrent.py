"""A GRU language model, for contrast: it needs no positional embedding.

A GRU processes tokens one after another, so "I love AI" and "AI love I" give different results
without positions. The price is that its steps cannot be computed in parallel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..batch import Batch
from ..errors import BadInput
from .config import ModelConfig
from .context import Recorder
from .layers import Dropout, make_norm
from .token_model import SEED_MASK, TokenModel


class RecurrentLanguageModel(TokenModel):
    """A stack of GRU layers, each on a normalised residual branch.

    Shapes: tokens (batch, time) int64 -> logits (batch, time, vocabulary).

    Source: Cho et al. 2014 (the gated recurrent unit).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.norms = nn.ModuleList(make_norm(config, config.width) for _ in range(config.layers))
        self.recurrences = nn.ModuleList(
            nn.GRU(config.width, config.width, batch_first=True) for _ in range(config.layers)
        )
        self.dropout = Dropout(config.dropout or 0.0)
        self.final_norm = make_norm(config, config.width)

    def hidden(
        self,
        tokens: Tensor | Batch,
        cache: RecurrentCache | None = None,
        recorder: Recorder | None = None,
    ) -> Tensor:
        """Return the final hidden states (batch, time, width) in the compute dtype.

        Positions and the context length have no effect.

        Args:
            cache: the hidden states after earlier tokens; it is updated.

        Raises:
            BadInput: more than one document in a row: hidden states cannot be masked.
        """
        batch = Batch.of(tokens)
        documents = batch.documents
        if documents is not None and bool((documents.clamp(min=0) != documents[:, :1]).any()):
            raise BadInput(
                "a GRU cannot isolate documents that are packed into one row: leave out "
                "--isolate-documents",
                code="model.gru-packed-documents",
            )
        x = self.word_vectors(batch.tokens)
        for i, (norm, recurrence) in enumerate(zip(self.norms, self.recurrences, strict=True)):
            if recorder is not None:
                recorder.residual(i, x)
            before = cache.states[i] if cache is not None and cache.states else None
            outputs, after = recurrence(norm(x), before)
            if cache is not None:
                cache.new_states.append(after)
            x = x + self.dropout(outputs)
        if recorder is not None:
            recorder.residual(len(self.norms), x)
        if cache is not None:
            cache.advance(batch.tokens.shape[1])
        return self.final_norm(x).to(self.compute_dtype)

    def new_cache(self, *, rotated: bool | None = None, context_length: int = 0) -> RecurrentCache:
        """Return an empty cache; the arguments have no effect."""
        return RecurrentCache()

    @torch.no_grad()
    def draw_weights(self, seed: int, module: nn.Module | None = None) -> None:
        super().draw_weights(seed, module)
        for layer, recurrence in enumerate(self.recurrences):
            if module not in (None, recurrence):
                continue
            generator = torch.Generator().manual_seed(
                seed * len(self.recurrences) + layer & SEED_MASK
            )
            nn.init.orthogonal_(recurrence.get_parameter("weight_hh_l0"), generator=generator)
            nn.init.zeros_(recurrence.get_parameter("bias_ih_l0"))
            nn.init.zeros_(recurrence.get_parameter("bias_hh_l0"))


class RecurrentCache:
    """The hidden states of a GRU's layers after the tokens so far.

    Attributes:
        states: (1, batch, width) for each layer.
        new_states: those of the forward pass in progress.
    """

    rotated = False

    def __init__(self) -> None:
        self.length = 0
        self.states: list[Tensor] = []
        self.new_states: list[Tensor] = []

    def advance(self, tokens: int) -> None:
        """Make the new states of a forward pass the current ones."""
        self.states, self.new_states, self.length = self.new_states, [], self.length + tokens

    def evict(self, sinks: int, window: int) -> None:
        """Raise, because a GRU caches no tokens.

        Raises:
            BadInput: always.
        """
        raise BadInput(
            "a GRU caches a hidden state of constant size and no tokens, so it has no window: "
            "leave out --window",
            code="model.gru-window",
        )
