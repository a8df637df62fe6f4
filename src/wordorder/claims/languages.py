"""Claims about cross-lingual alignment: does an embedding help a model to align two languages?

A model of two languages can separate them or represent sentences of the same meaning alike. A
held-out sentence is retrieved in the other language by the mean of its hidden states after a middle
layer; the accuracy shows how well the languages are aligned.

No published evidence was found that rotary positions do this well; there is some that relative ones
do it badly.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wordorder.batch import Batch
from wordorder.claims.claim import Claim, ClaimPlan, Criterion, Gate, Measurements, Results, Work
from wordorder.claims.intervals import Contrast, Shares
from wordorder.claims.two_languages import Languages, Rows, read_languages
from wordorder.evaluation.loss import evaluate
from wordorder.experiments.calibration import as_job, config_of
from wordorder.experiments.jobs import Tell
from wordorder.model import LanguageModel, ResidualStream, evaluating, make_model
from wordorder.model.config import ModelConfig
from wordorder.training.compute import Compute, use
from wordorder.training.config import TrainConfig, with_vocabulary
from wordorder.training.training import Training

ROTARY, SINUSOIDAL, RELATIVE = "rotary", "sinusoidal", "shaw"
OF_THE_ARTICLE = (SINUSOIDAL, "learned", ROTARY)
POSITIONS = (*OF_THE_ARTICLE, RELATIVE, "none")

# A small model, so that sharing pays off: larger ones separate the languages.
# Source: Dufter & Schütze 2020, the small BERT of their code: width 64 for 2 x 2,048 tokens.
WIDTH, LAYERS, HEADS, VOCABULARY = 32, 3, 2, 512
MIDDLE = 2  # of three layers; the source's 8 of 12
LENGTH, ROWS = 64, 32
STEPS = 3  # times the steps of a language model, whose steps take three times as long
TO_CALL = 10.0  # points; a smaller difference does not count
ROWS_AT_ONCE = 64


def bilingual(plan: ClaimPlan, position: str, seed: int) -> Work:
    """Return the job of one model of two languages."""
    model = ModelConfig(
        position=position,
        vocabulary_size=VOCABULARY,
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        trained_length=LENGTH,
        dropout=0.0,
        causal=False,
    )
    config = TrainConfig(
        model=model,
        data=plan.data,
        # Files of translations are small: a larger part is held out, for a narrower interval.
        validation_fraction=0.2 if plan.languages else 0.1,
        isolate_documents=True,
        objective="masked-token",
        batch_size=ROWS,
        steps=STEPS * plan.steps,
        momentum=0.85,
        seed=seed,
        compile="no",
    )
    job = {**as_job(config), "languages": list(plan.languages)}
    seconds = (0.024 if position == RELATIVE else 0.021) * STEPS * plan.steps + 10
    return Work(f"two-languages/{position}-seed{seed}", train_bilingual, job, seconds)


def bilinguals(plan: ClaimPlan, *positions: str) -> list[Work]:
    """Return the jobs of models of two languages, for every seed of the plan."""
    return [bilingual(plan, p, s) for s in range(plan.seeds) for p in positions]


def train_bilingual(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train a model on two languages and return its losses and retrieval accuracy.

    Args:
        job: that of `bilingual`, with `machine`.
    """
    config = config_of(job)
    languages = read_languages(config, job["languages"])
    config = with_vocabulary(config, languages.training.vocabulary_size)
    model = make_model(config.model)
    assert isinstance(model, LanguageModel) and config.steps is not None
    model.initialise(config.seed)
    machine = Compute(**job["machine"])
    if machine.device != "cpu":  # too small for a GPU
        machine = Compute("cpu", torch.get_num_threads(), kernel="plain")
    use(model, machine)
    untrained = retrieval(model, languages)
    material: Any = languages
    training = Training(config, machine, material, model, config.steps)
    while training.done < config.steps:
        loss = training.step()["loss"]
        if training.done % 100 == 0:
            line = f"step {training.done:,}/{config.steps:,}, loss {loss:.3f}"
            tell(0.95 * training.done / config.steps, line)
    return {
        "sentences": retrieval(model, languages),
        "untrained": untrained,
        "asked": len(languages.sentences[0]),
        "words": words_found(model, languages),
        "losses": [
            evaluate(
                model,
                store,
                context_length=LENGTH,
                isolate_documents=True,
                objective="masked-token",
                mask_id=languages.mask,
            ).loss_nats
            for store in languages.held_out
        ],
    }


