"""The options of `wordorder import`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse
from wordorder.settings import PathName


@dataclass(frozen=True)
class ImportOptions:
    """Import a model of transformers as a run, compared with the original.

    The run can be probed, evaluated, extended, fine-tuned, generated from and exported as any
    other. Where transformers is installed, it reads the same tokens; where a logit differs by more
    than 1e-4, the run is removed and the exit code is 3.

    Args:
        folder: the folder that transformers' save_pretrained wrote, with config.json,
            tokenizer.json and weights in safetensors files; or hf:NAME, or hf:NAME@REVISION, for
            one on the Hugging Face Hub.
        out: the run folder; by default the model's name in runs.
        overwrite: replace an existing run folder.
        json: print one JSON object instead of a table.
    """

    folder: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="DIR|hf:NAME")]
    out: PathName | None = None
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ImportOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(ImportOptions, arguments, command="wordorder import")
