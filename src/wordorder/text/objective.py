"""What a model is asked to predict. Apart from the batches, so that options need no torch."""

from __future__ import annotations

from typing import Literal

Objective = Literal["next-token", "masked-token"]
