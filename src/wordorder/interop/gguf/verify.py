"""The comparison that an export must pass: llama.cpp gives the run's logits, everywhere.

Both models read random tokens, which no reversal leaves alike, shorter than, as long as and longer
than the trained length: alone, in one batch with a shorter sequence, and with the last tokens one
by one through llama.cpp's cache.

How far logits may lie apart is 1e-4 where llama.cpp computes in float32. It does not in two cases,
whose tolerances are shares of the standard deviation of the run's logits, about three times what
models of all sizes were measured to differ by (docs/export.md has the figures):

- GELU is read from a table of half precision.
- Matrices of f16 and q8_0 are rounded, and so is what they are multiplied with.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.interop.comparison import TOLERANCE, LogitComparison, lengths
from wordorder.model import LanguageModel

from .llama_cpp import LlamaCpp

CACHED_STEPS = 3  # tokens read one at a time through the cache
GELU_SHARE = 5e-3
SHARES = {"f32": 0.0, "f16": 2e-2, "q8_0": 0.5}


@torch.no_grad()
def compare(
    model: LanguageModel, theirs: LlamaCpp, *, dtype: str, longest: int | None
) -> Iterator[LogitComparison]:
    """Yield the differences, shorter sequences first.

    Args:
        theirs: the file in llama.cpp, with room for two sequences of the longest.
        dtype: of the file's matrices.
        longest: tokens that the file has positions for; None: any number.
    """
    generator = torch.Generator().manual_seed(0)
    for length in lengths(model.config.trained_length, longest):
        sequences = torch.randint(
            model.config.vocabulary_size, (2, length), generator=generator
        ).tolist()
        shorter = sequences[1][length // 3 :]
        # The size of llama.cpp's context is what it takes for the length of the text.
        expected = [
            model(Batch(torch.tensor([tokens]), context_length=theirs.context_length))[0].float()
            for tokens in (sequences[0], shorter)
        ]
        allowed = _tolerance(expected[0], model.config.feed_forward, dtype)
        for reading, difference in (
            ("alone", _largest(expected[:1], [_alone(theirs, sequences[0])])),
            ("batched", _largest(expected, _batched(theirs, sequences[0], shorter))),
            ("cached", _largest(expected[:1], [_cached(theirs, sequences[0])])),
        ):
            yield LogitComparison(reading, length, difference, allowed)


def _tolerance(expected: Tensor, feed_forward: str, dtype: str) -> float:
    share = SHARES[dtype] + GELU_SHARE * feed_forward.startswith("gelu")
    return max(TOLERANCE, share * float(expected.std(correction=0)))


def _largest(expected: list[Tensor], logits: list[Tensor]) -> float:
    differences = [(a - b).abs().max() for a, b in zip(expected, logits, strict=True)]
    return float(torch.stack(differences).max())


def _alone(theirs: LlamaCpp, tokens: list[int]) -> Tensor:
    theirs.clear()
    return theirs.read(tokens, positions=range(len(tokens)))


def _batched(theirs: LlamaCpp, whole: list[int], shorter: list[int]) -> list[Tensor]:
    """Return the logits of two sequences that are read together, token by token in turn."""
    theirs.clear()
    both = sorted(
        (position, sequence, token)
        for sequence, tokens in enumerate((whole, shorter))
        for position, token in enumerate(tokens)
    )
    positions, sequences, tokens = zip(*both, strict=True)
    logits = theirs.read(tokens, positions=positions, sequences=sequences)
    return [logits[torch.tensor(sequences) == sequence] for sequence in (0, 1)]


def _cached(theirs: LlamaCpp, tokens: list[int]) -> Tensor:
    start = max(1, len(tokens) - CACHED_STEPS)
    logits = [_alone(theirs, tokens[:start])]
    for position in range(start, len(tokens)):
        logits.append(theirs.read([tokens[position]], positions=[position]))
    return torch.cat(logits)
