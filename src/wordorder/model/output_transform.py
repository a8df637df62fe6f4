"""The layers between the last hidden states and the output layer, in BERT and its successors."""

from __future__ import annotations

from torch import Tensor, nn

from .config import ModelConfig
from .layers import FUNCTIONS, GATES, Linear, make_norm


class OutputTransform(nn.Module):
    """A linear layer, the feed-forward's activation and a norm: (..., width) -> (..., width).

    Source: Devlin et al. 2018; the code released with BERT (`get_masked_lm_output`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.function = (FUNCTIONS | GATES)[config.feed_forward]
        self.linear = Linear(config.width, config.width, bias=config.biases)
        self.norm = make_norm(config, config.width)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.function(self.linear(x)))
        return normed
