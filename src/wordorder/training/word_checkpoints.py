"""Weights saved where a model has read given numbers of words, as runs of their own.

    runs/mine/words/1M    config.json  tokenizer.json  model.safetensors

Words are separated by whitespace. Tokens are counted while training, and converted by the words per
token of the training text; text that is read again counts again. Padding between conversations has
no words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from wordorder.atomic import replacing_folder, write_text
from wordorder.settings import in_full
from wordorder.training import checkpoints

FOLDER = "words"
FILES = tuple(f"{FOLDER}/*/{n}" for n in ("config.json", "tokenizer.json", "model.safetensors"))


def words_per_token(training_data: Any, batches: Any) -> float:
    """Return the number of words for each token of the batches, padding included.

    Args:
        training_data: a `TrainingData`, whose `facts` have the number of words.
        batches: its batches.
    """
    if training_data.parts:
        parts = zip(training_data.parts, batches.parts, strict=True)
        return math.fsum(part.weight * words_per_token(part.data, own) for part, own in parts)
    facts, packing = training_data.facts, batches.packing
    padded = packing.rows * packing.context_length if packing else facts["training_tokens"]
    return float(facts["training_words"] / padded)


def steps_of(
    counts: Sequence[str], words_per_token: float, tokens_per_step: int
) -> dict[int, list[str]]:
    """Return the numbers of words by the step after which the model has read them.

    Args:
        counts: numbers of words, as they were typed.
        words_per_token: of the batches.
        tokens_per_step: padding included.
    """
    by_step: dict[int, list[str]] = {}
    for count in counts:
        tokens = in_full(count) / words_per_token
        by_step.setdefault(max(1, math.ceil(tokens / tokens_per_step)), []).append(count)
    return by_step


def save(folder: Path, count: str, step: int, weights: dict[str, Tensor]) -> Path:
    """Write the weights as a run within the run folder, and return its folder.

    Raises:
        OSError: the folder cannot be written.
    """
    target = folder / FOLDER / count
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    target.parent.mkdir(exist_ok=True)
    with replacing_folder(target) as beside:
        text = json.dumps({**record, "steps": step, "words": in_full(count)}, indent=1)
        write_text(beside / "config.json", text + "\n")
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
        write_text(beside / "tokenizer.json", tokenizer)
        checkpoints.save_weights(beside / "model.safetensors", weights)
    return target


def unreached(folder: Path, counts: Sequence[str]) -> str:
    """Return a message if the run ended before some numbers of words, else ""."""
    missing = [count for count in counts if not (folder / FOLDER / count).is_dir()]
    if not missing:
        return ""
    return (
        f"the run ended before the model had read {', '.join(missing)} words: train longer for "
        "these checkpoints"
    )
