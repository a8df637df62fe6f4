"""A decoding step whose shapes never change, compiled once: a token in, logits out.

A cache that grows has another shape at every token, and compiled code is made for shapes. So
here a text has all its slots from the start: those to come lie behind the token that looks,
and causality hides them, as it does in training. No embedding needs anything of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInput, Refused
from ..positions import Geometry
from ..positions.base import overrides
from .cache import Cache, LayerCache
from .language_model import LanguageModel, TokenModel

Step = Callable[[Tensor, "FixedCache"], Tensor]
# Slots come in whole blocks, so that texts of about the same length share their code.
BLOCK = 256
# Hooks that keep a state that grows with the text, or work through whole rows a piece at a time.
GROWING = ("state", "attend")


class FixedCache:
    """A cache with a slot for every token of a text that is to be: what a step reads and fills.

    Args:
        cache: what has been read so far, of one text.
        slots: how many tokens there may be.
    """

    length = 0  # how far it has come is a tensor: a number would be a constant in the code
    consecutive = True

    def __init__(self, cache: Cache, slots: int) -> None:
        if cache.positions is None or len(cache.positions) > 1 or cache.documents is not None:
            raise BadInput("a compiled step goes on with one text of one document, begun before")
        self.rotated, self.causal = cache.rotated, cache.causal
        self.context_length = cache.context_length
        self.slot = torch.tensor([cache.length], device=cache.positions.device)
        to_come = torch.arange(1, slots - cache.length + 1, device=cache.positions.device)
        self.positions = torch.cat((cache.positions, cache.positions[:, -1:] + to_come), 1)
        self.layers = [FixedLayerCache(layer, slots, self.slot) for layer in cache.layers]

    def following(self, tokens: Tensor) -> Tensor:
        """Return the position of the new token."""
        return self.positions[:, self.slot]

    def geometry(self, positions: Tensor, documents: Tensor | None, consecutive: bool) -> Geometry:
        """Return where the new token stands among all that are and will be."""
        return Geometry(
            positions,
            self.positions,
            self.slot,
            context_length=self.context_length,
            causal=self.causal,
        )


class FixedLayerCache:
    """Keys and values of one layer, and the slot where the new token's go."""

    state = None

    def __init__(self, layer: LayerCache, slots: int, slot: Tensor) -> None:
        self.rotated, self.slot = layer.rotated, slot
        to_come = (0, 0, 0, slots - layer.length)
        self.keys, self.values = (
            F.pad(kept[:, :, : layer.length], to_come) for kept in (layer.keys, layer.values)
        )

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Fill the slot and return all slots."""
        self.keys[:, :, self.slot] = keys
        self.values[:, :, self.slot] = values
        return self.keys, self.values, state


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
            BadInput: no slot left; a position that the embedding cannot represent.
            Refused: where the compiler fails, as on an embedding of one's own that branches on
                the values of a tensor.
        """
        slot, slots = int(cache.slot), cache.positions.shape[1]
        if slot == slots:
            raise BadInput(f"the cache was made for {slots} tokens, and holds as many")
        self.model.check_reach(int(cache.positions[0, slot]))
        if slots not in self.steps:
            self.steps[slots] = _compiled(self.model)
        try:
            logits = self.steps[slots](token, cache)
        except torch._dynamo.exc.TorchDynamoException as error:
            why = str(error).strip().splitlines()[0]
            raise Refused(f"the decoding step cannot be compiled (--compile no): {why}") from None
        cache.slot += 1
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
        return "slots to come are hidden by causality, and this model looks both ways"
    if any(overrides(p, hook) for p in model.position.instances for hook in GROWING):
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
