"""What a page may ask to train: a text, sizes, an embedding and a budget, as a command line.

A run is made by the command and nothing else, so whatever the page offers is one of its options.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from wordorder.errors import BadInput
from wordorder.model import TokenModel, shape_of
from wordorder.studio.fields import SpecText
from wordorder.text.user_text import is_blank
from wordorder.training.compute import pick_device
from wordorder.training.config import TrainConfig, from_mapping
from wordorder.training.plan import memory_bytes, out_of_memory, peak_bytes
from wordorder.training.training_data import check_takes_text

MOST_TEXT_BYTES = 5_000_000
MOST_MINUTES = 24 * 60.0
SIZES = ("width", "layers", "heads", "trained_length", "batch_size")

Preset = Literal["nano", "tiny", "mini", "small", "medium"]


class SizeOptions(BaseModel):
    """A preset, the sizes that differ from it, and how long to train.

    Args:
        steps: optimizer steps, instead of the minutes.
    """

    preset: Preset = "nano"
    width: Annotated[int, Field(ge=1, le=4096)] | None = None
    layers: Annotated[int, Field(ge=1, le=64)] | None = None
    heads: Annotated[int, Field(ge=1, le=64)] | None = None
    trained_length: Annotated[int, Field(ge=2, le=4096)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=512)] | None = None
    minutes: Annotated[float, Field(gt=0, le=MOST_MINUTES)] = 3.0
    steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None

    def typed(self) -> dict[str, int]:
        """Return the sizes that were set."""
        return {name: value for name in SIZES if (value := getattr(self, name)) is not None}

    def config(self, position: str) -> TrainConfig:
        """Return the configuration that the command would have.

        Raises:
            BadInput: the sizes do not fit together.
        """
        length = {"steps": self.steps} if self.steps else {"time": self._time()}
        values = {**self.typed(), **length, "position": position}
        return from_mapping(values, self.preset)

    def shape(self, position: str) -> TokenModel:
        """Return the model without values, after checking that it can be trained here.

        Raises:
            BadInput: the sizes do not fit together.
            Failed: training does not fit into memory.
        """
        config = self.config(position)
        check_takes_text(config)
        model = shape_of(config.model)
        available = memory_bytes(pick_device(config.device))
        if available is not None and peak_bytes(config, model) > available:
            raise out_of_memory(config, model, available)
        return model

    def words(self) -> Iterator[str]:
        """Yield these options as a command line has them."""
        yield from ("--preset", self.preset)
        for name, value in self.typed().items():
            yield from (f"--{name.replace('_', '-')}", str(value))
        yield from ("--steps", str(self.steps)) if self.steps else ("--time", self._time())

    def _time(self) -> str:
        seconds = max(1, round(60 * self.minutes))
        return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


class OrderWithText(SizeOptions):
    """A name and a text as well.

    Args:
        name: of the new folder; empty: chosen.
        text: null: the documentation of Python.
    """

    name: Annotated[str, StringConstraints(max_length=60)] = ""
    text: Annotated[str, StringConstraints(max_length=MOST_TEXT_BYTES)] | None = None

    def check_text(self) -> None:
        """Check that the text is neither empty nor too long.

        Raises:
            BadInput: it is.
        """
        if self.text is None:
            return
        if is_blank(self.text):
            raise BadInput("the text is empty: paste some", code="studio.no-text")
        size = len(self.text.encode("utf-8", "surrogatepass"))
        if size > MOST_TEXT_BYTES:
            raise BadInput(
                f"the text has {size:,} bytes, and this page takes at most {MOST_TEXT_BYTES:,}: "
                "train on longer ones with wordorder train --data FILE",
                code="studio.text-too-long",
            )


class TrainOrder(OrderWithText):
    """A run to train.

    Args:
        checkpoint_every: steps between checkpoints, at which the page shows the model; 0: as the
            command chooses, about half a minute.
    """

    position: SpecText = "rotary"
    checkpoint_every: Annotated[int, Field(ge=0, le=10_000_000)] = 0

    def check(self) -> TokenModel:
        """Return the model without values, after checking everything that can be known before.

        Raises:
            BadInput: settings do not fit together.
            Failed: it does not fit into memory.
        """
        self.check_text()
        return self.shape(self.position)

    def arguments(self, data: str, out: str) -> list[str]:
        """Return the command line, without `wordorder`."""
        every = ("--checkpoint-every", str(self.checkpoint_every)) if self.checkpoint_every else ()
        return [
            *("train", *self.words(), "--position", self.position, "--data", data),
            *every,
            *("--out", out),
        ]


class CompareOrder(OrderWithText):
    """A comparison to run; the minutes or steps are those of each run."""

    positions: Annotated[list[SpecText], Field(min_length=2, max_length=5)]
    seeds: Annotated[int, Field(ge=1, le=10)] = 3
    minutes: Annotated[float, Field(gt=0, le=MOST_MINUTES)] = 2.0

    def check(self) -> None:
        """Check everything that can be known before.

        Raises:
            BadInput: settings do not fit together, an embedding is given twice, or the extra
                that comparisons need is not installed.
            Failed: a run does not fit into memory.
        """
        # Needs scipy, which is of an extra, and takes long to import.
        from wordorder.experiments.compare import CompareConfig

        self.check_text()
        first = self.config(self.positions[0])
        CompareConfig(train=first, positions=tuple(self.positions), seeds=self.seeds)
        for position in self.positions:
            self.shape(position)

    def arguments(self, data: str, out: str) -> list[str]:
        """Return the command line, without `wordorder`."""
        words: Sequence[str] = ("--positions", *self.positions, "--seeds", str(self.seeds))
        return ["compare", *words, *self.words(), "--data", data, "--out", out]
