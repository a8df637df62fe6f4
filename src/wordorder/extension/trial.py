"""Methods tried on a model as it is, nothing trained: which of them reads longer texts best?

The figure that decides is the loss of the same targets with the whole new length before them. The
loss at the old length stands beside it, since most methods pay there. It is measured on development
text: what is reported later is text that chose nothing. The search of LongRoPE reads training text,
because one that had been fitted to the text that chooses would win there; all others have nothing
to fit.
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
from wordorder.extension.carried import carried
from wordorder.extension.longrope import Factors, never_falling, search
from wordorder.extension.methods import METHODS, Stretch, respelled, rotary_part, unscaled
from wordorder.extension.reach import Text
from wordorder.model import LanguageModel
from wordorder.positions import Part, PositionError, Rotary
from wordorder.text.store import TokenStore
from wordorder.training.material import Material, choosing_text

# The search begins with what these do.
SEARCH_FROM = ("interpolate", "ntk", "yarn", "llama3")
SEARCH_WINDOWS = 4
FEWEST_CHOICES = 1024  # tokens to ask for: a mean of fewer is uncertain by more than 0.06 nats
SINKS = (0, 4)  # the second is what Xiao et al. 2024, table 2, find enough


@dataclass(frozen=True)
class Tried:
    """What one method does to a model that is not trained any further.

    Args:
        method: its name.
        spec: how it spells the embedding; "" where it does not get so far.
        context: loss of the same targets at the old length and at the new one.
        cannot: why there is no loss.
    """

    method: str
    spec: str
    context: ContextLosses | None
    cannot: str | None = None

    @property
    def loss(self) -> float | None:
        """Of the targets with the whole new length before them."""
        return None if self.context is None else self.context.lengths[-1].loss_nats

    @property
    def short_loss(self) -> float | None:
        """Of the same targets with the old length before them."""
        return None if self.context is None else self.context.lengths[0].loss_nats


@dataclass(frozen=True)
class Streamed:
    """What the model does with a cache no longer than what it was trained on: the contrast.

    Args:
        sinks: first tokens of the text that the cache keeps beside the newest.
        loss: of the same targets, at the end of texts of the new length.
        change: of that against the loss with the old length before them.
        cannot: why there is no loss.
    """

    sinks: int
    loss: float | None
    change: Estimate | None
    cannot: str | None = None


def text_to_choose_on(material: Material, reported: Text, length: int) -> tuple[Text, str]:
    """Return what methods are compared on, and its name: development or validation.

    Windows may cross its documents where none of them is long enough; where all of it is too
    short, the text that is reported chooses too.
    """
    store = choosing_text(material)
    for across in (reported.across_documents, True):
        text = replace(reported, store=store, across_documents=across)
        if int(places(store, length, 1, across)[1].sum()) >= FEWEST_CHOICES:
            return text, "validation" if store is material.validation else "development"
    return reported, "validation"


def try_streaming(
    model: LanguageModel,
    text: Text,
    length: int,
    *,
    progress: Callable[[float, str], Any] = lambda share, what: None,
) -> list[Streamed]:
    """Return the losses at the end of long texts that are read through a bounded cache.

    Args:
        model: as it was trained; the cache holds as many tokens as it was trained on.
        length: of the texts, in tokens.
    """
    old = model.config.trained_length
    targets = max(1, old // 2)
    windows = cut_windows(text.store, length, targets, across_documents=text.across_documents)
    near = target_losses(model, windows.tokens[:, -old - 1 :], targets)
    found = []
    for number, sinks in enumerate(SINKS):
        if sinks >= old - 1:
            continue
        progress(number / len(SINKS), "a window that slides")
        try:
            losses = streamed_losses(model, windows.tokens, targets, window=old, sinks=sinks)
        except BadInput as error:
            found.append(Streamed(sinks, None, None, str(error)))
            continue
        change = mean_of(losses - near, windows.clusters)
        found.append(Streamed(sinks, float(losses.mean()), change))
    return found


def tried_of(records: Sequence[Mapping[str, Any]]) -> list[Tried]:
    """Return what `asdict` made of several, and JSON kept."""
    found = []
    for each in records:
        context = each["context"]
        if context is not None:
            lengths = tuple(ContextLoss(**length) for length in context["lengths"])
            context = ContextLosses(**{**context, "lengths": lengths})
        found.append(Tried(**{**each, "context": context}))
    return found


def streamed_of(records: Sequence[Mapping[str, Any]]) -> list[Streamed]:
    """Return what `asdict` made of several, and JSON kept."""
    return [Streamed(**{**each, "change": _change_of(each["change"])}) for each in records]


def _change_of(record: Mapping[str, Any] | None) -> Estimate | None:
    """Return a difference as JSON keeps it; older ones have an error without its freedom."""
    return record and Estimate(
        record["mean"], record.get("standard_error"), record.get("degrees_of_freedom")
    )


def try_methods(
    model: LanguageModel,
    methods: Sequence[str],
    stretch: Stretch,
    text: Text,
    training: TokenStore,
    *,
    progress: Callable[[float, str], Any] = lambda share, what: None,
) -> list[Tried]:
    """Return what each of some methods does, the best first and those without a loss last.

    Args:
        model: as it was trained.
        text: what chooses, that the losses are of: see `choosing_text`.
        training: text for the search of LongRoPE.
        progress: called with the share that is done, 0 to 1, and with what is being done.
    """
    tried = []
    for number, method in enumerate(methods):

        def share_of(part: float, number: int = number, method: str = method) -> None:
            progress((number + part) / len(methods), method)

        share_of(0.0)
        tried.append(_try_one(model, method, stretch, text, training, share_of))
    return sorted(tried, key=lambda each: (each.loss is None, each.loss))


def _try_one(
    model: LanguageModel,
    method: str,
    stretch: Stretch,
    text: Text,
    training: TokenStore,
    progress: Callable[[float], Any],
) -> Tried:
    try:
        spec = spelled(model, method, stretch, training, progress)
        other = carried(model, spec, stretch.length)
    except PositionError as error:
        return Tried(method, "", None, str(error))
    old = model.config.trained_length
    context = context_losses(
        other,
        text.store,
        (old, stretch.length),
        trained_length=old,
        across_documents=text.across_documents,
    )
    return Tried(method, spec, context, context.lengths[-1].cannot)


def spelled(
    model: LanguageModel,
    method: str,
    stretch: Stretch,
    training: TokenStore,
    progress: Callable[[float], Any] = lambda share: None,
) -> str:
    """Return the spec of a method, searched for where it must be.

    Args:
        training: what the search reads.
    """
    if method == "longrope" and not stretch.long_factors:
        found = searched(model, stretch, training, progress)
        stretch = replace(stretch, long_factors=found)
    return respelled(method, model.config, stretch)


def searched(
    model: LanguageModel,
    stretch: Stretch,
    training: TokenStore,
    progress: Callable[[float], Any] = lambda share: None,
) -> Factors:
    """Return LongRoPE's divisors for a model: those that read some training text best.

    The targets are those past the original length, in a few windows of the new one.

    Raises:
        BadInput: training text shorter than one window.
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
        raise BadInput(f"the training text has no {stretch.length:,} tokens to search on")

    def with_divisors(found: Factors) -> LanguageModel:
        spec = respelled("longrope", model.config, replace(stretch, long_factors=found))
        return carried(model, spec, stretch.length)

    def loss(found: Factors) -> float:
        return float(target_losses(with_divisors(found), windows.tokens, targets).mean())

    return search(loss, _first(model, stretch), stretch.factor, progress=progress)


def _first(model: LanguageModel, stretch: Stretch) -> list[Factors]:
    """Return what other scalings divide the frequencies of a model by."""
    part = rotary_part(model.config)
    assert part is not None

    def frequencies(part: Part) -> NDArray[np.float64]:
        rotary = Rotary(model.config.shape, **dict(part.options))
        return rotary.frequencies()[: rotary.pairs].numpy()

    plain = frequencies(unscaled(part))
    return [
        never_falling(plain / frequencies(METHODS[method].respell(part, stretch)))
        for method in SEARCH_FROM
    ]
