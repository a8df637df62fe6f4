"""StreamingLLM: a cache of bounded size, with or without the first tokens as attention sinks.

A model can generate text of any length, without training on longer text, if its cache holds only
the newest tokens. The increase in loss when the first tokens are evicted shows whether they serve
as attention sinks. Positions are indices in the cache, never above the trained length.

This bounds memory but does not extend the context: evicted tokens are lost. It is the baseline for
every method that extends the context.

Source: Xiao et al. 2024, StreamingLLM, sections 3.1 and 3.2.
"""

from __future__ import annotations

import torch

from wordorder.errors import BadInput
from wordorder.model import LanguageModel


@torch.no_grad()
def streamed_losses(
    model: LanguageModel,
    tokens: torch.Tensor,
    targets: int,
    *,
    window: int,
    sinks: int,
) -> torch.Tensor:
    """Return the mean loss in nats of each window's targets, (windows,) float64.

    Args:
        model: a causal model whose embedding does not act at the input.
        tokens: (windows, time + 1) int64; the last `targets` of a row are targets.
        window: tokens that attention can see: the cache, sinks included, and the current token.
        sinks: the number of first tokens that are never evicted.

    Raises:
        BadInput: the window has no room for recent tokens, or the embedding acts at the input.
    """
    if not 0 <= sinks < window - 1:
        raise BadInput(
            f"a window of {window} tokens has no room for {sinks} sinks and recent tokens: use at "
            f"most {max(0, window - 2)} sinks",
            code="evaluation.no-room-for-sinks",
        )
    device = next(model.parameters()).device
    tokens = tokens.to(device)
    length = tokens.shape[1] - 1
    first = min(window, length)
    cache = model.new_cache(rotated=False)
    first_target = length - targets
    states = model.hidden(tokens[:, :first], cache=cache)
    hidden = [states[:, first_target:]] if first_target < first else []
    for index in range(first, length):
        cache.evict(sinks, window - 1 - sinks)
        state = model.hidden(tokens[:, index : index + 1], cache=cache)
        if index >= first_target:
            hidden.append(state)
    return model.target_losses(torch.cat(hidden, 1), tokens[:, -targets:]).double().mean(1).cpu()
