"""Attention sinks: against a loop over float64 numbers, in every kernel, cache and mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import (
    LanguageModel,
    ModelConfig,
    Recorder,
    fused_attention,
    make_model,
    plain_attention,
)
from wordorder.model.attention import attention, kernel_for
from wordorder.model.problem import AttentionProblem

TOKENS = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(0))
TARGETS = TOKENS.roll(-1, 1)
FLOAT32 = 1e-5  # float32 sums in another order
# The kernels of the table, and a model whose problem each of them computes.
KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "whole matrix": ("whole", {}),
    "rows": ("auto", {"position": "fire"}),
    "fused": ("auto", {}),
    "fused with bias": ("auto", {"position": "alibi"}),
    "pieces": ("plain", {}),
}

MakeModel = Callable[..., LanguageModel]


class Records(Recorder):
    def __init__(self) -> None:
        self.problems: list[AttentionProblem] = []
        self.outputs: list[Tensor] = []

    def attention(self, record: Any) -> None:
        self.problems.append(record.problem)
        self.outputs.append(record.attended)


def by_hand(problem: AttentionProblem) -> Tensor:
    """The output of a problem without a score function, one number after the other."""
    allowed = problem.mask.may_attend().expand(len(problem.queries), -1, -1, -1)
    bias = problem.bias
    queries, keys, values = (
        x.double().tolist() for x in (problem.queries, problem.keys, problem.values)
    )
    assert problem.sinks is not None
    sinks = problem.sinks.tolist()
    output = torch.zeros(problem.queries.shape, dtype=torch.float64)
    for b, sequence in enumerate(queries):
        for h, rows in enumerate(sequence):
            for i, q in enumerate(rows):
                total = math.exp(sinks[h])
                for j, k in enumerate(keys[b][h]):
                    if not allowed[b, 0, i, j]:
                        continue
                    score = problem.scale * sum(x * y for x, y in zip(q, k, strict=True))
                    score += 0.0 if bias is None else float(bias.of()[0, h, i, j])
                    total += math.exp(score)
                    output[b, h, i] += math.exp(score) * torch.tensor(values[b][h][j]).double()
                output[b, h, i] /= total
    return output


def recorded(model: LanguageModel, batch: Any, cache: Any = None) -> Records:
    records = Records()
    with torch.no_grad():
        model(batch, cache, recorder=records)
    return records


@pytest.mark.parametrize("position", ["none", "rotary", "alibi"])
@pytest.mark.parametrize("kernel", ["auto", "plain", "whole", "flex"])
@pytest.mark.parametrize("windows", [(), (3,)])
def test_each_kernel_is_the_definition(
    make_random: MakeModel, position: str, kernel: str, windows: tuple[int, ...]
) -> None:
    model = make_random(position=position, attention_sinks=True, windows=windows)
    model.attention_kernel = kernel
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12])
    for batch in (Batch(TOKENS), Batch(TOKENS, documents=documents)):
        records = recorded(model, batch)
        for problem, output in zip(records.problems, records.outputs, strict=True):
            torch.testing.assert_close(output.double(), by_hand(problem), atol=FLOAT32, rtol=0)


def test_the_table_of_kernels_is_covered(make_random: MakeModel) -> None:
    for name, (kernel, options) in KERNELS.items():
        model = make_random(attention_sinks=True, **options)
        model.attention_kernel = kernel
        assert kernel_for(recorded(model, TOKENS).problems[0]).name == name


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_those_of_the_whole_matrix(make_random: MakeModel, name: str) -> None:
    kernel, options = KERNELS[name]
    model = make_random(attention_sinks=True, **options)
    named = dict(model.named_parameters())
    gradients = []
    for each in ("whole", kernel):
        model.attention_kernel = each
        loss = model(Batch(TOKENS, TARGETS)).mean()
        gradients.append(torch.autograd.grad(loss, list(named.values())))
    for parameter, expected, gradient in zip(named, *gradients, strict=True):
        torch.testing.assert_close(gradient, expected, atol=FLOAT32, rtol=1e-4, msg=parameter)
    assert gradients[0][list(named).index("blocks.0.attention.sinks")].abs().min() > 1e-6


@pytest.mark.parametrize("kernel", ["auto", "plain"])
def test_long_sequences_are_computed_some_rows_at_a_time(
    make_random: MakeModel, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    model = make_random(attention_sinks=True, windows=(5,))
    model.attention_kernel = kernel
    loss = model(Batch(TOKENS, TARGETS)).mean()
    (expected,) = torch.autograd.grad(loss, model.blocks[0].attention.sinks)
    monkeypatch.setattr(fused_attention, "LARGEST_MATRIX", 4 * 12)
    monkeypatch.setattr(plain_attention, "PIECE", 4 * 4 * 12)
    monkeypatch.setattr(plain_attention, "LARGEST_SCORES", 1)
    monkeypatch.setattr(plain_attention, "FEWEST_ROWS", 2)
    pieces = model(Batch(TOKENS, TARGETS)).mean()
    torch.testing.assert_close(pieces, loss, atol=FLOAT32, rtol=0)
    (gradient,) = torch.autograd.grad(pieces, model.blocks[0].attention.sinks)
    torch.testing.assert_close(gradient, expected, atol=FLOAT32, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"position": "fire"},
        {"position": "alibi"},
        {"attention": "latent", "key_value_heads": 0},
    ],
)
def test_a_cache_changes_nothing(make_random: MakeModel, options: dict[str, Any]) -> None:
    model = make_random(attention_sinks=True, windows=(5, 0), **options)
    cache = model.new_cache()
    pieces = [model(piece, cache) for piece in TOKENS.tensor_split((7, 8, 9), 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(TOKENS), atol=FLOAT32, rtol=FLOAT32)


@torch.no_grad()
def test_slopes_in_a_dimension_are_left_to_models_without_sinks(make_random: MakeModel) -> None:
    """They are right up to a constant for each row, which a sink would need too."""
    tokens = torch.randint(40, (1, 520), generator=torch.Generator().manual_seed(0))
    outputs = []
    for kernel in ("auto", "whole"):
        model = make_random(position="alibi", attention_sinks=True, trained_length=520)
        model.attention_kernel = kernel
        outputs.append(model(tokens))
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("position", ["rotary", "alibi"])
def test_a_compiled_decoding_step(make_random: MakeModel, position: str) -> None:
    model = make_random(position=position, attention_sinks=True)
    cache = model.new_cache()
    model(TOKENS[:, :-1], cache)
    records = recorded(model, TOKENS[:, -1:], cache)
    for problem, output in zip(records.problems, records.outputs, strict=True):
        assert problem.queries.shape[2] == 1
        one_row = plain_attention.one_row(problem)
        torch.testing.assert_close(one_row, output, atol=FLOAT32, rtol=0)


@torch.no_grad()
def test_low_sinks_take_nothing_and_high_ones_everything(make_random: MakeModel) -> None:
    plain, model = make_random(), make_random(attention_sinks=True)
    model.load_state_dict(plain.state_dict(), strict=False)
    for block in model.blocks:
        block.attention.sinks.fill_(-1e9)
    torch.testing.assert_close(model(TOKENS), plain(TOKENS), atol=FLOAT32, rtol=FLOAT32)
    for block in model.blocks:
        block.attention.sinks.fill_(1e4)
    assert recorded(model, TOKENS).outputs[0].abs().max() == 0


@torch.no_grad()
def test_in_bfloat16_sinks_are_as_exact_as_scores(make_random: MakeModel) -> None:
    problem = recorded(make_random(attention_sinks=True), TOKENS).problems[0]
    assert problem.sinks is not None
    problem = problem._replace(sinks=problem.sinks + 3)
    rounded = problem._replace(
        queries=problem.queries.bfloat16(),
        keys=problem.keys.bfloat16(),
        values=problem.values.bfloat16(),
    )
    expected = by_hand(problem)
    for kernel in ("auto", "plain"):
        output = attention(rounded._replace(kernel=kernel))
        torch.testing.assert_close(output.double(), expected, atol=0.02, rtol=0)


def test_weights_and_sinks_add_up_to_one(make_random: MakeModel) -> None:
    records: list[Any] = []

    class Weights(Recorder):
        def attention(self, record: Any) -> None:
            records.append(record)

    model = make_random(position="none", attention_sinks=True)
    with torch.no_grad():
        model(TOKENS, recorder=Weights())
        weights, added = records[0].weights()
    problem = records[0].problem
    scores = problem.queries[..., :1, :] @ problem.keys[..., :1, :].mT * problem.scale
    first = (scores[..., 0, 0] - problem.sinks).sigmoid()  # of the first token, to itself
    torch.testing.assert_close(weights[..., 0, 0], first, atol=FLOAT32, rtol=0)
    assert weights.sum(-1).max() < 1 and added.abs().max() == 0


def test_they_begin_at_zero_and_adamw_trains_them() -> None:
    model = make_model(ModelConfig(width=16, layers=1, heads=2, attention_sinks=True))
    model.initialise(0)
    assert model.blocks[0].attention.sinks.tolist() == [0.0, 0.0]
    assert "blocks.0.attention.sinks" not in {part.name for part in model.muon_parts()}


@pytest.mark.parametrize("position", ["cope", "rotary/dape"])
def test_an_embedding_that_replaces_attention_has_none(
    make_random: MakeModel, position: str
) -> None:
    with pytest.raises(BadInput, match=position) as caught:
        make_random(position=position, attention_sinks=True)
    assert caught.value.code == "model.sinks-of-whole-rows"
