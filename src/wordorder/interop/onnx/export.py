"""A run as a folder with an ONNX model, its tokenizer and a model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.interop.comparison import (
    TOLERANCE,
    LogitComparison,
    comparison_table,
    exact,
    most_logits,
)
from wordorder.interop.export import Target, Written
from wordorder.interop.tokenizer_files import (
    check_tokenizer_file,
    tokenizer_sentence,
    write_tokenizer,
)
from wordorder.interop.verify import compare
from wordorder.model import LanguageModel
from wordorder.patience import notify_if_slow
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.run import Run
from wordorder.version import __version__

from .graph import INPUTS, OUTPUT, check_position, write_graph

FILES = (
    "model.onnx",
    "model.onnx.data",  # the weights, where they take more than 2 GB
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
)
PROMPT, NEW_TOKENS = "The", 20
CAUSAL_CODE = """\
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = "."  # where this file is
tokenizer = Tokenizer.from_file(f"{{folder}}/tokenizer.json")
model = onnxruntime.InferenceSession(f"{{folder}}/model.onnx")
tokens = tokenizer.encode({prompt!r}).ids
for _ in range({new}):
    batch = np.array([tokens])
    inputs = {{"input_ids": batch, "attention_mask": np.ones_like(batch)}}
    (logits,) = model.run(["logits"], inputs)
    tokens.append(int(logits[0, -1].argmax()))
print(tokenizer.decode(tokens))"""
MASKED_CODE = """\
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = "."  # where this file is
tokenizer = Tokenizer.from_file(f"{{folder}}/tokenizer.json")
model = onnxruntime.InferenceSession(f"{{folder}}/model.onnx")
tokens = tokenizer.encode({prompt!r} + {mask!r}).ids
batch, hidden = np.array([tokens]), tokens.index({mask_id})  # the mask token's place
inputs = {{"input_ids": batch, "attention_mask": np.ones_like(batch)}}
(logits,) = model.run(["logits"], inputs)
print(tokenizer.decode([int(logits[0, hidden].argmax())]))"""


class SessionOutput(NamedTuple):
    """The output of a session: logits (batch, time, vocabulary) float32."""

    logits: Tensor


class Session:
    """An ONNX model in onnxruntime, called as a model of transformers is."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SessionOutput:
        """Return the logits; a mask of None is of ones."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        inputs = dict(zip(INPUTS, (input_ids.numpy(), mask.numpy()), strict=True))
        return SessionOutput(torch.from_numpy(self.session.run([OUTPUT], inputs)[0]))

    __call__ = forward


def write(folder: Path, run: Run, model: LanguageModel, name: str) -> Written:
    """Write a run for onnxruntime, and compare both models.

    Args:
        folder: new and empty.
        name: of the folder in the end, for the model card.

    Raises:
        Refused: the model cannot be traced, or onnxruntime's logits or tokenizer differ.
    """
    import onnxruntime

    with notify_if_slow("writing the model as a graph"):
        size = write_graph(model, folder / "model.onnx")
    write_tokenizer(folder, run, trained_length=model.config.trained_length)
    texts = check_tokenizer_file(folder, run)
    with notify_if_slow("comparing onnxruntime's logits with the run's"):
        theirs = Session(folder / "model.onnx")
        # The graph computes the logits of all tokens, also of those that are not compared.
        most = most_logits(model)
        # It has no cache, so it is inexact past no tokens.
        comparisons = exact(
            compare(model, theirs, longest=min(most, size.longest or most), static_length=0),
            holder="onnxruntime",
            original=str(run.folder),
        )
    write_text(folder / "README.md", _card(name, run, comparisons, size.longest))
    return Written("onnxruntime", f"onnxruntime {onnxruntime.__version__}", comparisons, texts)


def _card(name: str, run: Run, comparisons: Sequence[LogitComparison], longest: int | None) -> str:
    """Return README.md."""
    config = run.model.config
    limit = "" if longest is None else f" It reads at most {longest:,} tokens."
    lines = [
        f"# {name}",
        "",
        f"A language model of {run.model.parameter_counts()['total']:,} parameters with the "
        f"positional embedding `{config.position}`, {run.origin} and exported to ONNX by "
        f"wordorder {__version__}.",
        "",
        "```python",
        _code(run.tokenizer, longest, masked=run.fills_in),
        "```",
        "",
        "`input_ids` and `attention_mask` are int64 (batch, time), both sizes free; the mask is 0 "
        "for padding, which goes on the left of a shorter text. `logits` are float32 (batch, "
        f"time, vocabulary). There is no cache.{limit} " + tokenizer_sentence(run),
        "",
        "Largest differences of logits from the model that was trained, in float32 "
        f"(at most {TOLERANCE:g} is allowed):",
        "",
        comparison_table(comparisons).markdown(),
    ]
    return "\n".join(lines) + "\n"


def _code(tokenizer: Tokenizer, longest: int | None, *, masked: bool) -> str:
    prompt = PROMPT
    try:
        tokens = len(tokenizer.encode(prompt))
    except BadInput:  # an alphabet without one of its letters
        tokens = min(len(PROMPT), tokenizer.vocabulary_size)
        prompt = tokenizer.decode(range(tokens))
    if masked:
        mask = None if tokenizer.mask is None else tokenizer.backend.id_to_token(tokenizer.mask)
        return MASKED_CODE.format(prompt=prompt, mask=mask, mask_id=tokenizer.mask)
    room = NEW_TOKENS if longest is None else max(1, min(NEW_TOKENS, longest - tokens))
    return CAUSAL_CODE.format(prompt=prompt, new=room)


MODULES = ("onnx", "onnxruntime", "onnxscript")
ONNX = Target("onnx", "ONNX", MODULES, check_position, write, FILES)
