"""Windows of a text whose last tokens are asked for, so that what comes before them may vary.

To say what context does for a model, the tokens it is asked for must stay the same. Windows
therefore end in their targets: the targets of all windows are different tokens, and what comes
before them may be cut shorter, or changed.

Windows lie inside one document, which opens with the end-of-text token as in training, or go
through the text as training does. Where there are more than can be measured, each document gives
as many as the others as far as it has them, evenly spaced: what a document is about makes its
tokens easy or hard together, so that many documents say more than many windows of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import clusters_of
from wordorder.evaluation.loss import TOKENS_PER_BATCH
from wordorder.evaluation.streaming import last_hidden
from wordorder.model import TokenModel, evaluating
from wordorder.text.store import TokenStore

# Single tokens differ by about 2 nats: an error of 0.03, and few seconds.
MOST_TARGETS = 4096
# However many targets one window has, fewer windows would leave no error worth giving.
FEWEST_WINDOWS = 4


@dataclass(frozen=True)
class Windows:
    """Windows that end in their targets.

    Args:
        tokens: (windows, length + 1) int64: what is read, and the last target.
        targets: how many tokens at the end of each window are asked for.
        documents: (windows,) the number of the document in which a window's targets begin.
    """

    tokens: torch.Tensor
    targets: int
    documents: NDArray[np.int64]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """(windows,) what may not be counted as independent: documents, or blocks of few."""
        return clusters_of(self.documents)

    def __len__(self) -> int:
        return len(self.tokens)


def cut_windows(
    store: TokenStore,
    length: int,
    targets: int,
    *,
    across_documents: bool = False,
    most_targets: int = MOST_TARGETS,
) -> Windows:
    """Return windows of a text, in order; none where no document is as long as one.

    Args:
        length: tokens that are read in a window.
        targets: tokens at the end of a window that are asked for, at most `length`; windows of
            one document are at least this far apart.
        across_documents: windows may begin in one document and end in another.
        most_targets: of all windows together, about, where there are more.
    """
    firsts, available = places(store, length, targets, across_documents)
    shares = _shares(available, max(FEWEST_WINDOWS, most_targets // targets))
    begins = [np.empty(0, np.int64)]
    for i in np.flatnonzero(shares):
        evenly = (2 * np.arange(shares[i]) + 1) * available[i] // (2 * shares[i])
        begins.append(firsts[i] + targets * evenly)
    begin = np.concatenate(begins)
    places_read = begin[:, None] + np.arange(length + 1)
    tokens = store.tokens[places_read % len(store)].astype(np.int64)
    tokens[:, :1] = store.windows(places_read[:, :2])[0]  # an end-of-text, also where it was cut
    documents = np.searchsorted(store.starts, begin + length + 1 - targets, side="right") - 1
    return Windows(torch.from_numpy(tokens), targets, documents)


def texts(store: TokenStore, across_documents: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where what is read of each document begins, and how many tokens are asked for.

    The end-of-text before a document opens it, beyond its own size. Without boundaries the whole
    text counts as one document.
    """
    if across_documents:
        return np.array([-1]), np.array([len(store)])
    return store.starts - 1, store.sizes


def places(
    store: TokenStore, length: int, targets: int, across_documents: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each document's windows begin and how many there are."""
    firsts, sizes = texts(store, across_documents)
    return firsts, np.maximum(0, (sizes - length) // targets + 1)


def _shares(available: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """How many windows each document gives: equally many, as far as it has them."""
    shares = np.zeros_like(available)
    left = min(most, int(available.sum()))
    while left:
        having = np.flatnonzero(shares < available)
        if left < len(having):  # one each, from documents evenly spaced
            having = having[(2 * np.arange(left) + 1) * len(having) // (2 * left)]
        given = np.minimum(available[having] - shares[having], left // len(having))
        shares[having] += given
        left -= int(given.sum())
    return shares


@torch.no_grad()
def target_losses(
    model: TokenModel,
    tokens: torch.Tensor,
    targets: int,
    *,
    positions: torch.Tensor | None = None,
    progress: Callable[[int], Any] = lambda _: None,
) -> torch.Tensor:
    """Return the mean loss in nats of each window's targets, (windows,) float64.

    Args:
        model: anything with `config`, `hidden` and `target_losses`, causal.
        tokens: (windows, time + 1) int64; the last `targets` of a row are asked for.
        positions: (1, time) int64, the same for every window; None for 0, 1, 2, ...
        progress: called with the number of tokens read since it was last called.

    Raises:
        BadInput: a model that sees the tokens it is asked for; a position past the longest that
            its embedding can represent.
    """
    if not model.config.causal:
        raise BadInput(
            "a bidirectional model sees the tokens it would be asked for: measure one that is "
            "trained with --objective next-token"
        )
    device = next(model.parameters()).device
    rows = max(1, TOKENS_PER_BATCH // (tokens.shape[1] - 1))
    positions = None if positions is None else positions.to(device)
    losses = []
    with evaluating(model):
        for part in tokens.split(rows):
            read, asked = part[:, :-1].to(device), part[:, -targets:].to(device)
            # Logits only where a target is: of 16 times the trained length it is one in 32.
            hidden = last_hidden(model, read, targets, positions=positions)
            losses.append(model.target_losses(hidden, asked).double().mean(1).cpu())
            progress(read.numel())
    return torch.cat(losses)
