"""Windows of a text with targets at their end and a context that experiments can change.

To measure the effect of context, targets must stay the same. Every window ends in its own targets;
the context before them can be shortened or changed.

    |<------ context ------>|<- targets ->|

Windows lie inside a document and begin with its end-of-text token as in training, or they cross
documents. If a text has more windows than needed, each document contributes equally many, as far as
it has them, evenly spaced: losses within a document are correlated, so many documents give smaller
errors than many windows of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from wordorder.errors import BadInput
from wordorder.evaluation.chunked import last_hidden
from wordorder.evaluation.intervals import clusters_of
from wordorder.evaluation.loss import TOKENS_PER_BATCH
from wordorder.model import TokenModel, evaluating
from wordorder.text.store import TokenStore

# The standard deviation of single tokens is about 2 nats: this gives an error of 0.03, in seconds.
MOST_TARGETS = 4096
# Fewer windows would give no usable standard error, however many targets each has.
FEWEST_WINDOWS = 4


@dataclass(frozen=True)
class Windows:
    """Windows that end in their targets.

    Args:
        tokens: (windows, length + 1) int64: the tokens that are read, and the last target.
        targets: the number of targets at the end of each window.
        documents: (windows,) the index of the document in which a window's targets begin.
    """

    tokens: torch.Tensor
    targets: int
    documents: NDArray[np.int64]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """The cluster (windows,) of each window: its document, or a block of a text with few."""
        return clusters_of(self.documents)

    def __len__(self) -> int:
        return len(self.tokens)

    def passes(self, length: int) -> list[tuple[int, int, int]]:
        """Return (begin, end, targets) of each forward pass with a context of `length` tokens.

        A pass reads the tokens from `begin` to `end`; the last of them are its targets. If the
        context is shorter than twice the targets, each pass has targets in half of its length,
        because one pass over all of them would exceed the context.
        """
        last, step = self.tokens.shape[1], self.targets
        if length < 2 * step:
            step = max(1, length // 2)
        ends = [(i, min(i + step, last)) for i in range(last - self.targets, last, step)]
        return [(max(0, end - length - 1), end, end - first) for first, end in ends]

    def target_bytes(self, bytes_per_token: ArrayLike) -> int:
        """Return the UTF-8 bytes of all targets.

        Args:
            bytes_per_token: (vocabulary,), of the tokenizer.
        """
        return int(torch.as_tensor(bytes_per_token)[self.tokens[:, -self.targets :]].sum())


def cut_windows(
    store: TokenStore,
    length: int,
    targets: int,
    *,
    across_documents: bool = False,
    most_targets: int = MOST_TARGETS,
) -> Windows:
    """Return windows of a text, in order; empty if no document is long enough.

    Args:
        length: tokens that are read in a window.
        targets: targets at the end of a window, at most `length`; also the smallest distance
            between windows of a document.
        across_documents: whether windows may cross document boundaries.
        most_targets: the approximate number of targets to use if the text has more.

    Raises:
        BadInput: more targets than tokens, or none.
    """
    if not 1 <= targets <= length:
        raise BadInput(
            f"targets is {targets:,}: it must be 1 to {length:,}, the tokens that a window reads",
            code="evaluation.targets-out-of-range",
        )
    firsts, available = places(store, length, targets, across_documents)
    shares = _shares(available, max(FEWEST_WINDOWS, most_targets // targets))
    begins = [np.empty(0, np.int64)]
    for i in np.flatnonzero(shares):
        evenly = (2 * np.arange(shares[i]) + 1) * available[i] // (2 * shares[i])
        begins.append(firsts[i] + targets * evenly)
    begin = np.concatenate(begins)
    indices = begin[:, None] + np.arange(length + 1)
    tokens = store.tokens[indices % len(store)].astype(np.int64)
    # `windows` gives an end-of-text before a document, even if the store does not hold it.
    tokens[:, :1] = store.windows(indices[:, :2])[0]
    documents = np.searchsorted(store.starts, begin + length + 1 - targets, side="right") - 1
    return Windows(torch.from_numpy(tokens), targets, documents)


def sequences(
    store: TokenStore, across_documents: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each document begins to be read, and how many targets it has.

    Reading begins at the end-of-text before a document, which is not a target of it. If windows
    may cross documents, the whole text counts as one.
    """
    if across_documents:
        return np.array([-1]), np.array([len(store)])
    return store.starts - 1, store.sizes


def places(
    store: TokenStore, length: int, targets: int, across_documents: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the first window of each document begins, and how many fit into it."""
    firsts, sizes = sequences(store, across_documents)
    return firsts, np.maximum(0, (sizes - length) // targets + 1)


def _shares(available: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return how many windows to take from each document: equally many, as far as it has them."""
    shares = np.zeros_like(available)
    left = min(most, int(available.sum()))
    while left:
        unused = np.flatnonzero(shares < available)  # documents with windows left
        if left < len(unused):  # one each, from documents evenly spaced
            unused = unused[(2 * np.arange(left) + 1) * len(unused) // (2 * left)]
        more = np.minimum(available[unused] - shares[unused], left // len(unused))
        shares[unused] += more
        left -= int(more.sum())
    return shares


def check_causal(model: TokenModel) -> None:
    """Check that a model predicts the next token.

    Raises:
        BadInput: the model is bidirectional.
    """
    if not model.config.causal:
        raise BadInput(
            "a bidirectional model sees the tokens that it should predict: measure a run trained "
            "with --objective next-token",
            code="evaluation.bidirectional",
        )


def target_losses(
    model: TokenModel,
    tokens: torch.Tensor,
    targets: int,
    *,
    positions: torch.Tensor | None = None,
    progress: Callable[[int], Any] = lambda _: None,
) -> torch.Tensor:
    """Return the mean loss in nats of each window's targets, (windows,) float64.

    Arguments and errors as for `token_losses`.
    """
    losses = token_losses(model, tokens, targets, positions=positions, progress=progress)
    return losses.mean(1)


@torch.no_grad()
def token_losses(
    model: TokenModel,
    tokens: torch.Tensor,
    targets: int,
    *,
    positions: torch.Tensor | None = None,
    progress: Callable[[int], Any] = lambda _: None,
) -> torch.Tensor:
    """Return the loss in nats of each target, (windows, targets) float64.

    Args:
        model: any causal model with `config`, `hidden` and `target_losses`.
        tokens: (windows, time + 1) int64; the last `targets` of a row are targets.
        positions: (1, time) int64, the same for every window; None: 0, 1, 2, ...
        progress: called with the number of tokens read since the last call.

    Raises:
        BadInput: the model is bidirectional.
        PositionError: a position is beyond the longest that the embedding can represent.
    """
    check_causal(model)
    device = next(model.parameters()).device
    rows = max(1, TOKENS_PER_BATCH // (tokens.shape[1] - 1))
    positions = None if positions is None else positions.to(device)
    losses = []
    with evaluating(model):
        for part in tokens.split(rows):
            inputs, answers = part[:, :-1].to(device), part[:, -targets:].to(device)
            # Only targets need logits: one token in 32 at 16 times the trained length.
            hidden = last_hidden(model, inputs, targets, positions=positions)
            losses.append(model.target_losses(hidden, answers).double().cpu())
            progress(inputs.numel())
    return torch.cat(losses)
