"""Eviction: what is kept is read as if nothing had ever stood between.

In one layer keys depend on their tokens alone: a cache from which tokens were dropped is there
exactly what the kept tokens are by themselves. In more layers they hold what was read before,
and a cache that drops its oldest token at each step is a sliding window.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, TokenModel
from wordorder.model.decoding import Sampling, check_window, generate
from wordorder.positions import CATALOGUE

# Everything is float64, but for tables that are the same float32 ones on both sides.
EXACT = 1e-10
# Sums over a text, a middle that moves with it, sinusoids of all its distances: in float32.
ROUNDED = 1e-5

IN_ATTENTION = [name for name, kind in CATALOGUE.items() if kind.door != "input"]
# States of these are made of several tokens: what was dropped is still in them.
SUMS = ("forgetting", "path", "selective")
TOKEN_BY_TOKEN = [name for name in IN_ATTENTION if name not in SUMS]
SCALED = ["rotary:scaling=yarn,factor=4", "rotary:scaling=dynamic,original_length=8", "rotary/none"]

MakeModel = Callable[..., TokenModel]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def exact(make_random: MakeModel, spec: str, **options: object) -> LanguageModel:
    model = make_random(spec, **options).double()
    model.compute_dtype = torch.float64
    return model


def some_tokens(*shape: int) -> Tensor:
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(3))


def same(found: Tensor, expected: Tensor, tolerance: float = EXACT) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def cut(tokens: Tensor, sinks: int, window: int) -> Tensor:
    return torch.cat((tokens[:, :sinks], tokens[:, tokens.shape[1] - window :]), 1)


@pytest.mark.parametrize("sinks,window", [(0, 5), (1, 4), (4, 1), (4, 9)])
@pytest.mark.parametrize("spec", [*TOKEN_BY_TOKEN, *SCALED])
def test_in_one_layer_it_is_the_kept_tokens_alone(
    make_random: MakeModel, spec: str, sinks: int, window: int
) -> None:
    model, tokens = exact(make_random, spec, layers=1), some_tokens(2, 24)
    cache = model.new_cache(rotated=False, context_length=24)
    model(tokens[:, :20], cache=cache)
    cache.evict(sinks, window)
    assert cache.length == sinks + window
    assert cache.positions.tolist() == [list(range(sinks + window))]
    kept = cut(tokens[:, :20], sinks, window)
    expected = model(Batch(torch.cat((kept, tokens[:, 20:]), 1), context_length=24))[
        :, sinks + window :
    ]
    found = [model(tokens[:, 20:22], cache=cache), model(tokens[:, 22:], cache=cache)]
    rounded = spec in ("xpos", "transformer-xl")
    same(torch.cat(found, 1), expected, ROUNDED if rounded else EXACT)


@pytest.mark.parametrize("spec", IN_ATTENTION)
def test_with_everything_kept_nothing_changes(make_random: MakeModel, spec: str) -> None:
    """Positions that do not start at 0, too, stay where they are."""
    model, tokens = exact(make_random, spec), some_tokens(2, 12)
    caches = [model.new_cache(rotated=False) for _ in range(2)]
    for cache in caches:
        model(Batch(tokens[:, :9], positions=torch.arange(7, 16)[None]), cache=cache)
    caches[0].evict(0, 9)
    caches[0].evict(4, 5)
    assert torch.equal(*(model(tokens[:, 9:], cache=cache) for cache in caches))


@pytest.mark.parametrize("spec", ["none", "rotary", "alibi", "t5", "cope", *SUMS])
def test_dropping_the_oldest_is_a_sliding_window(make_random: MakeModel, spec: str) -> None:
    """In any number of layers: a cache of 6, and a window of 6 and the token itself."""
    model = exact(make_random, spec, layers=3)
    sliding = exact(make_random, spec, layers=3, windows=(7,))
    if spec == "path":  # its window hides keys, and leaves what acts on them from between
        model, sliding = (exact(make_random, "path:taps=1", windows=w) for w in ((), (7,)))
    tokens = some_tokens(1, 40)
    cache, expected = model.new_cache(rotated=False), sliding(tokens)
    for step in range(40):
        found = model(tokens[:, step : step + 1], cache=cache)
        cache.evict(0, 6)
        same(found[:, 0], expected[:, step], ROUNDED)


def test_gates_of_what_was_dropped_still_count(make_random: MakeModel) -> None:
    """Forgetting is not undone: sinks are as far off as all the gates between have them."""
    model, tokens = exact(make_random, "forgetting", layers=1), some_tokens(1, 20)
    cache = model.new_cache(rotated=False)
    model(tokens[:, :19], cache=cache)
    cache.evict(3, 5)
    block, (gates,) = model.blocks[0], model.position.instances
    outputs: list[Tensor] = []
    hook = block.attention.register_forward_hook(lambda *given: outputs.append(given[-1]))
    model(tokens[:, 19:], cache=cache)
    hook.remove()
    x = block.attention_norm(model.embedding(tokens))
    queries, keys, values = block.attention.project(x)
    keys, values = (each.repeat_interleave(2, 1) for each in (keys, values))
    logs = functional.logsigmoid(functional.linear(x, gates.weight, gates.bias))
    sums = logs.cumsum(1).transpose(1, 2)  # (batch, heads, time)
    scores = (queries[:, :, -1:] @ keys.mT)[:, :, 0] / model.config.head_dim**0.5
    scores = scores + sums[:, :, -1:] - sums
    kept = [0, 1, 2, 14, 15, 16, 17, 18, 19]
    weights = scores[:, :, kept].softmax(-1)
    attended = (weights[:, :, None] @ values[:, :, kept]).transpose(1, 2).flatten(-2)
    same(outputs[0], block.attention.output(attended), ROUNDED)


def test_memory_does_not_grow(make_random: MakeModel) -> None:
    model = exact(make_random, "rotary+forgetting")
    cache = model.new_cache(rotated=False)
    for token in some_tokens(160)[:, None, None]:
        model(token, cache=cache)
        cache.evict(2, 8)
    for layer in cache.layers:
        assert layer.length == 10 and layer.keys.shape[2] == layer.values.shape[2] == 64
        assert layer.state[1].shape[1] == 10
    assert cache.positions.shape == (1, 10)


def test_a_long_text_gives_its_memory_back(make_random: MakeModel) -> None:
    model, tokens = exact(make_random, "rotary"), some_tokens(1, 1200)
    cache = model.new_cache(rotated=False)
    model(tokens, cache=cache)
    cache.evict(4, 60)
    for layer in cache.layers:
        assert layer.keys.untyped_storage().nbytes() < 8 * 300 * 2 * 8
    again = model.new_cache(rotated=False)
    model(tokens, cache=again)
    again.evict(4, 100)
    again.evict(4, 60)
    assert torch.equal(*(model(tokens[:, :3], cache=each) for each in (cache, again)))


def test_documents_go_with_their_tokens(make_random: MakeModel) -> None:
    """Each counts its own positions; what a next token sees is its own document, as before."""
    model, tokens = exact(make_random, "fire", layers=1), some_tokens(1, 12)
    documents = torch.tensor([[0] * 5 + [1] * 5])
    cache = model.new_cache(rotated=False)
    model(Batch(tokens[:, :10], documents=documents), cache=cache)
    cache.evict(2, 4)
    assert cache.documents.tolist() == [[0, 0, 1, 1, 1, 1]]
    assert cache.positions.tolist() == [[0, 1, 0, 1, 2, 3]]
    same(model(tokens[:, 10:], cache=cache), model(tokens[:, 6:])[:, 4:])


# -- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["learned", "sinusoidal", "learned+alibi"])
def test_positions_of_the_input_cannot_move(make_random: MakeModel, spec: str) -> None:
    model = make_random(spec)
    for read in (0, 9):
        cache = model.new_cache(rotated=False)
        model(some_tokens(1, 9)[:, :read], cache=cache) if read else None
        with pytest.raises(BadInput) as caught:
            cache.evict(1, 4)
        assert caught.value.code == "model.evict-input-embedding"
        assert f"--position {spec} " in str(caught.value)
        assert cache.length == read
    with pytest.raises(BadInput) as caught:
        generate(model, [1], Sampling(), window=4)  # before a token is asked for
    assert caught.value.code == "model.evict-input-embedding"


def test_other_caches_are_refused(make_random: MakeModel) -> None:
    grid = torch.arange(8)[None, :, None].expand(1, 8, 2)
    padding = torch.tensor([[-1] * 2 + [0] * 6])
    axial = make_random("axial")
    for cache, where, code in (
        (make_random("rotary").new_cache(), {}, "rotated-keys"),
        (axial.new_cache(rotated=False), {"positions": grid}, "grid"),
        (axial.new_cache(rotated=False), {"documents": padding}, "padding"),
    ):
        axial(Batch(some_tokens(1, 8), **where), cache)
        with pytest.raises(BadInput) as caught:
            cache.evict(3, 4)
        assert caught.value.code == f"model.evict-{code}"
    for sinks, window in ((-1, 4), (2, 0)):
        with pytest.raises(BadInput, match=f"{sinks} sinks .* {window} ") as caught:
            axial.new_cache(rotated=False).evict(sinks, window)
        assert caught.value.code == "model.evict-sizes"


@pytest.mark.parametrize(
    ("options", "given", "code", "value"),
    [
        ({}, {"window": -1}, "negative-window", "window is -1"),
        ({}, {"window": 4, "sinks": -2}, "negative-window", "sinks is -2"),
        ({}, {"sinks": 4}, "sinks-without-window", "4 sinks"),
        ({}, {"window": 4, "use_cache": False}, "window-without-cache", "--no-cache"),
        ({"kind": "gru"}, {"window": 4}, "gru-window", "GRU"),
    ],
)
def test_windows_that_are_refused(
    make_random: MakeModel, options: dict, given: dict, code: str, value: str
) -> None:
    model = make_random(**options)
    with pytest.raises(BadInput, match=value) as caught:
        generate(model, [1, 2], Sampling(), **given)
    assert caught.value.code == f"model.{code}"
    with pytest.raises(BadInput):
        check_window(model, **{"window": 0, "sinks": 0, **given})


def test_a_gru_has_nothing_to_drop(make_random: MakeModel) -> None:
    with pytest.raises(BadInput) as caught:
        make_random(kind="gru").new_cache(rotated=False).evict(0, 4)
    assert caught.value.code == "model.gru-window"


# -- writing without end -------------------------------------------------------------------------

# The penalty keeps random weights from saying one word for ever.
GREEDY = Sampling(temperature=0.0, max_tokens=40, repetition_penalty=1.5)


@pytest.mark.parametrize("spec", ["rotary", "t5", "forgetting"])
def test_a_text_is_read_as_it_was_written(make_random: MakeModel, spec: str) -> None:
    """Given what it wrote as a prompt, longer than the window, a model goes on as it did."""
    model = exact(make_random, spec, tied_embeddings=False)
    whole = list(generate(model, [3, 1, 4], GREEDY, window=7, sinks=2))
    assert len(whole) == 40 and len(set(whole)) > 3
    for cut_at in (7, 30):
        rest = generate(model, [3, 1, 4, *whole[:cut_at]], GREEDY, window=7, sinks=2)
        assert [next(rest) for _ in range(40 - cut_at)] == whole[cut_at:]
    if spec != "forgetting":  # which had forgotten all of that by itself
        assert whole != list(generate(model, [3, 1, 4], GREEDY))


def test_a_window_as_long_as_the_text_changes_nothing(make_random: MakeModel) -> None:
    model = exact(make_random, "rotary+alibi", tied_embeddings=False)
    whole = list(generate(model, [3, 1, 4], GREEDY))
    for sinks, window in ((4, 38), (10, 1000)):
        assert list(generate(model, [3, 1, 4], GREEDY, window=window, sinks=sinks)) == whole


def test_in_a_window_no_text_is_longer_than_it(make_random: MakeModel) -> None:
    """Scaling by the length sees what is kept and the token itself: here as long as trained."""
    texts = []
    for length in (0, 12, 6):
        spec = f"rotary:scaling=dynamic,factor=8,original_length={length}" if length else "rotary"
        model = exact(make_random, spec, tied_embeddings=False)
        texts.append(list(generate(model, [3, 1, 4], GREEDY, window=9, sinks=2)))
    assert texts[0] == texts[1] != texts[2]
