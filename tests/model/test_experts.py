"""Mixtures of experts: against a loop over tokens, and what must not depend on the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, ModelConfig, make_model
from wordorder.model.experts import BIAS_STEP, Experts, Routing
from wordorder.training.optimizers import Optimizer

FLOAT32 = 1e-5  # float32 sums in another order
SIZES = {"experts": 6, "active_experts": 2, "expert_width": 24, "width": 16, "layers": 2}
SIGMOID = {"router": "sigmoid", "expert_groups": 3, "active_groups": 2, "routed_scale": 2.5}
KINDS = {
    "softmax": {},
    "not normalized": {"normalized_routing": False, "routed_scale": 16.0},
    "best groups": {"expert_groups": 3, "active_groups": 1},
    "sigmoid": {"router": "sigmoid"},
    "sigmoid groups": SIGMOID,
    "shared": {"shared_experts": 2},
    "relu2": {"feed_forward": "relu2"},
    "gelu": {"feed_forward": "gelu", "active_experts": 6},
    "biases": {"biases": True, "feed_forward": "swiglu_clamped"},
    "biases, shared": {"biases": True, "shared_experts": 1, "router": "sigmoid"},
}
TOKENS = torch.randint(40, (3, 9), generator=torch.Generator().manual_seed(0))
OBSERVED = SimpleNamespace(balance=None)

MakeModel = Callable[..., LanguageModel]


def mixture(seed: int = 0, **options: object) -> Experts:
    """A mixture in float64 with random weights and selection biases."""
    model = Experts(ModelConfig(**{**SIZES, "heads": 2, **options}).resolved).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(noise * weight.shape[-1] ** -0.5)
        if model.router.selection_bias is not None:
            model.router.selection_bias.copy_(0.3 * torch.randn(6, generator=generator))
    return model


def chosen(router, x: Tensor) -> dict[int, Tensor]:
    """The weight of each chosen expert of one token (width,)."""
    logits = (router.weight.float() @ x.float()).tolist()
    if router.bias is not None:
        logits = [a + b for a, b in zip(logits, router.bias.tolist(), strict=True)]
    exponents = torch.tensor(logits).double()
    scores = exponents.softmax(0) if router.softmax else exponents.sigmoid()
    bias = torch.zeros(6) if router.selection_bias is None else router.selection_bias
    chances = (scores + bias).tolist()
    size = 6 // router.groups
    groups = [sorted(chances[g * size : g * size + size]) for g in range(router.groups)]
    values = [sum(group[-1 if router.softmax else -2 :]) for group in groups]
    best = sorted(range(router.groups), key=values.__getitem__)[-router.active_groups :]
    allowed = [e for e in range(6) if e // size in best]
    experts = sorted(allowed, key=chances.__getitem__)[-router.active :]
    total = sum(scores[e] for e in experts) if router.normalized else 1.0
    return {e: scores[e] / total * router.scale for e in experts}


def by_token(mixture: Experts, x: Tensor) -> Tensor:
    """The output of tokens (tokens, width), one token and one expert after the other."""

    def expert(x: Tensor, layers: tuple[Any, Any], which: int | slice) -> Tensor:
        (up, up_bias), (down, down_bias) = (
            (m.weight[which], 0.0 if m.bias is None else m.bias[which]) for m in layers
        )
        return down @ activated(up @ x + up_bias) + down_bias

    def activated(hidden: Tensor) -> Tensor:
        if mixture.activation == "swiglu":
            gate, up = hidden.chunk(2)
            return gate / (1 + (-gate).exp()) * up
        if mixture.activation == "swiglu_clamped":
            gate, up = hidden.chunk(2)
            gate, up = gate.clamp(max=7), up.clamp(-7, 7)
            return (up + 1) * gate / (1 + (-1.702 * gate).exp())
        if mixture.activation == "relu2":
            return hidden.clamp(min=0).square()
        return functional.gelu(hidden)

    outputs = []
    for token in x:
        total = torch.zeros_like(token)
        for e, weight in chosen(mixture.router, token).items():
            total = total + weight * expert(token, (mixture.input, mixture.down), e)
        if mixture.shared is not None:
            shared = (mixture.shared.input, mixture.shared.down)
            total = total + expert(token, shared, slice(None))
        outputs.append(total)
    return torch.stack(outputs)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_equals_a_loop_over_tokens(options: dict) -> None:
    layer = mixture(**options)
    x = torch.randn(11, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = by_token(layer, x)
    assert expected.std() > 0.01
    close = partial(torch.testing.assert_close, atol=1e-6, rtol=1e-6)  # routers are float32
    close(layer(x, OBSERVED), expected)
    close(torch.cat([layer(token[None], OBSERVED) for token in x]), expected)
    close(layer(x.view(1, 11, 16), OBSERVED)[0], expected)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("tokens", [1, 7])
def test_gradients_are_right(options: dict, tokens: int) -> None:
    """Against the loop's for the router, which is float32, and finite differences for the rest."""
    layer = mixture(**options)
    x = torch.randn(tokens, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x.requires_grad_()
    biases = [m.bias for m in (layer.input, layer.down) if m.bias is not None]
    inputs = (x, layer.input.weight, layer.down.weight, *biases)
    direction = torch.randn(tokens, 16, generator=torch.Generator().manual_seed(3)).double()
    ours = torch.autograd.grad((layer(x, OBSERVED) * direction).sum(), inputs)
    loops = torch.autograd.grad((by_token(layer, x) * direction).sum(), inputs[1:])
    for gradient, expected in zip(ours[1:], loops, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-5)
    for parameter in (x, layer.router.weight):
        (gradient,) = torch.autograd.grad((layer(x, OBSERVED) * direction).sum(), parameter)
        flat = gradient.flatten()
        for i in range(0, len(flat), 5):
            values = []
            for step in (1e-3, -1e-3):
                with torch.no_grad():
                    parameter.view(-1)[i] += step
                    values.append((layer(x, OBSERVED) * direction).sum())
                    parameter.view(-1)[i] -= step
            numeric = (values[0] - values[1]) / 2e-3
            torch.testing.assert_close(flat[i], numeric, atol=2e-3, rtol=2e-2)


def test_the_auxiliary_loss_by_hand() -> None:
    """Three tokens, three experts, two of them active: loads 3, 2 and 1 of 6 choices."""
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.4, 0.2, 0.4]], requires_grad=True)
    routing = Routing(scores, torch.tensor([[0, 1], [1, 0], [2, 0]]), scores[:, :2])
    assert routing.loads().tolist() == [3, 2, 1]
    loss = routing.balance_loss()
    expected = 3 * (3 / 6 * 1.5 / 3 + 2 / 6 * 0.8 / 3 + 1 / 6 * 0.7 / 3)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    even = Routing(torch.full((3, 3), 0.2), torch.tensor([[0], [1], [2]]), scores[:, :1])
    assert even.balance_loss().item() == pytest.approx(1.0)
    loss.backward()
    assert scores.grad is not None and (scores.grad.argmax(-1) == 0).all()


