"""Whatever way a text is read, it gives the same logits.

In pieces through a cache, packed beside other texts, padded on the left, in a batch, or
with tokens left out of its middle: the same tokens at the same positions. Here lie most
of the silent bugs of this field, and each embedding is held to all of it.
"""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from mechanisms import MECHANISMS, each
from torch import Tensor
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel
from wordorder.model.cache import Cache
from wordorder.positions import CATALOGUE

SPECS = [*CATALOGUE, "learned+alibi", "rotary/none", "rotary:fraction=0.5"]

# Logits here spread by about 6. Two orders of the same float32 sums differ by some 1e-5, by
# 1.5e-4 where angles or gates are summed too; the mildest mistake tried, one position off by
# one in one layer, by more than 0.1.
FLOAT32 = 3e-4
# bfloat16 keeps 8 bits; two layers of it gave up to 0.02 of the spread.
BFLOAT16 = 0.04
# What must differ, differs by far more than rounding.
APART = 1e-2

few = hypothesis.settings(max_examples=4, deadline=None, derandomize=True, database=None)
each_spec = pytest.mark.parametrize("spec", SPECS)
each_mechanism = pytest.mark.parametrize("spec", each(SPECS))
# Both caches hold the same keys of an embedding that rotates none.
ROTATIONS = ["none", "rotary", "xpos", "axial", "pope", "grape", *SPECS[-3:]]
windows = st.sampled_from([(), (5,), (0, 3)])
KERNELS = [(spec, windows, not windows) for spec in SPECS for windows in ((), (0, 30))]
groups = st.sampled_from([1, 2, 4])
seeds = st.integers(0, 99)
MakeModel = Callable[..., LanguageModel]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def some_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(seed))


def same(found: Tensor, expected: Tensor, tolerance: float = FLOAT32) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def in_chunks(model: LanguageModel, cache: Cache, tokens: Tensor, sizes: list[int]) -> Tensor:
    """The logits of tokens read some at a time; what `sizes` leaves over, one by one."""
    parts, start = [], 0
    while start < tokens.shape[1]:
        size = sizes.pop(0) if sizes else 1
        parts.append(model(tokens[:, start : start + size], cache=cache))
        start += size
    return torch.cat(parts, 1)


@each_spec
@few
@hypothesis.given(
    sizes=st.lists(st.integers(1, 9), max_size=6), windows=windows, groups=groups, seed=seeds
)
def test_read_in_pieces_is_read_at_once(
    make_random: MakeModel, spec: str, sizes: list[int], windows: tuple, groups: int, seed: int
) -> None:
    model = make_random(spec, windows=windows, key_value_heads=groups, seed=seed)
    tokens = some_tokens(2, 16, seed=seed)
    cache = model.new_cache(context_length=16)
    same(in_chunks(model, cache, tokens, sizes), model(tokens))


@pytest.mark.parametrize("spec", each(SPECS, ROTATIONS))
@few
@hypothesis.given(sizes=st.lists(st.integers(1, 9), max_size=4), windows=windows, seed=seeds)
def test_keys_rotated_on_read_are_keys_kept_rotated(
    make_random: MakeModel, spec: str, sizes: list[int], windows: tuple, seed: int
) -> None:
    model = make_random(spec, windows=windows, seed=seed)
    tokens = some_tokens(2, 16, seed=seed)
    if not model.new_cache().rotated:
        with pytest.raises(BadInput) as caught:
            model.new_cache(rotated=True)
        assert caught.value.code == "model.rotation-not-static"
        return
    raw, rotated = (model.new_cache(rotated=choice) for choice in (False, True))
    expected = in_chunks(model, raw, tokens, list(sizes))
    same(in_chunks(model, rotated, tokens, list(sizes)), expected)


def test_a_cache_that_grew_keeps_what_it_held(make_random: MakeModel) -> None:
    model = make_random("rotary")
    tokens = some_tokens(2, 150)
    cache = model.new_cache()
    same(in_chunks(model, cache, tokens, [10]), model(tokens))
    assert cache.length == 150


