"""The comparison that an export must pass: llama.cpp gives the run's logits, everywhere.

Both models read random tokens, so that a wrong order would show, in sequences shorter than, as long
as and longer than the trained length: alone, in one batch with a shorter sequence, and with
the last tokens one by one through llama.cpp's cache.

The tolerance of logits is 1e-4 where llama.cpp is as exact as float32 allows. Elsewhere it is a
fraction of the standard deviation of the run's logits, about three times the difference measured on
models of all sizes (docs/export.md has the figures):

- Rotary angles are products of float32 numbers, with one more factor for each pair of dimensions.
  Their error grows with the position. If the run's model uses the same angles, 5e-6 is left.
- GELU is read from a half-precision table.
- f16, bf16 and q8_0 matrices are rounded, and so are the activations that they multiply.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.interop.architecture import Architecture
from wordorder.interop.comparison import TOLERANCE, LogitComparison, lengths
from wordorder.model import LanguageModel

from .llama_cpp import LlamaCpp

CACHED_STEPS = 3  # tokens read one at a time through the cache
ANGLE_SHARE = 3e-7  # for each token
GELU_SHARE = 5e-3
DTYPE_SHARES = {"f32": 0.0, "f16": 2e-2, "bf16": 0.12, "q8_0": 0.5}


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
        # llama.cpp takes the size of its context as the length of the text.
        expected = [
            model(Batch(torch.tensor([tokens]), context_length=theirs.context_length))[0].float()
            for tokens in (sequences[0], shorter)
        ]
        allowed = max(
            TOLERANCE, sum(shares(model, length, dtype).values()) * float(expected[0].std())
        )
        for reading, difference in (
            ("alone", _largest(expected[:1], [_alone(theirs, sequences[0])])),
            ("batched", _largest(expected, _batched(theirs, sequences[0], shorter))),
            ("cached", _largest(expected[:1], [_cached(theirs, sequences[0])])),
        ):
            yield LogitComparison(reading, length, difference, allowed)


def shares(model: LanguageModel, length: int, dtype: str) -> dict[str, float]:
    """Return what llama.cpp rounds, each with its tolerance as a fraction of the logits' spread.

    Args:
        length: of the sequence, in tokens.
        dtype: of the file's matrices.
    """
    turns = bool(Architecture.of(model).rotaries)
    every = {
        "angles of rotary": ANGLE_SHARE * length * turns,
        "GELU": GELU_SHARE * model.config.feed_forward.startswith(("gelu", "geglu")),
        f"{dtype} matrices": DTYPE_SHARES[dtype],
    }
    return {name: share for name, share in every.items() if share}


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
