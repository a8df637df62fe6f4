"""The transformer language model: word vectors, blocks, output layer; an ordinary nn.Module.

Positions are always passed on, never assumed: a forward pass makes one `TokenLayout` from the
batch it is given (0, 1, 2, ... and one document by default), and every layer reads that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..batch import Batch
from ..errors import BadInput
from ..positions import TokenLayout, build
from .additive_mask import AdditiveMask
from .cache import Cache, KVCache
from .config import ModelConfig
from .context import LayerContext, Recorder
from .layers import Block, make_norm
from .token_model import TokenModel


class LanguageModel(TokenModel):
    """A transformer with any positional embedding.

    Shapes: tokens (batch, time) int64 -> logits (batch, time, vocabulary).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        config = self.config
        self.position = build(config.position, config.shape)
        self.embedding_norm = make_norm(config, config.width) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        before = config.norm_placement == "before"
        self.final_norm = make_norm(config, config.width) if before else None

    def room(self, tokens: int) -> int | None:
        """Return how many tokens the embedding leaves room for; the last one is not read."""
        longest = self.position.max_position
        return None if longest is None else max(0, longest - tokens + 2)

    def hidden(
        self,
        tokens: Tensor | Batch,
        cache: KVCache | None = None,
        recorder: Recorder | None = None,
    ) -> Tensor:
        """Return the final hidden states (batch, time, width); arguments as for `forward`."""
        batch = Batch.of(tokens)
        layout = self.layout(batch, cache)
        x = self.position.embed(self.word_vectors(batch.tokens), layout)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = x.to(self.compute_dtype)
        contexts = self.contexts(layout, cache is not None and cache.rotated, recorder)
        for i, block in enumerate(self.blocks):
            if recorder is not None:
                recorder.residual(i, x)
            x = block(x, contexts[i], cache.layers[i] if cache is not None else None)
        if recorder is not None:
            recorder.residual(len(self.blocks), x)
        return x if self.final_norm is None else self.final_norm(x)

    def layout(self, tokens: Tensor | Batch, cache: KVCache | None = None) -> TokenLayout:
        """Return where these tokens stand, and extend the cache's record of it."""
        batch = Batch.of(tokens)
        if cache is not None and batch.context_length not in (0, cache.context_length):
            raise BadInput(
                f"a context length of {batch.context_length:,}, and a cache that was made for "
                f"{cache.context_length:,}: give it to new_cache, and here none"
            )
        time, positions = batch.tokens.shape[1], batch.positions
        counted = positions is None
        if positions is None and cache is not None:
            positions = cache.next_positions(batch.tokens)
        elif positions is None:
            positions = torch.arange(time, device=batch.tokens.device)[None]
        last = time - 1 + (0 if cache is None else cache.length)
        stepwise = counted and (cache is None or cache.consecutive)
        limited = self.position.max_position is not None
        if limited and not stepwise and not torch.compiler.is_compiling():
            last = int(positions.max())
        self.check_positions(last)
        if cache is not None:
            return cache.extend(batch, positions)
        # Positions that restart in each document keep the distance of indices within it.
        return TokenLayout.of(
            positions,
            batch.documents,
            context_length=batch.context_length or time,
            causal=self.config.causal,
            consecutive=counted or batch.consecutive,
        )

    def check_positions(self, last: int) -> None:
        """Raise where a position is past the largest that the embedding can represent."""
        largest = self.position.max_position
        if largest is not None and last > largest:
            raise BadInput(
                f"position {last} is past the longest that --position {self.config.position} "
                f"can represent ({largest}): use a shorter text, or train with --position rotary"
            )

    def contexts(
        self, layout: TokenLayout, rotated_keys: bool = False, recorder: Recorder | None = None
    ) -> list[LayerContext]:
        """Return the context of each layer; layers that agree share masks and biases."""
        tables = self.position.prepare(layout, rotated_keys)
        shared: dict[tuple, AdditiveMask] = {}
        contexts = []
        for i, position in enumerate(self.position.sums):
            window = self.config.window(i)
            key = (self.position.indices[i], window)
            if key not in shared:
                shared[key] = AdditiveMask.of(position, layout, window, self.compute_dtype)
            contexts.append(
                LayerContext(i, position, tables[i], shared[key], self.attention_kernel, recorder)
            )
        return contexts

    def new_cache(self, *, rotated: bool | None = None, context_length: int = 0) -> Cache:
        """Return an empty cache.

        Args:
            rotated: keep rotated keys; None: where every embedding's rotation is static.
            context_length: what length-dependent scaling divides by; 0: the trained length.

        Raises:
            BadInput: rotated keys, where an embedding rotates them anew at every length.
        """
        return Cache(
            self.position,
            self.config.position,
            self.config.causal,
            rotated=rotated,
            context_length=context_length,
        )

    def sample_positions(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return a batch at the positions that training feeds; most embeddings change none."""
        if "sample_positions" not in self.position.active_hooks():
            return batch
        positions = batch.positions
        if positions is None:
            positions = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)[None]
        sampled = self.position.sample_positions(positions, len(batch.tokens), generator)
        return batch._replace(positions=sampled, consecutive=False)
