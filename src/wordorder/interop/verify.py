"""The comparison that an export must pass: the same logits as the run's model, everywhere.

transformers loads the folder as a user would. Both models read random tokens, so that
a wrong order would show, in sequences shorter than, as long as and longer than the trained length:
alone, with a left-padded second sequence, and the same token by token through transformers' cache.
Positions are those that transformers' `generate` passes, counted from the first real token.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.interop.comparison import LogitComparison, affordable, lengths, most_logits
from wordorder.model import LanguageModel

CACHED_STEPS = 3  # tokens read one at a time through the cache
FIRST_POSITION = 0  # of padding, which nothing attends to


@dataclass(frozen=True)
class Sample:
    """Two random sequences of the same length, the second to be padded on its left.

    Args:
        whole, other: (time,) int64.
        padding: tokens of the second that are padding.
        compared: last tokens whose logits are compared.
        is_cached: whether they are read through the cache too.
    """

    whole: Tensor
    other: Tensor
    padding: int
    compared: int
    is_cached: bool

    @property
    def length(self) -> int:
        """Tokens of the longer sequence."""
        return len(self.whole)


def samples(
    model: LanguageModel,
    *,
    longest: int | None,
    static_length: int | None,
    compared: int | None = None,
) -> Iterator[Sample]:
    """Yield what both models read, shorter texts first.

    Args:
        model: of this architecture, on any device.
        longest: tokens that the class has positions for, or that can be read in a reasonable time;
            None: any number.
        static_length: length past which transformers' cache is inexact by design; None: none.
        compared: last tokens whose logits are compared; None: all.
    """
    generator = torch.Generator().manual_seed(0)
    config, limit = model.config, model.position.max_position
    own_limit = None if limit is None else limit + 1
    for length in lengths(config.trained_length, longest, own_limit):
        whole, other = torch.randint(config.vocabulary_size, (2, length), generator=generator)
        padding = length // 3
        is_cached = config.causal and (static_length is None or length <= static_length)
        most = length if compared is None else compared
        last = length if most >= length else min(length - padding, most)
        yield Sample(whole, other, padding, last, is_cached)


def compare(
    model: LanguageModel, theirs: Any, *, longest: int | None, static_length: int | None
) -> Iterator[LogitComparison]:
    """Yield the differences, shorter texts first; arguments as for `exported_samples`.

    Args:
        theirs: transformers' model.
    """
    for sample in exported_samples(model, longest=longest, static_length=static_length):
        yield from differences(model, sample, read_by(theirs, sample))


def exported_samples(
    model: LanguageModel, *, longest: int | None, static_length: int | None
) -> Iterator[Sample]:
    """Yield what an export is compared on; arguments as for `samples`.

    Of a large model, fewer tokens are read; of a large vocabulary, the last logits are compared.
    """
    most = affordable(model)
    return samples(
        model,
        longest=min(most, longest or most),
        static_length=static_length,
        compared=most_logits(model),
    )


@torch.no_grad()
def differences(
    model: LanguageModel,
    sample: Sample,
    theirs: Mapping[str, list[Tensor]],
    *,
    of_hidden_states: bool = False,
) -> Iterator[LogitComparison]:
    """Yield how far a model's logits are from those that `read_by` returned.

    Args:
        of_hidden_states: compare the last hidden states instead of logits.
    """
    ours = []
    for tokens in (sample.whole, sample.other[sample.padding :]):
        hidden = model.hidden(Batch(tokens[None], context_length=sample.length))
        part = hidden[0, -sample.compared :]
        ours.append((part if of_hidden_states else model.logits(part)).float())
    for reading, logits in theirs.items():
        largest = [(a - b).abs().max() for a, b in zip(ours, logits, strict=False)]
        yield LogitComparison(reading, sample.length, float(torch.stack(largest).max()))


@torch.no_grad()
def read_by(theirs: Any, sample: Sample, output: str = "logits") -> dict[str, list[Tensor]]:
    """Return transformers' logits of the compared tokens, by the way of reading.

    Args:
        output: the field of its output that is compared.
    """
    reading = _Reading(theirs, sample, output)
    logits = {"alone": [reading.alone()], "padded": reading.padded()}
    return {**logits, "cached": reading.cached()} if sample.is_cached else logits


class _Reading:
    """transformers' logits of two sequences, the second padded on its left."""

    def __init__(self, theirs: Any, sample: Sample, output: str) -> None:
        self.theirs, self.whole, self.padding = theirs, sample.whole, sample.padding
        self.compared, self.output = sample.compared, output
        self.tokens = torch.stack((sample.whole, sample.other))
        self.mask = torch.ones_like(self.tokens)
        self.mask[1, : self.padding] = 0
        self.positions = (self.mask.cumsum(-1) - 1).masked_fill(self.mask == 0, FIRST_POSITION)
        parameters = inspect.signature(theirs.forward).parameters
        self.takes_positions = "position_ids" in parameters
        self.takes_kept = "logits_to_keep" in parameters
        self.takes_context_length = "context_length" in parameters

    def alone(self) -> Tensor:
        """Return the logits of the first sequence by itself, (compared, vocabulary)."""
        return self._of(self.theirs(self.whole[None], **self._kept(self.compared)))[0]

    def padded(self) -> list[Tensor]:
        """Return the logits of both sequences, without those of padding."""
        return self._of_real_tokens(self._of(self._read(slice(None), self.compared)))

    def cached(self) -> list[Tensor]:
        """Return the same, the last tokens read one by one."""
        # What is read first has a token that is not padding in both sequences.
        start = max(self.padding + 1, self.tokens.shape[1] - CACHED_STEPS)
        steps = range(start, self.tokens.shape[1])
        before = max(1, self.compared - len(steps))
        output = self._read(slice(0, start), before, use_cache=True)
        logits = [self._of(output, before)]
        for i in steps:
            cache = output.past_key_values
            output = self._read(slice(i, i + 1), 1, use_cache=True, past_key_values=cache)
            logits.append(self._of(output, 1))
        return self._of_real_tokens(torch.cat(logits, 1)[:, -self.compared :])

    def _read(self, part: slice, compared: int, **options: Any) -> Any:
        if self.takes_positions:
            options["position_ids"] = self.positions[:, part]
        if self.takes_context_length:
            options["context_length"] = self.tokens.shape[1]
        mask = self.mask[:, : part.stop]
        options |= self._kept(compared)
        return self.theirs(self.tokens[:, part], attention_mask=mask, **options)

    def _kept(self, compared: int) -> dict[str, int]:
        """Return what keeps a class from computing logits that are not compared."""
        return {"logits_to_keep": compared} if self.takes_kept else {}

    def _of(self, output: Any, compared: int = 0) -> Tensor:
        logits: Tensor = getattr(output, self.output)
        return logits[:, -(compared or self.compared) :]

    def _of_real_tokens(self, logits: Tensor) -> list[Tensor]:
        real = self.tokens.shape[1] - self.padding
        return [logits[0], logits[1, -real:]]
