"""The transformer language model: word vectors, blocks and output layer, in an nn.Module.

Positions are always passed, never assumed: a forward pass creates one `TokenLayout` from its batch
(by default positions 0, 1, 2, ... and one document), and every layer uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..batch import WHOLE, Batch, RowShare
from ..errors import BadInput
from ..positions import TokenLayout, build
from .block import Block
from .cache import Cache, KVCache
from .config import ModelConfig
from .context import BalanceLosses, LayerContext, Recorder, layer_contexts
from .layers import make_norm
from .token_model import TokenModel


class LanguageModel(TokenModel):
    """A transformer with any positional embedding.

    Shapes: tokens (batch, time) int64 -> logits (batch, time, vocabulary).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        config = self.config
        self.position = build(config.position, config.shape)
        if config.attention_sinks and any(
            layer.whole_row is not None for layer in self.position.sums
        ):
            raise BadInput(
                f"--attention-sinks is not supported with --position {config.position}, which "
                "computes attention weights itself: leave out one of the two",
                code="model.sinks-of-whole-rows",
            )
        self.embedding_norm = make_norm(config, config.width) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.layers))
        is_normed = config.norm_placement == "after"
        self.final_norm = None if is_normed else make_norm(config, config.width)

    def set_recompute(self, recompute: bool) -> None:
        """Set whether training recomputes blocks in the backward pass, which saves memory."""
        for block in self.modules():
            if isinstance(block, Block):
                block.recompute = recompute

    @property
    def longest_pass(self) -> int | None:
        """The most tokens of one forward pass, at consecutive positions; None: no limit."""
        widest = self.position.widest
        return None if widest is None else widest + 1

    def room(self, tokens: int) -> int | None:
        """Return how many tokens can be generated after `tokens`; None: no limit.

        The last generated token needs no position, because it is never an input.
        """
        limit = self.position.max_position
        return None if limit is None else max(0, limit - tokens + 2)

    def hidden(
        self,
        tokens: Tensor | Batch,
        cache: KVCache | None = None,
        recorder: Recorder | None = None,
    ) -> Tensor:
        """Return the final hidden states (batch, time, width); arguments as for `forward`."""
        return self._hidden(Batch.of(tokens), cache, recorder, None)

    def forward(
        self,
        tokens: Tensor | Batch,
        cache: KVCache | None = None,
        recorder: Recorder | None = None,
    ) -> Tensor:
        batch = Batch.of(tokens)
        if batch.targets is None or not (self.training and self.config.experts):
            return super().forward(batch, cache, recorder)
        balance = BalanceLosses()
        hidden = self._hidden(batch, cache, recorder, balance)
        losses = self.target_losses(hidden, batch.targets)
        balance.is_complete = True
        if not balance.losses:
            return losses
        # The losses stay those of the tokens: the auxiliary losses add 0, and their gradient.
        total = torch.stack(balance.losses).sum()
        return losses + (total - total.detach()) * (batch.targets >= 0)

    def _hidden(
        self,
        batch: Batch,
        cache: KVCache | None,
        recorder: Recorder | None,
        balance: BalanceLosses | None,
    ) -> Tensor:
        """Return the final hidden states; in training, collect the auxiliary losses."""
        layout = self.layout(batch, cache)
        x = self.position.embed(self.word_vectors(batch.tokens), layout)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = x.to(self.compute_dtype)
        contexts = self.contexts(layout, cache is not None and cache.rotated, recorder, balance)
        for i, block in enumerate(self.blocks):
            if recorder is not None:
                recorder.residual(i, x)
            x = block(x, contexts[i], cache.layers[i] if cache is not None else None)
        if recorder is not None:
            recorder.residual(len(self.blocks), x)
        return x if self.final_norm is None else self.final_norm(x)

    def layout(self, tokens: Tensor | Batch, cache: KVCache | None = None) -> TokenLayout:
        """Return the layout of these tokens, and record it in the cache.

        Raises:
            BadInput: as `forward`.
        """
        batch = Batch.of(tokens)
        if cache is not None and batch.context_length not in (0, cache.context_length):
            raise BadInput(
                f"the batch has a context length of {batch.context_length:,}, but its cache was "
                f"created with {cache.context_length:,}: pass context_length to new_cache only",
                code="model.context-length-differs",
            )
        time, positions = batch.tokens.shape[1], batch.positions
        default = positions is None
        if positions is None and cache is not None:
            positions = cache.next_positions(batch.tokens)
        elif positions is None:
            positions = torch.arange(time, device=batch.tokens.device)[None]
        last = time - 1 + (0 if cache is None else cache.length)
        # In packed documents positions restart. Elsewhere no device has to be waited for.
        last_is_largest = default and (
            cache is None or (cache.consecutive and cache.documents is None)
        )
        limited = self.position.max_position is not None
        if limited and not last_is_largest and not torch.compiler.is_compiling():
            last = int(positions.max())
        self.check_positions(last)
        if cache is not None:
            return cache.extend(batch, positions)
        # Positions that restart in each document are consecutive within it.
        return TokenLayout.of(
            positions,
            batch.documents,
            context_length=batch.context_length or time,
            causal=self.config.causal,
            consecutive=default or batch.consecutive,
        )

    def check_positions(self, last: int) -> None:
        """Raise if the last position is past the largest that the embedding can represent.

        Raises:
            BadInput: with both positions.
        """
        largest = self.position.max_position
        if largest is not None and last > largest:
            raise BadInput(
                f"position {last} is past the largest that --position {self.config.position} can "
                f"represent ({largest}): use a shorter text, or train with --position rotary",
                code="model.position-past-limit",
            )

    def contexts(
        self,
        layout: TokenLayout,
        rotated_keys: bool = False,
        recorder: Recorder | None = None,
        balance: BalanceLosses | None = None,
    ) -> list[LayerContext]:
        """Return each layer's context; layers with equal embedding and window share a mask."""
        return layer_contexts(
            self.position,
            layout,
            [self.config.window(i) for i in range(self.config.layers)],
            self.compute_dtype,
            kernel=self.attention_kernel,
            rotated_keys=rotated_keys,
            recorder=recorder,
            balance=balance,
            softcap=self.config.attention_softcap,
        )

    def new_cache(self, *, rotated: bool | None = None, context_length: int = 0) -> Cache:
        """Return an empty cache.

        Args:
            rotated: store rotated keys; None: if every embedding has a static rotation.
            context_length: the length that length-dependent scaling uses; 0: the trained length.

        Raises:
            BadInput: rotated keys, with an embedding whose rotation is not static.
        """
        return Cache(
            self.position,
            self.config.position,
            self.config.causal,
            rotated=rotated,
            context_length=context_length,
        )

    @property
    def samples_positions(self) -> bool:
        """Whether training feeds positions that the embedding samples."""
        return "sample_positions" in self.position.active_hooks()

    def sample_positions(
        self, batch: Batch, generator: torch.Generator, rows: RowShare = WHOLE
    ) -> Batch:
        """Return a batch with the positions that training feeds; see `TokenModel`."""
        if not self.samples_positions:
            return batch
        positions = batch.positions
        if positions is None:
            positions = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)[None]
        size = rows.count * len(batch.tokens)
        sampled = rows.part(self.position.sample_positions(positions, size, generator))
        return batch._replace(positions=sampled, consecutive=False)
