"""Decoding: computing the next token's logits, and sampling from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from ..batch import Batch
from ..errors import BadInput
from ..settings import NotNegative, Penalty, Positive, Rate, Seed, Share, check
from .cache import Cache
from .compiled_step import CompiledStep, compile_refusal
from .recurrent import RecurrentCache
from .token_model import TokenModel

COLDEST = 1e-20  # dividing logits by a smaller temperature could overflow float32


@dataclass(frozen=True)
class Sampling:
    """Options for choosing the next token.

    Args:
        temperature: divides the logits; 0, or below `COLDEST`: choose the most likely token.
        top_k: sample from the k most likely tokens; 0: all.
        top_p: sample from the most likely tokens that together reach this probability; 1: all.
        min_p: sample from tokens at least this fraction as likely as the most likely one; 0:
            all.
        repetition_penalty: divides positive logits (and multiplies negative ones) of tokens that
            already occur, except the end-of-text token; from 0.001 to 1000; 1: no penalty.
            Source: Keskar et al. 2019, CTRL.
        max_tokens: largest number of new tokens.
        seed: of the random number generator.
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

    Shapes: logits (vocabulary,), seen (tokens,) int64, token ids that the repetition penalty
    applies to.
    """
    probabilities = next_distribution(logits, seen, sampling)
    if sampling.temperature < COLDEST:
        return int(probabilities.argmax())
    return int(torch.multinomial(probabilities.cpu(), 1, generator=generator))


def next_distribution(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """Return the weights (vocabulary,) float32 that `choose` draws the next token with.

    Tokens that the options exclude have weight 0; the weights need not sum to 1. At temperature
    0 only the most likely token has a weight.

    Shapes: as for `choose`.
    """
    logits = logits.float()
    if sampling.repetition_penalty != 1:
        before = logits[seen]
        penalty = sampling.repetition_penalty
        after = torch.where(before > 0, before / penalty, before * penalty)
        logits = logits.index_copy(0, seen, after)
    if sampling.temperature < COLDEST:
        return torch.zeros_like(logits).index_fill_(0, logits.argmax(), 1.0)
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.min_p:
        probabilities[probabilities < sampling.min_p * probabilities.max()] = 0
    if 0 < sampling.top_k < len(probabilities):
        kth = probabilities.topk(sampling.top_k).values[-1]
        probabilities[probabilities < kth] = 0
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        total = ordered.sum()
        excluded = ordered.cumsum(0) - ordered >= sampling.top_p * total
        excluded[0] = False  # in float32 the smallest top_p are 0, which would exclude all
        probabilities[order[excluded]] = 0
    return probabilities


def only_allowed(logits: Tensor, ids: Sequence[int] | None) -> Tensor:
    """Return logits (vocabulary,) that are -inf except for these ids; None: all are allowed."""
    if ids is None:
        return logits
    index = torch.tensor(ids, device=logits.device)
    return torch.full_like(logits, -torch.inf).index_copy(0, index, logits[index])


def generate(
    model: TokenModel,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    stop: int | None = None,
    allowed: Callable[[Sequence[int]], Sequence[int] | None] = lambda generated: None,
    observe: Callable[[int, Tensor], object] = lambda token, logits: None,
    use_cache: bool = True,
    window: int = 0,
    sinks: int = 0,
    step: CompiledStep | None = None,
) -> Iterator[int]:
    """Yield new tokens, one at a time, until `stop` or `sampling.max_tokens`.

    The context length, for scaling that depends on it, is the largest possible length from the
    first step on: the prompt plus `max_tokens`, or with a window the number of tokens in the
    cache. So every step scales tokens as earlier steps did, with a cache and without.

    Args:
        prompt: token ids to continue, at least one.
        stop: the end-of-text token, which is not yielded; the prompt may begin with it.
        allowed: returns the token ids that may follow the generated tokens, or None for all.
        observe: called with each new token and the model's logits (vocabulary,), before tokens
            that are not allowed are masked.
        use_cache: process each token once; if false, process the whole sequence in every step,
            which gives the same logits.
        window: number of last tokens that the cache keeps, for sequences of any length in
            bounded memory; 0: all. The part of a prompt that exceeds them is processed token by
            token, as if it had been generated.
        sinks: number of first tokens that the cache keeps in addition.
        step: the model's compiled step, for all tokens after the prompt.

    Raises:
        BadInput: a bidirectional model; a window that the model does not support (see
            `Cache.evict`), sinks without a window, a window without a cache; a compiled step
            with a window or without a cache.
    """
    if not model.config.causal:
        raise BadInput(
            "a bidirectional model predicts masked tokens and cannot continue a text: train a "
            "model with --objective next-token",
            code="model.generate-bidirectional",
        )
    model.eval()
    check_window(model, window, sinks, use_cache=use_cache)
    if step is not None and (refusal := compile_refusal(model, window=window, use_cache=use_cache)):
        raise refusal
    length = len(prompt) + sampling.max_tokens
    rotated = None
    if window:
        length, rotated = min(length, sinks + window + 1), False
    cache = model.new_cache(context_length=length, rotated=rotated) if use_cache else None
    predictor = _Predictor(model, cache, length, sinks, window, step)
    options: dict[str, Any] = {"stop": stop, "allowed": allowed, "observe": observe}
    device = model.embedding.weight.device
    return sample_tokens(predictor.next_logits, prompt, sampling, **options, device=device)


def check_window(model: TokenModel, window: int, sinks: int, *, use_cache: bool = True) -> None:
    """Raise if a model cannot generate with a window and sinks.

    Raises:
        BadInput: as in `generate`.
    """
    for name, value in (("window", window), ("sinks", sinks)):
        if value < 0:
            raise BadInput(
                f"{name} is {value}: it must be 0 (none) or more", code="model.negative-window"
            )
    if sinks and not window:
        raise BadInput(
            f"{sinks} sinks have no effect without a window: set --window to the number of last "
            "tokens to keep",
            code="model.sinks-without-window",
        )
    if window and not use_cache:
        raise BadInput(
            "a window limits the cache, so it needs one: leave out --no-cache",
            code="model.window-without-cache",
        )
    if window:
        model.new_cache(rotated=False).evict(sinks, window)


class _Predictor:
    """Computes the next token's logits of a growing sequence, with any cache or without one."""

    def __init__(
        self,
        model: TokenModel,
        cache: Cache | RecurrentCache | None,
        context_length: int,
        sinks: int,
        window: int,
        step: CompiledStep | None,
    ) -> None:
        self.model, self.cache, self.context_length = model, cache, context_length
        self.sinks, self.window = sinks, window
        self.step = step
        self.processed = 0
        self.compiled: Callable[[Tensor], Tensor] | None = None

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Return the logits (1, vocabulary) after all tokens (1, time) of the sequence."""
        if self.compiled is not None:
            return self.compiled(tokens[:, -1:])
        cache = self.cache
        if cache is None:
            return self.model.next_logits(Batch(tokens, context_length=self.context_length))
        new, self.processed = tokens[:, self.processed :], tokens.shape[1]
        while new.shape[1] > (fitting := self._fitting(new.shape[1], cache)):
            self._process(new[:, :fitting], cache)
            new = new[:, fitting:]
        logits = self._process(new, cache)
        if self.step is not None and isinstance(cache, Cache):
            fixed = self.step.cache(cache, self.context_length)
            self.compiled, self.cache = partial(self.step.next_logits, cache=fixed), None
        return logits

    def _fitting(self, tokens: int, cache: Cache | RecurrentCache) -> int:
        """Return how many of the new tokens one forward pass can process."""
        fitting = min(tokens, self.model.longest_pass or tokens)
        if self.window:  # tokens processed at once must not attend to more than the window
            fitting = min(fitting, self.sinks + self.window + 1 - cache.length)
        return fitting

    def _process(self, tokens: Tensor, cache: Cache | RecurrentCache) -> Tensor:
        """Return the logits after more tokens, and evict old tokens."""
        logits = self.model.next_logits(tokens, cache)
        if self.window:
            cache.evict(self.sinks, self.window)
        return logits


@torch.inference_mode()
def sample_tokens(
    next_logits: Callable[[Tensor], Tensor],
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    stop: int | None = None,
    allowed: Callable[[Sequence[int]], Sequence[int] | None] = lambda generated: None,
    observe: Callable[[int, Tensor], object] = lambda token, logits: None,
    device: torch.device | None = None,
) -> Iterator[int]:
    """Yield new tokens from the logits of any program; the other arguments as for `generate`.

    Args:
        next_logits: returns the logits (1, vocabulary) after tokens (1, time) int64, which are
            those of the last call and one more.
        device: of the tokens; None: the CPU.
    """
    generator = torch.Generator().manual_seed(sampling.seed)
    tokens = torch.tensor([list(prompt)], device=device)
    generated: list[int] = []
    for _ in range(sampling.max_tokens):
        own = next_logits(tokens)[0]
        logits = only_allowed(own, allowed(generated))
        # Exclude end-of-text, which may begin the prompt, from the repetition penalty.
        seen = tokens[0] if stop is None else tokens[0, tokens[0] != stop]
        token = choose(logits, seen, sampling, generator)
        if token == stop:
            return
        observe(token, own)
        yield token
        generated.append(token)
        tokens = torch.cat((tokens, tokens.new_tensor([[token]])), 1)


__all__ = [
    "CompiledStep",
    "Sampling",
    "check_window",
    "choose",
    "generate",
    "next_distribution",
    "only_allowed",
    "sample_tokens",
]
