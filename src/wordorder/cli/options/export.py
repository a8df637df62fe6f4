"""The options of `wordorder export`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from wordorder.cli.arguments import parse
from wordorder.settings import PathName


@dataclass(frozen=True)
class ExportOptions:
    """Export a trained model to another program, compared with the original.

    The other program loads what was written and reads the same tokens. Where a logit differs by
    more than 1e-4 (more is allowed where the other program rounds: docs/export.md) the export is
    removed and the exit code is 3.

    Args:
        run: the run folder that `wordorder train` wrote.
        to: hf: a folder that transformers' AutoModelForCausalLM (or AutoModelForMaskedLM) and
            AutoTokenizer load. gguf: a file that llama.cpp and Ollama run. onnx: a folder with
            model.onnx, for onnxruntime.
        out: the new folder; by default RUN-hf, RUN-gguf or RUN-onnx.
        dtype: of the weights; with --to gguf, of the matrices: f32, which is exact; f16 or bf16,
            with --to hf or gguf; q8_0, with --to gguf.
        own_code: with --to hf: write a modelling file although transformers has a class for the
            model. Where it has none, the modelling file is written in any case.
        overwrite: replace an earlier export in that folder.
        trust: run the code of a user-defined embedding in the run.
        json: print one JSON object instead of a table.
    """

    run: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    to: Literal["hf", "gguf", "onnx"]
    out: PathName | None = None
    dtype: Literal["f32", "f16", "bf16", "q8_0"] = "f32"
    own_code: tyro.conf.FlagCreatePairsOff[bool] = False
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ExportOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(ExportOptions, arguments, command="wordorder export")
