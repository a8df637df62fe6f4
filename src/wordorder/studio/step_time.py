"""Times a training step of one size, in a process of its own: the page stays quick meanwhile.

`python -m wordorder.studio.step_time PRESET {"width": 64} rotary` prints a JSON object.
"""

from __future__ import annotations

import json
import sys

import torch

from wordorder.batch import Batch
from wordorder.model import make_model
from wordorder.numerals import counted
from wordorder.training.benchmark import measure, step_seconds
from wordorder.training.compute import pick_device, use
from wordorder.training.config import from_mapping

WITH_OPTIMIZER = 1.2  # as `training.preparation` estimates: a step is more than its two passes


def measured(preset: str, sizes: dict[str, int], position: str) -> dict[str, object]:
    """Return the seconds of one training step, and how it was computed."""
    config = from_mapping({**sizes, "position": position}, preset)
    model = make_model(config.model).to(pick_device(config.device))
    model.initialise(0)
    shape = (config.batch_size, config.model.trained_length)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.model.vocabulary_size, shape, generator=generator)
    batch = Batch(tokens, tokens.roll(-1, 1)).to(next(model.parameters()).device)
    compute = measure(config, model, batch, lambda step: 0.0)
    use(model, compute)
    seconds = WITH_OPTIMIZER * config.accumulate * step_seconds(model, batch)
    how = (
        f"{compute.device}, {counted(compute.threads, 'thread')}, {compute.dtype}, {compute.kernel}"
    )
    return {"step_seconds": seconds, "how": f"{how} attention"}


if __name__ == "__main__":
    preset, sizes, position = sys.argv[1:]
    print(json.dumps(measured(preset, json.loads(sizes), position)))
