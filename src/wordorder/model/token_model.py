"""The base of both language models: word vectors, logits, losses, initial values.

The loss is computed in `forward`, so that wrappers of a model (torch.compile, data-parallel
training) include it.

Initial values (standard deviations): embeddings 0.02, times the default multiplier sqrt(width)
0.2 to 0.6; matrices 1/sqrt(inputs); the two projections to the residual stream 0, so that a new
block is the identity (nanochat, modded-nanogpt), unless their output is normed; norms 1; biases
0; a positional embedding's parameters by its `reset_parameters`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..batch import WHOLE, Batch, RowShare
from ..eager import run_eagerly
from ..positions import Position, PositionError
from ..positions.base import Resettable
from .config import EMBEDDING_STD, ModelConfig
from .context import Recorder
from .cross_entropy import cross_entropy
from .experts import Experts
from .layers import Dropout, JoinedLinear, Linear, linear
from .output_transform import OutputTransform
from .parts import ParameterPart, StackedLinear
from .problem import KernelName

SEED_MASK = (1 << 64) - 1  # PyTorch's seeds have 64 bits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, without dropout, and restore its mode afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class TokenModel(nn.Module):
    """Base of both language models: loss, parameter counts, initial values.

    Attributes:
        compute_dtype: dtype of the activations; weights keep theirs.
        attention_kernel: "auto", "plain", "fused", "flex" or "whole".
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config = config.resolved
        self.compute_dtype = torch.float32
        self.attention_kernel: KernelName = "auto"
        self.rows = WHOLE
        table = torch.empty(config.vocabulary_size, config.width)
        if not table.is_meta:  # random init on meta would import PyTorch's compiler (one second)
            nn.init.normal_(table)
        self.embedding = nn.Embedding(config.vocabulary_size, config.width, _weight=table)
        self.head = None
        if not config.tied_embeddings:
            self.head = Linear(config.width, config.vocabulary_size, bias=False)
        self.output_transform = OutputTransform(config) if config.output_transform else None
        self.output_bias = None
        if config.output_bias:
            self.output_bias = nn.Parameter(torch.zeros(config.vocabulary_size))

    def word_vectors(self, tokens: Tensor) -> Tensor:
        """Return word vectors (batch, time, width), times the configured multiplier."""
        return self.embedding(tokens) * self.config.embedding_scale

    def logits(self, x: Tensor) -> Tensor:
        """Return logits (..., vocabulary) of final hidden states (..., width)."""
        if self.output_transform is not None:
            x = self.output_transform(x)
        logits = linear(x, self.output_weight, self.output_bias)
        cap = self.config.logit_softcap
        return cap * torch.tanh(logits.float() / cap) if cap else logits

    def forward(
        self,
        tokens: Tensor | Batch,
        cache: Any = None,
        recorder: Recorder | None = None,
    ) -> Tensor:
        """Return the logits of every token, or the losses of a batch that has targets.

        Args:
            tokens: (batch, time) int64, or a batch with positions and documents.
            cache: earlier tokens, from `new_cache`; it is updated.
            recorder: an observer of the layers, or None.

        Shapes: logits (batch, time, vocabulary) in the compute dtype; losses (batch, time) float32
        in nats, 0 where the target is -1.

        Raises:
            BadInput: a position past the largest that the embedding can represent; a context
                length other than the cache's; packed documents for a GRU.
        """
        batch = Batch.of(tokens)
        hidden = self.hidden(batch, cache, recorder)
        if batch.targets is None:
            return self.logits(hidden)
        return self.target_losses(hidden, batch.targets)

    def hidden(
        self,
        tokens: Tensor | Batch,
        cache: Any = None,
        recorder: Recorder | None = None,
    ) -> Tensor:
        """Return the final hidden states (batch, time, width); arguments as for `forward`."""
        raise NotImplementedError

    def new_cache(self, *, rotated: bool | None = None, context_length: int = 0) -> Any:
        """Return an empty cache.

        Args:
            rotated: store keys transformed by the embedding; None: where that is exact.
            context_length: the length that length-dependent scaling uses; 0: the trained length.
        """
        raise NotImplementedError

    @property
    def samples_positions(self) -> bool:
        """Whether training feeds positions that the embedding samples."""
        return False

    def sample_positions(
        self, batch: Batch, generator: torch.Generator, rows: RowShare = WHOLE
    ) -> Batch:
        """Return a batch with the positions to use in training; most embeddings change nothing.

        Args:
            rows: which rows of the whole batch these are. If they are only a share of it, all rows
                must have the same positions.
        """
        return batch

    def take_loads(self) -> list[Tensor]:
        """Return how many tokens each expert computed in training since the last call.

        Shapes: (experts,) int64 for each mixture of experts that computed any.
        """
        return [loads for m in self._mixtures() if (loads := m.take_loads()) is not None]

    def balance_experts(self) -> list[list[float]]:
        """Adjust selection biases after a training step, and return the loads of experts.

        Returns:
            For each mixture of experts, the fraction of the choices that fall on each expert.
        """
        shares = []
        for mixture in self._mixtures():
            if (loads := mixture.take_loads()) is not None:
                mixture.adjust(loads)
                shares.append((loads / loads.sum()).tolist())
        return shares

    def _mixtures(self) -> list[Experts]:
        return [m for m in self.modules() if isinstance(m, Experts)] if self.config.experts else []

    # PyTorch's compiler would unroll the loop over chunks.
    @run_eagerly
    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (batch, time) of final hidden states (batch, time, width)."""
        flat = targets.flatten()
        if self.config.logit_softcap or self.output_bias is not None:
            logits = self.logits(hidden).float().flatten(0, 1)
            losses = F.cross_entropy(logits, flat, ignore_index=-1, reduction="none")
        else:
            if self.output_transform is not None:
                hidden = self.output_transform(hidden)
            weight = self.output_weight.to(hidden.dtype)
            losses = cross_entropy(hidden.flatten(0, 1), weight, flat)
        return losses.view_as(targets)

    @property
    def output_weight(self) -> Tensor:
        """The output layer's matrix (vocabulary, width); the embedding table if it is tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def next_logits(self, tokens: Tensor | Batch, cache: Any = None) -> Tensor:
        """Return the logits (batch, vocabulary) of the token after these."""
        return self.logits(self.hidden(tokens, cache)[:, -1])

    def set_dropout(self, share: float) -> None:
        """Set the dropout of every block, and in the configuration."""
        self.config = replace(self.config, dropout=share)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.share = share

    def share_rows(self, rows: RowShare) -> None:
        """Set which rows of a training batch this process computes, for dropout."""
        self.rows = rows
        for module in self.modules():
            if isinstance(module, Dropout):
                module.rows = rows

    def set_recompute(self, recompute: bool) -> None:
        """Set whether training recomputes blocks in the backward pass, which saves memory."""

    @property
    def longest_pass(self) -> int | None:
        """The most tokens of one forward pass; None: no limit. A cache takes any number."""
        return None

    def room(self, tokens: int) -> int | None:
        """Return how many tokens can be generated after `tokens`; None: no limit."""
        return None

    def initialise(self, seed: int) -> None:
        """Draw every weight from a seed; weights on a GPU get the same values as on a CPU.

        Mixtures of experts forget what they counted, and their selection biases are 0 again.
        """
        device = self.embedding.weight.device
        if device.type in ("cpu", "meta"):
            self.draw_weights(seed)
        else:
            self.to("cpu")
            self.draw_weights(seed)
            self.to(device)
        for mixture in self._mixtures():
            mixture.reset()

    @torch.no_grad()
    def draw_weights(self, seed: int, module: nn.Module | None = None) -> None:
        """Draw every weight of a model on the CPU, or only one module's own (direct) weights.

        Each parameter part has its own generator, seeded by the part's name, so that parts with
        the same name and shape have the same initial values in different models.
        """
        modules = dict(self.named_modules())
        own = None if module is None else {id(p) for p in module.parameters(recurse=False)}
        for part in self.parts():
            if own is not None and id(part.parameter) not in own:
                continue
            owner, _, kind = part.name.rpartition(".")
            part_seed = zlib.crc32(part.name.encode()) ^ (seed * 0x9E3779B1 & SEED_MASK)
            generator = torch.Generator().manual_seed(part_seed)
            position = _position_of(owner, modules)
            is_own = position is not None and position is modules.get(owner)
            if not is_own:
                part.value.copy_(self.initial_value(owner, kind, part.value, generator))
            if isinstance(position, Resettable):
                position.reset_parameters(generator)
            elif is_own:
                raise PositionError(
                    f"{type(position).__name__} has parameters and no method "
                    "reset_parameters(generator), which sets their initial values: add it",
                    code="positions.not-resettable",
                )

    def initial_value(
        self, owner: str, kind: str, parameter: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return initial values of one parameter (see the module's docstring)."""
        if parameter.dim() < 2:
            return torch.ones(parameter.shape) if kind == "weight" else torch.zeros(parameter.shape)
        # A norm of zeros would multiply their gradient by 1/sqrt(epsilon).
        is_normed = self.config.norm_placement == "both"
        if owner.endswith((".output", ".down")) and not is_normed:
            return torch.zeros(parameter.shape)
        deviation = EMBEDDING_STD if owner in ("embedding", "head") else parameter.shape[1] ** -0.5
        return torch.randn(parameter.shape, generator=generator) * deviation

    def parts(self) -> Iterator[ParameterPart]:
        """Yield every parameter, with those of joined layers as one part per layer.

        For example, the rows for queries of `blocks.0.attention.input.weight` are the part
        `blocks.0.attention.query.weight`; those of expert 3 in `blocks.0.feed_forward.down.weight`
        are `blocks.0.feed_forward.3.down.weight`.
        """
        for owner, module in self.named_modules():
            prefix = f"{owner}." if owner else ""
            for kind, parameter in module.named_parameters(recurse=False):
                if isinstance(module, StackedLinear):
                    yield from module.expert_parts(owner.rpartition(".")[0], kind)
                elif isinstance(module, JoinedLinear):
                    for name, rows in module.parts.items():
                        yield ParameterPart(
                            f"{owner.rpartition('.')[0]}.{name}.{kind}", parameter, rows
                        )
                else:
                    yield ParameterPart(prefix + kind, parameter)

    def muon_parts(self) -> list[ParameterPart]:
        """Return the hidden matrices, which Muon updates; AdamW updates all other parameters.

        A router is left to AdamW, because it is a classifier, as the output layer is.
        Matrices of a positional embedding are those that its class declares. A parameter with a
        matrix per head gives one part per head.
        """
        parts = (part for part in self.parts() if part.name.startswith("blocks."))
        matrices = [
            part
            for part in parts
            if part.value.dim() == 2 and not part.name.endswith(".router.weight")
        ]
        for owner, module in self.named_modules():
            for kind in module.matrices if isinstance(module, Position) else ():
                name, parameter = f"{owner}.{kind}", getattr(module, kind)
                indices = range(len(parameter)) if parameter.dim() == 3 else (slice(None),)
                matrices += [ParameterPart(name, parameter, index) for index in indices]
        return matrices

    def parameter_counts(self) -> dict[str, int]:
        """Return numbers of parameters: total, position, embedding and hidden matrices.

        With a mixture of experts also `active`, those that compute one token.
        """
        named = dict(self.named_parameters())
        stacks = [p for m in self.modules() if isinstance(m, StackedLinear) for p in m.parameters()]
        total, share = sum(p.numel() for p in named.values()), 0.0
        if stacks:
            share = 1 - self.config.active_experts / self.config.experts
        idle = round(share * sum(p.numel() for p in stacks))
        return {
            "total": total,
            **({"active": total - idle} if stacks else {}),
            "position": sum(p.numel() for n, p in named.items() if n.startswith("position.")),
            "embedding": sum(
                p.numel() for n, p in named.items() if n.startswith(("embedding.", "head."))
            ),
            "matrices": sum(part.value.numel() for part in self.muon_parts()),
        }


def _position_of(owner: str, modules: Mapping[str, nn.Module]) -> Position | None:
    """Return the innermost positional embedding that is a module or contains it, or None."""
    while owner and not isinstance(modules.get(owner), Position):
        owner = owner.rpartition(".")[0]
    position = modules.get(owner)
    return position if isinstance(position, Position) else None
