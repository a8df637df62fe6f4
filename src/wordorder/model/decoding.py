"""Decoding: the cache of keys and values, and how the next token is chosen.

The cache keeps keys raw, with their positions and each embedding's state, and attention
rotates them on read: so scaling that depends on the length, eviction, and dropping an
embedding are right by construction. Where every embedding declares a static rotation,
keys are kept rotated, the fast path, for as long as positions do not move.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from ..positions import Geometry
from .language_model import LanguageModel, TokenModel
from .recurrent import RecurrentCache, RecurrentLanguageModel


class LayerCache:
    """Keys, values and state of one layer, in buffers that grow by doubling."""

    def __init__(self, rotated: bool) -> None:
        self.rotated = rotated
        self.length = 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.state: Any = None

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Add the new tokens' and return everything so far."""
        end = self.length + keys.shape[2]
        self.keys = _room(self.keys, keys, end)
        self.values = _room(self.values, values, end)
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.state = _joined(self.state, state)
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end], self.state


class Cache:
    """What a transformer remembers of the tokens it has read.

    Args:
        model: the model whose forward pass it is given to.
        rotated: keep rotated keys; None: where every embedding's rotation is static.
        context_length: what length-dependent scaling divides by; 0: the trained length.
            Fixed here, never taken from how far the text has come.
    """

    def __init__(
        self, model: LanguageModel, *, rotated: bool | None = None, context_length: int = 0
    ) -> None:
        static = all(position.static_rotation for position in model.position.sums)
        if rotated and not static:
            raise BadInput(f"--position {model.config.position} rotates keys anew at every length")
        self.rotated = static if rotated is None else rotated
        self.context_length = context_length or model.config.trained_length
        self.causal = model.config.causal
        self.layers = [LayerCache(self.rotated) for _ in range(model.config.layers)]
        self.length = 0
        self.consecutive = True
        self.positions: Tensor | None = None
        self.documents: Tensor | None = None

    def following(self, tokens: Tensor) -> Tensor:
        """Return the positions of new tokens that go on, by one, from the last position.

        Not from the number of tokens kept: with padding on the left, or with gaps, that
        is another number.
        """
        steps = torch.arange(tokens.shape[1], device=tokens.device)[None]
        if self.positions is None:
            return steps.expand(len(tokens), -1)
        return self.positions[:, -1:] + 1 + steps

    def geometry(self, positions: Tensor, documents: Tensor | None, consecutive: bool) -> Geometry:
        """Return where new tokens stand among those kept, and keep them too."""
        first, self.length = self.length, self.length + positions.shape[1]
        before = self.positions
        if before is not None and documents is None and self.documents is not None:
            documents = self.documents[:, -1:].expand(-1, positions.shape[1])
        elif before is not None and documents is not None and self.documents is None:
            self.documents = documents.new_zeros(len(documents), first)  # None was document 0
        self.consecutive = self.consecutive and consecutive
        self.positions = positions if before is None else torch.cat((before, positions), 1)
        self.documents = _joined(self.documents, documents)
        return Geometry(
            positions,
            positions if before is None else self.positions,
            torch.arange(first, self.length, device=positions.device),
            documents,
            self.documents,
            self.context_length,
            self.causal,
            self.consecutive,
            trailing=True,
        )


def make_cache(model: TokenModel, *, context_length: int = 0) -> Cache | RecurrentCache:
    """Return an empty cache for a model; the context length is as `Cache` takes it."""
    if isinstance(model, RecurrentLanguageModel):
        return RecurrentCache()
    return Cache(model, context_length=context_length)


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: keep the k likeliest tokens; 0: all.
        top_p: keep the likeliest tokens that together reach this probability; 1: all.
        min_p: keep tokens at least this fraction as likely as the likeliest; 0: all.
        repetition_penalty: divides positive logits of tokens already there (and
            multiplies negative ones); 1: none. Source: Keskar et al. 2019, CTRL.
        max_tokens: how many tokens are written at most.
        seed: of the random draws.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    max_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, holds, allowed in (
            ("temperature", self.temperature, self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k, self.top_k >= 0, "0 (all) or more"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", self.min_p, 0 <= self.min_p <= 1, "from 0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0,
                "above 0; 1 changes nothing",
            ),
            ("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1"),
        ):
            if not holds:
                raise BadInput(f"{name} is {value}: it must be {allowed}")


def choose(logits: Tensor, seen: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Return the next token.

    Shapes: logits (vocabulary,), seen (tokens,) int64, the ids that count as repeated.
    """
    logits = logits.float()
    if sampling.repetition_penalty != 1:
        old = logits[seen]
        penalty = sampling.repetition_penalty
        logits = logits.index_copy(0, seen, torch.where(old > 0, old / penalty, old * penalty))
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.min_p:
        probabilities[probabilities < sampling.min_p * probabilities.max()] = 0
    if 0 < sampling.top_k < len(probabilities):
        kth = probabilities.topk(sampling.top_k).values[-1]
        probabilities[probabilities < kth] = 0
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        total = ordered.sum()
        probabilities[order[ordered.cumsum(0) - ordered >= sampling.top_p * total]] = 0
    return int(torch.multinomial(probabilities.cpu(), 1, generator=generator))


@torch.inference_mode()
def generate(
    model: TokenModel,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    stop: int | None = None,
    use_cache: bool = True,
) -> Iterator[int]:
    """Yield new tokens, one at a time, until `stop` or `sampling.max_tokens`.

    Scaling that depends on the length divides throughout by how long the text may become, the
    prompt and `max_tokens`, not by how far it has come: so it is at every step what it was
    for the tokens before, with a cache and without.

    Args:
        prompt: token ids to go on from, at least one.
        use_cache: read each token once; without, the whole text again at every step,
            which must give the same logits.
    """
    model.eval()
    device = model.embedding.weight.device
    generator = torch.Generator().manual_seed(sampling.seed)
    tokens = torch.tensor([list(prompt)], device=device)
    length = len(prompt) + sampling.max_tokens
    cache = make_cache(model, context_length=length) if use_cache else None
    unread = tokens
    for _ in range(sampling.max_tokens):
        read = unread if use_cache else tokens
        logits = model.next_logits(read, cache=cache, context_length=length)[0]
        token = choose(logits, tokens[0], sampling, generator)
        if token == stop:
            return
        yield token
        unread = torch.tensor([[token]], device=device)
        tokens = torch.cat((tokens, unread), 1)


def _room(buffer: Tensor | None, new: Tensor, end: int) -> Tensor:
    """Return a buffer (batch, heads, at least `end`, head_dim) that holds the old one."""
    if buffer is not None and buffer.shape[2] >= end:
        return buffer
    batch, heads, _, head_dim = new.shape
    grown = new.new_empty(batch, heads, max(64, 2 * end), head_dim)
    if buffer is not None:
        grown[:, :, : buffer.shape[2]] = buffer
    return grown


def _joined(before: Any, new: Any) -> Any:
    """Return state of old and new tokens, every tensor joined on its time axis, 1."""
    if new is None or before is None:
        return new
    if isinstance(new, tuple):
        return tuple(_joined(b, n) for b, n in zip(before, new, strict=True))
    return torch.cat((before, new), dim=1)
