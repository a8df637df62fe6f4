"""A model as a graph for any number of sequences of any length.

PyTorch traces the model's own forward pass, so there is no second one that could differ. Sizes are
symbols while it does; attention is computed as one matrix, because the kernels that cut it into
pieces choose their pieces by size.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput, Refused
from wordorder.interop.architecture import Architecture
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import Path as PathPosition
from wordorder.positions import Position, Rotary, Selective

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "logits"
# Sizes of the example that is traced. They differ from one, which a graph may treat apart.
BATCH, TIME = 3, 7
MOST_CHARACTERS = 200  # of PyTorch's reason, in an error
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal
UNTRACED: dict[type[Position], str] = {
    PathPosition: "has as many steps as the text has blocks",
    Selective: "needs a cumulative maximum, which ONNX does not have",
}


class MaskedForward(nn.Module):
    """A model's forward pass, with an attention mask in place of documents and positions.

    Shapes: input_ids and attention_mask (batch, time) int64, 0 in the mask for padding; logits
    (batch, time, vocabulary) float32. Positions are counted from the first real token.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        documents = attention_mask - 1  # of one document, or padding
        logits: Tensor = self.model(Batch(input_ids, documents=documents, positions=positions))
        return logits


def check_position(config: ModelConfig) -> None:
    """Check that the model can be a graph for any length.

    Raises:
        BadInput: it is a GRU, or a positional embedding has no such graph.
    """
    if config.kind != "transformer":
        raise BadInput(
            f"--to onnx holds transformers, not --model {config.kind}: train a transformer",
            code="interop.onnx-kind",
        )
    if (reason := why_not_traced(Architecture.from_config(config))) is not None:
        raise BadInput(
            f"--to onnx does not hold --position {config.position}, which {reason}: train "
            "with another embedding, such as --position rotary",
            code="interop.onnx-position",
        )


def why_not_traced(architecture: Architecture) -> str | None:
    """Return why a positional embedding has no graph for any length, after "which".

    None: all may have one. Only the export shows whether PyTorch can trace a user's own embedding.
    """
    for position in (position for layer in architecture.layers for position in layer):
        if isinstance(position, Rotary) and position.scaling == "longrope":
            return "chooses its frequencies by the length of the text"
        if (reason := UNTRACED.get(type(position))) is not None:
            return reason
    return None


class GraphSize(NamedTuple):
    """Bytes of the file, and the largest length that the graph takes; None: any."""

    bytes: int
    longest: int | None


def write_graph(model: LanguageModel, path: Path) -> GraphSize:
    """Write model.onnx; float32, with its weights.

    Raises:
        Refused: PyTorch cannot trace the model with sizes as symbols, or ONNX lacks an operation.
    """
    last = model.position.max_position
    longest = None if last is None else last + 1
    tokens = torch.zeros(BATCH, min(TIME, longest or TIME), dtype=torch.int64)
    mask = torch.ones_like(tokens)
    mask[1, 0] = 0
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1, max=longest)
    sizes = {name: {0: batch, 1: time} for name in INPUTS}
    try:
        with torch.no_grad(), _traceable(model), _quiet():
            forward = MaskedForward(model).eval()
            program = torch.export.export(forward, (tokens, mask), dynamic_shapes=sizes)
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=sizes,  # which names the axes
                custom_translation_table=_translations(),
            )
            assert exported is not None  # None is for the older exporter
            exported.save(path)
    except Exception as error:  # whatever PyTorch and a user's own embedding raise
        raise Refused(
            f"PyTorch {torch.__version__} cannot write this model (--position "
            f"{model.config.position}) as a graph for any length ({_problem(error)}): nothing was "
            "written",
            code="interop.onnx-not-traced",
        ) from error
    return GraphSize(path.stat().st_size, longest)


def _problem(error: BaseException) -> str:
    """Return the error that caused the others, in one line.

    PyTorch's exporter wraps it in coloured advice and in the whole graph.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = COLOUR.sub("", f"{type(error).__name__}: {error}")
    return shorten(text, MOST_CHARACTERS, placeholder=" ...")


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the operations of ONNX for those of the model that PyTorch's exporter lacks."""
    from onnxscript import opset18

    def stable_sort(
        self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
    ) -> Any:
        """Sort by TopK, which returns the first of equal elements first."""
        size = opset18.Gather(opset18.Shape(self), opset18.Constant(value_ints=[dim]))
        return opset18.TopK(self, size, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: stable_sort}


@contextmanager
def _traceable(model: LanguageModel) -> Iterator[None]:
    """Let attention be one matrix of scores."""
    kernel = model.attention_kernel
    model.attention_kernel = "whole"
    try:
        yield
    finally:
        model.attention_kernel = kernel


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from its advice, which is about packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
