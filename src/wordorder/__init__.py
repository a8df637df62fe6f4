"""Train small language models from scratch with any positional embedding, and compare them.

Public names are imported when first used, so that `import wordorder` (and with it
`wordorder --help`) does not import torch.

    import wordorder as wo
    run = wo.train(wo.TrainConfig(...))
    print(run.generate("The if statement"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from wordorder.version import __version__

if TYPE_CHECKING:
    from wordorder.batch import Batch
    from wordorder.errors import BadInput
    from wordorder.model import make_model
    from wordorder.model.config import ModelConfig
    from wordorder.training.config import TrainConfig
    from wordorder.training.run import Run
    from wordorder.training.start import resume, train

    load = Run.load

# name -> (module, dotted path within it)
_HOME = {
    "BadInput": ("wordorder.errors", "BadInput"),
    "Batch": ("wordorder.batch", "Batch"),
    "ModelConfig": ("wordorder.model.config", "ModelConfig"),
    "TrainConfig": ("wordorder.training.config", "TrainConfig"),
    "load": ("wordorder.training.run", "Run.load"),
    "make_model": ("wordorder.model", "make_model"),
    "resume": ("wordorder.training.start", "resume"),
    "train": ("wordorder.training.start", "train"),
}

__all__ = [
    "BadInput",
    "Batch",
    "ModelConfig",
    "TrainConfig",
    "__version__",
    "load",
    "make_model",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'wordorder' has no attribute {name!r}")
    module, path = _HOME[name]
    value: object = import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
