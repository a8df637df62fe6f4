"""The loss of each document of a text, so that a comparison can treat documents as a sample.

The loss of a text is the mean over its documents, weighted by their tokens. Two embeddings differ
by more on some documents than on others; this variance shows how far results may differ on another
text.

Texts of many short documents are divided into groups of neighbours, so that a run's record stays
small. Neighbours often come from the same source, so groups tend to widen the interval.
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

MOST_GROUPS = 200  # with this many, the t-interval practically equals the normal one


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
    """Return the mean over windows and the window count of each document, or group of documents.

    Args:
        values: one for each window.
        documents: the document index of each window, ascending.
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
