"""Every door and hook, through toy embeddings that use it as no bundled one may do.

Each toy is as small as it can be while using a hook fully: what depends on the query,
on the length, on what was cached. All must read the same in pieces and at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel
from wordorder.model.cache import Cache
from wordorder.positions import (
    Alibi,
    ModelShape,
    NoPosition,
    Position,
    PositionError,
    Rotary,
    TokenLayout,
    index_grid,
)
from wordorder.positions.rotary import rotate

# As in test_decoding: float32 sums in another order, and what no rounding explains.
FLOAT32, APART = 1e-4, 1e-2

MakeModel = Callable[..., LanguageModel]


class Gate(Position):
    """Multiplies scores by a gate that falls with distance; it needs real scores."""

    door, additive = "score", False

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.key_positions

    def score(self, queries, keys, tables, state):
        places = tables.expand(len(queries), -1)

        def gated(score, batch, head, query, key):
            distance = (places[batch, query] - places[batch, key]).abs()
            return score * (1 + head) / (1.0 + 0.3 * distance)

        return gated


class Pull(Position):
    """Adds what each query asks for at each distance, with one vector per distance."""

    door = "score"

    def __init__(self, shape: ModelShape, /, *, clip: int = 6) -> None:
        super().__init__(shape)
        self.clip = clip
        self.weight = nn.Parameter(torch.empty(clip + 1, shape.head_dim))

    def prepare(self, layout: TokenLayout) -> tuple[Tensor, int]:
        return layout.key_positions, int(layout.query_indices[0])

    def score(self, queries, keys, tables, state):
        places, first = tables[0].expand(len(queries), -1), tables[1]
        asked = queries.float() @ self.weight.mT

        def pulled(score, batch, head, query, key):
            distance = (places[batch, query] - places[batch, key]).abs().clamp(max=self.clip)
            return score + asked[batch, head, query - first, distance]

        return pulled


class Row(Position):
    """Plain softmax attention with a bias that depends on the query."""

    door = "row"

    def __init__(self, shape: ModelShape, /, *, strength: float = 1.0) -> None:
        super().__init__(shape)
        self.strength = strength

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.key_positions

    def attend(self, queries, keys, values, tables, state, visible, score, slots):
        distances = tables[:, slots, None] - tables[:, None]
        scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
        steep = self.strength * queries[..., :1].tanh()
        scores = scores - steep * distances[:, None]
        if score is not None:
            scores = score(scores, *index_grid(scores, slots))
        weights = scores.masked_fill(~visible, -math.inf).softmax(-1)
        return weights @ values


class Forget(Position):
    """Scores fall by the forgetting between key and query: a running sum is cached."""

    door = "score"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(torch.empty(shape.heads, shape.width))

    def state(self, x, layout, previous):
        forgotten = nn.functional.logsigmoid(x.float() @ self.weight.mT).cumsum(1)
        return forgotten if previous is None else previous[:, -1:] + forgotten

    def score(self, queries, keys, tables, state):
        def forgetting(score, batch, head, query, key):
            return score + state[batch, query, head] - state[batch, key, head]

        return forgetting


class Stretch(Position):
    """Turns slower in a longer context, as dynamic scaling does: keys must turn anew."""

    door = "query-key"

    def prepare(self, layout: TokenLayout):
        rotary = Rotary(self.shape, base=100.0 + 50.0 * layout.context_length)
        return rotary.prepare(layout)

    def transform_queries(self, queries, tables, state):
        return rotate(queries, tables[0])

    def transform_keys(self, keys, tables, state):
        return rotate(keys, tables[1])


class Unscaled(Position):
    """Takes query-key products as they are, as T5 does."""

    softmax_scale = 1.0


class Offset(Position):
    """Training feeds positions from a random start."""

    def __init__(self, shape: ModelShape, /, *, most: int = 1000) -> None:
        super().__init__(shape)
        self.most = most

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        return positions + torch.randint(1, self.most, (batch_size, 1), generator=generator)


class Trained(Position):
    """A trained bias for each distance and head, one table for all layers."""

    door, shared = "score", True

    def __init__(self, shape: ModelShape, /, *, clip: int = 6) -> None:
        super().__init__(shape)
        self.clip = clip
        self.weight = nn.Parameter(torch.empty(shape.heads, 2 * clip + 1))

    def distance_bias(self, distance: Tensor) -> Tensor:
        return self.weight[:, distance.clamp(-self.clip, self.clip) + self.clip]


TOYS: dict[str, type[Position]] = {
    "gate": Gate,
    "pull": Pull,
    "row": Row,
    "forget": Forget,
    "stretch": Stretch,
    "unscaled": Unscaled,
    "offset": Offset,
    "trained": Trained,
    "alibi": Alibi,
    "rotary": Rotary,
    "none": NoPosition,
}
SUMS = ["alibi+row", "gate+row+rotary", "forget+pull", "rotary+forget/none", "stretch/rotary"]
each_toy = pytest.mark.parametrize("spec", [*TOYS, *SUMS, "trained+unscaled+rotary/gate"])


@pytest.fixture
def make_toy(make_random: MakeModel) -> MakeModel:
    return lambda spec, **options: make_random(spec, catalogue=TOYS, **options)


def some_tokens(*shape: int) -> Tensor:
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(3))


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=FLOAT32, rtol=0)


def in_pieces(model: LanguageModel, cache: Cache, tokens: Tensor, *cuts: int) -> Tensor:
    pieces = tokens.tensor_split(cuts, dim=1)
    return torch.cat([model(piece, cache=cache) for piece in pieces], 1)


@each_toy
@pytest.mark.parametrize("windows", [(), (4, 0)])
@torch.no_grad()
def test_read_in_pieces_is_read_at_once(make_toy: MakeModel, spec: str, windows: tuple) -> None:
    model, tokens = make_toy(spec, windows=windows), some_tokens(2, 17)
    cache = model.new_cache(context_length=17)
    same(in_pieces(model, cache, tokens, 5, 6, 7, 13), model(tokens))


@each_toy
@torch.no_grad()
def test_packed_documents_are_separate(make_toy: MakeModel, spec: str) -> None:
    """The context length is the cache's here, so that it is one for packed and separate."""
    model, texts = make_toy(spec), some_tokens(3, 6)
    documents, positions = torch.arange(18)[None] // 6, torch.arange(18)[None] % 6

    def read(tokens: Tensor | Batch) -> Tensor:
        return model(tokens, cache=model.new_cache(context_length=18))

    found = read(Batch(texts.view(1, 18), documents=documents, positions=positions))
    same(found.view(3, 6, -1), read(texts))


