"""The options of `wordorder eval`. Imports no torch, so that --help answers at once.

Defaults that are constants of modules with torch are written out; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.settings import Device, NotNegative, Positive, Seed, Share


@dataclass(frozen=True)
class EvalOptions:
    """Measure a model's loss over a text, in all and by position.

    With --stride, --context and --retrieval also whether it uses what it read far back.

    Args:
        run: the run folder that `wordorder train` wrote.
        data: files, folders, python-docs or hf:NAME, read whole; by default the part of the
            run's own text that it was not trained on.
        field: column of tables and datasets that holds the text.
        length: tokens in a window, past the trained length too; 0: the trained length.
        isolate_documents: documents in one window do not see each other; as trained by default.
        stride: also windows of that length that move by so many tokens, and are asked for their
            last ones alone.
        context: also the loss of the same tokens with growing context, from 16 tokens to --length,
            or to 16 times the trained length where no --length is given.
        pack: let windows of --context begin in one document and end in another.
        retrieval: also what is found again of what was read, of passkey, multi-key,
            variable-tracking, recall; or all.
        lengths: of --retrieval, in tokens; by default the trained length, and --length where
            that is longer.
        depths: of --retrieval: where it stands, from 0, the beginning, to 1, the end.
        examples: of --retrieval: texts of each length and depth.
        seed: of --retrieval: what texts are drawn from.
        device: auto, cpu, cuda or mps.
        trust: run the code of an embedding of one's own that the run names.
        json: print one JSON object instead of tables.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: tuple[str, ...] = ()
    field: str = "text"
    length: NotNegative = 0
    isolate_documents: bool | None = None
    stride: Positive | None = None
    context: tyro.conf.FlagCreatePairsOff[bool] = False
    pack: tyro.conf.FlagCreatePairsOff[bool] = False
    retrieval: tuple[str, ...] = ()
    lengths: tuple[Positive, ...] = ()
    depths: tuple[Share, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    examples: Positive = 8
    seed: Seed = 0
    device: Device = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is to be found again, each once."""
        from wordorder.evaluation.needles import KINDS

        return tuple(KINDS) if "all" in self.retrieval else tuple(dict.fromkeys(self.retrieval))


def read_options(arguments: list[str]) -> EvalOptions:
    """Return the options that were typed; --help prints them and leaves."""
    options = parse(EvalOptions, arguments, command="wordorder eval")
    refuse_typed(
        typed_names(arguments),
        (not options.retrieval, "lengths depths examples seed", "{} is of --retrieval: add it"),
        (not options.context, "pack", "{} is of --context: add it"),
    )
    return options
