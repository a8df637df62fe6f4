"""The catalogue of positional embeddings, one line each, and the specs that name them.

    from wordorder.positions import ModelShape, Rotary
    rotary = Rotary(ModelShape(heads=6, head_dim=64), base=500000)
"""

from . import composed
from .alibi import Alibi
from .base import Geometry, ModelShape, Position, PositionError
from .composed import Composed, Part, Spec, Sum
from .learned import Learned
from .none import NoPosition
from .rotary import Rotary
from .sinusoidal import Sinusoidal

CATALOGUE: dict[str, type[Position]] = {
    "none": NoPosition,
    "sinusoidal": Sinusoidal,
    "learned": Learned,
    "rotary": Rotary,
    "alibi": Alibi,
}


def parse(text: str) -> Spec:
    """Return the spec that a string such as `rotary:base=500000/none` spells."""
    return composed.parse(text, CATALOGUE)


def build(spec: Spec | str, shape: ModelShape) -> Composed:
    """Return the embeddings of a spec, made for one model."""
    return composed.build(parse(spec) if isinstance(spec, str) else spec, shape, CATALOGUE)


__all__ = [
    "CATALOGUE",
    "Alibi",
    "Composed",
    "Geometry",
    "Learned",
    "ModelShape",
    "NoPosition",
    "Part",
    "Position",
    "PositionError",
    "Rotary",
    "Sinusoidal",
    "Spec",
    "Sum",
    "build",
    "parse",
]
