"""Claims that hold by construction or not at all: models with random weights, exact arithmetic.

Attention without positions is permutation-equivariant; a mask, an embedding or recurrence adds
order. That is a property of the architecture, not of training, so random non-zero weights show it
up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from wordorder.claims.claim import Claim, ClaimPlan, Criterion, Measurements, Results, Work
from wordorder.experiments.jobs import Tell
from wordorder.model import LanguageModel, TokenModel, make_model
from wordorder.model.config import ModelConfig
from wordorder.positions import CATALOGUE, ModelShape, PositionError, Sinusoidal

ARTICLE = "the article, 'Transformers have no sense of order'"
SMALL = ModelConfig(
    vocabulary_size=40, width=64, heads=4, layers=2, trained_length=32, dropout=0.0, causal=False
)
TEXT = (3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 97 % 40, 13)  # all tokens distinct
SENTENCE = (0, 1, 2)  # I love AI
OF_THE_ARTICLE = ("sinusoidal", "learned", "rotary")
PERMUTATIONS = 8
DEPTHS = (1, 2, 3, 4)
ROUNDING = 1e-5
WITHOUT = "without an embedding, largest difference"
MIRRORED = "I love AI and AI love I, with one of the article's three"
SHUFFLED = "12 words in another order, with any, least difference"


@torch.no_grad()
def random_model(config: ModelConfig, seed: int) -> TokenModel:
    """Return a model in float64 with random non-zero weights.

    With the zero-initialised output projections of training the context would have no effect.
    """
    model = make_model(config)
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = parameter.shape[1] ** -0.5 if parameter.dim() == 2 else 0.3
        parameter.add_(scale * noise)
    model.compute_dtype = torch.float64
    return model.double().eval()


@torch.no_grad()
def order_seen(model: TokenModel, tokens: tuple[int, ...], order: torch.Tensor) -> float:
    """Return the largest difference between outputs of a text and of another order of its words.

    Outputs are compared word by word; after the last norm they have size 1.
    """
    text = torch.tensor(tokens)[None]
    return float((model.hidden(text)[:, order] - model.hidden(text[:, order])).abs().max())


def orders(length: int, seed: int) -> list[torch.Tensor]:
    """Return random permutations, without the identity and the reversal."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.arange(length)
    permutations: list[torch.Tensor] = []
    while len(permutations) < PERMUTATIONS:
        order = torch.randperm(length, generator=generator)
        if not (order == own).all() and not (order == own.flip(0)).all():
            permutations.append(order)
    return permutations


