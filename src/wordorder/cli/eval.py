"""`wordorder eval`: measures a model's loss on a text, and its use of distant context.

The loss over adjacent windows is always measured; sliding windows, growing context and retrieval on
request. They are separate parts of the output, because they measure different things.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from wordorder.cli.eval_screen import Measured, plain, show
from wordorder.cli.opened import open_run
from wordorder.cli.options.eval import EvalOptions, read_options
from wordorder.cli.progress import transient_progress
from wordorder.errors import BadInput
from wordorder.evaluation.context import (
    FACTORS,
    Measurable,
    context_losses,
    curve_lengths,
    measurable,
)
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.needles import haystack
from wordorder.evaluation.retrieval import (
    Retrieved,
    check_kinds,
    example,
    retrieval,
)
from wordorder.evaluation.sliding import check_stride, sliding_loss
from wordorder.text.store import TokenStore
from wordorder.training.compute import pick_device
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run
from wordorder.training.run_text import text_of
from wordorder.training.threads import use_free_cores


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    if options.tasks:
        from wordorder.cli.eval_tasks import score

        return score(options)
    check_kinds([kind for kind in options.retrieval if kind != "all"])
    run = open_run(options.run, trust=options.trust)
    run.check_predicts("eval")
    _check_objective(options, run)
    use_free_cores()
    name, store = text_of(run, options.data, options.field, options.length)
    if store.answers is not None and (options.stride is not None or options.context):
        raise BadInput(
            "--stride and --context count every token of a text, and the data holds "
            "conversations: leave them out, or give text with --data",
            code="cli.eval-chats",
        )
    with transient_progress() as progress:
        bar = progress.add_task("", total=1.0)
        measured = _measured(
            options,
            run,
            store,
            lambda part, share: progress.update(bar, completed=share, description=part),
        )
    if options.json:
        print(json.dumps({"run": str(run.folder), "data": name, **plain(measured)}))
    else:
        show(name, run.model_config.trained_length, measured)
    return 0


def _check_objective(options: EvalOptions, run: Run) -> None:
    """Check that the model predicts the next token if an option needs it.

    Raises:
        BadInput: such an option is set, and the model predicts masked tokens.
    """
    options_set = {
        "--stride": options.stride is not None,
        "--context": options.context,
        "--retrieval": bool(options.retrieval),
    }
    if any(options_set.values()) and run.fills_in:
        option = next(name for name, is_set in options_set.items() if is_set)
        raise BadInput(
            f"{option} needs a model that predicts the next token, but {run.folder} predicts "
            "masked tokens: leave it out, or use a run trained with --objective next-token",
            code="cli.eval-not-next-token",
        )


@dataclass(frozen=True)
class _Measurements:
    """What to measure, after checking that it is possible.

    Args:
        windows: arguments for adjacent and sliding windows.
        contexts: lengths of growing context.
        lengths: lengths of retrieval texts.
    """

    windows: dict[str, Any]
    contexts: Measurable
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, options: EvalOptions, run: Run, store: TokenStore) -> _Measurements:
        trained = run.model_config.trained_length
        length = options.length or trained
        isolate = options.isolate_documents
        if isolate is None:
            isolate = _config(run).isolate_documents
        if options.stride is not None:
            check_stride(options.stride, length)
        contexts = _contexts(options, store, trained) if options.context else Measurable((), ())
        lengths = options.lengths or tuple(sorted({trained, max(trained, length)}))
        _check_room(options, store, run, lengths)
        return cls({"context_length": length, "isolate_documents": isolate}, contexts, lengths)


def _config(run: Run) -> TrainConfig:
    return TrainConfig.from_dict(run.config["training"], run.model_config)


def _measured(
    options: EvalOptions, run: Run, store: TokenStore, progress: Callable[[str, float], Any]
) -> Measured:
    plan, tokenizer = _Measurements.of(options, run, store), run.tokenizer
    model = run.load_model(pick_device(options.device))
    loss = evaluate(
        model,
        store,
        **plan.windows,
        objective=_config(run).objective,
        mask_id=tokenizer.mask,
        progress=partial(progress, "windows"),
    )
    sliding = context = None
    if options.stride is not None:
        sliding = sliding_loss(
            model,
            store,
            **plan.windows,
            stride=options.stride,
            bytes_per_token=tokenizer.bytes_per_token,
            progress=partial(progress, "sliding windows"),
        )
    if options.context:
        context = context_losses(
            model,
            store,
            plan.contexts.lengths,
            trained_length=run.model_config.trained_length,
            across_documents=options.pack,
            progress=partial(progress, "growing context"),
        )
    retrieved: list[Retrieved] = []
    for kind in options.kinds:
        retrieved += retrieval(
            model,
            store,
            tokenizer,
            kind,
            plan.lengths,
            options.depths,
            examples=options.examples,
            seed=options.seed,
            progress=partial(progress, kind),
        )
    return Measured(loss, sliding, context, plan.contexts, tuple(retrieved))


def _contexts(options: EvalOptions, store: TokenStore, trained: int) -> Measurable:
    """Return the lengths of growing context for which the text is long enough."""
    lengths = curve_lengths(trained, options.length or FACTORS[-1] * trained)
    contexts = measurable(store, lengths, trained_length=trained, across_documents=options.pack)
    if contexts.lengths:
        return contexts
    longest = int(store.sizes.max())
    raise BadInput(
        f"--context: {contexts.left_out[0]}; the longest document has {longest:,} tokens",
        code="cli.eval-context-too-long",
    )


def _check_room(
    options: EvalOptions, store: TokenStore, run: Run, lengths: tuple[int, ...]
) -> None:
    """Check that a retrieval text of the longest length can be generated.

    Raises:
        BadInput: even the longest text is too short.
    """
    if not options.kinds:
        return
    hay = haystack(store, run.tokenizer)
    for kind in options.kinds:
        try:
            example(hay, kind, max(lengths), 0.0, options.seed, 0)
        except BadInput as error:
            if error.code != "evaluation.example-too-short":
                raise
            raise BadInput(
                f"--retrieval {kind}: {error}; set longer texts with --lengths",
                code="cli.eval-retrieval-too-short",
            ) from None
