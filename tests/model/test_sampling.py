"""How the next token is chosen, against sums small enough for a hand, and how text is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import ModelConfig, TokenModel
from wordorder.model.decoding import Sampling, choose, generate

# Nothing left out: each test then turns on what it is about.
ALL = Sampling(temperature=1.0, min_p=0.0, max_tokens=12)
NONE_SEEN = torch.empty(0, dtype=torch.long)

MakeModel = Callable[..., TokenModel]


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([math.log(p) for p in probabilities])


def counts(logits: Tensor, sampling: Sampling, draws: int, seen: Tensor = NONE_SEEN) -> list[int]:
    generator = torch.Generator().manual_seed(5)
    drawn = [choose(logits, seen, sampling, generator) for _ in range(draws)]
    return torch.bincount(torch.tensor(drawn), minlength=len(logits)).tolist()


def kept(logits: Tensor, sampling: Sampling, seen: Tensor = NONE_SEEN) -> set[int]:
    """The tokens drawn at all; no kept one here has less than 5%, missed once in 10^8."""
    return {i for i, count in enumerate(counts(logits, sampling, 400, seen)) if count}


HALVES = logits_of(0.1, 0.5, 0.05, 0.35)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0, 1, 2, 3}),
        ({"temperature": 0.0}, {1}),
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {0, 1, 3}),
        ({"top_k": 4}, {0, 1, 2, 3}),
        ({"top_k": 9}, {0, 1, 2, 3}),
        ({"top_p": 0.4}, {1}),
        ({"top_p": 5e-324}, {1}),  # 0 in float32
        ({"top_p": 0.6}, {1, 3}),
        ({"top_p": 0.9}, {0, 1, 3}),
        ({"top_p": 0.97}, {0, 1, 2, 3}),
        ({"min_p": 0.15}, {0, 1, 3}),
        ({"min_p": 0.6}, {1, 3}),
        ({"min_p": 1.0}, {1}),
        ({"temperature": 0.5, "min_p": 0.3}, {1, 3}),  # squares: 0.35^2 is 0.49 of 0.5^2
        ({"temperature": 0.5, "min_p": 0.5}, {1}),
        ({"top_k": 2, "top_p": 0.55}, {1}),  # of 0.5 and 0.35, 0.5 is 0.588
        ({"top_k": 2, "top_p": 0.6}, {1, 3}),
        ({"min_p": 0.15, "top_p": 0.95}, {0, 1, 3}),
    ],
)
def test_what_is_left_to_draw_from(changes: dict[str, float], expected: set[int]) -> None:
    assert kept(HALVES, replace(ALL, **changes)) == expected


def test_repetition_divides_what_is_positive_and_multiplies_the_rest() -> None:
    greedy = replace(ALL, temperature=0.0, repetition_penalty=2.0)
    generator = torch.Generator()
    for values, seen, expected in (
        ([3.0, 2.0, -1.0], [], 0),
        ([3.0, 2.0, -1.0], [0], 1),  # 1.5 against 2
        ([3.0, 2.0, -1.0], [0, 0, 1], 0),  # 1.5 against 1: seen twice counts once
        ([5.0, 2.0, -1.0], [0], 0),
        ([-1.0, -1.5, -9.0], [0], 1),  # -2 against -1.5
    ):
        found = choose(torch.tensor(values), torch.tensor(seen).long(), greedy, generator)
        assert found == expected, (values, seen)
    low = logits_of(0.5, 0.5)  # log 0.5, doubled where seen: 0.25 against 0.5
    seen, draws = torch.tensor([0]), 3000
    share = counts(low, replace(ALL, repetition_penalty=2.0), draws, seen)[0] / draws
    assert share == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("penalty", [1e-3, 1e3])
@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e-20, 1e300])
def test_no_setting_leaves_float32(temperature: float, penalty: float) -> None:
    sampling = Sampling(temperature, 0, 1.0, 0.0, penalty)
    found = choose(torch.tensor([1e4, -1e4]), torch.tensor([0, 1]), sampling, torch.Generator())
    assert found in (0, 1)


def test_choosing_leaves_the_logits_alone() -> None:
    logits = HALVES.clone()
    choose(logits, torch.tensor([1]), Sampling(0.5, 2, 0.9, 0.1, 2.0), torch.Generator())
    assert torch.equal(logits, HALVES)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_spread_as_the_softmax(temperature: float) -> None:
    """Pearson's statistic of 5 kinds has 4 degrees of freedom: above 23.5 once in 10^4."""
    logits = torch.tensor([1.0, 0.0, 2.0, -1.0, 0.5])
    draws = 4000
    found = torch.tensor(counts(logits, replace(ALL, temperature=temperature), draws))
    expected = (logits / temperature).softmax(0) * draws
    assert float(((found - expected) ** 2 / expected).sum()) < 23.5


