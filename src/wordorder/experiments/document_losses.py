"""The loss of each document of a text, so that a comparison can count documents as a sample.

A loss over a text is a mean over its documents, weighed by their tokens. Two embeddings differ by
more on some documents than on others; how much says how far another text might be from this one.

Texts of many short documents are gathered into groups of neighbours: neighbours come from one
source more often than not, so groups err towards a wider interval, and a run's record stays small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wordorder.evaluation.loss import TOKENS_PER_BATCH
from wordorder.model import TokenModel, evaluating
from wordorder.text.batches import NOT_COUNTED, evaluation_batches
from wordorder.text.store import TokenStore

MOST_GROUPS = 200  # the t-interval of 200 is that of the normal distribution


def document_losses(
    model: TokenModel, store: TokenStore, *, context_length: int, isolate_documents: bool = False
) -> dict[str, list[float]]:
    """Return the mean loss in nats of each document, or group of documents, and its tokens.

    Args:
        model: one that is trained on the next token.
        store: the tokens, read in windows laid side by side, as the validation loss is.
        context_length: tokens in a window.
        isolate_documents: positions restart in each document, and documents do not see each other.
    """
    losses = _token_losses(model, store, context_length, isolate_documents)
    firsts = np.unique(store.starts)[:: _neighbours(len(store.starts))]
    sums = np.add.reduceat(losses, firsts)
    tokens = np.diff(firsts, append=len(losses))
    return {"losses": (sums / tokens).tolist(), "weights": tokens.tolist()}


def grouped(values: Sequence[float], documents: Sequence[int]) -> dict[str, list[float]]:
    """Return the mean of the windows of each document, or group of documents, and how many.

    Args:
        values: one for each window.
        documents: the number of the document of each window, ascending.
    """
    _, number = np.unique(np.asarray(documents), return_inverse=True)
    number = number // _neighbours(int(number.max()) + 1)
    windows = np.bincount(number)
    means = np.bincount(number, weights=np.asarray(values, float)) / windows
    return {"losses": means.tolist(), "weights": windows.tolist()}


def _neighbours(documents: int) -> int:
    """Return how many documents make a group."""
    return -(-documents // MOST_GROUPS)


@torch.no_grad()
def _token_losses(
    model: TokenModel, store: TokenStore, context_length: int, isolate_documents: bool
) -> NDArray[np.float64]:
    """Return the loss of every token of a store, in order."""
    rows = max(1, TOKENS_PER_BATCH // context_length)
    device = next(model.parameters()).device
    batches = evaluation_batches(store, context_length, rows, isolate_documents=isolate_documents)
    parts = []
    with evaluating(model):
        for batch, _ in batches:
            batch = batch.to(device)
            parts.append(model(batch)[batch.targets != NOT_COUNTED].double().cpu())
    return torch.cat(parts).numpy()
