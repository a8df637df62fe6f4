"""The comparison that an export must pass: the same logits as the run's model, everywhere.

transformers loads the folder as a user would. Both models read random tokens, which no reversal
leaves alike, shorter than, as long as and longer than the trained length: alone, beside another
sequence with padding on its left, and that token by token through transformers' cache. Positions
are passed as transformers' `generate` passes them, counted from the first real token.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.interop.comparison import LogitComparison, lengths
from wordorder.model import LanguageModel

CACHED_STEPS = 3  # tokens read one at a time through the cache
FIRST_POSITION = 0  # of padding, which nothing attends to


@torch.no_grad()
def compare(
    model: LanguageModel, theirs: Any, *, longest: int | None, static_length: int | None
) -> Iterator[LogitComparison]:
    """Yield the differences, shorter texts first.

    Args:
        theirs: transformers' model.
        longest: tokens that the class has positions for; None: any number.
        static_length: length past which transformers' cache is inexact by design; None: none.
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.vocabulary_size
    last = model.position.max_position
    own_limit = None if last is None else last + 1
    for length in lengths(model.config.trained_length, longest, own_limit):
        whole, other = torch.randint(vocabulary, (2, length), generator=generator)
        padding = length // 3
        expected = [
            model(Batch(tokens[None], context_length=length))[0].float()
            for tokens in (whole, other[padding:])
        ]
        reading = _Reading(theirs, whole, other, padding)
        yield LogitComparison("alone", length, _largest(expected[:1], [reading.alone()]))
        yield LogitComparison("padded", length, _largest(expected, reading.padded()))
        if model.config.causal and (static_length is None or length <= static_length):
            yield LogitComparison("cached", length, _largest(expected, reading.cached()))


def _largest(expected: list[Tensor], logits: list[Tensor]) -> float:
    differences = [(a - b).abs().max() for a, b in zip(expected, logits, strict=True)]
    return float(torch.stack(differences).max())


class _Reading:
    """transformers' logits of two sequences, the second padded on its left."""

    def __init__(self, theirs: Any, whole: Tensor, other: Tensor, padding: int) -> None:
        self.theirs, self.whole, self.padding = theirs, whole, padding
        self.tokens = torch.stack((whole, other))
        self.mask = torch.ones_like(self.tokens)
        self.mask[1, :padding] = 0
        self.positions = (self.mask.cumsum(-1) - 1).masked_fill(self.mask == 0, FIRST_POSITION)
        arguments = inspect.signature(theirs.forward).parameters
        self.takes_positions = "position_ids" in arguments
        self.takes_context_length = "context_length" in arguments

    def alone(self) -> Tensor:
        """Return the logits of the first sequence by itself, (time, vocabulary)."""
        logits: Tensor = self.theirs(self.whole[None]).logits[0]
        return logits

    def padded(self) -> list[Tensor]:
        """Return the logits of both sequences, without those of padding."""
        return self._of_real_tokens(self._read(slice(None)).logits)

    def cached(self) -> list[Tensor]:
        """Return the same, the last tokens read one by one."""
        # What is read first has a token that is not padding in both sequences.
        start = max(self.padding + 1, self.tokens.shape[1] - CACHED_STEPS)
        output = self._read(slice(0, start), use_cache=True)
        logits = [output.logits]
        for i in range(start, self.tokens.shape[1]):
            cache = output.past_key_values
            output = self._read(slice(i, i + 1), use_cache=True, past_key_values=cache)
            logits.append(output.logits)
        return self._of_real_tokens(torch.cat(logits, 1))

    def _read(self, part: slice, **options: Any) -> Any:
        if self.takes_positions:
            options["position_ids"] = self.positions[:, part]
        if self.takes_context_length:
            options["context_length"] = self.tokens.shape[1]
        mask = self.mask[:, : part.stop]
        return self.theirs(self.tokens[:, part], attention_mask=mask, **options)

    def _of_real_tokens(self, logits: Tensor) -> list[Tensor]:
        return [logits[0], logits[1, self.padding :]]
