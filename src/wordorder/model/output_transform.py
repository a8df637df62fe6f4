"""The layers between the last hidden states and the output layer, in BERT and its successors."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .layers import Linear, make_norm


class OutputTransform(nn.Module):
    """A linear layer, the function of the feed-forward and a norm: (..., width) to the same.

    Source: Devlin et al. 2018; the code released with BERT (`get_masked_lm_output`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.function = FUNCTIONS[config.feed_forward]
        self.linear = Linear(config.width, config.width, bias=config.biases)
        self.norm = make_norm(config, config.width)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.function(self.linear(x)))
        return normed


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _squared_relu(x: Tensor) -> Tensor:
    return F.relu(x).square()


FUNCTIONS = {
    "swiglu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu2": _squared_relu,
}
