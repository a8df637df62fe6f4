"""Selects the extension method with the lowest loss on longer text, without training.

Methods are compared by the loss of the same targets with the whole new length as context. The loss
at the old length is reported too, because most methods increase it. Selection uses development
text, so that reported results come from text that selected nothing. LongRoPE's search uses training
text: fitted to the development text it would have an advantage over methods that fit nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.evaluation.context import ContextLoss, ContextLosses, context_losses
from wordorder.evaluation.intervals import Estimate, mean_of
from wordorder.evaluation.streaming_llm import streamed_losses
from wordorder.evaluation.windows import cut_windows, places, target_losses
from wordorder.extension.longrope import Factors, non_decreasing, search
from wordorder.extension.methods import (
    METHODS,
    Stretch,
    respelled,
    rotary_part,
    turning_pairs,
    unscaled,
)
from wordorder.extension.reach import HeldOutText
from wordorder.extension.with_position import with_position
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import Part, PositionError, Rotary, parse
from wordorder.text.store import TokenStore
from wordorder.training.training_data import TrainingData, choosing_text

# The search begins with the divisors of these.
SEARCH_FROM = ("interpolate", "ntk", "yarn", "llama3")
SEARCH_WINDOWS = 4
FEWEST_CHOICES = 1024  # targets; the error of a mean of fewer exceeds 0.06 nats
SINKS = (0, 4)  # four are enough according to Xiao et al. 2024, table 2


@dataclass(frozen=True)
class MethodResult:
    """The result of one method without training.

    Args:
        method: a key of `METHODS`.
        spec: the new embedding; "" if there is none.
        context: loss of the same targets at the old length and at the new one.
        cannot: why there is no loss; None if there is one.
    """

    method: str
    spec: str
    context: ContextLosses | None
    cannot: str | None = None

    @property
    def loss(self) -> float | None:
        """The loss with the new length as context."""
        return None if self.context is None else self.context.lengths[-1].loss_nats

    @property
    def short_loss(self) -> float | None:
        """The loss of the same targets with the old length as context."""
        return None if self.context is None else self.context.lengths[0].loss_nats


@dataclass(frozen=True)
class StreamingResult:
    """The baseline without extension: a cache of the trained length.

    Args:
        sinks: the number of first tokens that stay in the cache.
        loss: of the same targets, at the end of texts of the new length.
        change: the difference to the loss with the old length as context.
        cannot: why there is no loss; None if there is one.
    """

    sinks: int
    loss: float | None
    change: Estimate | None
    cannot: str | None = None


def text_to_choose_on(
    material: TrainingData, reported: HeldOutText, length: int
) -> tuple[HeldOutText, str]:
    """Return the text to select a method on, and its name: development or validation.

    Windows cross documents if none is long enough. If all the development text is too short, the
    reported text is used.
    """
    store = choosing_text(material)
    for across in (reported.across_documents, True):
        text = replace(reported, store=store, across_documents=across)
        if int(places(store, length, 1, across)[1].sum()) >= FEWEST_CHOICES:
            return text, "validation" if store is material.validation else "development"
    return reported, "validation"


def try_streaming(
    model: LanguageModel,
    text: HeldOutText,
    length: int,
    *,
    progress: Callable[[float, str], Any] = lambda share, what: None,
) -> list[StreamingResult]:
    """Measure the loss at the end of long texts with a cache of the trained length.

    Args:
        model: the parent.
        length: of the texts, in tokens.
    """
    old = model.config.trained_length
    targets = max(1, old // 2)
    windows = cut_windows(text.store, length, targets, across_documents=text.across_documents)
    short = target_losses(model, windows.tokens[:, -old - 1 :], targets)
    results = []
    for number, sinks in enumerate(SINKS):
        if sinks >= old - 1:
            continue
        progress(number / len(SINKS), "streaming")
        try:
            losses = streamed_losses(model, windows.tokens, targets, window=old, sinks=sinks)
        except BadInput as error:
            results.append(StreamingResult(sinks, None, None, str(error)))
            continue
        change = mean_of(losses - short, windows.clusters)
        results.append(StreamingResult(sinks, float(losses.mean()), change))
    return results


def tried_of(records: Sequence[Mapping[str, Any]]) -> list[MethodResult]:
    """Return the results of methods that were written as JSON."""
    results = []
    for record in records:
        context = record["context"]
        if context is not None:
            lengths = tuple(ContextLoss(**length) for length in context["lengths"])
            context = ContextLosses(**{**context, "lengths": lengths})
        results.append(MethodResult(**{**record, "context": context}))
    return results


def streamed_of(records: Sequence[Mapping[str, Any]]) -> list[StreamingResult]:
    """Return the results of streaming that were written as JSON."""
    return [
        StreamingResult(**{**record, "change": _change_of(record["change"])}) for record in records
    ]


def _change_of(record: Mapping[str, Any] | None) -> Estimate | None:
    """Return a difference from JSON; records of older versions have no degrees of freedom."""
    if record is None:
        return None
    return Estimate(record["mean"], record.get("standard_error"), record.get("degrees_of_freedom"))


def try_methods(
    model: LanguageModel,
    trained: ModelConfig,
    methods: Sequence[str],
    stretch: Stretch,
    text: HeldOutText,
    training: TokenStore,
    *,
    progress: Callable[[float, str], Any] = lambda share, what: None,
) -> list[MethodResult]:
    """Measure methods without training; the best comes first, those without a loss last.

    Args:
        model: the parent.
        trained: what its weights were trained as, from which the methods compute.
        text: the text to measure on, see `text_to_choose_on`.
        training: the text for the search of LongRoPE.
        progress: called with the fraction done, 0 to 1, and the name of the method.
    """
    results = []
    for number, method in enumerate(methods):

        def share_of(part: float, number: int = number, method: str = method) -> None:
            progress((number + part) / len(methods), method)

        share_of(0.0)
        try:
            results.append(_try_one(model, trained, method, stretch, text, training, share_of))
        except BadInput as error:
            if len(methods) == 1:
                raise
            results.append(MethodResult(method, "", None, str(error)))
    return sorted(results, key=lambda result: (result.loss is None, result.loss))


def _try_one(
    model: LanguageModel,
    trained: ModelConfig,
    method: str,
    stretch: Stretch,
    text: HeldOutText,
    training: TokenStore,
    progress: Callable[[float], Any],
) -> MethodResult:
    try:
        spec = spec_for(model, trained, method, stretch, training, progress)
        other = with_position(model, spec, stretch.length)
    except PositionError as error:
        return MethodResult(method, "", None, str(error))
    old = model.config.trained_length
    context = context_losses(
        other,
        text.store,
        (old, stretch.length),
        trained_length=old,
        across_documents=text.across_documents,
    )
    return MethodResult(method, spec, context, context.lengths[-1].cannot)


def spec_for(
    model: LanguageModel,
    trained: ModelConfig,
    method: str,
    stretch: Stretch,
    training: TokenStore,
    progress: Callable[[float], Any] = lambda share: None,
) -> str:
    """Return the spec that a method gives, after a search if it needs one.

    Args:
        training: the text for the search.

    Raises:
        PositionError: LongRoPE for layers with different numbers of rotated pairs.
    """
    if method == "longrope" and not stretch.long_factors:
        parts = [part for part in parse(trained.position).parts if part.name == "rotary"]
        if len({turning_pairs(part, trained.rotated_dim) for part in parts}) > 1:
            raise PositionError(
                "longrope has one divisor for each pair, and layers rotate different numbers of "
                "pairs: choose another method",
                code="extension.longrope-of-fractions",
            )
        factors = search_factors(model, trained, stretch, training, progress)
        stretch = replace(stretch, long_factors=factors)
    return respelled(method, trained, stretch)


def search_factors(
    model: LanguageModel,
    trained: ModelConfig,
    stretch: Stretch,
    training: TokenStore,
    progress: Callable[[float], Any] = lambda share: None,
) -> Factors:
    """Search for LongRoPE's divisors with the lowest loss on training text.

    Targets are the tokens beyond the original length, in a few windows of the new one.

    Raises:
        BadInput: the training text is shorter than one window.
    """
    targets = max(1, stretch.length - stretch.original_length)
    windows = cut_windows(
        training,
        stretch.length,
        targets,
        across_documents=True,
        most_targets=SEARCH_WINDOWS * targets,
    )
    if not len(windows):
        raise BadInput(
            f"the training text is shorter than the new length of {stretch.length:,} tokens: give "
            "more text with --data",
            code="extension.training-text-too-short",
        )

    def with_factors(factors: Factors) -> LanguageModel:
        spec = respelled("longrope", trained, replace(stretch, long_factors=factors))
        return with_position(model, spec, stretch.length)

    def loss(factors: Factors) -> float:
        return float(target_losses(with_factors(factors), windows.tokens, targets).mean())

    return search(loss, _start(trained, stretch), stretch.factor, progress=progress)


def _start(trained: ModelConfig, stretch: Stretch) -> list[Factors]:
    """Return the frequency divisors of other scalings, as first candidates."""
    part = rotary_part(trained)
    assert part is not None

    def frequencies(part: Part) -> NDArray[np.float64]:
        rotary = Rotary(trained.shape, **dict(part.options))
        return rotary.frequencies()[: rotary.pairs].numpy()

    plain = frequencies(unscaled(part))
    return [
        non_decreasing(plain / frequencies(METHODS[method].respell(part, stretch)))
        for method in SEARCH_FROM
    ]
