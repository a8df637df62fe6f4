"""Reading on with a bounded cache: a sliding window, and the first tokens kept beside it or not.

Trained on nothing longer, a model may still write without end if its cache keeps the newest tokens
only. What is lost when the very first ones go says whether attention rests on them, as a sink for
what it has no use for. Positions are those in the cache, never above the trained length.

This bounds memory and not much else: what has left the window is gone. It is the contrast to any
method that makes a context longer.

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
        model: a causal one, whose positions do not come in at the input.
        tokens: (windows, time + 1) int64; the last `targets` of a row are asked for.
        window: tokens that the cache holds, sinks included, and the one being read.
        sinks: of them, first tokens of the text that stay.

    Raises:
        BadInput: no room for the newest tokens, or an embedding that cannot be moved.
    """
    if not 0 <= sinks < window - 1:
        raise BadInput(f"a window of {window} has no room for {sinks} sinks and what is read")
    device = next(model.parameters()).device
    tokens = tokens.to(device)
    length = tokens.shape[1] - 1
    first = min(window, length)
    cache = model.new_cache(rotated=False)
    asked_from = length - targets
    states = model.hidden(tokens[:, :first], cache=cache)
    kept = [states[:, asked_from:]] if asked_from < first else []
    for place in range(first, length):
        cache.evict(sinks, window - 1 - sinks)
        state = model.hidden(tokens[:, place : place + 1], cache=cache)
        if place >= asked_from:
            kept.append(state)
    return model.target_losses(torch.cat(kept, 1), tokens[:, -targets:]).double().mean(1).cpu()
