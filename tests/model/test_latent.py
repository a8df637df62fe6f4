"""Latent attention: against a loop over heads in float64, DeepSeek in transformers, and itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, ModelConfig, Recorder
from wordorder.model.compiled_step import CompiledStep
from wordorder.model.context import AttentionRecord
from wordorder.model.decoding import Sampling, generate
from wordorder.positions import PositionError

# As in test_decoding: float32 sums in another order, and what no rounding explains.
FLOAT32, APART = 1e-4, 1e-2
SIZES = {"attention": "latent", "key_value_heads": 0, "latent_dim": 12}
COMPRESSED = {**SIZES, "query_latent_dim": 10, "rotary_head_dim": 6, "value_head_dim": 5}
# One for each way in which an embedding meets latent attention: the decoupled part alone, biases,
# score functions of whole queries and keys, states, the input.
SPECS = [
    "rotary",
    "rotary:fraction=0.5",
    "rotary:scaling=yarn,factor=4",
    "rotary:scaling=dynamic",
    "none",
    "xpos",
    "pope",
    "selective",
    "alibi",
    "rotary+alibi",
    "t5",
    "kerple",
    "fire",
    "shaw",
    "deberta",
    "transformer-xl",
    "forgetting",
    "learned",
    "rotary/none",
]
TOKENS = torch.randint(40, (2, 17), generator=torch.Generator().manual_seed(0))

MakeModel = Callable[..., LanguageModel]


def close(output: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(output, expected, atol=FLOAT32, rtol=FLOAT32)


def by_heads(model: LanguageModel, x: Tensor) -> Tensor:
    """Attention of the first layer on one sequence (time, width) float64, one pair at a time."""
    c, attention = model.config, model.blocks[0].attention
    weights = {p.name: p.value.double() for p in model.parts()}
    w = {n.removeprefix("blocks.0.attention."): v for n, v in weights.items()}

    def normed(vector: Tensor, name: str) -> Tensor:
        return vector / (vector.square().mean() + c.norm_epsilon).sqrt() * w[name]

    def turned(vector: Tensor, position: int) -> Tensor:
        result = vector.clone()
        for i in range(c.rotary_head_dim // 2):
            base = model.position.instances[0].resolved_base
            angle = position * base ** (-2 * i / c.rotary_head_dim)
            a, b = vector[2 * i], vector[2 * i + 1]
            result[2 * i] = a * math.cos(angle) - b * math.sin(angle)
            result[2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
        return result

    assert attention.query is not None
    outputs = []
    for i, token in enumerate(x):
        queries = w["query.weight"] @ normed(w["query_latent.weight"] @ token, "query_norm.weight")
        heads = []
        for h in range(c.heads):
            query = queries.view(c.heads, -1)[h]
            plain, rotary = query[: c.head_dim], turned(query[c.head_dim :], i)
            scores, values = [], []
            for j in range(i + 1):
                latent = normed(w["latent.weight"] @ x[j], "latent_norm.weight")
                key = w["key.weight"].view(c.heads, c.head_dim, -1)[h] @ latent
                shared = turned(w["rotary_key.weight"] @ x[j], j)
                scale = (c.head_dim + c.rotary_head_dim) ** -0.5
                scores.append((plain @ key + rotary @ shared) * scale)
                values.append(w["value.weight"].view(c.heads, c.value_head_dim, -1)[h] @ latent)
            heads.append(torch.stack(scores).softmax(0) @ torch.stack(values))
        outputs.append(w["output.weight"] @ torch.cat(heads))
    return torch.stack(outputs)


@torch.no_grad()
def test_equals_the_formula_head_by_head(make_random: MakeModel) -> None:
    model = make_random(layers=1, **COMPRESSED)
    seen: dict[str, Tensor] = {}
    attention = model.blocks[0].attention
    attention.register_forward_hook(lambda m, given, output: seen.update(x=given[0], y=output))
    model(TOKENS[:1, :7])
    expected = by_heads(model, seen["x"][0].double())
    torch.testing.assert_close(seen["y"][0].double(), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


FULL_SIZES = ("rotary", "alibi", "shaw", "forgetting")  # of each kind one, quickly


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        *((spec, COMPRESSED) for spec in SPECS),
        *((spec, SIZES) for spec in FULL_SIZES),
        *(pytest.param(s, SIZES, marks=pytest.mark.slow) for s in SPECS if s not in FULL_SIZES),
    ],
)
@torch.no_grad()
def test_in_pieces_with_a_cache_equals_whole(make_random: MakeModel, spec: str, sizes) -> None:
    model = make_random(spec, **sizes)
    whole = model(TOKENS)
    for cuts in ((1, 2, 3), (5, 6, 13), tuple(range(1, 17))):
        cache = model.new_cache()
        pieces = [model(piece, cache) for piece in TOKENS.tensor_split(cuts, 1)]
        close(torch.cat(pieces, 1), whole)
    raw = model.new_cache(rotated=False)
    close(torch.cat([model(t, raw) for t in TOKENS.tensor_split((9, 10), 1)], 1), whole)


@pytest.mark.parametrize("spec", SPECS)
@torch.no_grad()
def test_padding_and_packing_change_nothing(make_random: MakeModel, spec: str) -> None:
    model = make_random(spec, **COMPRESSED)
    alone = model(TOKENS[:, :6])
    row, index = TOKENS[:, :6].reshape(1, 12), torch.arange(12)[None]
    packed = model(Batch(row, positions=index % 6, documents=index // 6))
    close(packed.view_as(alone), alone)
    padded = torch.cat((TOKENS[:, 6:9], TOKENS[:, :6]), 1)
    positions = (torch.arange(9)[None] - 3).clamp(min=0).expand(2, -1)
    documents = torch.where(torch.arange(9) < 3, -1, 0).expand(2, -1)
    close(model(Batch(padded, positions=positions, documents=documents))[:, 3:], alone)


@pytest.mark.parametrize("spec", SPECS)
@torch.no_grad()
def test_hidden_tokens_are_absent_tokens(make_random: MakeModel, spec: str) -> None:
    model = make_random(spec, **COMPRESSED)
    documents = torch.zeros(2, 17, dtype=torch.int64)
    documents[:, [3, 4]] = -1
    rest = [i for i in range(17) if i not in (3, 4)]
    positions = torch.arange(17)[None].expand(2, -1)
    output = model(Batch(TOKENS, positions=positions, documents=documents))[:, rest]
    expected = model(Batch(TOKENS[:, rest], positions=torch.tensor([rest])))
    close(output, expected)


@torch.no_grad()
def test_tokens_before_the_window_change_nothing(make_random: MakeModel) -> None:
    model = make_random(windows=(3,), **COMPRESSED)
    other = torch.cat(((TOKENS[:, :2] + 7) % 40, TOKENS[:, 2:]), 1)
    close(model(other)[:, 6:], model(TOKENS)[:, 6:])
    assert (model(other)[:, 4] - model(TOKENS)[:, 4]).abs().max() > APART


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_activations_of_16_bits_are_as_exact_as_their_rounding(
    make_random: MakeModel, dtype: torch.dtype
) -> None:
    """At far positions too: a rounded position is wrong by one or more."""
    model = make_random(**COMPRESSED)
    far = Batch(TOKENS, positions=torch.arange(3001, 3018)[None])
    expected = model(far)
    model.compute_dtype = dtype
    cache = model.new_cache()
    model(far._replace(tokens=TOKENS[:, :16], positions=far.positions[:, :16]), cache)
    last = model(far._replace(tokens=TOKENS[:, 16:], positions=far.positions[:, 16:]), cache)
    for output, exact in ((model(far), expected), (last, expected[:, 16:])):
        assert (output.float() - exact).square().mean().sqrt() / exact.std() < 0.06


@pytest.mark.parametrize("spec", ["rotary", "alibi", "shaw", "selective"])
@torch.no_grad()
def test_the_future_changes_nothing_and_order_does(make_random: MakeModel, spec: str) -> None:
    model = make_random(spec, **COMPRESSED)
    other = torch.cat((TOKENS[:, :9], TOKENS[:, 9:].flip(1)), 1)
    close(model(other)[:, :9], model(TOKENS)[:, :9])
    swapped = TOKENS[:, [1, 0, *range(2, 17)]]
    assert (model(swapped)[:, -1] - model(TOKENS)[:, -1]).abs().max() > APART


@torch.no_grad()
def test_the_cache_holds_latents_and_one_rotary_key(make_random: MakeModel) -> None:
    """12 + 6 numbers per token and layer; 4 heads of keys and values would be 4 * (8 + 6 + 5)."""
    model = make_random(**COMPRESSED)
    cache = model.new_cache()
    model(TOKENS, cache)
    layer = cache.layers[0]
    assert layer.keys is not None and layer.values is not None
    assert layer.keys.shape[:2] == layer.values.shape[:2] == (2, 1)
    assert layer.keys.shape[-1] + layer.values.shape[-1] == 12 + 6


@torch.no_grad()
def test_a_decoding_step_expands_no_cached_latent(make_random: MakeModel) -> None:
    model = make_random(**COMPRESSED)
    cache = model.new_cache()
    model(TOKENS[:, :-1], cache)
    seen: list[int] = []
    for block in model.blocks:
        block.attention.expansion.register_forward_hook(lambda *_: seen.append(1))
    close(model(TOKENS[:, -1:], cache)[:, -1], model(TOKENS)[:, -1])
    assert len(seen) == len(model.blocks)  # of the comparison alone


@torch.no_grad()
def test_eviction_gives_latents_new_positions(make_random: MakeModel) -> None:
    """In one layer the kept tokens alone, at positions 0 to 7, give the same logits."""
    model = make_random(layers=1, **COMPRESSED)
    cache = model.new_cache(rotated=False)
    model(TOKENS[:, :-1], cache)
    cache.evict(2, 5)
    kept = torch.cat((TOKENS[:, :2], TOKENS[:, 11:]), 1)
    close(model(TOKENS[:, -1:], cache)[:, -1], model(kept)[:, -1])


@torch.no_grad()
def test_a_recorder_gets_the_queries_and_keys_of_heads(make_random: MakeModel) -> None:
    class Records(Recorder):
        def __init__(self) -> None:
            self.records: list[AttentionRecord] = []

        def attention(self, record: AttentionRecord) -> None:
            self.records.append(record)

    model, recorder = make_random(**COMPRESSED), Records()
    model(TOKENS, recorder=recorder)
    first = recorder.records[0]
    assert first.raw_queries.shape == first.raw_keys.shape == (2, 4, 17, 14)
    weights, added = first.weights()
    assert (added == 0).all()
    close(weights @ first.problem.values, first.attended)


@pytest.mark.parametrize("spec", ["rotary", "alibi", pytest.param("shaw", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_a_compiled_step_generates_the_same_tokens(
    make_random: MakeModel, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = make_random(spec, **COMPRESSED, layers=1, experts=4, shared_experts=1)
    sampling = Sampling(max_tokens=6, temperature=0)
    plain = list(generate(model, [1, 2, 3], sampling))
    assert list(generate(model, [1, 2, 3], sampling, step=CompiledStep(model))) == plain
    torch._dynamo.reset()


@pytest.mark.parametrize("spec", ["cope", "dape", "path", "self-extend", "shaw-values"])
def test_embeddings_that_replace_attention_are_refused(spec: str) -> None:
    with pytest.raises(PositionError) as caught:
        LanguageModel(ModelConfig(width=32, heads=4, layers=1, position=spec, attention="latent"))
    assert caught.value.code == "positions.latent-whole-row"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"latent_dim": 8}, "model.latent-option"),
        ({"rotary_head_dim": 8}, "model.latent-option"),
        ({"attention": "latent", "key_value_heads": 2}, "model.latent-key-value-heads"),
        ({"attention": "latent", "kind": "gru"}, "model.latent-gru"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        ModelConfig(width=32, heads=4, **options)
    assert caught.value.code == code


def test_default_sizes_are_those_of_the_paper() -> None:
    config = ModelConfig(width=96, heads=3, attention="latent").resolved
    assert (config.latent_dim, config.rotary_head_dim, config.value_head_dim) == (128, 16, 32)
    assert not config.qk_norm
    assert config.resolved == config == ModelConfig.from_dict(config.to_dict())


@pytest.mark.parametrize("spec", ["rotary", "alibi", "deberta"])
def test_gradients_are_those_of_the_definition(make_random: MakeModel, spec: str) -> None:
    """The fused kernels, if any, and the plain one have the same gradients in every weight."""
    gradients = []
    for kernel in ("plain", "fused"):
        model = make_random(spec, **COMPRESSED)
        model.attention_kernel = kernel
        model(Batch(TOKENS[:, :-1], TOKENS[:, 1:])).mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.abs().max() > 0, name
        close(gradients[1][name], gradient)


def test_an_odd_latent_is_decoded(make_random: MakeModel) -> None:
    """One row of one token begins at an odd place in the keys, which strides do not show."""
    model = make_random("rotary", **{**SIZES, "latent_dim": 13})
    tokens = list(generate(model, [1, 2, 3], Sampling(max_tokens=4, temperature=0)))
    assert len(tokens) == 4
