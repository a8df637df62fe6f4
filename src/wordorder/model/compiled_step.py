"""A decoding step with constant shapes, compiled once: one token in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput, Refused
from .cache import Cache
from .fixed_cache import FixedCache
from .language_model import LanguageModel
from .token_model import TokenModel

Step = Callable[[Tensor, FixedCache], Tensor]
# Capacities are multiples of this, so that sequences of similar length share compiled code.
BLOCK = 256
# Hooks whose tensors grow with the sequence (state), or that loop over tiles (attend).
GROWING = {"state", "attend"}


class CompiledStep:
    """Processes a sequence token by token with compiled code.

    Args:
        model: a transformer; it must stay on its device.

    Raises:
        BadInput: a model whose step cannot be compiled; see `compile_refusal`.
    """

    def __init__(self, model: TokenModel) -> None:
        if refusal := compile_refusal(model):
            raise refusal
        assert isinstance(model, LanguageModel)  # any other model is refused
        self.model = model
        self.steps: dict[tuple[int, bool, int], Step] = {}

    def cache(self, cache: Cache, context_length: int) -> FixedCache:
        """Return a cache for at least this many tokens, with the content of another cache."""
        return FixedCache(cache, -(-context_length // BLOCK) * BLOCK)

    def next_logits(self, token: Tensor, cache: FixedCache) -> Tensor:
        """Return the logits (1, vocabulary) after one more token, (1, 1) int64.

        Raises:
            BadInput: a full cache; a position that the embedding cannot represent.
            Refused: the compiler fails, for example because a user's embedding branches on the
                values of a tensor.
        """
        index, capacity = int(cache.index), cache.positions.shape[1]
        if index == capacity:
            raise BadInput(
                f"the cache is full: it was created for {capacity} tokens",
                code="model.compiled-cache-full",
            )
        self.model.check_positions(int(cache.positions[0, index]))
        # What the compiler takes for constants; it checks none of it again.
        is_static = all(layer.static_rotation for layer in self.model.position.sums)
        key = capacity, cache.rotated, 0 if is_static else cache.context_length
        if key not in self.steps:
            self.steps[key] = _compiled(self.model)
        try:
            logits = self.steps[key](token, cache)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise Refused(
                f"PyTorch cannot compile the decoding step: {reason}: use --compile no",
                code="model.compiler-failed",
            ) from None
        cache.index += 1
        return logits


def compile_refusal(
    model: TokenModel, *, window: int = 0, use_cache: bool = True
) -> BadInput | None:
    """Return the error with which `generate` refuses a compiled step, or None.

    Args:
        window, use_cache: arguments of `generate`.
    """
    if window or not use_cache:
        return BadInput(
            "a compiled decoding step needs a cache of the whole sequence: leave out --window and "
            "--no-cache",
            code="model.compiled-needs-cache",
        )
    if not isinstance(model, LanguageModel):
        return BadInput(
            "only a transformer's decoding step can be compiled, and this model is a GRU",
            code="model.compiled-gru",
        )
    if not model.config.causal:
        return BadInput(
            "a compiled decoding step needs a causal model, and this model is bidirectional",
            code="model.compiled-bidirectional",
        )
    if model.position.active_hooks() & GROWING:
        return BadInput(
            f"the decoding step cannot be compiled with --position {model.config.position}, which "
            "caches a state or replaces attention",
            code="model.compiled-position",
        )
    return None


def _compiled(model: LanguageModel) -> Step:
    def step(token: Tensor, cache: FixedCache) -> Tensor:
        return model.next_logits(token, cache)

    # PyTorch keeps compiled code by code object, and guards check at every call whether it
    # applies. With a new code object for this model, and constant shapes, it always applies, so
    # guards, a tenth of a step, can be skipped.
    step.__code__ = step.__code__.replace()
    options: dict[str, str | int | bool | Callable[..., Any]] = {
        "guard_filter_fn": torch.compiler.skip_all_guards_unsafe
    }
    return torch.compile(step, fullgraph=True, dynamic=False, options=options)
