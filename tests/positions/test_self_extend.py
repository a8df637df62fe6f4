"""Self-Extend against its paper's formula, transformers' rotary twice over, and its traps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama import modeling_llama

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import ModelShape, PositionError, Rotary, SelfExtend, TokenLayout, build
from wordorder.positions.conformance import check

# As in test_rotary: sines and cosines are float32.
CLOSE = 2e-6
# Both sides have the same float32 tables, and sum in float64.
EXACT = 1e-12
# The reference takes its angles in float32: 5e-8 of the position.
THEIRS = 2e-5
APART = 1e-2

SIZES = [(1, 3), (2, 4), (3, 4), (4, 1), (4, 2), (5, 7)]


def made(heads: int = 1, head_dim: int = 8, trained: int = 48, **options: Any) -> SelfExtend:
    return SelfExtend(ModelShape(heads, head_dim, trained_length=trained), **options)


@pytest.mark.parametrize("group,neighbours", SIZES)
@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, group: int, neighbours: int, layout: str, plainly: bool
) -> None:
    theirs, rotary = formula("self_extend"), formula("rotary")
    q, k, v = (lab.numbers(2, 11, 8, seed=seed) for seed in range(3))
    own = made(2, base=50.0, layout=layout, group=group, neighbours=neighbours)
    pairs = rotary.dimensions(layout, 8)
    angles = [rotary.angle(i, 8, 50.0) for i in range(4)]
    for start in (0, 2, 1001):

        def score(h: int, i: int, j: int, start: int = start) -> float:
            apart = theirs.distance(start + i, start + j, group, neighbours)
            vectors = q[h][i].tolist(), k[h][j].tolist()
            return rotary.product(*vectors, apart, 0, angles, pairs) / 8**0.5

        expected = lab.softmax_rows(score, v.tolist(), True)
        found = lab.attended(own, q, k, v, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_it_is_transformers_rotary_twice(lab) -> None:
    """Near scores at plain positions, far ones at grouped and shifted, one softmax."""
    q, k, v = (lab.numbers(1, 2, 40, 64, seed=seed).float() for seed in range(3))
    rope = {"rope_type": "default", "rope_theta": 1e4}
    config = LlamaConfig(hidden_size=64, num_attention_heads=1, rope_parameters=rope)
    turns = modeling_llama.LlamaRotaryEmbedding(config)

    def turned(x: Tensor, positions: Tensor) -> Tensor:
        return modeling_llama.apply_rotary_pos_emb(x, x, *turns(x, positions[None]))[0]

    places = torch.arange(40)
    near = turned(q, places) @ turned(k, places).mT
    far = turned(q, places // 4 + 10 - 2) @ turned(k, places // 4).mT
    behind = places[:, None] - places
    scores = torch.where(behind < 10, near, far).masked_fill(behind < 0, float("-inf")) / 8
    found = lab.attended(
        made(2, 64, base=1e4, layout="half", group=4, neighbours=10), q[0], k[0], v[0]
    )
    torch.testing.assert_close(found, (scores.softmax(-1) @ v)[0], rtol=0, atol=THEIRS)


@pytest.mark.parametrize(
    "spec",
    [
        "self-extend:group=3,neighbours=4",
        pytest.param("self-extend:base=50,group=2,neighbours=3", marks=pytest.mark.slow),
        "self-extend:layout=half,fraction=0.5,neighbours=2",
        "self-extend:proportional=true,fraction=0.5+alibi/none",
    ],
)
def test_it_conforms(spec: str) -> None:
    report = check(spec)
    assert report.holds, str(report)


# -- the model that was trained with rotary ----------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"layout": "half"}, {"fraction": 0.5, "proportional": True}, {"base": 500.0}]
)
def test_groups_of_one_are_rotary(lab, options: dict[str, Any]) -> None:
    q, k, v = (lab.numbers(2, 30, 8, seed=seed) for seed in range(3))
    rotary = Rotary(ModelShape(2, 8, trained_length=48), **options)
    for neighbours in (1, 7, 100):
        own = made(2, group=1, neighbours=neighbours, **options)
        for start in (0, 1000):
            found = lab.attended(own, q, k, v, start=start)
            expected = lab.attended(rotary, q, k, v, start=start)
            torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)


@torch.no_grad()
def test_the_weights_of_a_rotary_model_read_as_ever_among_neighbours() -> None:
    def model(position: str) -> LanguageModel:
        sizes = {"vocabulary_size": 40, "width": 32, "layers": 2, "heads": 4}
        return LanguageModel(ModelConfig(position=position, trained_length=64, **sizes)).eval()

    rotary, extended = model("rotary"), model("self-extend:neighbours=16")
    generator = torch.Generator().manual_seed(0)
    for parameter in rotary.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    extended.load_state_dict(rotary.state_dict())  # strict: neither has more
    tokens = torch.randint(40, (1, 60), generator=generator)
    apart = (extended(tokens) - rotary(tokens)).abs().amax((0, 2))
    assert apart[:16].max() < 1e-4
    assert apart[16:].max() > APART


# -- traps -------------------------------------------------------------------------------------


def distances(own: SelfExtend, positions: Tensor) -> Tensor:
    """Return at which distance each key is turned for each query, (time, time).

    With the second of two pairs alone, at 0.001 of a radian per position, a query along its
    first dimension and a key along its second: their score is the sine of the distance.
    """
    time, seen = len(positions), []
    q, k = torch.zeros(2, 1, 1, time, 4, dtype=torch.float64).unbind()
    q[..., 2], k[..., 3] = 1.0, 1.0

    def listened(score: Tensor, *where: Tensor) -> Tensor:
        seen.append(score)
        return score

    visible = torch.ones(time, time, dtype=torch.bool).tril()[None, None]
    tables = own.prepare(TokenLayout.of(positions[None]))
    own.attend(q, k, k, tables, None, visible, listened, torch.arange(time))
    return (seen[0][0, 0] * 2).asin() * 1000


@pytest.mark.parametrize("group,neighbours", [(4, 8), (4, 6), (3, 8), (8, 3), (7, 1)])
@pytest.mark.parametrize("start", [0, 5])
def test_far_distances_follow_on_near_ones(group: int, neighbours: int, start: int) -> None:
    """No jump at the border, no step but 0 or 1 beyond it, and nothing farther than trained."""
    length = 48
    own = made(1, 4, length, base=1e6, group=group, neighbours=neighbours)
    reach = (length - neighbours) * group + neighbours
    found = distances(own, start + torch.arange(reach))
    whole = found.round()
    assert (found - whole).abs().max() < 0.01
    slots = torch.arange(reach)
    behind = slots[:, None] - slots
    near = (behind >= 0) & (behind < neighbours)
    assert torch.equal(whole[near], behind[near].double())
    for row in range(1, reach):
        steps = -whole[row, : row + 1].diff()
        border = row - neighbours  # the step from the last near key to the first far one
        steady = steps >= 0
        assert steady.all(), f"query {row} sees a key nearer than the one after it"
        assert steps.max() <= (2 if border >= 0 else 1)
        if border > 0:
            assert steps[:border].max() <= 1
    # The rule for the reach is the authors'. It holds to the token where the neighbours are
    # whole groups and the text starts with one; otherwise one or two distances more are met.
    farthest = whole[behind >= 0].max()
    assert farthest <= length + 1
    if neighbours % group == 0 and start == 0:
        assert farthest == length - 1


def test_without_the_shift_far_keys_would_look_near() -> None:
    own = made(1, 4, base=1e6, group=4, neighbours=8)
    own.shift = 0
    row = distances(own, torch.arange(30))[-1].round()
    assert row[29 - 8] < row[29 - 7]


def test_where_a_text_starts_decides_its_groups(lab) -> None:
    q, k, v = (lab.numbers(1, 20, 8, seed=seed) for seed in range(3))
    own = made(group=4, neighbours=4)
    assert own.absolute and not own.shift_invariant
    assert not made(group=1).absolute and made(group=1).shift_invariant
    here, far, other = (lab.attended(own, q, k, v, start=start) for start in (0, 400, 2))
    torch.testing.assert_close(far, here, rtol=0, atol=CLOSE)
    assert (other - here).abs().max() > APART


def test_within_a_group_order_is_lost(lab) -> None:
    """Two far keys of one group are turned alike: changed about, nothing changes."""
    q, k, v = (lab.numbers(1, 20, 8, seed=seed) for seed in range(3))
    order = list(range(20))
    order[4], order[5] = 5, 4
    own = made(group=4, neighbours=4)
    found = lab.attended(own, q, k[:, order], v[:, order])[:, -1]
    torch.testing.assert_close(found, lab.attended(own, q, k, v)[:, -1], rtol=0, atol=EXACT)
    rotary = Rotary(ModelShape(1, 8))
    apart = lab.attended(rotary, q, k[:, order], v[:, order]) - lab.attended(rotary, q, k, v)
    assert apart[:, -1].abs().max() > APART


def test_slopes_are_those_of_the_function(lab) -> None:
    own = made(2, 4, group=2, neighbours=2)
    tables = own.prepare(TokenLayout.of(torch.arange(7)[None]))
    visible = torch.ones(7, 7, dtype=torch.bool).tril()[None, None]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return own.attend(q, k, v, tables, None, visible, None, torch.arange(7))

    inputs = [lab.numbers(1, 2, 7, 4, seed=seed).requires_grad_() for seed in range(3)]
    assert torch.autograd.gradcheck(attend, inputs)


def test_tables_grow_with_the_text_and_not_with_its_square() -> None:
    def held(time: int) -> int:
        tables = made(6, 64).prepare(TokenLayout.of(torch.arange(time)[None]))
        rotations = (tables.near, tables.far_keys, tables.far_queries)
        return sum(each.numel() for r in rotations for each in r if each is not None)

    assert held(4096) == 2 * held(2048) < 4096 * 3 * 4 * 64


def test_it_has_nothing_to_train_and_is_one_for_all_layers() -> None:
    whole = build("self-extend", ModelShape(4, 8, layers=3))
    assert not list(whole.parameters()) and not list(whole.buffers())
    assert len(whole.instances) == 1


def test_neighbours_are_an_eighth_of_the_trained_length() -> None:
    assert made(trained=4096).near == 512
    assert made(trained=4096).resolved_options() == {"base": 10000.0, "neighbours": 512}
    assert made(trained=4).near == 1
    assert made(base=9.0, neighbours=7).resolved_options() == {"base": 9.0, "neighbours": 7}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("group", 0, "self-extend-group"),
        ("neighbours", -1, "self-extend-group"),
        ("base", -1.0, "rotary-base"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: float, code: str) -> None:
    with pytest.raises(PositionError, match=f"{name}={value}") as caught:
        made(**{name: value})
    assert caught.value.code == f"positions.{code}"


def test_a_bidirectional_model_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        SelfExtend(ModelShape(2, 8, causal=False))
    assert caught.value.code == "positions.self-extend-bidirectional"
