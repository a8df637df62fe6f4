"""The language model: token embedding, blocks, output layer; an ordinary nn.Module.

Positions are always passed on, never assumed: a forward pass makes one `Geometry` from
the positions and documents it is given (0, 1, 2, ... and one document by default), and
every layer reads that.

Initial values (standard deviations): embeddings 0.02, which the default multiplier,
sqrt(width), makes 0.2 to 0.6 where they enter; matrices 1/sqrt(inputs); the two
projections that write to the residual stream 0, so that a new block is the identity
(nanochat, modded-nanogpt); norms 1; biases 0; a position's parameters by its own rule.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import BadInput
from ..positions import Geometry, Position, build
from .attention import Kernel
from .bias import Bias
from .config import EMBEDDING_STD, ModelConfig
from .cross_entropy import cross_entropy
from .layers import Block, Dropout, JoinedLinear, Linear, RMSNorm, Scene, linear, make_norm

MASK = (1 << 64) - 1  # of a seed that PyTorch takes

if TYPE_CHECKING:
    from .cache import Cache
    from .compiled_step import FixedCache


class Part(NamedTuple):
    """A parameter, or those rows of it that would be one if layers were not joined."""

    name: str
    parameter: nn.Parameter
    rows: slice | int = slice(None)

    @property
    def value(self) -> Tensor:
        """The values, which share the parameter's memory."""
        return self.parameter.detach()[self.rows]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Read with a model as in evaluation, without dropout, and leave it as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class TokenModel(nn.Module):
    """What every language model of ours shares: loss, parameter counts, initial values.

    Attributes:
        compute_dtype: dtype of the activations; weights stay as they are.
        attention_kernel: "auto", "plain", "fused" or "flex".
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config = config.resolved
        self.compute_dtype = torch.float32
        self.attention_kernel: Kernel = "auto"
        self.embedding = nn.Embedding(config.vocabulary_size, config.width)
        self.head = None
        if not config.tied_embeddings:
            self.head = Linear(config.width, config.vocabulary_size, bias=False)

    def word_vectors(self, tokens: Tensor) -> Tensor:
        """Return word vectors (batch, time, width) of tokens, multiplied as configured."""
        return self.embedding(tokens) * self.config.embedding_scale

    def logits(self, x: Tensor) -> Tensor:
        """Return logits (..., vocabulary) of final hidden states (..., width)."""
        logits = linear(x, self.output_weight)
        cap = self.config.logit_softcap
        return cap * torch.tanh(logits.float() / cap) if cap else logits

    def token_losses(
        self,
        tokens: Tensor,
        targets: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        consecutive: bool = False,
    ) -> Tensor:
        """Return the loss of every target in nats, (batch, time) float32.

        Args:
            targets: (batch, time) int64; -1 is not counted and gives 0.
            positions, documents, consecutive: as `forward` takes them.
        """
        hidden = self.hidden(tokens, positions, documents, consecutive=consecutive)
        return self.losses_of(hidden, targets)

    def losses_of(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (batch, time) of final hidden states (batch, time, width)."""
        flat = targets.flatten()
        if self.config.logit_softcap:
            logits = self.logits(hidden).float().flatten(0, 1)
            losses = F.cross_entropy(logits, flat, ignore_index=-1, reduction="none")
        else:
            weight = self.output_weight.to(hidden.dtype)
            losses = cross_entropy(hidden.flatten(0, 1), weight, flat)
        return losses.view_as(targets)

    @property
    def output_weight(self) -> Tensor:
        """The output layer's matrix (vocabulary, width): the embedding table where tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def loss(
        self,
        tokens: Tensor,
        targets: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        consecutive: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss over the targets that count, in nats."""
        losses = self.token_losses(
            tokens, targets, positions=positions, documents=documents, consecutive=consecutive
        )
        counted = (targets >= 0).float() if weights is None else weights * (targets >= 0)
        return (losses * counted).sum() / counted.sum().clamp(min=1)

    def next_logits(
        self, tokens: Tensor, cache: object = None, *, context_length: int = 0
    ) -> Tensor:
        """Return the logits (batch, vocabulary) of the token after these.

        Args:
            cache, context_length: as `forward` takes them.
        """
        hidden = self.hidden(tokens, cache=cache, context_length=context_length)
        return self.logits(hidden[:, -1])

    def set_dropout(self, share: float) -> None:
        """Change the dropout of every block, and what the configuration says of it."""
        self.config = replace(self.config, dropout=share)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.share = share

    def room(self, tokens: int) -> int | None:
        """Return how many tokens can be written after some; None: as many as one likes."""
        return None

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Set every weight from a seed.

        Each part draws from a generator of its own, seeded by its name, so that two
        models share every initial weight of the same name and shape.
        """
        modules = dict(self.named_modules())
        for part in self.parts():
            owner, _, kind = part.name.rpartition(".")
            own_seed = zlib.crc32(part.name.encode()) ^ (seed * 0x9E3779B1 & MASK)
            generator = torch.Generator().manual_seed(own_seed)
            if hasattr(modules.get(owner), "shape"):  # a positional embedding
                modules[owner].reset_parameters(generator)
                continue
            part.value.copy_(self.initial_value(owner, kind, part.value, generator))

    def initial_value(
        self, owner: str, kind: str, parameter: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the first value of one parameter (see the module's docstring)."""
        if parameter.dim() < 2:
            return torch.ones(parameter.shape) if kind == "weight" else torch.zeros(parameter.shape)
        if owner.endswith((".output", ".down")):
            return torch.zeros(parameter.shape)
        deviation = EMBEDDING_STD if owner in ("embedding", "head") else parameter.shape[1] ** -0.5
        return torch.randn(parameter.shape, generator=generator) * deviation

    def parts(self) -> Iterator[Part]:
        """Yield every parameter, joined ones part by part.

        The query's rows of `blocks.0.attention.input.weight` are the part
        `blocks.0.attention.query.weight`.
        """
        for owner, module in self.named_modules():
            prefix = f"{owner}." if owner else ""
            for kind, parameter in module.named_parameters(recurse=False):
                if isinstance(module, JoinedLinear):
                    for name, rows in module.parts.items():
                        yield Part(f"{owner.rpartition('.')[0]}.{name}.{kind}", parameter, rows)
                else:
                    yield Part(prefix + kind, parameter)

    def muon_parts(self) -> list[Part]:
        """Return the hidden matrices, which Muon updates; AdamW takes the rest.

        Those of a positional embedding are the ones that its class declares; where every head
        has one, each is a part.
        """
        parts = (part for part in self.parts() if part.name.startswith("blocks."))
        matrices = [part for part in parts if part.value.dim() == 2]
        for owner, module in self.named_modules():
            for kind in module.matrices if isinstance(module, Position) else ():
                name, parameter = f"{owner}.{kind}", getattr(module, kind)
                each = range(len(parameter)) if parameter.dim() == 3 else (slice(None),)
                matrices += [Part(name, parameter, rows) for rows in each]
        return matrices

    def parameter_counts(self) -> dict[str, int]:
        """Return the number of parameters: in all, of positions, of embeddings, of matrices."""
        named = dict(self.named_parameters())
        return {
            "total": sum(p.numel() for p in named.values()),
            "position": sum(p.numel() for n, p in named.items() if n.startswith("position.")),
            "embedding": sum(
                p.numel() for n, p in named.items() if n.startswith(("embedding.", "head."))
            ),
            "matrices": sum(part.value.numel() for part in self.muon_parts()),
        }


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

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: Cache | FixedCache | None = None,
        context_length: int = 0,
        consecutive: bool = False,
    ) -> Tensor:
        """Return the logits of every token.

        Args:
            positions: (batch, time) what the positional embedding sees; None goes on
                from the cache, or from 0.
            documents: (batch, time) ids; tokens see their own document only, -1 is
                padding; None is one document.
            cache: keys and values of the tokens before these; it is extended.
            context_length: what scaling that depends on the length divides by: how long the
                text is, or may yet become. 0: what the cache was made with; without one, the
                number of tokens.
            consecutive: declares that the positions given go up by one inside each document,
                as they do where none are given: biases by distance are faster for knowing it.

        Raises:
            BadInput: a position past the longest that the embedding can represent; a context
                length that is not the cache's.
        """
        hidden = self.hidden(
            tokens,
            positions,
            documents,
            cache,
            context_length=context_length,
            consecutive=consecutive,
        )
        return self.logits(hidden)

    def room(self, tokens: int) -> int | None:
        """Return how many tokens the embedding leaves room for; the last one is not read."""
        longest = self.position.longest
        return None if longest is None else max(0, longest - tokens + 2)

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: Cache | FixedCache | None = None,
        *,
        context_length: int = 0,
        consecutive: bool = False,
    ) -> Tensor:
        """Return the final hidden states (batch, time, width); `forward` says of what."""
        geometry = self.geometry(
            tokens, positions, documents, cache, context_length, consecutive=consecutive
        )
        x = self.position.embed(self.word_vectors(tokens), geometry)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = x.to(self.compute_dtype)
        scenes = self.scenes(geometry, cache is not None and cache.rotated)
        for i, block in enumerate(self.blocks):
            x = block(x, scenes[i], cache.layers[i] if cache is not None else None)
        return x if self.final_norm is None else self.final_norm(x)

    def geometry(
        self,
        tokens: Tensor,
        positions: Tensor | None,
        documents: Tensor | None,
        cache: Cache | FixedCache | None,
        context_length: int = 0,
        *,
        consecutive: bool = False,
    ) -> Geometry:
        """Return where these tokens stand, and extend the cache's record of it."""
        if cache is not None and context_length not in (0, cache.context_length):
            raise BadInput(
                f"a context length of {context_length:,}, and a cache that was made for "
                f"{cache.context_length:,}: give it to Cache, and here none"
            )
        last = tokens.shape[1] - 1 + (0 if cache is None else cache.length)
        counted = positions is None
        if positions is None and cache is not None:
            positions = cache.following(tokens)
        elif positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        longest = self.position.longest
        stepwise = counted and (cache is None or cache.consecutive)
        if longest is not None and not stepwise and not torch.compiler.is_compiling():
            last = int(positions.max())
        self.check_reach(last)
        if cache is not None:
            return cache.geometry(positions, documents, counted or consecutive)
        # Positions that restart in each document keep the distance of slots within it.
        return Geometry.of(
            positions,
            documents,
            context_length=context_length or tokens.shape[1],
            causal=self.config.causal,
            consecutive=counted or consecutive,
        )

    def check_reach(self, last: int) -> None:
        """Raise where a position is past the longest that the embedding can represent."""
        longest = self.position.longest
        if longest is not None and last > longest:
            raise BadInput(
                f"position {last} is past the longest that --position {self.config.position} "
                f"can represent ({longest}): use a shorter text, or train with --position rotary"
            )

    def scenes(self, geometry: Geometry, rotated_keys: bool) -> list[Scene]:
        """Return what each layer is told; layers that agree share masks and biases."""
        tables = self.position.prepare(geometry, rotated_keys)
        biases: dict[tuple, Bias] = {}
        scenes = []
        for i, position in enumerate(self.position.sums):
            window = self.config.window(i)
            key = (self.position.indices[i], window)
            if key not in biases:
                biases[key] = Bias(position, geometry, window, self.compute_dtype)
            scenes.append(Scene(position, tables[i], biases[key], self.attention_kernel))
        return scenes


__all__ = ["LanguageModel", "Part", "RMSNorm", "TokenModel"]
