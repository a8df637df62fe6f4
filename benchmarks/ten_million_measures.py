"""What ten_million_words.py measures of each model: loss, context, order, grammar and extension."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch

from wordorder.evaluation.context import context_losses
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.order import order_losses
from wordorder.evaluation.preferences import TIE, differences, read_pairs
from wordorder.experiments.document_losses import document_losses, grouped
from wordorder.extension.extend import Extension, extend
from wordorder.model import TokenModel
from wordorder.text.load import load_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.run import Run

GRU = "gru"  # a row of the table without attention
LENGTH = 256  # on which the models are trained
CONTEXTS = (16, 32, 64, 128, 256, 512, 1024, 2048)
CONTEXT_TARGETS = 1 << 16  # of each length
EXTENDED = ("rotary", "learned", "sinusoidal")  # those for which `extend` has methods
EXTENDED_SEEDS = 3


def of_table(model: TokenModel, trained: Run, test: TokenStore, data: Path) -> dict[str, Any]:
    """Return all measurements of one run of the table.

    Args:
        model: the run's model, on the device to measure on.
        test: the test books.
        data: has blimp/ and wikitext2-test.txt.
    """
    tokenizer = trained.tokenizer
    by_document = document_losses(model, test, context_length=LENGTH)
    losses, weights = (torch.tensor(by_document[name]).double() for name in ("losses", "weights"))
    loss = ((losses * weights).sum() / weights.sum()).item()
    context = context_losses(
        model, test, CONTEXTS, trained_length=LENGTH, most_targets=CONTEXT_TARGETS
    )
    order = order_losses(model, test, trained_length=LENGTH)
    wikitext = open_store(load_corpus(str(data / "wikitext2-test.txt")), tokenizer)
    line = {
        "loss": loss,
        "bits_per_byte": loss / math.log(2) * test.targets / test.bytes,
        "by_document": by_document,
        "contexts": [
            {
                "length": at.context_length,
                **(
                    {"cannot": at.cannot}
                    if at.cannot
                    else {"by_document": grouped(at.window_losses, context.window_documents)}
                ),
            }
            for at in context.lengths
        ],
        "order": {p.name: p.cannot or p.increase_nats for p in order.probes},
        "wikitext2_bits_per_byte": evaluate(model, wikitext, context_length=LENGTH).bits_per_byte,
        "blimp": blimp(model, tokenizer, data / "blimp"),
    }
    config = trained.model_config
    extends = config.kind != GRU and config.position in EXTENDED
    if extends and trained.config["training"]["seed"] < EXTENDED_SEEDS:
        line["extended"] = extended(trained.folder)
    return line


def extended(folder: Path) -> dict[str, Any]:
    """Return the test loss at each length up to four times the trained one, with the best method.

    The method is chosen on development text among all that fit, and nothing is trained.
    """
    longer = Path(f"{folder}-longer")
    outcome = extend(Extension(str(folder), "4x", out=str(longer), overwrite=True))
    shutil.rmtree(longer)
    losses = {
        name: {at.context_length: at.loss_nats for at in measured.context.lengths}
        for name, measured in (("before", outcome.before), ("after", outcome.after))
    }
    return {"method": outcome.method, "to": "4x", **losses}


def blimp(model: TokenModel, tokenizer: Tokenizer, folder: Path) -> dict[str, dict[str, float]]:
    """Return, for each paradigm, its accuracy with ties as half, and the official one without."""
    scores = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        change = differences(model, tokenizer, read_pairs(str(path)))
        scores[path.name.removesuffix(".jsonl.gz")] = accuracies(change)
    return scores


def accuracies(change: torch.Tensor) -> dict[str, float]:
    """Return the accuracy with ties as half, and the official one, of log P(good) - log P(bad)."""
    ties = (change.abs() <= TIE).double().mean().item()
    above = (change > TIE).double().mean().item()
    return {"accuracy": above + ties / 2, "official": (change > 0).double().mean().item()}