def test_text_of_bfloat16_logits_is_drawn_in_float32() -> None:
    logits = torch.zeros(300, dtype=torch.bfloat16)
    found = counts(logits, replace(ALL, top_p=0.5), 600)
    assert len([count for count in found if count]) > 100


@pytest.fixture
def make_writer(make_random: MakeModel) -> MakeModel:
    """Models with an output layer of their own: a tied random one says its input again."""
    return lambda *given, **options: make_random(*given, tied_embeddings=False, **options)


def greedy_by_hand(model: TokenModel, prompt: list[int], length: int) -> list[int]:
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(length):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("options", [{}, {"kind": "gru"}, {"position": "alibi", "windows": (4,)}])
def test_no_temperature_takes_the_likeliest(make_writer: MakeModel, options: dict) -> None:
    model, prompt = make_writer(**options), [3, 1, 4, 1, 5]
    greedy = replace(ALL, temperature=0.0)
    expected = greedy_by_hand(model, prompt, 12)
    assert len(set(expected)) > 2
    assert list(generate(model, prompt, greedy)) == expected
    assert list(generate(model, prompt, replace(greedy, seed=9))) == expected


@pytest.mark.parametrize("spec", ["rotary", "alibi", "none", "sinusoidal", "gru"])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_a_cache_changes_no_token(make_writer: MakeModel, spec: str, penalty: float) -> None:
    model = make_writer(**({"kind": "gru"} if spec == "gru" else {"position": spec}))
    sampling = replace(ALL, temperature=0.7, repetition_penalty=penalty, max_tokens=40)
    cached = list(generate(model, [7], sampling))
    assert cached == list(generate(model, [7], sampling, use_cache=False))
    assert len(cached) == 40
    assert len(set(cached)) > 5