def retrieval(model: LanguageModel, languages: Languages) -> float:
    """Return the retrieval accuracy of sentences after the middle layer, in percent."""
    end = languages.training.end_of_text
    first, second = (sentence_vectors(model, rows, end) for rows in languages.sentences)
    return nearest(first, second)


def words_found(model: LanguageModel, languages: Languages) -> float | None:
    """Return the retrieval accuracy of words in the embedding table, in percent."""
    if not languages.words[0]:
        return None
    table = model.embedding.weight.detach().float()
    first, second = (table[list(words)] for words in languages.words)
    return nearest(first, second)


def nearest(first: Tensor, second: Tensor) -> float:
    """Return the percentage of vectors whose nearest is that of the same row, in both directions.

    Nearest by cosine, after subtracting the mean of each language.

    Args:
        first, second: (rows, width) of the two languages.
    """
    first, second = (F.normalize(side - side.mean(0), dim=-1) for side in (first, second))
    similar = first @ second.T
    own = torch.arange(len(first))
    right = (similar.argmax(1) == own).float().mean() + (similar.argmax(0) == own).float().mean()
    return 50 * float(right)


@torch.no_grad()
def sentence_vectors(model: LanguageModel, sentences: Rows, end: int) -> Tensor:
    """Return the mean state of each sentence's tokens after the middle layer, (rows, width).

    Args:
        end: the token before a sentence; its state is not part of the mean.
    """
    means = []
    with evaluating(model):
        for at in range(0, len(sentences), ROWS_AT_ONCE):
            part = sentences[at : at + ROWS_AT_ONCE]
            tokens = torch.full((len(part), 1 + max(map(len, part))), end)
            there = torch.zeros(tokens.shape, dtype=torch.bool)
            for row, sentence in enumerate(part):
                tokens[row, 1 : 1 + len(sentence)] = torch.tensor(sentence)
                there[row, 1 : 1 + len(sentence)] = True
            documents = torch.where(there, 0, -1)
            documents[:, 0] = 0
            stream = ResidualStream()
            model.hidden(Batch(tokens, documents=documents), recorder=stream)
            states = stream.states[MIDDLE].float() * there[..., None]
            means.append(states.sum(1) / there.sum(1, keepdim=True))
    return torch.cat(means)


def by_seed(plan: ClaimPlan, results: Results, position: str) -> dict[int, Any]:
    """Return the results of one embedding by seed, without failed runs."""
    names = {seed: bilingual(plan, position, seed).name for seed in range(plan.seeds)}
    return {seed: results[name] for seed, name in names.items() if name in results}


def compared(plan: ClaimPlan, results: Results, one: str, other: str) -> Contrast:
    """Return the difference in accuracy of two embeddings, in points."""
    sides = []
    for position in (one, other):
        results_by_seed = by_seed(plan, results, position)
        shares = {seed: part["sentences"] / 100 for seed, part in results_by_seed.items()}
        sides.append(
            Shares(shares, min([part["asked"] for part in results_by_seed.values()], default=0))
        )
    return Contrast(((100.0, sides[0]), (-100.0, sides[1])))


def room(plan: ClaimPlan, results: Results, *positions: str) -> dict[str, list[float]]:
    """Return the gain of the best embedding over no training, and the gap of the worst to 100%.

    If all are close to untrained models, or all close to 100%, the comparison shows nothing.
    """
    results_of_each = [list(by_seed(plan, results, p).values()) for p in positions]
    if not all(results_of_each):
        return {BETTER: [], BELOW_ALL: []}
    means = [fmean([part["sentences"] for part in side]) for side in results_of_each]
    untrained = max(fmean([part["untrained"] for part in side]) for side in results_of_each)
    return {BETTER: [max(means) - untrained], BELOW_ALL: [100 - min(means)]}


