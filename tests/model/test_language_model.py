"""The model around its positions: losses, logits, first values, counts, dtypes, errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, ModelConfig, make_model
from wordorder.positions import Deberta, Position
from wordorder.training.optimizers import Optimizer

# Float32 sums in another order.
ROUNDING = 1e-5
TOKENS = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(0))
TARGETS = TOKENS.roll(-1, 1).masked_fill(torch.arange(12) % 5 == 4, -1)

MakeModel = Callable[..., LanguageModel]


class Presuming(Position):
    """An embedding whose source multiplies words by three."""

    @classmethod
    def word_scale(cls, width: int) -> float:
        return 3.0


def manual_losses(model: LanguageModel, targets: Tensor = TARGETS) -> Tensor:
    logits = model(TOKENS).double()
    own = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return torch.where(targets < 0, 0.0, -own)


@pytest.mark.parametrize(
    "options",
    [{}, {"tied_embeddings": False}, {"logit_softcap": 2.0}, {"kind": "gru"}, {"dropout": 0.5}],
)
def test_losses_are_negative_log_probabilities(make_random: MakeModel, options: dict) -> None:
    model = make_random(**options)
    expected = manual_losses(model)
    found = model(Batch(TOKENS, TARGETS))
    assert found.dtype is torch.float32
    assert (found[TARGETS < 0] == 0).all()
    torch.testing.assert_close(found.double(), expected, atol=ROUNDING, rtol=ROUNDING)
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(found.sum(), parameters)
    for slope, own in zip(slopes, torch.autograd.grad(expected.sum(), parameters), strict=True):
        torch.testing.assert_close(slope, own, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_losses_see_positions_and_documents(make_random: MakeModel) -> None:
    model = make_random()
    where = {
        "positions": (torch.arange(12) * 3)[None],
        "documents": (torch.arange(12) // 5)[None].expand(2, -1),
    }
    logits = model(Batch(TOKENS, **where))
    expected = functional.cross_entropy(logits.mT, TARGETS, ignore_index=-1, reduction="none")
    found = model(Batch(TOKENS, TARGETS, **where))
    torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=ROUNDING)
    assert (found - model(Batch(TOKENS, TARGETS))).abs().max() > 0.1


@torch.no_grad()
def test_a_softcap_bends_logits(make_random: MakeModel) -> None:
    plain, capped = make_random()(TOKENS), make_random(logit_softcap=2.0)(TOKENS)
    assert plain.abs().max() > 4
    torch.testing.assert_close(capped, 2 * torch.tanh(plain / 2))


@torch.no_grad()
def test_tied_embeddings_are_the_output_layer(make_random: MakeModel) -> None:
    tied, untied = make_random(), make_random(tied_embeddings=False)
    assert tied.head is None
    assert "head.weight" in untied.state_dict()
    untied.load_state_dict({**tied.state_dict(), "head.weight": tied.embedding.weight})
    torch.testing.assert_close(untied(TOKENS), tied(TOKENS))
    untied.head.weight.zero_()
    assert (untied(TOKENS) == 0).all()


@torch.no_grad()
def test_options_of_the_embedding(make_random: MakeModel) -> None:
    model = make_random(embedding_scale=3.0)
    scaled = make_random(embedding_scale=1.0)
    scaled.embedding.weight *= 3
    expected = scaled.hidden(TOKENS)
    torch.testing.assert_close(model.hidden(TOKENS), expected)
    normed = make_random("learned", embedding_norm=True)
    assert normed.embedding_norm is not None
    seen: list[Tensor] = []
    normed.blocks[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    normed(TOKENS)
    words = normed.word_vectors(TOKENS) + normed.position.instances[0].weight[:12]
    torch.testing.assert_close(seen[0], normed.embedding_norm(words))


def test_parameters_are_counted_by_what_they_are(make_random: MakeModel) -> None:
    """Width 32, 4 heads of 8 and 2 of keys and values, swiglu of 48, vocabulary 40."""
    matrices = 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48)
    norms = 2 * (2 * 32 + 2 * 8) + 32
    expected = {
        "total": matrices + norms + 40 * 32,
        "position": 0,
        "embedding": 40 * 32,
        "matrices": matrices,
    }
    assert make_random("rotary").parameter_counts() == expected
    learned = {**expected, "total": expected["total"] + 64 * 32, "position": 64 * 32}
    assert make_random("learned").parameter_counts() == learned
    untied = {**expected, "total": expected["total"] + 40 * 32, "embedding": 2 * 40 * 32}
    assert make_random(tied_embeddings=False).parameter_counts() == untied


def test_muon_takes_the_matrices_of_the_blocks(make_random: MakeModel) -> None:
    model = make_random("learned", tied_embeddings=False, biases=True, norm="layer")
    kinds = ["query", "key", "value", "output"]
    names = [f"blocks.{i}.attention.{kind}.weight" for i in (0, 1) for kind in kinds]
    names += [f"blocks.{i}.feed_forward.{k}.weight" for i in (0, 1) for k in ("gate", "up", "down")]
    assert sorted(part.name for part in model.muon_parts()) == sorted(names)


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ("path", {"down", "up", "beta_weight"}),
        ("forgetting", {"weight"}),
        ("selective:gate=true", {"down", "up", "gate_weight"}),
        ("learned+t5+relative", set()),
        ("shaw", set()),
        ("cope", set()),
    ],
)
def test_muon_takes_the_matrices_that_an_embedding_declares(
    make_random: MakeModel, spec: str, kinds: set[str]
) -> None:
    model = make_random(spec)
    own = [part for part in model.muon_parts() if part.name.startswith("position.")]
    expected = {f"position.instances.{i}.{kind}" for i in (0, 1) for kind in kinds}
    assert {part.name for part in own} == expected
    optimizer = Optimizer(model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.0)
    assert not set(optimizer.names) & expected  # and AdamW has all the rest
    joined = {name for name, _ in model.named_parameters() if name.startswith("position.")}
    assert joined - expected <= set(optimizer.names)
    model(Batch(TOKENS, TARGETS)).mean().backward()
    before = {part.name: part.value.clone() for part in own}
    optimizer.step(matrix_rate=0.1, rate=0.0)
    for part in own:
        moved = part.value - before[part.name]
        sizes = torch.linalg.svdvals(moved / max(1.0, moved.shape[0] / moved.shape[1]) ** 0.5)
        assert 0.05 < float(sizes.max()) < 0.13, part.name


def test_a_matrix_of_every_head_is_a_part_of_its_own(
    make_random: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deberta, "matrices", ("key_weight",))
    model = make_random("deberta")
    own = [part for part in model.muon_parts() if part.name.startswith("position.")]
    assert [tuple(part.value.shape) for part in own] == [(8, 32)] * 2 * 4
    own[1].value.zero_()
    zero = [not weight.any() for weight in model.position.instances[0].key_weight]
    assert zero == [False, True, False, False]


def test_an_older_runs_optimizer_is_refused_in_a_line(make_random: MakeModel) -> None:
    def made(matrices: bool) -> Optimizer:
        model = make_random("path")
        if not matrices:
            for instance in model.position.instances:
                instance.matrices = ()
        return Optimizer(model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.0)

    made(matrices=False).load_state(made(matrices=False).state())
    with pytest.raises(BadInput, match="an older wordorder started this run"):
        made(matrices=True).load_state(made(matrices=False).state())


def test_parts_are_the_parameters_cut_where_layers_are_joined(make_random: MakeModel) -> None:
    model = make_random("learned", biases=True, key_value_heads=1)
    parts = {part.name: part.value for part in model.parts()}
    joined = {name: p for name, p in model.named_parameters() if ".input." in name}
    assert {name for name, _ in model.named_parameters()} - parts.keys() == joined.keys()
    for name, p in joined.items():
        kinds = ("query", "key", "value") if "attention" in name else ("gate", "up")
        own = [parts[name.replace("input", kind)] for kind in kinds]
        assert torch.equal(torch.cat(own), p)
    parts["blocks.0.attention.value.weight"].zero_()
    parts["blocks.0.attention.value.bias"].zero_()
    queries, keys, values = model.blocks[0].attention.project(torch.randn(1, 3, 32))
    assert queries.any() and keys.any() and not values.any()


def initialised(seed: int = 0, **options: object) -> LanguageModel:
    sizes = {"width": 128, "layers": 2, "heads": 4, "vocabulary_size": 512}
    model = make_model(ModelConfig(**{**sizes, **options}))  # type: ignore[arg-type]
    model.initialise(seed)
    return model


def test_a_seed_is_a_model() -> None:
    torch.manual_seed(3)
    first = initialised(7, position="learned").state_dict()
    torch.manual_seed(4)
    again = initialised(7, position="learned").state_dict()
    other = initialised(8, position="learned").state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = ["embedding.weight", "position.instances.0.weight", "blocks.0.attention.input.weight"]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_models_share_the_first_values_of_what_they_share() -> None:
    """So that two positions are compared from the same start."""
    first = initialised(position="rotary").state_dict()
    for options in ({"position": "learned+alibi"}, {"layers": 3}, {"tied_embeddings": False}):
        other = initialised(**options).state_dict()
        assert all(torch.equal(other[name], value) for name, value in first.items())


@torch.no_grad()
def test_first_values_are_the_documented_ones() -> None:
    model = initialised(position="learned", biases=True, norm="layer", tied_embeddings=False)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert (value == 0).all(), name
        elif "norm" in name:
            assert (value == 1).all(), name
        elif name.endswith(("output.weight", "down.weight")):
            assert (value == 0).all(), name
        else:
            drawn = 128**-0.5 if name.startswith("blocks.") else 0.02
            if name.startswith("position."):  # added to words: as large as they are
                drawn *= 128**0.5
            assert float(value.std()) == pytest.approx(drawn, rel=0.05), name
            assert abs(float(value.mean())) < 0.05 * drawn, name
    values = [part.value for part in model.muon_parts()]
    matrices = [value for value in values if value.shape == (128, 128) and value.any()]
    assert len({float(p[0, 0]) for p in matrices}) == len(matrices) == 6


@torch.no_grad()
@pytest.mark.parametrize(
    ("position", "presumed"),
    [
        ("rotary", 128**0.5),
        ("learned+alibi", 128**0.5),
        ("sinusoidal", 128**0.5),
        (f"{__name__}.Presuming/rotary", 3.0),
    ],
)
def test_words_are_multiplied_as_the_position_presumes(position: str, presumed: float) -> None:
    model = initialised(position=position)
    vectors = model.word_vectors(TOKENS)
    torch.testing.assert_close(vectors, presumed * model.embedding(TOKENS))
    assert model.config.to_dict()["embedding_scale"] == presumed
    asked = initialised(position=position, embedding_scale=2.0)
    torch.testing.assert_close(asked.word_vectors(TOKENS), 2 * asked.embedding(TOKENS))


@torch.no_grad()
def test_a_gru_multiplies_its_words_too() -> None:
    model = initialised(kind="gru", position="no such embedding")
    torch.testing.assert_close(model.word_vectors(TOKENS), 128**0.5 * model.embedding(TOKENS))


@torch.no_grad()
def test_sines_are_added_to_words_of_the_size_the_paper_has() -> None:
    """Vaswani 2017, section 3.4: multiplied by sqrt(width), with no option asked for."""
    model = initialised(position="sinusoidal")
    seen: list[Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    model(TOKENS)
    sines = model.position.instances[0].table(torch.arange(TOKENS.shape[1]))
    words = 128**0.5 * model.embedding.weight[TOKENS]
    torch.testing.assert_close(seen[0], words + sines)


@torch.no_grad()
def test_a_new_model_gives_every_token_its_due() -> None:
    """New blocks are the identity, so that the first loss is near that of a guess."""
    model = initialised()
    losses = model(Batch(TOKENS, TOKENS.roll(-1, 1)))
    assert float(losses.mean()) == pytest.approx(torch.tensor(512.0).log().item(), abs=0.3)


@pytest.mark.parametrize("options", [{}, {"norm": "layer", "biases": True}, {"kind": "gru"}])
def test_bfloat16_is_for_activations_alone(make_random: MakeModel, options: dict) -> None:
    model = make_random("rotary+alibi", **options)
    expected = model(Batch(TOKENS, TARGETS))
    model.compute_dtype = torch.bfloat16
    assert model(TOKENS).dtype is torch.bfloat16
    losses = model(Batch(TOKENS, TARGETS))
    losses.sum().backward()
    assert losses.dtype is torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert 0 < (losses - expected).abs().mean() < 0.3


@torch.no_grad()
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_a_model_of_float64_is_one_throughout(make_random: MakeModel, norm: str) -> None:
    model = make_random("learned+alibi", norm=norm, biases=True)
    expected = model(TOKENS)
    model = model.double()
    model.compute_dtype = torch.float64
    found = model(TOKENS)
    assert found.dtype is torch.float64
    torch.testing.assert_close(found.float(), expected, atol=1e-4, rtol=0)
    assert not torch.equal(found, found.float().double())


@torch.no_grad()
@pytest.mark.parametrize("spec", ["rotary", "learned+alibi"])
def test_a_state_dict_is_the_model(make_random: MakeModel, spec: str) -> None:
    model = make_random(spec, biases=True, norm="layer", embedding_norm=True)
    twin = make_model(model.config).eval()  # as the first: neither drops anything
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(TOKENS), model(TOKENS))
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@torch.no_grad()
def test_a_position_past_the_longest_says_what_to_do(make_random: MakeModel) -> None:
    model = make_random("learned", trained_length=16)
    tokens = torch.zeros(1, 17, dtype=torch.long)
    cache = model.new_cache()
    model(tokens[:, :16], cache=cache)
    for last, given in (
        (16, (tokens,)),
        (99, (Batch(tokens[:, :2], positions=torch.tensor([[99, 0]])),)),
        (16, (tokens[:, :1], cache)),
    ):
        with pytest.raises(BadInput) as caught:
            model(*given)
        assert caught.value.code == "model.position-past-limit"
        assert f"position {last} " in str(caught.value) and "(15)" in str(caught.value)
    assert cache.length == 16
    assert model(tokens[:, :16]).shape == (1, 16, 40)


def test_a_model_has_the_sizes_it_was_asked_for(make_random: MakeModel) -> None:
    asked = ModelConfig(width=48, heads=6, key_value_heads=2, head_dim=16, feed_forward="relu2")
    model = LanguageModel(replace(asked, layers=3))
    block = model.blocks[0]
    assert len(model.blocks) == 3
    shapes = {part.name: tuple(part.value.shape) for part in model.parts()}
    assert shapes["blocks.0.attention.query.weight"] == (96, 48)
    assert shapes["blocks.0.attention.key.weight"] == (32, 48)
    assert block.attention.output.weight.shape == (48, 96)
    assert shapes["blocks.0.feed_forward.up.weight"] == (192, 48)
    assert "blocks.0.feed_forward.gate.weight" not in shapes


@torch.no_grad()
def test_the_table_ends_at_positions_and_not_at_the_length_of_the_cache(
    make_random: Callable[..., LanguageModel],
) -> None:
    """Two packed documents fill the cache with as many tokens as the table has rows."""
    model = make_random("learned", trained_length=8)
    cache, index = model.new_cache(), torch.arange(8)[None]
    tokens = torch.randint(40, (1, 8), generator=torch.Generator().manual_seed(0))
    model(Batch(tokens, positions=index % 4, documents=index // 4, consecutive=True), cache)
    assert torch.isfinite(model(tokens[:, :1], cache)).all()
