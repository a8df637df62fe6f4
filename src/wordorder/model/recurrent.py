"""A GRU language model: the contrast, which reads in order and needs no positions.

It reads word by word, so "I love AI" and "AI love I" differ to it without any
positional embedding; the price is that its steps cannot run at once.
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
        self.dropout = Dropout(config.dropout)
        self.final_norm = make_norm(config, config.width)

    def hidden(
        self,
        tokens: Tensor | Batch,
        cache: RecurrentCache | None = None,
        recorder: Recorder | None = None,
    ) -> Tensor:
        """Return the final hidden states (batch, time, width) in the compute dtype.

        A GRU reads in order: it uses neither positions nor the context length.

        Args:
            cache: the hidden state after the tokens before these; it is replaced.

        Raises:
            BadInput: more than one document in a row, which a GRU cannot keep apart.
        """
        batch = Batch.of(tokens)
        documents = batch.documents
        if documents is not None and bool((documents.clamp(min=0) != documents[:, :1]).any()):
            raise BadInput(
                "a GRU cannot keep packed documents apart: leave out --isolate-documents"
            )
        x = self.word_vectors(batch.tokens)
        for i, (norm, recurrence) in enumerate(zip(self.norms, self.recurrences, strict=True)):
            if recorder is not None:
                recorder.residual(i, x)
            before = cache.states[i] if cache is not None and cache.states else None
            read, after = recurrence(norm(x), before)
            if cache is not None:
                cache.following.append(after)
            x = x + self.dropout(read)
        if recorder is not None:
            recorder.residual(len(self.norms), x)
        if cache is not None:
            cache.advance(batch.tokens.shape[1])
        return self.final_norm(x).to(self.compute_dtype)

    def new_cache(self, *, rotated: bool | None = None, context_length: int = 0) -> RecurrentCache:
        """Return an empty cache; a GRU has no use for either option."""
        return RecurrentCache()

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        for layer, recurrence in enumerate(self.recurrences):  # an orthogonal memory in each
            generator = torch.Generator().manual_seed(
                seed * len(self.recurrences) + layer & SEED_MASK
            )
            nn.init.orthogonal_(recurrence.weight_hh_l0, generator=generator)
            nn.init.zeros_(recurrence.bias_ih_l0)
            nn.init.zeros_(recurrence.bias_hh_l0)


class RecurrentCache:
    """The hidden state of a GRU after the tokens read so far."""

    rotated = False

    def __init__(self) -> None:
        self.length = 0
        self.states: list[Tensor] = []
        self.following: list[Tensor] = []

    def advance(self, tokens: int) -> None:
        """Take the states that a forward pass left as those to go on from."""
        self.states, self.following, self.length = self.following, [], self.length + tokens

    def evict(self, sinks: int, window: int) -> None:
        """Refuse: there are no tokens to drop.

        Raises:
            BadInput: always.
        """
        raise BadInput(
            "a GRU keeps no tokens, only what it made of them, and never more: leave out the window"
        )