def test_a_seed_is_a_text(make_writer: MakeModel) -> None:
    model, sampling = make_writer(), replace(ALL, temperature=1.0)
    texts = [tuple(generate(model, [1, 2], replace(sampling, seed=s))) for s in (0, 0, 1, 2)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_a_text_ends_before_its_stop_token_or_when_it_is_long(make_writer: MakeModel) -> None:
    model, greedy = make_writer(), replace(ALL, temperature=0.0)
    whole = list(generate(model, [3, 1], greedy))
    assert len(whole) == 12
    assert list(generate(model, [3, 1], replace(greedy, max_tokens=5))) == whole[:5]
    stop = whole[-1]
    assert list(generate(model, [3, 1], greedy, stop=stop)) == whole[: whole.index(stop)]
    absent = next(token for token in range(40) if token not in whole)
    assert list(generate(model, [3, 1], greedy, stop=absent)) == whole


def test_penalised_tokens_are_those_of_the_prompt_and_the_text(make_writer: MakeModel) -> None:
    """At a penalty past any logit's reach, every token comes once."""
    model = make_writer()
    once = replace(ALL, temperature=0.0, repetition_penalty=1e3, max_tokens=10)
    text = list(generate(model, [3, 1, 4], once))
    assert len({3, 1, 4, *text}) == 13


class SameLogits(nn.Module):
    """Gives the same logits whatever it reads."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.embedding, self.config = nn.Embedding(1, 1), ModelConfig()
        self.logits = torch.tensor([logits])

    def next_logits(self, batch: Batch) -> Tensor:
        return self.logits


@pytest.mark.parametrize(
    ("logits", "prompt", "expected"),
    [
        ([2.0, 1.9, -3.0], [0], []),  # the end of text would count 1 against 1.9
        ([2.0, 1.9, 1.5], [0, 1], []),
        ([-1.0, -1.5, -9.0], [0], []),  # -2 against -1.5
        ([1.9, 2.0, -3.0], [0], [1]),  # and what is written is penalised as ever
        ([1.9, 2.0, -3.0], [0, 1], []),
    ],
)
def test_the_end_of_text_that_opens_a_prompt_is_not_penalised(
    logits: list[float], prompt: list[int], expected: list[int]
) -> None:
    greedy = replace(ALL, temperature=0.0, repetition_penalty=2.0)
    model = SameLogits(*logits)
    found = generate(model, prompt, greedy, stop=0, use_cache=False)  # type: ignore[arg-type]
    assert list(found) == expected


def test_only_allowed_tokens_come(make_writer: MakeModel) -> None:
    model, greedy = make_writer(), replace(ALL, temperature=0.0)
    free = list(generate(model, [3, 1], greedy))
    some = [i for i in range(40) if i not in free]

    def allowed(written: list[int]) -> list[int] | None:
        return some if len(written) < 2 else None

    for sampling in (greedy, replace(ALL, top_k=3, min_p=0.2), replace(ALL, top_p=0.5)):
        found = list(generate(model, [3, 1], sampling, allowed=allowed))
        assert set(found[:2]) <= set(some) and len(found) == 12
    bound = list(generate(model, [3, 1], greedy, allowed=allowed))
    assert bound[2:] == list(generate(model, [3, 1, *bound[:2]], replace(greedy, max_tokens=10)))


def test_a_model_that_looks_both_ways_writes_nothing(make_random: MakeModel) -> None:
    with pytest.raises(BadInput) as caught:
        generate(make_random(causal=False), [1, 2], ALL)
    assert caught.value.code == "model.generate-bidirectional"


def test_writing_does_not_drop_out_and_leaves_no_gradients(make_writer: MakeModel) -> None:
    model = make_writer(dropout=0.5).train()
    greedy = replace(ALL, temperature=0.0)
    assert list(generate(model, [3, 1], greedy)) == greedy_by_hand(model.eval(), [3, 1], 12)
    tokens = torch.tensor([[1, 2, 3]])
    model(Batch(tokens, tokens)).mean().backward()
    assert model.embedding.weight.grad is not None


def test_writing_past_a_table_is_refused(make_writer: MakeModel) -> None:
    model = make_writer("learned", trained_length=8)
    written = generate(model, [1, 2, 3], ALL)
    assert len([next(written) for _ in range(6)]) == 6
    with pytest.raises(BadInput, match="position 8 ") as caught:
        next(written)
    assert caught.value.code == "model.position-past-limit"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"temperature": -0.1}, "temperature is -0.1: it must be at least 0"),
        ({"temperature": math.nan}, "temperature is nan: it must be a finite number, at least 0"),
        ({"top_k": -1}, "top_k is -1: it must be at least 0"),
        ({"top_p": 0.0}, "top_p is 0.0: it must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5: it must be above 0 and at most 1"),
        ({"min_p": -0.5}, "min_p is -0.5: it must be from 0 to 1"),
        ({"min_p": 2.0}, "min_p is 2.0: it must be from 0 to 1"),
        (
            {"repetition_penalty": 0.0},
            "repetition_penalty is 0.0: it must be at least 0.001",
        ),
        ({"max_tokens": 0}, "max_tokens is 0: it must be at least 1"),
    ],
)
def test_what_sampling_refuses(changes: dict[str, float], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        replace(ALL, **changes)
    assert str(caught.value) == text