@each_toy
@torch.no_grad()
def test_padding_on_the_left_changes_nothing(make_toy: MakeModel, spec: str) -> None:
    model, tokens = make_toy(spec), some_tokens(2, 12)
    positions = (torch.arange(12) - torch.tensor([[0], [5]])).clamp(min=0)
    documents = torch.where(torch.arange(12) < torch.tensor([[0], [5]]), -1, 0)
    found = model(Batch(tokens, documents=documents, positions=positions))
    expected = model(tokens[1:, 5:], cache=model.new_cache(context_length=12))
    same(found[1:, 5:], expected)
    same(found[:1], model(tokens[:1]))


@pytest.mark.parametrize(
    "spec", ["gate", "pull", "row", "forget", "stretch", "unscaled", "trained"]
)
@torch.no_grad()
def test_every_toy_has_an_effect(make_toy: MakeModel, spec: str) -> None:
    tokens = some_tokens(2, 17)
    assert (make_toy(spec)(tokens) - make_toy("none")(tokens)).abs().max() > APART


@torch.no_grad()
def test_a_row_gets_the_scores_of_the_others(make_toy: MakeModel) -> None:
    """A row that adds nothing of its own is plain attention, whatever stands beside it."""
    tokens = some_tokens(2, 17)
    for beside in ("alibi", "gate+alibi", "gate+forget+rotary", "none"):
        expected = make_toy(beside)(tokens)
        for spec in (f"{beside}+row:strength=0", f"row:strength=0+{beside}"):
            same(make_toy(spec)(tokens), expected)


