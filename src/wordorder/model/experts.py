"""A mixture of experts: a router chooses a few feed-forwards for each token.

    scores = softmax or sigmoid of W_router x                 (token, expert)
    chosen = the `active_experts` with the largest scores     of the best groups only, if any
    output = sum over chosen e of weight_e expert_e(x), plus the shared experts' output

No expert has a capacity, and no token is dropped: the output of a token depends on that token
alone, whatever else is in the batch, in training and in decoding.

Left alone, a router sends ever more tokens to the experts that have already learned most. Two
remedies: the softmax router has an auxiliary loss (see `balance_loss`); the sigmoid router adds a
bias to the scores of each expert when it chooses, and training raises the biases of experts that
compute too few tokens. The biases do not affect the weights, and so have no gradient.

Source: Fedus et al. 2022 (Switch Transformers), section 2.2, for softmax and its loss;
DeepSeek-AI 2024, arXiv 2412.19437 (DeepSeek-V3), section 2.1.2, for sigmoid and its biases, and
arXiv 2405.04434 (DeepSeek-V2), section 2.2.2, for groups.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..eager import run_eagerly
from .config import ModelConfig
from .context import LayerContext
from .layers import FeedForward, Linear, activated, feed_forward_parts
from .parts import StackedLinear

# The step of selection biases. DeepSeek-V3 (section 4.2) uses 0.001, in hundreds of thousands of
# training steps. After 200 steps (8 experts, width 48) the busiest expert computed 3.5 times its
# share with step 0, 3.1 times with 0.001, 1.3 times with 0.01 and 1.4 times with 0.03; the loss was
# lowest with 0.01.
BIAS_STEP = 0.01


class Routing(NamedTuple):
    """The experts of each token.

    Args:
        scores: (tokens, experts) float32, softmax or sigmoid of the router's logits.
        experts: (tokens, active_experts) int64.
        weights: (tokens, active_experts) float32, the factors of their outputs.
    """

    scores: Tensor
    experts: Tensor
    weights: Tensor

    def loads(self) -> Tensor:
        """Return the number of tokens that each expert computes, (experts,) int64."""
        choices = self.experts.flatten()
        zeros = choices.new_zeros(self.scores.shape[1])
        return zeros.scatter_add(0, choices, torch.ones_like(choices))

    def balance_loss(self) -> Tensor:
        """Return E * sum_e f_e P_e: 1 if loads and scores are balanced, up to E if not.

        f_e is the fraction of choices that fall on expert e, P_e the mean of its scores, which are
        normalized over experts. Only P has a gradient.

        Source: Fedus et al. 2022, equations 4 to 6; for several active experts, Dai et al. 2024
        (DeepSeekMoE), equations 12 to 14.
        """
        fractions = self.loads() / self.experts.numel()
        means = (self.scores / self.scores.sum(-1, keepdim=True)).mean(0)
        return len(fractions) * (fractions * means).sum()


class Router(Linear):
    """Chooses the experts of each token; it computes in float32.

    Attributes:
        selection_bias: (experts,) float32, or None for softmax; see the module's docstring.
    """

    selection_bias: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.width, config.experts, bias=config.biases)
        self.groups, self.active_groups = config.expert_groups, config.active_groups
        self.active, self.softmax = config.active_experts, config.router == "softmax"
        self.normalized, self.scale = config.normalized_routing, config.routed_scale
        bias = None if self.softmax else torch.zeros(config.experts)
        self.register_buffer("selection_bias", bias)

    def route(self, x: Tensor) -> Routing:
        """Return the experts of tokens (tokens, width)."""
        bias = None if self.bias is None else self.bias.float()
        logits = nn.functional.linear(x.float(), self.weight.float(), bias)
        scores = logits.softmax(-1) if self.softmax else logits.sigmoid()
        chances = scores.detach()
        if self.selection_bias is not None:
            chances = chances + self.selection_bias
        if self.active_groups < self.groups:
            chances = self._of_best_groups(chances)
        experts = chances.topk(self.active, dim=-1).indices
        weights = scores.gather(-1, experts)
        if self.normalized:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return Routing(scores, experts, weights * self.scale)

    def _of_best_groups(self, chances: Tensor) -> Tensor:
        """Return the chances, with minus infinity outside of each token's best groups.

        A group counts as much as its best expert, or with biases its best two together, as in
        DeepSeek-V2 and V3.
        """
        grouped = chances.unflatten(-1, (self.groups, -1))  # (tokens, groups, experts of a group)
        values = grouped.topk(1 if self.softmax else 2, dim=-1).values.sum(-1)
        best = values.topk(self.active_groups, dim=-1).indices
        outside = torch.ones_like(values, dtype=torch.bool).scatter(-1, best, False)
        return grouped.masked_fill(outside[..., None], float("-inf")).flatten(-2)


class Experts(nn.Module):
    """The feed-forward branch as a mixture of experts.

    Attributes:
        loads: tokens of each expert since `take_loads`, in training.
        balance: the auxiliary losses of the current forward pass, in training.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.feed_forward
        self.experts, self.balance_factor = config.experts, config.balance_loss or 0.0
        width, hidden = config.width, config.expert_width
        self.router = Router(config)
        parts = feed_forward_parts(self.activation, hidden)
        self.input = StackedLinear(config.experts, width, parts, bias=config.biases)
        self.down = StackedLinear(config.experts, hidden, {"down": width}, bias=config.biases)
        shared = config.shared_experts * hidden
        self.shared = FeedForward(config, shared) if shared else None
        self.loads: Tensor | None = None

    def forward(self, x: Tensor, context: LayerContext) -> Tensor:
        tokens = x.flatten(0, -2)
        routing = self.router.route(tokens)
        if self.training and context.balance is not None:
            if not context.balance.is_complete:
                self._observe(routing)
            if self.balance_factor:
                context.balance.losses.append(self.balance_factor * routing.balance_loss())
        compute = self._of_one_token if len(tokens) == 1 else self._of_many_tokens
        output = compute(tokens, routing).view_as(x)
        return output if self.shared is None else output + self.shared(x, context)

    # PyTorch's compiler does not support token counts that depend on the data.
    @run_eagerly
    def _observe(self, routing: Routing) -> None:
        with torch.no_grad():
            loads = routing.loads()
            self.loads = loads if self.loads is None else self.loads + loads

    def take_loads(self) -> Tensor | None:
        """Return the loads since the last call, (experts,) int64 or None, and reset them."""
        loads, self.loads = self.loads, None
        return loads

    def reset(self) -> None:
        """Forget the loads, and set the selection biases to 0."""
        self.loads = None
        if self.router.selection_bias is not None:
            self.router.selection_bias.zero_()

    @torch.no_grad()
    def adjust(self, loads: Tensor) -> None:
        """Raise the selection biases of experts below the mean load, and lower the others."""
        bias = self.router.selection_bias
        if bias is not None:
            wide = loads.to(bias.device, torch.float32)
            bias.add_(torch.sign(wide.mean() - wide), alpha=BIAS_STEP)

    def _of_one_token(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the output of one token (1, width); only its experts' weights are read."""
        chosen = routing.experts[0]
        hidden = self.input.weight[chosen].to(x.dtype) @ x[0]  # (active, outputs)
        if self.input.bias is not None:
            hidden = hidden + self.input.bias[chosen].to(x.dtype)
        hidden = activated(hidden, self.activation)
        outputs = (self.down.weight[chosen].to(x.dtype) @ hidden[..., None])[..., 0]
        if self.down.bias is not None:
            outputs = outputs + self.down.bias[chosen].to(x.dtype)
        return (outputs * routing.weights[0, :, None].to(x.dtype)).sum(0, keepdim=True)

    @run_eagerly
    def _of_many_tokens(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the outputs of tokens (tokens, width), computed expert by expert.

        Copies of tokens are sorted by their expert, and outputs sorted back. Every copy has a
        place of its own, so that gradients are sums in a fixed order on a GPU too.
        """
        active = routing.experts.shape[1]
        order = routing.experts.flatten().argsort(stable=True)
        copies = x[:, None].expand(-1, active, -1).flatten(0, 1)[order]
        pieces = copies.split(routing.loads().tolist())
        hidden = [activated(each, self.activation) for each in self.input.of_pieces(pieces)]
        outputs = torch.cat(self.down.of_pieces(hidden))
        outputs = outputs[order.argsort()].unflatten(0, (-1, active))
        return (outputs * routing.weights[..., None].to(x.dtype)).sum(1)
