"""`wordorder eval`: a model's loss over a text, in all and by position, up to any length."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from wordorder.cli.arguments import parse
from wordorder.cli.run_text import text_of
from wordorder.errors import BadInput
from wordorder.evaluation.loss import Loss, evaluate
from wordorder.training.config import TrainConfig
from wordorder.training.machine import pick_device
from wordorder.training.run import Run


@dataclass(frozen=True)
class EvalOptions:
    """Measure a model's loss over a text, in all and by position.

    Args:
        run: the run folder that `wordorder train` wrote.
        data: files, folders, python-docs or hf:NAME, read whole; by default the part of the
            run's own text that it was not trained on.
        field: field of .jsonl, .parquet and datasets that holds the text.
        length: tokens in a window, past the trained length too; 0: the trained length.
        isolate_documents: documents in one window do not see each other; as trained by default.
        device: auto, cpu, cuda or mps.
        trust: run the code of an embedding of one's own that the run names.
        json: print one JSON object instead of a table.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: tuple[str, ...] = ()
    field: str = "text"
    length: int = 0
    isolate_documents: bool | None = None
    device: str = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = parse(EvalOptions, arguments, command="wordorder eval")
    if options.length < 0:
        raise BadInput(f"--length is {options.length}: it must be at least 1")
    run = Run.load(options.run, trust=options.trust)
    config = TrainConfig.from_dict(run.config["training"], run.model_config)
    name, store = text_of(run, options.data, options.field)
    model = run.load_model(pick_device(options.device))
    isolate = options.isolate_documents
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=1.0)
        loss = evaluate(
            model,
            store,
            context_length=options.length or run.model_config.trained_length,
            isolate_documents=config.isolate_documents if isolate is None else isolate,
            objective=config.objective,
            mask_id=run.tokenizer.mask,
            progress=lambda share: progress.update(task, completed=share),
        )
    if options.json:
        print(json.dumps({"run": str(run.folder), "data": name, **_plain(loss)}))
    else:
        _show(loss, name, run.model_config.trained_length)
    return 0


def _plain(loss: Loss) -> dict[str, Any]:
    return {**asdict(loss), "perplexity": math.exp(loss.loss_nats)}


def _show(loss: Loss, name: str, trained_length: int) -> None:
    console = Console(highlight=False)
    console.print(name, style="bold", markup=False)
    console.print(
        f"{loss.tokens:,} tokens in {loss.windows:,} windows of {loss.context_length:,}\n"
        f"loss {_with_error(loss.loss_nats, loss.standard_error)} nats per token, "
        f"perplexity {math.exp(loss.loss_nats):.2f}"
    )
    if loss.bits_per_byte is not None:
        console.print(f"{loss.bits_per_byte:.4f} bits per byte")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("position", "loss", "tokens"):
        table.add_column(title, justify="right")
    table.add_column("")
    for part in loss.by_position:
        beyond = "past the trained length" if part.first >= trained_length else ""
        shown = _with_error(part.loss_nats, part.standard_error)
        table.add_row(f"{part.first:,}-{part.last:,}", shown, f"{part.tokens:,}", beyond)
    console.print()
    console.print(table)


def _with_error(value: float, error: float | None) -> str:
    """A value with its 95% interval over windows."""
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {1.96 * error:.4f}"
