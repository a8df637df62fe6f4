"""A block of the transformer: attention and feed-forward on the residual stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .config import ModelConfig
from .context import LayerContext
from .experts import Experts
from .latent import LatentAttention
from .layers import Attention, Dropout, FeedForward, make_norm


class Block(nn.Module):
    """Attention and feed-forward on the residual stream.

    Args:
        layer: index from 0; the first may have no norm, and the first ones no experts.

    Attributes:
        recompute: in training, store only the input, and compute the block again in the backward
            pass, with the same random numbers.

    Source: Chen et al. 2016, arXiv 1604.06174, section 4 (recomputing).
    """

    recompute = False

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.parallel, self.after = config.parallel_residual, config.norm_placement == "after"
        is_normed = layer > 0 or config.first_norm
        self.attention_norm = make_norm(config, config.width) if is_normed else nn.Identity()
        latent = config.attention == "latent"
        self.attention = LatentAttention(config) if latent else Attention(config)
        self.feed_forward_norm = make_norm(config, config.width)
        self.feed_forward = (
            Experts(config)
            if config.has_experts(layer)
            else FeedForward(config, config.feed_forward_width)
        )
        self.dropout = Dropout(config.dropout or 0.0)
        self.attention_output_norm = self.feed_forward_output_norm = None
        if config.norm_placement == "both":
            self.attention_output_norm = make_norm(config, config.width)
            self.feed_forward_output_norm = make_norm(config, config.width)

    def forward(self, x: Tensor, context: LayerContext, cache: Any = None) -> Tensor:
        repeats = self.recompute and self.training and torch.is_grad_enabled()
        if repeats and cache is None and context.recorder is None:
            output: Tensor = checkpoint(self._output, x, context, use_reentrant=False)
            return output
        return self._output(x, context, cache)

    def _output(self, x: Tensor, context: LayerContext, cache: Any = None) -> Tensor:
        drop = self.dropout
        if self.attention_output_norm is not None and self.feed_forward_output_norm is not None:
            attended = self.attention(self.attention_norm(x), context, cache)
            x = x + drop(self.attention_output_norm(attended))
            hidden = self.feed_forward(self.feed_forward_norm(x), context)
            return x + drop(self.feed_forward_output_norm(hidden))
        if self.after:
            x = self.attention_norm(x + drop(self.attention(x, context, cache)))
            return self.feed_forward_norm(x + drop(self.feed_forward(x, context)))
        attended = drop(self.attention(self.attention_norm(x), context, cache))
        if self.parallel:
            return x + attended + drop(self.feed_forward(self.feed_forward_norm(x), context))
        x = x + attended
        return x + drop(self.feed_forward(self.feed_forward_norm(x), context))
