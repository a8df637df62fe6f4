"""Small language models with a sense of order: train, compare and read them.

The public names are resolved when first used, so that `import wordorder` (and
with it `wordorder --help`) does not import torch.

    import wordorder as wo
    model = wo.make_model(wo.ModelConfig(position="rotary"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wordorder.errors import BadInput
    from wordorder.model import make_model
    from wordorder.model.config import ModelConfig
    from wordorder.training.run import Run

    load = Run.load

__version__ = "0.1.0"

# name -> (module, dotted path within it)
_HOME = {
    "BadInput": ("wordorder.errors", "BadInput"),
    "ModelConfig": ("wordorder.model.config", "ModelConfig"),
    "load": ("wordorder.training.run", "Run.load"),
    "make_model": ("wordorder.model", "make_model"),
}

__all__ = [
    "BadInput",
    "ModelConfig",
    "__version__",
    "load",
    "make_model",
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
