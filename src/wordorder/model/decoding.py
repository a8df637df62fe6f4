"""Decoding: how a text is read on, and how its next token is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from ..batch import Batch
from ..errors import BadInput
from ..settings import NotNegative, Penalty, Positive, Rate, Seed, Share, check
from .cache import Cache
from .compiled_step import CompiledStep, why_not
from .fixed_cache import FixedCache
from .recurrent import RecurrentCache
from .token_model import TokenModel

COLDEST = 1e-20  # a temperature below could divide logits into what float32 cannot hold


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: divides the logits; 0, or one below `COLDEST`, takes the likeliest token.
        top_k: keep the k likeliest tokens; 0: all.
        top_p: keep the likeliest tokens that together reach this probability; 1: all.
        min_p: keep tokens at least this fraction as likely as the likeliest; 0: all.
        repetition_penalty: divides positive logits of tokens already there (and
            multiplies negative ones), the one that ends a text excepted; 1: none. Source: Keskar et
            al. 2019, CTRL. From 0.001 to 1000.
        max_tokens: how many tokens are written at most.
        seed: of the random draws.
    """

    temperature: Rate = 0.8
    top_k: NotNegative = 0
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    min_p: Share = 0.05
    repetition_penalty: Penalty = 1.0
    max_tokens: Positive = 256
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self)


def choose(logits: Tensor, seen: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Return the next token.

    Shapes: logits (vocabulary,), seen (tokens,) int64, the ids that count as repeated.
    """
    logits = logits.float()
    if sampling.repetition_penalty != 1:
        old = logits[seen]
        penalty = sampling.repetition_penalty
        logits = logits.index_copy(0, seen, torch.where(old > 0, old / penalty, old * penalty))
    if sampling.temperature < COLDEST:
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


def generate(
    model: TokenModel,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    stop: int | None = None,
    allowed: Callable[[Sequence[int]], Sequence[int] | None] = lambda written: None,
    use_cache: bool = True,
    window: int = 0,
    sinks: int = 0,
    step: CompiledStep | None = None,
) -> Iterator[int]:
    """Yield new tokens, one at a time, until `stop` or `sampling.max_tokens`.

    Scaling that depends on the length divides throughout by how long the text may become, the
    prompt and `max_tokens`, not by how far it has come: so it is at every step what it was
    for the tokens before, with a cache and without. With a window it is how much of the text
    is ever seen at once.

    Args:
        prompt: token ids to go on from, at least one.
        stop: the token that ends a text, which a prompt may open with; it is never yielded.
        allowed: returns the ids that may come after what is written, or None where all may.
        use_cache: read each token once; without, the whole text again at every step,
            which must give the same logits.
        window: how many of the last tokens the cache keeps, for a text of any length in
            bounded memory; 0: all. A prompt that is longer is read a token at a time past
            them, so that a text is read as it would have been written.
        sinks: how many of the first tokens it keeps besides.
        step: the model's, compiled: what reads every token after the prompt.

    Raises:
        BadInput: a model that looks both ways; a window that this model cannot have
            (`Cache.evict` says why), sinks without one, or one without a cache; a compiled step
            with a window or without a cache.
    """
    if not model.config.causal:
        raise BadInput(
            "a model that looks both ways fills in hidden tokens and cannot continue a text: "
            "train one with --objective next-token"
        )
    model.eval()
    check_window(model, window, sinks, use_cache=use_cache)
    if step is not None and (why := why_not(model, window=window, use_cache=use_cache)):
        raise BadInput(why)
    length = len(prompt) + sampling.max_tokens
    rotated = None
    if window:
        length, rotated = min(length, sinks + window + 1), False
    cache = model.new_cache(context_length=length, rotated=rotated) if use_cache else None
    reading = _Reading(model, cache, length, sinks, window, step)
    return _written(reading, prompt, sampling, stop, allowed)


def check_window(model: TokenModel, window: int, sinks: int, *, use_cache: bool = True) -> None:
    """Raise where a model cannot write with such a window and such sinks.

    Raises:
        BadInput: as `generate` does.
    """
    for name, value in (("window", window), ("sinks", sinks)):
        if value < 0:
            raise BadInput(f"{name} is {value}: it must be 0 (none) or more")
    if sinks and not window:
        raise BadInput(f"{sinks} sinks without a window: say how many of the last tokens are kept")
    if window and not use_cache:
        raise BadInput("a window is what the cache keeps of a text: leave out --no-cache")
    if window:
        model.new_cache(rotated=False).evict(sinks, window)


class _Reading:
    """How a text is read on: through a cache that grows, or does not, or whole every time."""

    def __init__(
        self,
        model: TokenModel,
        cache: Cache | RecurrentCache | FixedCache | None,
        context_length: int,
        sinks: int,
        window: int,
        step: CompiledStep | None,
    ) -> None:
        self.model, self.cache, self.context_length = model, cache, context_length
        self.sinks, self.window = sinks, window
        self.step = step
        self.read = 0

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Return the logits after all tokens of a text, (1, vocabulary)."""
        if self.cache is None:
            return self.model.next_logits(Batch(tokens, context_length=self.context_length))
        unread, self.read = tokens[:, self.read :], tokens.shape[1]
        if isinstance(self.cache, FixedCache):
            return self.step.next_logits(unread, self.cache)
        while self.window and unread.shape[1] > (some := self._room()):
            self._take(unread[:, :some])
            unread = unread[:, some:]
        logits = self._take(unread)
        if self.step is not None:
            self.cache = self.step.cache(self.cache, self.context_length)
        return logits

    def _room(self) -> int:
        """How many tokens see no more than what is kept, and themselves."""
        return self.sinks + self.window + 1 - self.cache.length

    def _take(self, tokens: Tensor) -> Tensor:
        logits = self.model.next_logits(tokens, self.cache)
        if self.window:
            self.cache.evict(self.sinks, self.window)
        return logits


@torch.inference_mode()
def _written(
    reading: _Reading,
    prompt: Sequence[int],
    sampling: Sampling,
    stop: int | None,
    allowed: Callable[[Sequence[int]], Sequence[int] | None],
) -> Iterator[int]:
    device = reading.model.embedding.weight.device
    generator = torch.Generator().manual_seed(sampling.seed)
    tokens, written = torch.tensor([list(prompt)], device=device), []
    for _ in range(sampling.max_tokens):
        logits = reading.next_logits(tokens)[0]
        if (ids := allowed(written)) is not None:
            logits = torch.full_like(logits, -torch.inf).index_copy(
                0, torch.tensor(ids, device=device), logits[ids]
            )
        # The end of text that opens a text is no token of it, which ending would repeat.
        seen = tokens[0] if stop is None else tokens[0, tokens[0] != stop]
        token = choose(logits, seen, sampling, generator)
        if token == stop:
            return
        yield token
        written.append(token)
        tokens = torch.cat((tokens, tokens.new_tensor([[token]])), 1)


__all__ = ["CompiledStep", "Sampling", "check_window", "choose", "generate"]