@torch.no_grad()
def test_a_pattern_gives_each_layer_its_own(make_toy: MakeModel) -> None:
    """Two layers that differ, in both orders: neither is the other, nor both alike."""
    tokens = some_tokens(2, 17)
    found = [make_toy(spec)(tokens) for spec in ("gate/alibi", "alibi/gate", "gate", "alibi")]
    for i, one in enumerate(found):
        assert all((one - other).abs().max() > APART for other in found[:i])


def test_parameters_are_one_per_layer_unless_shared(make_toy: MakeModel) -> None:
    assert len(make_toy("pull").position.instances) == 2
    assert len(make_toy("trained").position.instances) == 1
    assert len(make_toy("gate+rotary").position.instances) == 2
    assert len(make_toy("gate+pull/gate").position.instances) == 2


@torch.no_grad()
def test_a_rotation_that_stretches_is_never_kept(make_toy: MakeModel) -> None:
    model, tokens = make_toy("stretch"), some_tokens(1, 17)
    assert not model.new_cache().rotated
    with pytest.raises(BadInput) as caught:
        model.new_cache(rotated=True)
    assert caught.value.code == "model.rotation-not-static"
    lengths = [model(tokens, cache=model.new_cache(context_length=n)) for n in (17, 64, 0)]
    assert (lengths[0] - lengths[1]).abs().max() > APART
    same(lengths[1], lengths[2])


@torch.no_grad()
def test_the_softmax_scale_is_applied_once(make_toy: MakeModel) -> None:
    """Queries sqrt(head_dim) longer, at the usual scale."""
    model, usual, tokens = make_toy("unscaled"), make_toy("none"), some_tokens(2, 17)
    for block in usual.blocks:
        block.attention.query_norm.weight *= math.sqrt(model.config.head_dim)
    for kernel in ("plain", "fused"):
        model.attention_kernel = kernel
        same(model(tokens), usual(tokens))


def test_placing_is_for_training_alone(make_toy: MakeModel) -> None:
    model, tokens = make_toy("offset+alibi+offset:most=5"), some_tokens(2, 9)
    positions = torch.arange(9).expand(2, -1)
    placed = model.position.sample_positions(positions, 2, torch.Generator().manual_seed(1))
    assert (placed - positions).unique(dim=1).shape[1] == 1
    assert (placed[:, 0] > 4).all()
    again = model.position.sample_positions(positions, 2, torch.Generator().manual_seed(1))
    assert torch.equal(placed, again)
    same(model(tokens), make_toy("alibi")(tokens))
    same(model(Batch(tokens, positions=placed)), model(tokens))


@pytest.mark.parametrize("spec", ["trained", "pull", "forget"])
@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_what_a_score_trains_gets_its_slope(make_toy: MakeModel, spec: str, kernel: str) -> None:
    """Against the difference of two losses, along the direction of the gradient."""
    model, tokens = make_toy(spec), some_tokens(2, 17)
    model.attention_kernel = kernel
    targets = tokens.roll(-1, 1)
    parameters = list(model.position.parameters())
    slopes = torch.autograd.grad(model(Batch(tokens, targets)).mean(), parameters)
    length = math.sqrt(sum(float(s.square().sum()) for s in slopes))
    step, losses = 0.01, []
    for sign in (1, -1):
        moved = make_toy(spec)
        with torch.no_grad():
            for parameter, slope in zip(moved.position.parameters(), slopes, strict=True):
                parameter += sign * step * slope / length
            losses.append(float(moved(Batch(tokens, targets)).mean()))
    assert length > APART
    # Central differences of a float32 loss: its curvature and rounding leave a few per cent.
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(length, rel=0.03)


def test_two_rows_or_scales_in_a_sum_are_refused(make_toy: MakeModel) -> None:
    with pytest.raises(PositionError) as caught:
        make_toy("row+row:strength=2")
    assert caught.value.code == "positions.two-whole-rows"
