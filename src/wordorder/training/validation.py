"""The record of a held-out loss, of one text or a mixture, and how often to validate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wordorder.evaluation.loss import Loss, evaluate
from wordorder.model import TokenModel
from wordorder.text.store import TokenStore, beginning
from wordorder.training.config import TrainConfig
from wordorder.training.training_data import TrainingData

# Validations of a run: twenty if they take at most this share of its time, but at least ten.
VALIDATIONS, FEWEST_VALIDATIONS, SHARE_OF_TIME = 20, 10, 0.06
# A validation during training reads the tokens of four steps, and takes as long as one or two.
VALIDATION_STEPS, LEAST_VALIDATION_TOKENS = 4, 8192


def validation_record(
    model: TokenModel,
    config: TrainConfig,
    training_data: TrainingData,
    most_tokens: int,
    *,
    final: bool,
) -> dict[str, Any]:
    """Return the loss on the beginning of a held-out text, as a record without its step.

    For a mixture it is the mean of the parts' losses, weighted as in training; the record holds
    each part's loss under `parts`.

    Args:
        most_tokens: evaluate at most this many tokens.
        final: use the validation text, for the reported loss; otherwise the development text, if
            there is one.
    """
    reported = final or training_data.development is None
    name = "validation" if reported else "development"
    if not training_data.parts:
        loss = _loss(model, config, training_data, getattr(training_data, name), most_tokens)
        return {"text": name, **_fields(loss)}
    losses, weights, records = [], [], {}
    for part in training_data.parts:
        store = getattr(part.data, name)
        if store is None:  # too short for a development text of its own
            continue
        most = max(1, round(most_tokens / len(training_data.parts)))
        loss = _loss(model, config, part.data, store, max(most, config.model.trained_length))
        losses.append(loss)
        weights.append(part.weight)
        records[part.name] = {"weight": part.weight, **_fields(loss)}
    return {"text": name, **_fields(mean_of_losses(losses, weights)), "parts": records}


def _loss(
    model: TokenModel, config: TrainConfig, data: TrainingData, store: TokenStore, most_tokens: int
) -> Loss:
    return evaluate(
        model,
        beginning(store, most_tokens, data.tokenizer),
        context_length=config.model.trained_length,
        isolate_documents=config.isolate_documents,
        objective=config.objective,
        mask_id=data.tokenizer.mask,
    )


def _fields(loss: Loss) -> dict[str, Any]:
    return {
        "validation_loss": loss.loss_nats,
        "validation_standard_error": loss.standard_error,
        "validation_degrees_of_freedom": loss.degrees_of_freedom,
        "validation_bits_per_byte": loss.bits_per_byte,
        "validation_tokens": loss.tokens,
    }


def mean_of_losses(losses: Sequence[Loss], weights: Sequence[float]) -> Loss:
    """Return the loss of a mixture in which each text has a share of the tokens.

    The degrees of freedom are Satterthwaite's.
    """
    total = sum(weights)
    shares = [weight / total if total else 1 / len(weights) for weight in weights]
    pairs = list(zip(losses, shares, strict=True))
    mean = sum(share * loss.loss_nats for loss, share in pairs)
    error = freedom = bits = None
    if all(loss.standard_error is not None for loss in losses):
        variances = [(share * (loss.standard_error or 0.0)) ** 2 for loss, share in pairs]
        error = math.sqrt(sum(variances))
        terms = zip(variances, losses, strict=True)
        spread = sum(v * v / (loss.degrees_of_freedom or 1.0) for v, loss in terms)
        freedom = sum(variances) ** 2 / spread if spread else None
    if all(loss.bits_per_byte is not None for loss in losses):
        bits = mean / math.log(2) / sum(s * loss.bytes / loss.tokens for loss, s in pairs)
    return Loss(
        loss_nats=mean,
        standard_error=error,
        bits_per_byte=bits,
        tokens=sum(loss.tokens for loss in losses),
        bytes=sum(loss.bytes for loss in losses),
        windows=sum(loss.windows for loss in losses),
        context_length=losses[0].context_length,
        by_position=(),
        degrees_of_freedom=freedom,
        documents=sum(loss.documents for loss in losses),
        answers_only=losses[0].answers_only,
    )


def steps_between_validations(config: TrainConfig, steps: int) -> int:
    """Return the number of steps between validations, for a planned number of steps."""
    # A forward pass takes a third of a step.
    cost = validation_tokens(config) / config.tokens_per_step / 3
    cheap = math.ceil(cost / SHARE_OF_TIME)
    return max(1, steps // VALIDATIONS, min(steps // FEWEST_VALIDATIONS, cheap))


def validation_tokens(config: TrainConfig) -> int:
    """Return the largest number of tokens that a validation during training reads."""
    return max(LEAST_VALIDATION_TOKENS, VALIDATION_STEPS * config.tokens_per_step)