@pytest.mark.parametrize(
    ("spec", "windows", "causal"),
    [
        *(pytest.param(*p, marks=() if p[0] in MECHANISMS else pytest.mark.slow) for p in KERNELS),
        *((spec, windows, bool(windows)) for spec in ("rotary", "t5") for windows in ((), (0, 30))),
    ],
)
def test_the_kernels_agree(
    make_random: MakeModel,
    spec: str,
    windows: tuple,
    causal: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 150 tokens the plain kernel cuts the rows into pieces."""
    model = make_random(spec, windows=windows, causal=causal, trained_length=150)
    tokens = some_tokens(2, 150)
    documents = torch.tensor([0] * 40 + [1] * 110).expand(2, -1)
    calls = []
    fused = functional.scaled_dot_product_attention
    monkeypatch.setattr(
        functional,
        "scaled_dot_product_attention",
        lambda *given, **more: calls.append(1) or fused(*given, **more),
    )
    found = {}
    for kernel in ("plain", "fused", "auto"):
        model.attention_kernel = kernel
        with torch.enable_grad():
            logits = torch.cat((model(tokens), model(Batch(tokens, documents=documents))))
            weight = model.blocks[0].attention.input.weight
            (slopes,) = torch.autograd.grad(logits.square().mean(), weight)
        found[kernel] = logits, slopes, len(calls)
    assert found["plain"][2] == 0
    for kernel in ("fused", "auto"):
        same(found[kernel][0], found["plain"][0])
        same(found[kernel][1], found["plain"][1])
    # PoPE makes queries wider than values, which the fused kernel does not take.
    instances, sums = model.position.instances, model.position.sums
    plain = any(hook in p.active_hooks() for p in instances for hook in ("score", "attend"))
    if spec != "pope" and not plain and not any(p.trains_bias for p in sums):
        assert found["fused"][2] == 4


@each_mechanism
@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("windows", [(), (3, 0)])
def test_positions_that_restart_with_documents_need_not_be_declared(
    make_random: MakeModel, spec: str, kernel: str, windows: tuple
) -> None:
    """Declared, as training does, biases come from a list of distances; both are the same."""
    model = make_random(spec, windows=windows)
    model.attention_kernel = kernel
    tokens, documents = some_tokens(2, 9), torch.tensor([[0] * 4 + [1] * 5, [0] * 7 + [1] * 2])
    positions = torch.tensor([[*range(4), *range(5)], [*range(7), *range(2)]])
    found = []
    for consecutive in (False, True):
        with torch.enable_grad():
            given = {"positions": positions, "documents": documents, "consecutive": consecutive}
            logits = model(Batch(tokens, **given))
            weight = model.blocks[0].attention.input.weight
            found.append((logits, *torch.autograd.grad(logits.square().mean(), weight)))
    for declared, undeclared in zip(*found, strict=True):
        same(declared, undeclared)


@each_mechanism
@few
@hypothesis.given(
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    windows=windows,
    causal=st.booleans(),
    seed=seeds,
)
def test_packed_documents_are_separate(
    make_random: MakeModel,
    both_ways: Callable[[str], bool],
    spec: str,
    lengths: list[int],
    windows: tuple,
    causal: bool,
    seed: int,
) -> None:
    causal = causal or not both_ways(spec)
    model = make_random(spec, windows=windows, causal=causal, seed=seed)
    texts = [some_tokens(1, n, seed=seed + i) for i, n in enumerate(lengths)]
    packed = torch.cat(texts, 1)
    documents = torch.cat([torch.full((1, n), i) for i, n in enumerate(lengths)], 1)
    positions = torch.cat([torch.arange(n)[None] for n in lengths], 1)
    expected = torch.cat([model(text) for text in texts], 1)
    same(model(Batch(packed, documents=documents, positions=positions)), expected)
    going_on = model(Batch(packed, documents=documents))
    if all(position.shift_invariant for position in model.position.instances):
        same(going_on, expected)
    elif lengths[0] > 1 and model.position.instances[0].door == "input":
        assert (going_on - expected)[:, lengths[0] :].abs().max() > APART
    whole = model(Batch(packed, positions=positions))
    assert (whole - expected)[:, lengths[0] :].abs().max() > APART


@each_mechanism
@few
@hypothesis.given(before=st.integers(1, 6), own=st.integers(1, 6), size=st.integers(1, 9))
def test_packed_documents_are_separate_in_a_cache(
    make_random: MakeModel, spec: str, before: int, own: int, size: int
) -> None:
    """New tokens without a document of their own go on with the last one."""
    model = make_random(spec)
    text = some_tokens(1, own + 8, seed=own)
    packed = torch.cat((some_tokens(1, before, seed=99), text), 1)
    documents = torch.tensor([[0] * before + [1] * own])
    positions = torch.cat((torch.arange(before), torch.arange(own + 8)))[None]
    cache = model.new_cache()
    prompt = before + own
    given = Batch(packed[:, :prompt], positions=positions[:, :prompt], documents=documents)
    model(given, cache=cache)
    read = [
        model(Batch(packed[:, i : i + size], positions=positions[:, i : i + size]), cache=cache)
        for i in range(prompt, packed.shape[1], size)
    ]
    same(torch.cat(read, 1), model(text)[:, own:])


def test_a_cache_that_had_one_document_takes_another(make_random: MakeModel) -> None:
    model, tokens = make_random(), some_tokens(2, 12)
    documents = torch.tensor([[0] * 6 + [1] * 6]).expand(2, -1)
    cache = model.new_cache()
    found = [model(tokens[:, :4], cache=cache)]
    found.append(model(Batch(tokens[:, 4:9], documents=documents[:, 4:9]), cache=cache))
    found.append(model(tokens[:, 9:], cache=cache))
    same(torch.cat(found, 1), model(Batch(tokens, documents=documents)))


@each_mechanism
@pytest.mark.parametrize("first", [0, 5])
def test_a_cache_goes_on_from_the_last_position(
    make_random: MakeModel, spec: str, first: int
) -> None:
    """Not from how many tokens it keeps, which is another number after a gap."""
    model = make_random(spec)
    tokens = some_tokens(2, 12)
    prompt = torch.arange(first, first + 8)[None] * torch.tensor([[3], [1]])
    after = prompt[:, -1:] + torch.arange(1, 5)
    expected = model(Batch(tokens, positions=torch.cat((prompt, after), 1)))
    cache = model.new_cache(context_length=12)
    model(Batch(tokens[:, :8], positions=prompt), cache=cache)
    same(in_chunks(model, cache, tokens[:, 8:], [3]), expected[:, 8:])


@each_mechanism
@few
@hypothesis.given(lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)), windows=windows)
def test_padding_on_the_left_changes_nothing(
    make_random: MakeModel, spec: str, lengths: tuple[int, int], windows: tuple
) -> None:
    model = make_random(spec, windows=windows)
    texts = [some_tokens(1, n + 4, seed=n) for n in lengths]
    expected = [model(text) for text in texts]
    width = max(lengths)
    prompt, after, documents, positions = [], [], [], []
    for text, n in zip(texts, lengths, strict=True):
        empty = width - n
        prompt.append(torch.cat((torch.full((empty,), 7), text[0, :n])))
        after.append(text[0, n:])
        documents.append(torch.tensor([-1] * empty + [0] * n))
        positions.append((torch.arange(width + 4) - empty).clamp(min=0))
    tokens, later, placed = torch.stack(prompt), torch.stack(after), torch.stack(positions)
    seen = torch.stack(documents)
    found = model(Batch(tokens, documents=seen, positions=placed[:, :width]))
    cache = model.new_cache()
    model(Batch(tokens, documents=seen, positions=placed[:, :width]), cache=cache)
    written = [
        model(Batch(later[:, i : i + 1], positions=placed[:, width + i :][:, :1]), cache=cache)
        for i in range(4)
    ]
    for row, n in enumerate(lengths):
        same(found[row, width - n :], expected[row][0, :n])
        same(torch.cat(written, 1)[row], expected[row][0, n:])


@each_mechanism
@few
@hypothesis.given(
    kept=st.lists(st.booleans(), min_size=3, max_size=16).filter(lambda k: sum(k) > 2),
    causal=st.booleans(),
    cached=st.booleans(),
    seed=seeds,
)
def test_a_masked_token_is_an_absent_one(
    make_random: MakeModel,
    both_ways: Callable[[str], bool],
    spec: str,
    kept: list[bool],
    causal: bool,
    cached: bool,
    seed: int,
) -> None:
    """Its position stays empty: a bias taken from how many keys there are would be off."""
    causal = causal or not both_ways(spec)
    model = make_random(spec, causal=causal, seed=seed)
    tokens, present = some_tokens(1, len(kept), seed=seed), torch.tensor([kept])
    positions = torch.arange(len(kept))[None]
    masked = model(Batch(tokens, documents=present.long() - 1))[present]
    cache = model.new_cache(context_length=len(kept)) if cached else None
    absent = model(Batch(tokens[present][None], positions=positions[present][None]), cache=cache)
    same(absent[0], masked)


@each_mechanism
@few
@hypothesis.given(windows=windows, steps=st.integers(1, 3), seed=seeds)
def test_a_row_of_a_batch_is_itself(
    make_random: MakeModel, spec: str, windows: tuple, steps: int, seed: int
) -> None:
    model = make_random(spec, windows=windows, seed=seed)
    tokens = some_tokens(2, 12, seed=seed)
    positions = torch.stack((torch.arange(12), torch.arange(12) * steps + 3))
    found = model(Batch(tokens, positions=positions))
    for row in (0, 1):
        mine = slice(row, row + 1)
        same(found[mine], model(Batch(tokens[mine], positions=positions[mine])))
        same(model(tokens)[mine], model(tokens[mine]))


@each_mechanism
def test_past_the_trained_length(make_random: MakeModel, spec: str) -> None:
    model = make_random(spec, trained_length=8)
    tokens = some_tokens(2, 40)
    if model.position.max_position is not None:
        assert model.position.max_position == 7
        with pytest.raises(BadInput, match="position 39 ") as caught:
            model(tokens)
        assert caught.value.code == "model.position-past-limit"
        return
    cache = model.new_cache(context_length=40)
    same(in_chunks(model, cache, tokens, [7, 2, 11]), model(tokens))


@each_mechanism
@pytest.mark.parametrize("first", [0, 30000])
def test_bfloat16_is_close(make_random: MakeModel, spec: str, first: int) -> None:
    """At large positions too, where bfloat16 would keep multiples of 128 alone."""
    model = make_random(spec)
    if first and model.position.max_position is not None:
        return
    tokens = some_tokens(2, 40)
    positions = torch.arange(first, first + 40)[None].expand(2, -1)
    shifts = all(position.shift_invariant for position in model.position.instances)
    exact = model(Batch(tokens, positions=None if shifts else positions))
    model.compute_dtype = torch.bfloat16
    at_once = model(Batch(tokens, positions=positions))
    cache = model.new_cache(context_length=40)
    pieces = [
        model(Batch(tokens[:, i : i + 13], positions=positions[:, i : i + 13]), cache=cache)
        for i in range(0, 40, 13)
    ]
    assert at_once.dtype is torch.bfloat16
    for found in (at_once, torch.cat(pieces, 1)):
        error = (found.float() - exact).square().mean().sqrt()
        assert error < BFLOAT16 * exact.std()


@each_spec
def test_far_distances_stay_apart_in_bfloat16(make_random: MakeModel, spec: str) -> None:
    """Rounded to bfloat16, the distances 1000 to 1007 have three biases between them."""
    model = make_random(spec, trained_length=1020)
    model.compute_dtype = torch.bfloat16
    positions = torch.tensor([[*range(8), 1007]])
    layout = model.layout(Batch(torch.zeros(1, 9, dtype=torch.long), positions=positions))
    for context in model.contexts(layout):
        if context.position.biased:
            exact = context.position.distance_bias(torch.arange(1000, 1008).flip(0)).tolist()
            for head, expected in zip(context.additive.whole()[0], exact, strict=True):
                assert len(set(head[-1, :8].tolist())) == len(set(expected))


@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_is_causal_of_few_queries_counts_from_the_last_key(
    make_random: MakeModel, kernel: str
) -> None:
    """PyTorch's is top-left: of five keys its two queries see one and two, not four and five."""
    zeros, keys = torch.zeros(1, 1, 2, 5), torch.eye(5)[None, None]
    seen = functional.scaled_dot_product_attention(zeros, keys, keys, is_causal=True) > 0
    assert seen[0, 0].sum(-1).tolist() == [1, 2]
    model, tokens = make_random(), some_tokens(1, 5)
    model.attention_kernel = kernel
    same(in_chunks(model, model.new_cache(), tokens, [3, 2]), model(tokens))
