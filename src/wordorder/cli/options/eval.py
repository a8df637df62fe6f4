"""The options of `wordorder eval`. Imports no torch, so that --help is fast.

Defaults that are constants in modules with torch are repeated here; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.errors import BadInput
from wordorder.settings import DataName, Device, NotNegative, PathName, Positive, Seed, Share


@dataclass(frozen=True)
class EvalOptions:
    """Measure a model's loss on a text, overall and by position.

    --stride, --context and --retrieval also measure whether it uses distant context.

    Args:
        run: the run folder that `wordorder train` wrote.
        data: files, folders, python-docs or hf:NAME; by default the validation part of the run's
            text.
        field: column of tables and datasets that holds the text.
        length: tokens in a window, which may exceed the trained length; 0: the trained length.
        isolate_documents: documents in one window do not attend to each other; by default as
            trained.
        stride: also measure windows that slide by this many tokens; only this many tokens at the
            end of each window are scored.
        context: also measure the loss of the same tokens with growing context, from 16 tokens to
            --length, by default to 16 times the trained length.
        pack: let windows of --context continue from one document into the next.
        retrieval: also measure retrieval of earlier text: passkey, multi-key, variable-tracking,
            recall, or all.
        lengths: for --retrieval: lengths in tokens; by default the trained length, and --length
            if that is longer.
        depths: for --retrieval: relative position of the text to retrieve, from 0 (start) to 1
            (end).
        examples: for --retrieval: number of texts for each length and depth.
        seed: for --retrieval: seed of the generated texts.
        tasks: instead of all this, score tasks of lm-evaluation-harness, without network:
            TASK[,TASK...].
        tasks_path: for --tasks: a folder with task files of the harness, or with the files of
            BLiMP for the task blimp.
        limit: for --tasks: examples of each task; by default all.
        device: auto, cpu, cuda or mps.
        trust: run the code of a user-defined embedding in the run.
        json: print one JSON object instead of tables.
    """

    run: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: tuple[DataName, ...] = ()
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
    tasks: tuple[str, ...] = ()
    tasks_path: PathName | None = None
    limit: Positive | None = None
    device: Device = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of retrieval, without repetitions."""
        from wordorder.evaluation.needles import KINDS

        return tuple(KINDS) if "all" in self.retrieval else tuple(dict.fromkeys(self.retrieval))

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks of lm-evaluation-harness, without repetitions."""
        names = (name.strip() for word in self.tasks for name in word.split(","))
        return tuple(dict.fromkeys(name for name in names if name))


OF_A_TEXT = (
    "data field isolate_documents stride context pack retrieval lengths depths examples seed"
)


def read_options(arguments: list[str]) -> EvalOptions:
    """Parse the arguments; --help prints the help and exits."""
    options = parse(EvalOptions, arguments, command="wordorder eval")
    refuse_typed(
        typed_names(arguments),
        (
            bool(options.tasks),
            OF_A_TEXT,
            BadInput(
                "{} measures a text, and --tasks scores tasks instead: leave out one of the two",
                code="cli.eval-text-and-tasks",
            ),
        ),
        (
            not options.tasks,
            "tasks_path limit",
            BadInput("{} needs --tasks: add it", code="cli.eval-needs-tasks"),
        ),
        (
            not options.data,
            "field",
            BadInput(
                "{} has an effect only with --data: the run's own text is read as in training",
                code="cli.eval-field-of-run",
            ),
        ),
        (
            not options.retrieval,
            "lengths depths examples seed",
            BadInput("{} needs --retrieval: add it", code="cli.eval-needs-retrieval"),
        ),
        (
            not options.context,
            "pack",
            BadInput("{} needs --context: add it", code="cli.eval-needs-context"),
        ),
    )
    return options