def test_the_loss_of_tokens_is_reported_and_the_auxiliary_loss_has_its_gradient() -> None:
    """A factor of 0 and one of 0.5 give the same losses; the difference of gradients is exact."""
    targets = TOKENS.roll(-1, 1).masked_fill(torch.arange(9) == 8, -1)
    losses, gradients = [], []
    for factor in (0.0, 0.5):
        config = ModelConfig(**SIZES, heads=2, vocabulary_size=40, balance_loss=factor, dropout=0)
        model = make_model(config)
        model.initialise(0)
        model.train()
        loss = model(Batch(TOKENS, targets))
        losses.append(loss.detach())
        counted = (targets >= 0).sum()
        parameters = [block.feed_forward.router.weight for block in model.blocks]
        gradients.append(torch.autograd.grad(loss.sum() / counted, parameters))
    assert torch.equal(*losses)
    model.eval()
    seen: list[Tensor] = []

    def record(layer: Experts, given: tuple) -> None:
        seen.append(layer.router.route(given[0].flatten(0, 1)).balance_loss())

    for block in model.blocks:
        block.feed_forward.register_forward_pre_hook(record)
    model(TOKENS)
    expected = torch.autograd.grad(0.5 * (seen[0] + seen[1]), parameters)
    for without, with_loss, auxiliary in zip(*gradients, expected, strict=True):
        torch.testing.assert_close(with_loss - without, auxiliary, atol=1e-6, rtol=1e-3)
        assert auxiliary.abs().max() > 1e-5


@pytest.mark.parametrize("options", [{}, SIGMOID], ids=["softmax", "sigmoid"])
@torch.no_grad()
def test_a_token_does_not_depend_on_the_rest_of_the_batch(
    make_random: MakeModel, options: dict
) -> None:
    """No expert has a capacity: alone, in a batch, packed, padded and cached are the same."""
    model = make_random(**{**SIZES, "width": 32, "shared_experts": 1, **options})
    close = partial(torch.testing.assert_close, atol=FLOAT32, rtol=FLOAT32)
    whole = model(TOKENS)
    close(torch.cat([model(row[None]) for row in TOKENS]), whole)
    index = torch.arange(27)[None]
    packed = Batch(TOKENS.reshape(1, 27), positions=index % 9, documents=index // 9)
    close(model(packed).view_as(whole), whole)
    cache = model.new_cache()
    close(torch.cat([model(t, cache) for t in TOKENS.tensor_split((1, 2, 6, 8), 1)], 1), whole)
    crowd = TOKENS[:1].expand(50, -1)  # every copy wants the same experts
    close(model(crowd), whole[:1].expand(50, -1, -1))


def test_selection_biases_follow_the_loads() -> None:
    layer = mixture(router="sigmoid")
    bias = layer.router.selection_bias
    assert bias is not None
    before = bias.clone()
    layer.adjust(torch.tensor([5, 0, 2, 2, 2, 1]))
    step = (bias - before) / BIAS_STEP
    torch.testing.assert_close(
        step, torch.tensor([-1.0, 1, 0, 0, 0, 1]).double(), atol=1e-3, rtol=0
    )


@torch.no_grad()
def test_biases_choose_experts_but_do_not_weigh_them() -> None:
    layer = mixture(router="sigmoid", active_experts=1, normalized_routing=False)
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1)).double()
    assert layer.router.selection_bias is not None
    layer.router.selection_bias.copy_(torch.tensor([0, 0, 0, 9.0, 0, 0]))
    routing = layer.router.route(x)
    assert (routing.experts == 3).all()
    assert torch.equal(routing.weights[:, 0], routing.scores[:, 3])


