"""The parts of a model that families from elsewhere have: output layers, norms, feed-forwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, ModelConfig

TOKENS = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(0))
TARGETS = TOKENS.roll(-1, 1).masked_fill(torch.arange(12) % 5 == 4, -1)

MakeModel = Callable[..., LanguageModel]


@torch.no_grad()
def test_the_layers_before_the_output_layer(make_random: MakeModel) -> None:
    """A linear layer, the function of the feed-forward, a norm; then the matrix, and a bias."""
    model = make_random(output_transform=True, output_bias=True, feed_forward="gelu", biases=True)
    plain = make_random(feed_forward="gelu", biases=True)
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if "output_" not in n})
    hidden, transform = plain.hidden(TOKENS), model.output_transform
    assert transform is not None
    inner = functional.gelu(
        functional.linear(hidden, transform.linear.weight, transform.linear.bias)
    )
    expected = transform.norm(inner) @ model.embedding.weight.T + model.output_bias
    torch.testing.assert_close(model(TOKENS), expected, atol=1e-5, rtol=1e-5)
    losses = functional.cross_entropy(expected.mT, TARGETS, ignore_index=-1, reduction="none")
    torch.testing.assert_close(model(Batch(TOKENS, TARGETS)), losses, atol=1e-5, rtol=1e-5)
    unbiased = make_random(output_transform=True, feed_forward="gelu", biases=True)
    unbiased.load_state_dict({n: v for n, v in model.state_dict().items() if n != "output_bias"})
    losses = functional.cross_entropy(
        (expected - model.output_bias).mT, TARGETS, ignore_index=-1, reduction="none"
    )
    torch.testing.assert_close(unbiased(Batch(TOKENS, TARGETS)), losses, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_norms_on_both_sides_of_each_branch(make_random: MakeModel) -> None:
    model = make_random(norm_placement="both")
    block, seen = model.blocks[0], {}
    for name in ("attention", "feed_forward"):
        getattr(block, name).register_forward_hook(
            lambda module, given, result, name=name: seen.update({name: (given[0], result)})
        )
    streams: list[Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda module, given: streams.append(given[0]))
    model.blocks[1].register_forward_pre_hook(lambda module, given: streams.append(given[0]))
    model(TOKENS)
    before, after = streams
    middle = before + block.attention_output_norm(seen["attention"][1])
    torch.testing.assert_close(seen["attention"][0], block.attention_norm(before))
    torch.testing.assert_close(seen["feed_forward"][0], block.feed_forward_norm(middle))
    added = block.feed_forward_output_norm(seen["feed_forward"][1])
    torch.testing.assert_close(after, middle + added)
    assert model.final_norm is not None
    with pytest.raises(BadInput) as caught:
        ModelConfig(norm_placement="both", parallel_residual=True)
    assert caught.value.code == "model.parallel-norms"


@torch.no_grad()
@pytest.mark.parametrize(
    "kind,function",
    [
        ("relu", lambda up: up.clamp(min=0)),
        ("relu2", lambda up: up.clamp(min=0).square()),
        ("gelu", functional.gelu),
        ("gelu_tanh", lambda up: functional.gelu(up, approximate="tanh")),
    ],
)
def test_feed_forwards_without_a_gate(
    make_random: MakeModel, kind: str, function: Callable[[Tensor], Tensor]
) -> None:
    layer, x = make_random(feed_forward=kind).blocks[0].feed_forward, torch.randn(2, 5, 32)
    expected = function(x @ layer.input.weight.T) @ layer.down.weight.T
    torch.testing.assert_close(layer(x, None), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "kind,function",
    [
        ("swiglu", functional.silu),
        ("geglu", functional.gelu),
        ("geglu_tanh", lambda gate: functional.gelu(gate, approximate="tanh")),
    ],
)
def test_feed_forwards_with_a_gate(
    make_random: MakeModel, kind: str, function: Callable[[Tensor], Tensor]
) -> None:
    layer, x = make_random(feed_forward=kind).blocks[0].feed_forward, torch.randn(2, 5, 32)
    gate, up = (x @ layer.input.weight.T).chunk(2, -1)
    expected = (function(gate) * up) @ layer.down.weight.T
    torch.testing.assert_close(layer(x, None), expected, atol=1e-5, rtol=1e-5)
    assert ModelConfig(feed_forward=kind, width=96).resolved.feed_forward_width == 256


@torch.no_grad()
def test_the_clamped_feed_forward(make_random: MakeModel) -> None:
    """Both of its linear layers are limited to 7, the gate from above alone."""
    layer = make_random(feed_forward="swiglu_clamped", biases=True).blocks[0].feed_forward
    x = 10 * torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    gate, up = functional.linear(x, layer.input.weight, layer.input.bias).chunk(2, -1)
    assert gate.max() > 7 and gate.min() < -7 and up.max() > 7 and up.min() < -7
    gate, up = gate.clamp(max=7), up.clamp(-7, 7)
    hidden = (up + 1) * gate * torch.sigmoid(1.702 * gate)
    expected = functional.linear(hidden, layer.down.weight, layer.down.bias)
    torch.testing.assert_close(layer(x, None), expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("position", ["rotary", "alibi", "fire", "cope"])
def test_capped_scores(make_random: MakeModel, position: str) -> None:
    """Scores are capped before a bias is added; caches, latents and kernels see the same."""
    plain = make_random(position=position)
    model = make_random(position=position, attention_softcap=0.5)
    assert (model(TOKENS) - plain(TOKENS)).abs().max() > 1e-3
    distant = make_random(position=position, attention_softcap=1e6)
    torch.testing.assert_close(distant(TOKENS), plain(TOKENS), atol=1e-4, rtol=1e-4)
    cache = model.new_cache()
    pieces = [model(piece, cache) for piece in TOKENS.tensor_split((7, 8), 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(TOKENS), atol=1e-5, rtol=1e-5)
    model.attention_kernel = "whole"
    torch.testing.assert_close(model(TOKENS), torch.cat(pieces, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_capped_scores_of_latents(make_random: MakeModel) -> None:
    model = make_random(attention="latent", key_value_heads=0, attention_softcap=0.5)
    cache = model.new_cache()
    pieces = [model(piece, cache) for piece in TOKENS.tensor_split((7, 8), 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(TOKENS), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_capped_scores_by_their_definition(make_random: MakeModel) -> None:
    from wordorder.model import Recorder

    model, records = make_random(attention_softcap=0.5, position="none"), []

    class Records(Recorder):
        def attention(self, record: object) -> None:
            records.append(record)

    model(TOKENS, recorder=Records())
    problem = records[0].problem
    scores = 0.5 * torch.tanh(problem.queries @ problem.keys.mT * problem.scale / 0.5)
    hidden = torch.ones(12, 12, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ problem.values
    torch.testing.assert_close(records[0].attended, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_first_attention_without_a_norm(make_random: MakeModel) -> None:
    model = make_random(first_norm=False, embedding_norm=True)
    names = [n for n in model.state_dict() if "attention_norm" in n]
    assert names == ["blocks.1.attention_norm.weight"]
    inputs: list[Tensor] = []
    model.blocks[0].attention.register_forward_pre_hook(lambda m, given: inputs.append(given[0]))
    model.blocks[0].register_forward_pre_hook(lambda m, given: inputs.append(given[0]))
    model(TOKENS)
    assert torch.equal(inputs[0], inputs[1])
    with pytest.raises(BadInput) as caught:
        ModelConfig(first_norm=False, norm_placement="after")
    assert caught.value.code == "model.no-first-norm"
