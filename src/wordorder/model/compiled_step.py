"""A decoding step whose shapes never change, compiled once: a token in, logits out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import BadInput, Refused
from .cache import Cache
from .fixed_cache import FixedCache
from .language_model import LanguageModel
from .token_model import TokenModel

Step = Callable[[Tensor, FixedCache], Tensor]
# Capacities are whole blocks, so that texts of about the same length share their code.
BLOCK = 256
# Hooks that keep a state that grows with the text, or work through whole rows a piece at a time.
GROWING = {"state", "attend"}


class CompiledStep:
    """Reads one token of a text after another by compiled code.

    Args:
        model: a transformer on the device where it stays.

    Raises:
        BadInput: a model of whose step `why_not` says why it cannot be.
    """

    def __init__(self, model: TokenModel) -> None:
        if why := why_not(model):
            raise BadInput(f"the decoding step cannot be compiled: {why}")
        self.model = model
        self.steps: dict[int, Step] = {}

    def cache(self, cache: Cache, context_length: int) -> FixedCache:
        """Return room for a text of this many tokens, begun by what a cache holds."""
        return FixedCache(cache, -(-context_length // BLOCK) * BLOCK)

    def next_logits(self, token: Tensor, cache: FixedCache) -> Tensor:
        """Return the logits (1, vocabulary) after one more token, (1, 1) int64.

        Raises:
            BadInput: no room left; a position that the embedding cannot represent.
            Refused: where the compiler fails, as on an embedding of one's own that branches on
                the values of a tensor.
        """
        index, capacity = int(cache.index), cache.positions.shape[1]
        if index == capacity:
            raise BadInput(f"the cache was made for {capacity} tokens, and holds as many")
        self.model.check_positions(int(cache.positions[0, index]))
        if capacity not in self.steps:
            self.steps[capacity] = _compiled(self.model)
        try:
            logits = self.steps[capacity](token, cache)
        except torch._dynamo.exc.TorchDynamoException as error:
            why = str(error).strip().splitlines()[0]
            raise Refused(f"the decoding step cannot be compiled (--compile no): {why}") from None
        cache.index += 1
        return logits


def why_not(model: TokenModel, *, window: int = 0, use_cache: bool = True) -> str:
    """Return why a model cannot write so by a compiled step, or nothing.

    Args:
        window, use_cache: as `generate` takes them.
    """
    if window or not use_cache:
        return "a compiled step reads through a cache that keeps the whole text"
    if not isinstance(model, LanguageModel):
        return "it is of a transformer, and this is a GRU"
    if not model.config.causal:
        return "tokens to come are hidden by the causal mask, and this model is bidirectional"
    if model.position.active_hooks() & GROWING:
        return f"--position {model.config.position} keeps a state of its own, or replaces attention"
    return ""


def _compiled(model: LanguageModel) -> Step:
    def step(token: Tensor, cache: FixedCache) -> Tensor:
        return model.next_logits(token, cache)

    # Compiled code belongs to a code object and its guards tell whose it is; here both the
    # model and the shapes are settled, so that guards, a tenth of a step, can go.
    step.__code__ = step.__code__.replace()
    unguarded = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    return torch.compile(step, fullgraph=True, dynamic=False, options=unguarded)
