"""The learned table against its formula, against transformers, and the traps its users hit."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, GPT2Config, GPT2Model, RobertaConfig
from transformers.models.bart.modeling_bart import BartLearnedPositionalEmbedding
from transformers.models.bert.modeling_bert import BertEmbeddings
from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

from wordorder.positions import Learned, ModelShape, PositionError, Sinusoidal, TokenLayout
from wordorder.positions.conformance import check

CLOSE = 1e-6  # float32 sums of a few products of size 1
SHAPE = ModelShape(6, 4, trained_length=32)


def embedded(position: Learned, positions: list[int], x: torch.Tensor | None = None):
    x = torch.zeros(1, len(positions), position.shape.width) if x is None else x
    return position.embed(x, TokenLayout.of(torch.tensor([positions]))).detach()


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_the_input_is_the_row_of_the_position(formula, lab, heads: int, rank: int) -> None:
    learned = lab.filled(Learned(ModelShape(heads, 4, trained_length=32), rank=rank))
    if rank:
        rows = formula("learned").product(learned.left.tolist(), learned.right.tolist())
    else:
        rows = learned.weight.tolist()
    positions, x = [0, 7, 7, 31, 2], lab.numbers(1, 5, 4 * heads)
    expected = x[0] + torch.tensor([rows[p] for p in positions], dtype=torch.float64)
    found = embedded(learned, positions, x)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)
    torch.testing.assert_close(learned.table().detach(), torch.tensor(rows), rtol=0, atol=CLOSE)


def test_gpt2_and_bert_add_the_same_rows(lab) -> None:
    positions, x = [3, 0, 31], torch.randn(1, 3, 24, generator=torch.Generator().manual_seed(0))
    gpt2 = GPT2Model(GPT2Config(n_embd=24, n_layer=1, n_head=6, n_positions=32, vocab_size=5))
    bert = BertEmbeddings(
        BertConfig(hidden_size=24, max_position_embeddings=32, vocab_size=5, hidden_dropout_prob=0)
    )
    ours, where = Learned(SHAPE), torch.tensor([positions])
    with torch.no_grad():
        gpt2.eval()
        ours.weight.copy_(gpt2.wpe.weight)
        theirs = gpt2(inputs_embeds=x, position_ids=where, output_hidden_states=True)
        torch.testing.assert_close(embedded(ours, positions, x), theirs.hidden_states[0])
        ours.weight.copy_(bert.position_embeddings.weight)
        bert.token_type_embeddings.weight.zero_()
        theirs = bert(inputs_embeds=x, position_ids=where)
        normed = torch.nn.functional.layer_norm(embedded(ours, positions, x), (24,), eps=1e-12)
        torch.testing.assert_close(normed, theirs, rtol=0, atol=1e-5)


def test_opt_adds_2_to_every_position() -> None:
    """Its table holds two rows more than positions: an importer must drop the first two."""
    theirs = OPTLearnedPositionalEmbedding(32, 24)
    ours = Learned(SHAPE)
    assert theirs.weight.shape[0] == 34
    with torch.no_grad():
        ours.weight.copy_(theirs.weight[2:])
        expected = theirs(torch.ones(1, 5, dtype=torch.int64))
    assert torch.equal(embedded(ours, [0, 1, 2, 3, 4]), expected)


def test_bart_adds_2_to_every_position() -> None:
    theirs, ours = BartLearnedPositionalEmbedding(32, 24), Learned(SHAPE)
    assert theirs.weight.shape[0] == 34
    with torch.no_grad():
        ours.weight.copy_(theirs.weight[2:])
        expected = theirs(torch.ones(1, 5, dtype=torch.int64), past_key_values_length=3)
    assert torch.equal(embedded(ours, [3, 4, 5, 6, 7]), expected)


@pytest.mark.parametrize("padding", [1, 3])
def test_roberta_counts_from_padding_idx_plus_1(padding: int) -> None:
    """Its first word has row padding_idx + 1, wherever padding puts it."""
    config = RobertaConfig(
        vocab_size=9,
        hidden_size=24,
        max_position_embeddings=32 + padding + 1,
        pad_token_id=padding,
        hidden_dropout_prob=0,
    )
    theirs, ours = RobertaEmbeddings(config), Learned(SHAPE)
    tokens = torch.tensor([[padding, padding, 5, 8, 5, 6, padding]])
    with torch.no_grad():
        theirs.token_type_embeddings.weight.zero_()
        ours.weight.copy_(theirs.position_embeddings.weight[padding + 1 :])
        words, expected = theirs.word_embeddings(tokens[:, 2:6]), theirs(tokens)[:, 2:6]
    found = torch.nn.functional.layer_norm(embedded(ours, [0, 1, 2, 3], words), (24,), eps=1e-12)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_past_the_table_is_one_clear_error() -> None:
    learned = Learned(SHAPE, length=8)
    assert learned.max_position == 7
    embedded(learned, [7])
    with pytest.raises(PositionError) as caught:
        embedded(learned, [0, 8])
    assert caught.value.code == "positions.learned-past-table"
    assert "position 8 " in str(caught.value) and "(7)" in str(caught.value)


@pytest.mark.parametrize(
    ("where", "code"),
    [(0.5, "positions.learned-fractional-position"), (-1, "positions.learned-negative-position")],
)
def test_what_has_no_row_is_one_clear_error(where: float, code: str) -> None:
    with pytest.raises(PositionError) as caught:
        embedded(Learned(SHAPE), [where, 1])
    assert caught.value.code == code


def test_rows_never_fed_stay_as_drawn() -> None:
    learned = Learned(SHAPE)
    x = torch.zeros(1, 3, 24)
    learned.embed(x, TokenLayout.of(torch.arange(3)[None])).square().sum().backward()
    assert learned.weight.grad[:3].all() and not learned.weight.grad[3:].any()


def test_the_default_is_drawn_as_it_always_was() -> None:
    learned = Learned(SHAPE)
    learned.reset_parameters(torch.Generator().manual_seed(5))
    expected = torch.empty(32, 24)
    torch.nn.init.normal_(expected, std=0.02, generator=torch.Generator().manual_seed(5))
    assert torch.equal(learned.weight.detach(), expected)


def test_a_sinusoidal_start_is_the_sinusoidal_embedding() -> None:
    sines = Sinusoidal(SHAPE).table(torch.arange(32))
    learned = Learned(SHAPE, start="sinusoidal")
    assert torch.equal(learned.table().detach(), sines)
    assert learned.weight.requires_grad
    whole = Learned(SHAPE, start="sinusoidal", rank=24).table().detach()
    torch.testing.assert_close(whole, sines, rtol=0, atol=CLOSE)
    errors = []
    for rank in (1, 4, 8, 12):
        table = Learned(SHAPE, start="sinusoidal", rank=rank).table().detach()
        errors.append(float((table - sines).norm()))
    # No table of that rank is nearer than the singular values that are left out.
    sizes = torch.linalg.svdvals(sines.double())
    nearest = [float(sizes[rank:].norm()) for rank in (1, 4, 8, 12)]
    assert errors == pytest.approx(nearest, rel=1e-4, abs=5e-6)


@pytest.mark.parametrize("rank", [1, 2, 16])
def test_a_product_starts_at_the_size_of_a_table(rank: int) -> None:
    shape = ModelShape(16, 16, trained_length=4000)
    learned = Learned(shape, rank=rank)
    learned.reset_parameters(torch.Generator().manual_seed(0))
    assert learned.table().std().item() == pytest.approx(0.02, rel=0.15)
    assert learned.left.std().item() == pytest.approx(learned.right.std().item(), rel=0.2)
    assert sum(p.numel() for p in learned.parameters()) == rank * (4000 + 256)


@pytest.mark.parametrize("rank", [0, 3])
def test_a_frozen_table_is_saved_and_not_trained(rank: int) -> None:
    learned = Learned(SHAPE, frozen=True, rank=rank)
    assert learned.state_dict() and not any(p.requires_grad for p in learned.parameters())
    found = learned.embed(torch.zeros(1, 3, 24), TokenLayout.of(torch.arange(3)[None]))
    assert not found.requires_grad and found.any()


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("length", [3, 31, 32, 33, 63, 500])
def test_resampled_tables_are_straight_between_rows(formula, lab, rank: int, length: int) -> None:
    learned = lab.filled(Learned(SHAPE, rank=rank))
    found = learned.resampled(length)
    expected = formula("learned").stretched(learned.table().tolist(), length)
    torch.testing.assert_close(found.table().detach(), torch.tensor(expected), rtol=0, atol=CLOSE)
    assert found.max_position == length - 1 and found.length == length and found.rank == rank
    ends, factor = torch.tensor([0, -1]), "left" if rank else "weight"
    assert torch.equal(getattr(found, factor)[ends], getattr(learned, factor)[ends])
    assert learned.max_position == 31


def test_resampled_keeps_options_and_dtype() -> None:
    learned = Learned(SHAPE, start="sinusoidal", frozen=True).to(torch.float64)
    found = learned.resampled(64)
    assert found.weight.dtype == torch.float64 and not found.weight.requires_grad
    assert found.start == "sinusoidal" and found.frozen
    assert torch.equal(learned.resampled(32).weight, learned.weight)


@pytest.mark.parametrize(
    "options,code,value",
    [
        ({"length": -1}, "learned-length", "length=-1"),
        ({"start": "zeros"}, "learned-start", "'zeros'"),
        ({"rank": 25}, "learned-rank", "rank=25 .* 24"),
        ({"rank": -1}, "learned-rank", "rank=-1 .* 24"),
    ],
)
def test_refused(options, code, value) -> None:
    with pytest.raises(PositionError, match=value) as caught:
        Learned(SHAPE, **options)
    assert caught.value.code == f"positions.{code}"


@pytest.mark.parametrize(
    "rank,length,code,value",
    [(0, 1, "learned-resample-length", "to 1 "), (3, 2, "learned-rank", "rank=3 .* 2")],
)
def test_lengths_that_cannot_be_resampled_to(rank: int, length: int, code: str, value: str) -> None:
    with pytest.raises(PositionError, match=value) as caught:
        Learned(SHAPE, rank=rank).resampled(length)
    assert caught.value.code == f"positions.{code}"


def test_a_sinusoidal_product_can_be_trained() -> None:
    """Sinusoids of a short table nearly lie in fewer dimensions; the rest must not be dead."""
    learned = Learned(SHAPE, start="sinusoidal", rank=24)
    found = learned.embed(torch.zeros(1, 32, 24), TokenLayout.of(torch.arange(32)[None]))
    (found * torch.randn(32, 24, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert learned.right.grad.norm(dim=1).min() > 1


@pytest.mark.parametrize(
    "spec",
    [
        "learned:start=sinusoidal",
        pytest.param("learned:rank=4", marks=pytest.mark.slow),
        "learned:rank=4,start=sinusoidal",
        "learned:length=64",
        "learned:frozen=true",
    ],
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