def try_bidirectional(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return the effect of order on a bidirectional model with each embedding of the catalogue."""
    effects, cannot = {}, []
    for name in CATALOGUE:
        try:
            model = random_model(replace(SMALL, position=name), job["seed"])
        except PositionError:
            cannot.append(name)
            continue
        assert isinstance(model, LanguageModel)
        tells = model.position.active_doors() and CATALOGUE[name].tells_order
        if not tells and name != "none":
            continue  # samples training positions, or counts keys: no order by itself
        mirrored = torch.arange(len(SENTENCE)).flip(0)
        effects[name] = {
            "permuted": max(order_seen(model, TEXT, o) for o in orders(len(TEXT), job["seed"])),
            "mirrored": order_seen(model, SENTENCE, mirrored),
        }
    return {"seen": effects, "cannot": cannot}


def _bidirectional(plan: ClaimPlan) -> list[Work]:
    return [
        Work(f"exact/bidirectional-seed{s}", try_bidirectional, {"seed": s}, 10.0)
        for s in range(plan.seeds)
    ]


def _read_bidirectional(plan: ClaimPlan, results: Results) -> Measurements:
    parts = [results[w.name] for w in _bidirectional(plan) if w.name in results]
    if not parts:
        return Measurements({})
    others = [{n: v for n, v in part["seen"].items() if n != "none"} for part in parts]
    blind = sorted(n for n, v in others[0].items() if v["mirrored"] < ROUNDING)
    least = min(others[0], key=lambda n: others[0][n]["permuted"])
    notes = [f"{len(others[0])} embeddings tested; {least} has the smallest difference"]
    if blind:
        notes.append(
            "a text and its mirror image are the same for embeddings of the distance without "
            f"direction: {', '.join(blind)}"
        )
    if parts[0]["cannot"]:
        notes.append(f"cannot be bidirectional: {', '.join(parts[0]['cannot'])}")
    return Measurements(
        {
            WITHOUT: [max(part["seen"]["none"].values()) for part in parts],
            MIRRORED: [
                other[n]["mirrored"] for other in others for n in OF_THE_ARTICLE if n in other
            ],
            SHUFFLED: [min(v["permuted"] for v in other.values()) for other in others],
        },
        tuple(notes),
    )


def try_causal(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return the effect of earlier tokens' order on the last output, by depth and for a GRU."""
    effects = {}
    models = {f"{d} layers": replace(SMALL, position="none", layers=d) for d in DEPTHS}
    models["GRU"] = replace(SMALL, kind="gru", causal=True)
    for name, config in models.items():
        model = random_model(replace(config, causal=True), job["seed"])
        effects[name] = max(_last(model, o) for o in orders(len(TEXT) - 1, job["seed"]))
    return effects


@torch.no_grad()
def _last(model: TokenModel, order: torch.Tensor) -> float:
    """Return the change of the last token's output when earlier tokens are reordered."""
    text = torch.tensor(TEXT)[None]
    moved = torch.cat([text[:, order], text[:, -1:]], 1)
    model.compute_dtype = torch.float64
    return float((model.hidden(text)[:, -1] - model.hidden(moved)[:, -1]).abs().max())


def _causal(plan: ClaimPlan) -> list[Work]:
    return [Work(f"exact/causal-seed{s}", try_causal, {"seed": s}, 5.0) for s in range(plan.seeds)]


def _read_causal(plan: ClaimPlan, results: Results) -> Measurements:
    parts = [results[w.name] for w in _causal(plan) if w.name in results]
    layers = {d: [part[f"{d} layers"] for part in parts] for d in DEPTHS}
    notes = [
        f"{d} layer{'s' * (d > 1)}: the last output changes by at most {max(values):.2g}"
        for d, values in layers.items()
        if values
    ]
    return Measurements({"one layer": layers[1], "two layers": layers[2]}, tuple(notes))


def _read_recurrent(plan: ClaimPlan, results: Results) -> Measurements:
    names = [w.name for w in _causal(plan)]
    return Measurements({"a GRU": [results[name]["GRU"] for name in names if name in results]})


def try_sinusoids(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return the closest sinusoidal vectors to that of position 0.

    The distance of two vectors depends only on the distance of their positions, so these are all
    distances that occur.
    """
    width, count = job["width"], job["positions"]
    embedding = Sinusoidal(ModelShape(1, width, width))
    start, parts = embedding.table(torch.zeros(1)), []
    for positions in torch.arange(count).split(1 << 14):
        parts.append((embedding.table(positions) - start).norm(dim=1) / start.norm())
    apart = torch.cat(parts)
    nearest = {}
    for name, first in (("any", 1), ("far", FAR)):
        if first < count:
            lag = first + int(apart[first:].argmin())
            nearest[name] = {"apart": lag, "difference": float(apart[lag])}
    return nearest


WIDTHS, POSITIONS = (64, 192, 512), (256, 1_000_000)
FAR = 1000  # positions apart; vectors of neighbours are similar by design


def _sinusoids(plan: ClaimPlan) -> list[Work]:
    return [
        Work(
            f"exact/sinusoids-{width}-{count}",
            try_sinusoids,
            {"width": width, "positions": count},
            4.0,
        )
        for width in WIDTHS
        for count in POSITIONS
    ]


def _read_sinusoids(plan: ClaimPlan, results: Results) -> Measurements:
    notes, values = [], []
    for work in _sinusoids(plan):
        if work.name in results:
            part, job = results[work.name], work.job
            values.append(part["any"]["difference"])
            notes += [
                f"width {job['width']}, {job['positions']:,} positions: the closest vectors"
                f"{' of distant positions' if name == 'far' else ''} are {at['apart']:,} apart "
                f"and differ by {at['difference']:.3f} of their norm"
                for name, at in part.items()
            ]
    return Measurements({"smallest difference over length": values}, tuple(notes))


CLAIMS = (
    Claim(
        "bag-of-words",
        "article",
        "Without positional embedding I love AI and AI love I are the same to a bidirectional "
        "transformer. With the article's embeddings they are not. Every embedding distinguishes a "
        "text from another order of its words, though some not from its mirror image.",
        ARTICLE,
        "by construction",
        "Random weights in float64, two layers. I love AI and its mirror image, without and with "
        "sinusoidal, learned and rotary positions; 12 words in 8 other orders, none of them the "
        "mirror image, with every embedding of the catalogue.",
        (
            Criterion(WITHOUT, most=ROUNDING, kind="exact"),
            Criterion(MIRRORED, least=1e-2, kind="exact"),
            Criterion(SHUFFLED, least=1e-2, kind="exact"),
        ),
        _bidirectional,
        _read_bidirectional,
        unit="of outputs of size 1",
    ),
    Claim(
        "causal-order",
        "literature",
        "One causal layer without positions is blind to the order of what comes before its last "
        "token; two layers are not.",
        "Haviv et al. 2022; Kazemnejad et al. 2023, theorem 1",
        "by construction",
        "Random weights in float64; the 11 words before the last in 8 other orders; 1 to 4 layers.",
        (
            Criterion("one layer", most=ROUNDING, kind="exact"),
            Criterion("two layers", least=1e-3, kind="exact"),
        ),
        _causal,
        _read_causal,
        unit="of outputs of size 1",
    ),
    Claim(
        "recurrent-order",
        "article",
        "A recurrent model, which reads word by word, distinguishes orders without an embedding.",
        ARTICLE,
        "by construction",
        "A GRU of two layers with random weights, as above.",
        (Criterion("a GRU", least=1e-2, kind="exact"),),
        _causal,
        _read_recurrent,
        unit="of outputs of size 1",
    ),
    Claim(
        "sinusoids-unique",
        "article",
        "Sines and cosines give every position a unique vector.",
        "the article, 'Sinusoidal positional embeddings'; Vaswani et al. 2017, section 3.5",
        "no figures",
        "The smallest distance between any two positions, over the length of a vector, up to a "
        "million positions at widths 64, 192 and 512.",
        (Criterion("smallest difference over length", least=0.01, kind="exact"),),
        _sinusoids,
        _read_sinusoids,
        unit="of a vector's length",
    ),
)