def _reading(
    plan: ClaimPlan, results: Results, pairs: Mapping[str, tuple[str, str]]
) -> Measurements:
    quantities = {name: compared(plan, results, *pair) for name, pair in pairs.items()}
    first_pair = next(iter(pairs.values()))
    lines = [_line(position, by_seed(plan, results, position)) for position in POSITIONS]
    notes = tuple(line for line in lines if line)
    return Measurements({**quantities, **room(plan, results, *first_pair)}, notes)


def _line(position: str, results_by_seed: Mapping[int, Any]) -> str:
    if not results_by_seed:
        return ""
    parts = list(results_by_seed.values())
    each = ", ".join(f"{part['sentences']:.1f}" for part in parts)
    losses = [fmean([part["losses"][side] for part in parts]) for side in (0, 1)]
    words = [part["words"] for part in parts if part["words"] is not None]
    return (
        f"{position}: {each}% of {parts[0]['asked']} sentences found, "
        f"{fmean([part['untrained'] for part in parts]):.1f} before training"
        + (f"; {fmean(words):.1f}% of words" if words else "")
        + f"; masked loss {losses[0]:.3f} and {losses[1]:.3f} nats"
    )


ROTARY_GAIN, SINUSOIDAL_GAIN = "rotary - sinusoidal", "sinusoidal - relative"
BETTER, BELOW_ALL = "the better of both, above no training", "the worse of both, below all"
GATES = (
    Gate(
        Criterion(BETTER, least=TO_CALL, kind="exact"),
        "more training: neither is much better than untrained",
    ),
    Gate(
        Criterion(BELOW_ALL, least=TO_CALL, kind="exact"),
        "a harder retrieval task: both find nearly all",
    ),
)


def _read_article(plan: ClaimPlan, results: Results) -> Measurements:
    return _reading(plan, results, {ROTARY_GAIN: (ROTARY, SINUSOIDAL)})


def _read_literature(plan: ClaimPlan, results: Results) -> Measurements:
    pairs = {
        SINUSOIDAL_GAIN: (SINUSOIDAL, RELATIVE),
        "learned - relative": ("learned", RELATIVE),
        ROTARY_GAIN: (ROTARY, SINUSOIDAL),
        "rotary - relative": (ROTARY, RELATIVE),
    }
    return _reading(plan, results, pairs)


PROTOCOL = (
    f"A masked model of {LAYERS} layers and width {WIDTH} is trained on both languages: a text "
    f"and its clone with other token ids, unless two files are given. Held-out sentences are "
    f"retrieved in the other language by their mean hidden state after layer {MIDDLE}, minus the "
    f"mean of the language."
)

CLAIMS = (
    Claim(
        name="rotary-cross-lingual",
        of="article",
        statement="Rotary positions help a model to understand one language by another better "
        "than sinusoidal ones do.",
        source="the article, 'What About New Techniques?'",
        theirs="no figures, and no published evidence was found; multilingual translation: "
        "rotary equal to sinusoidal (Gumma 2024)",
        protocol=PROTOCOL,
        criteria=(Criterion(ROTARY_GAIN, least=TO_CALL, kind="difference"),),
        works=lambda plan: bilinguals(plan, *OF_THE_ARTICLE),
        read=_read_article,
        unit="points",
        gates=GATES,
        seeds_needed=5,
        causes={
            ROTARY_GAIN: "two languages without a common word share only the position vectors "
            "that sinusoidal embeddings add to the words of both; rotary adds nothing to words. "
            "Ravishankar & Søgaard 2021 found the same of relative positions"
        },
    ),
    Claim(
        name="relative-cross-lingual",
        of="literature",
        statement="Relative positions align two languages in one model no better than "
        "sinusoidal ones.",
        source="Ravishankar & Søgaard 2021, abstract and table 1; setting of Dufter & Schütze 2020",
        theirs="relative and untied positions much worse across languages than sinusoidal; "
        "rotary not tested",
        protocol=f"{PROTOCOL} Relative are Shaw's vectors on keys.",
        criteria=(Criterion(SINUSOIDAL_GAIN, least=0.0, kind="difference"),),
        works=lambda plan: bilinguals(plan, *POSITIONS),
        read=_read_literature,
        unit="points",
        gates=GATES,
        seeds_needed=5,
    ),
)
