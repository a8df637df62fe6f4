"""Latent attention: keys and values of all heads are computed from one small vector per token.

Per token the cache holds the latent and one rotary key that all heads share, instead of a key and
a value for each head. Rotary positions and the compression exclude each other: a rotation between
the latent and the keys would depend on the position of every query. So each head has a part
without positions, whose keys come from the latent, and a decoupled part, whose one key comes from
the input and is transformed by the positional embedding:

    latent_j = RMSNorm(W_latent x_j)                      cached
    shared_j = transform(W_rotary_key x_j)                cached, one for all heads
    score_ij = (query_i . W_key latent_j + transform(rotary_query_i) . shared_j) * scale
    output_i = sum_j softmax(score_ij) W_value latent_j

A decoding step never computes keys or values: W_key is applied to the one query instead of all
latents, and W_value to the one output. Attention then has a single head of keys, (latent, shared),
and the latents are its values. Kernels receive an ordinary problem in both forms.

Source: DeepSeek-AI 2024 (DeepSeek-V2), arXiv 2405.04434, section 2.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .context import LayerContext
from .layers import JoinedLinear, Linear, RMSNorm, make_sinks

Projected = tuple[Tensor, Tensor, Tensor]


class LatentAttention(nn.Module):
    """The attention branch with a latent of keys and values, and optionally one of queries.

    With biases, the projections of the input and of the output have them, as in DeepSeek's code.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        self.rotary_dim, self.value_dim = config.rotary_head_dim, config.value_head_dim
        queries = config.heads * (config.head_dim + config.rotary_head_dim)
        rank, biases = config.query_latent_dim, config.biases
        outputs = {"query_latent": rank} if rank else {"query": queries}
        outputs |= {"latent": config.latent_dim, "rotary_key": config.rotary_head_dim}
        self.input = JoinedLinear(config.width, outputs, bias=biases)
        self.latent_norm = RMSNorm(config.latent_dim, eps=config.norm_epsilon)
        self.query_norm = RMSNorm(rank, eps=config.norm_epsilon) if rank else None
        self.query = Linear(rank, queries, bias=False) if rank else None
        expanded = {"key": config.heads * config.head_dim, "value": config.heads * self.value_dim}
        self.expansion = JoinedLinear(config.latent_dim, expanded, bias=False)
        self.output = Linear(config.heads * self.value_dim, config.width, bias=biases)
        self.sinks = make_sinks(config)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return queries, rotary queries, rotary keys and latents, without positions.

        Shapes: x (batch, time, width); queries (batch, heads, time, head_dim), rotary queries
        (batch, heads, time, rotary_head_dim), rotary keys (batch, 1, time, rotary_head_dim) and
        latents (batch, 1, time, latent_dim).
        """
        queries, latents, keys = self.input(x).split(self.input.widths, dim=-1)
        if self.query is not None and self.query_norm is not None:
            queries = self.query(self.query_norm(queries))
        queries = queries.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        plain, rotary = queries.split((self.head_dim, self.rotary_dim), dim=-1)
        return plain, rotary, keys[:, None], self.latent_norm(latents)[:, None]

    def expanded(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys without positions and values, (batch, heads, key, head_dim) each."""
        keys, values = self.expansion(latents[:, 0]).split(self.expansion.widths, dim=-1)
        keys, values = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (keys, values))
        return keys, values

    def matrices(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return W_key and W_value by head, (heads, head_dim, latent_dim) each."""
        keys, values = self.expansion.weight.to(dtype).split(self.expansion.widths)
        return keys.unflatten(0, (self.heads, -1)), values.unflatten(0, (self.heads, -1))

    def forward(self, x: Tensor, context: LayerContext, cache: Any = None) -> Tensor:
        plain, rotary, keys, latents = self.project(x)
        if cache is not None and x.shape[1] == 1 and context.takes_latents:
            attended = self._by_latents(x, plain, rotary, keys, latents, context, cache)
        else:

            def whole(rotary: Tensor, keys: Tensor, latents: Tensor) -> Projected:
                expanded, values = self.expanded(latents)
                shared = keys.expand(-1, self.heads, -1, -1)
                queries = torch.cat((plain, rotary), -1)
                return queries, torch.cat((expanded, shared), -1), values

            attended = context.attend(x, rotary, keys, latents, cache, whole, self.sinks)
        return self.output(attended.transpose(1, 2).flatten(-2))

    def _by_latents(
        self,
        x: Tensor,
        plain: Tensor,
        rotary: Tensor,
        keys: Tensor,
        latents: Tensor,
        context: LayerContext,
        cache: Any,
    ) -> Tensor:
        """Return the attended values of one new token without expanding cached latents."""
        to_keys, to_values = self.matrices(x.dtype)

        def whole(rotary: Tensor, keys: Tensor, latents: Tensor) -> Projected:
            queries = torch.cat((plain @ to_keys, rotary), -1)
            # An embedding may transform the shared key for each head differently.
            joined = torch.cat((latents.expand(-1, keys.shape[1], -1, -1), keys), -1)
            values = latents.expand(-1, self.heads, -1, -1)
            return queries, joined.expand(-1, self.heads, -1, -1), values

        attended = context.attend(x, rotary, keys, latents, cache, whole, self.sinks)
        return attended @ to_values.mT
