"""The catalogue of positional embeddings, and the specs that name them.

from wordorder.positions import ModelShape, Rotary
rotary = Rotary(ModelShape(heads=6, head_dim=64), base=500000)
"""

from . import aliases, composed
from . import spec as specs
from .aliases import ALIASES
from .alibi import Alibi
from .axial import Axial
from .base import DOORS, HOOKS, Position, PositionError
from .composed import Composed, Sum
from .cope import Cope
from .coupled import Coupled
from .dape import Dape
from .deberta import Deberta
from .fire import Fire
from .fope import Fope
from .forgetting import Forgetting
from .grape import Grape
from .inkling import Inkling
from .kerple import Kerple
from .key_offset import KeyOffset
from .layout import TokenLayout, index_grid
from .learned import Learned
from .log_temperature import LogTemperature
from .none import NoPosition
from .offset import Offset
from .path import Path
from .pope import Pope
from .randomized import Randomized
from .recipes import expanded
from .relative import Relative
from .repo import Repo
from .rotary import Rotary
from .sandwich import Sandwich
from .selective import Selective
from .self_extend import SelfExtend
from .shape import ModelShape
from .shaw import Shaw, ShawValues
from .sinusoidal import Sinusoidal
from .spec import Part, Spec, foreign, of_user_code
from .stick_breaking import StickBreaking
from .t5 import T5
from .transformer_xl import TransformerXL
from .user_code import digest_of
from .xpos import XPos

CATALOGUE: dict[str, type[Position]] = {
    "none": NoPosition,
    "sinusoidal": Sinusoidal,
    "learned": Learned,
    "rotary": Rotary,
    "xpos": XPos,
    "axial": Axial,
    "alibi": Alibi,
    "shaw": Shaw,
    "shaw-values": ShawValues,
    "transformer-xl": TransformerXL,
    "deberta": Deberta,
    "forgetting": Forgetting,
    "t5": T5,
    "kerple": Kerple,
    "fire": Fire,
    "sandwich": Sandwich,
    "relative": Relative,
    "randomized": Randomized,
    "offset": Offset,
    "cope": Cope,
    "dape": Dape,
    "path": Path,
    "pope": Pope,
    "selective": Selective,
    "self-extend": SelfExtend,
    "log-temperature": LogTemperature,
    "inkling": Inkling,
    "key-offset": KeyOffset,
    "fope": Fope,
    "coupled": Coupled,
    "stick-breaking": StickBreaking,
    "grape": Grape,
    "repo": Repo,
}


def parse(text: str) -> Spec:
    """Return the parsed spec of a string such as `rotary:base=500000/none` or `recipe:llama3`."""
    return specs.parse(expanded(text), CATALOGUE)


def canonical(text: str) -> str:
    """Return a spec with aliases and recipes replaced: `rotary/none` for `RoPE/nope`.

    Nothing else is validated: `parse` does that.

    Raises:
        PositionError: there is no such recipe.
    """
    return aliases.canonical(expanded(text))


def find(name: str) -> type[Position]:
    """Return the class of a name or alias in the catalogue, or of package.module.Class."""
    return specs.find(name, CATALOGUE)


def code_of(text: str) -> str | None:
    """Return a digest of the code of a spec's user-defined embeddings; None if it has none.

    It changes when a line of the files that define them does, except comments.
    """
    return digest_of(find(name) for name in foreign(expanded(text)))


def word_scale(spec: Spec | str, width: int) -> float | None:
    """Return the multiplier of word vectors that a spec's embeddings expect, or None.

    Raises:
        PositionError: two embeddings expect different multipliers.
    """
    parts = (parse(spec) if isinstance(spec, str) else spec).parts
    each = [find(part.name).word_scale(width) for part in parts]
    scales = {scale for scale in each if scale is not None}
    if len(scales) > 1:
        raise PositionError(
            f"{spec}: its embeddings expect word vectors with different multipliers, "
            f"{sorted(scales)}: set the model's embedding_scale",
            code="positions.word-scales-differ",
        )
    return scales.pop() if scales else None


def wants_task_positions(spec: Spec | str) -> bool:
    """Return whether an embedding of a spec takes the positions that a task provides."""
    parts = (parse(spec) if isinstance(spec, str) else spec).parts
    return any(find(part.name).task_positions for part in parts)


def build(spec: Spec | str, shape: ModelShape) -> Composed:
    """Return the embeddings of a spec for a model of this shape."""
    return composed.build(parse(spec) if isinstance(spec, str) else spec, shape, CATALOGUE)


def __getattr__(name: str) -> object:
    if name == "Geometry":
        raise ImportError("wordorder.positions.Geometry is now called TokenLayout: rename it")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ALIASES",
    "CATALOGUE",
    "DOORS",
    "HOOKS",
    "T5",
    "Alibi",
    "Axial",
    "Composed",
    "Cope",
    "Coupled",
    "Dape",
    "Deberta",
    "Fire",
    "Fope",
    "Forgetting",
    "Grape",
    "Inkling",
    "Kerple",
    "KeyOffset",
    "Learned",
    "LogTemperature",
    "ModelShape",
    "NoPosition",
    "Offset",
    "Part",
    "Path",
    "Pope",
    "Position",
    "PositionError",
    "Randomized",
    "Relative",
    "Repo",
    "Rotary",
    "Sandwich",
    "Selective",
    "SelfExtend",
    "Shaw",
    "ShawValues",
    "Sinusoidal",
    "Spec",
    "StickBreaking",
    "Sum",
    "TokenLayout",
    "TransformerXL",
    "XPos",
    "build",
    "canonical",
    "code_of",
    "find",
    "foreign",
    "index_grid",
    "of_user_code",
    "parse",
    "wants_task_positions",
    "word_scale",
]