def test_first_layers_may_be_dense_and_sizes_follow_the_dense_one() -> None:
    config = ModelConfig(width=48, heads=2, layers=3, experts=8, shared_experts=1, dense_layers=1)
    model = make_model(config)
    kinds = [type(block.feed_forward).__name__ for block in model.blocks]
    assert kinds == ["FeedForward", "Experts", "Experts"]
    resolved = model.config
    assert (resolved.feed_forward_width, resolved.expert_width) == (128, 48)
    assert resolved.active_experts == 2 and resolved.balance_loss == 0.01


def test_parameters_are_counted_in_all_and_per_token(make_random: MakeModel) -> None:
    """Of 6 experts with 3 matrices of 16 x 24, 2 compute a token."""
    counts = make_random(**SIZES).parameter_counts()
    assert counts["total"] - counts["active"] == 2 * 4 * 3 * 16 * 24
    assert "active" not in make_random().parameter_counts()


def test_muon_takes_each_matrix_of_each_expert_by_itself(make_random: MakeModel) -> None:
    model = make_random(**{**SIZES, "layers": 1, "shared_experts": 1})
    parts = {p.name: p for p in model.muon_parts() if "feed_forward" in p.name}
    experts = [f"{e}.{kind}" for e in [*range(6), "shared"] for kind in ("gate", "up", "down")]
    assert sorted(parts) == sorted(f"blocks.0.feed_forward.{name}.weight" for name in experts)
    weight = model.blocks[0].feed_forward.input.weight
    assert torch.equal(parts["blocks.0.feed_forward.3.up.weight"].value, weight[3, 24:])


def test_biases_of_experts_are_parts_that_adamw_updates_without_decay() -> None:
    model = make_model(ModelConfig(**SIZES, heads=2, biases=True))
    model.initialise(0)
    names = {part.name for part in model.parts()}
    assert {f"blocks.1.feed_forward.5.{kind}.bias" for kind in ("gate", "up", "down")} <= names
    assert model.blocks[0].feed_forward.input.bias.abs().max() == 0
    optimizer = Optimizer(model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.1)
    kept = {
        id(p) for g in optimizer.adam.param_groups if not g["weight_decay"] for p in g["params"]
    }
    assert all(id(p) in kept for n, p in model.named_parameters() if n.endswith("bias"))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"active_experts": 2}, "model.experts-option"),
        ({"router": "sigmoid"}, "model.experts-option"),
        ({"normalized_routing": False}, "model.experts-option"),
        ({"experts": 4, "active_experts": 5}, "model.active-experts"),
        ({"experts": 4, "expert_groups": 3}, "model.expert-groups"),
        ({"experts": 4, "expert_groups": 2, "active_groups": 3}, "model.expert-groups"),
        ({"experts": 4, "expert_groups": 4, "router": "sigmoid"}, "model.expert-group-size"),
        ({"experts": 4, "dense_layers": 2}, "model.experts-in-no-layer"),
        ({"experts": 4, "kind": "gru"}, "model.experts-gru"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        ModelConfig(width=32, heads=4, layers=2, **options)
    assert caught.value.code == code


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("attention", ["standard", "latent"])
def test_a_compiled_training_step_is_the_same(attention: str) -> None:
    gradients, losses = [], []
    for compiled in (False, True):
        options = {**SIZES, "layers": 1, "attention": attention, "dropout": 0}
        config = ModelConfig(**options, heads=2, vocabulary_size=40)
        model = make_model(config)
        model.initialise(0)
        model.train()
        forward = torch.compile(model, backend="aot_eager") if compiled else model
        loss = forward(Batch(TOKENS[:, :-1], TOKENS[:, 1:])).mean()
        loss.backward()
        losses.append(loss.detach())
        gradients.append([p.grad for p in model.parameters()])
        assert [loads.sum() for loads in model.take_loads()] == [2 * 3 * 8]
    torch._dynamo.reset()
    torch.testing.assert_close(*losses)
    for eager, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, eager, atol=FLOAT32, rtol=1e-4)
