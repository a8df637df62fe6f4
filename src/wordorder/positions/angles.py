"""Cosines and sines of positions, computed in float64 and cast once to float32.

Near position 1,000,000 a float32 angle is wrong by 0.039; above 256 neighbouring positions
are equal in bfloat16.
"""

import math

import torch
from torch import Tensor


def exact(numbers: Tensor) -> Tensor:
    """Return numbers in float64, moved to the CPU from Apple GPUs, which lack float64."""
    return (numbers.cpu() if numbers.device.type == "mps" else numbers).to(torch.float64)


def cos_sin(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of positions * frequencies.

    Shapes: positions (..., pairs or 1) of any number type, frequencies (pairs,) float64;
    the results (..., pairs) float32, on the device of the positions.
    """
    angles = exact(positions)
    angles = angles * frequencies.to(angles.device)
    return angles.cos().float().to(positions.device), angles.sin().float().to(positions.device)


def turning(frequencies: Tensor, length: int) -> int:
    """Return how many frequencies make at least one whole turn within a length; at least 1.

    Args:
        frequencies: (pairs,) radians per position, in descending order.
        length: in positions.
    """
    return max(1, int((frequencies * length >= 2 * math.pi).sum()))
