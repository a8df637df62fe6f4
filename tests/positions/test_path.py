"""PaTH against its paper's formula, matrix by matrix, and its traps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wordorder.model.additive_mask import AdditiveMask
from wordorder.model.attention import attention
from wordorder.model.problem import AttentionProblem
from wordorder.positions import Cope, Forgetting, ModelShape, Path, PositionError, Sum, TokenLayout
from wordorder.positions import path as module
from wordorder.positions.conformance import check
from wordorder.positions.reference_model import plain_attention

# Everything here is float64, with products of up to 150 matrices.
CLOSE = 1e-12
# In float32, after 1,000 tokens; what is attended spreads by 1.
FLOAT32 = 1e-5
WIDTH = 5


def inputs(lab, heads: int, time: int = 7) -> list[Tensor]:
    """Return queries, keys, values and the layer's input."""
    return [
        *(2 * lab.numbers(heads, time, 4, seed=seed) for seed in range(3)),
        lab.numbers(time, WIDTH, seed=9),
    ]


def made(lab, heads: int = 2, **options: int) -> Path:
    path = Path(ModelShape(heads, 4, WIDTH), rank=3, **options)
    path.reset_parameters(torch.Generator().manual_seed(1))
    return lab.filled(path)


def papers(formula, path: Path, q: Tensor, k: Tensor, x: Tensor) -> Callable[..., float]:
    """Return the paper's score of (head, i, j)."""
    paper, xs = formula("path"), x.tolist()
    down, up, convolution = path.down.tolist(), path.up.tolist(), path.convolution.tolist()
    weight, constant = path.beta_weight.tolist(), path.beta_bias.tolist()

    def transformation(h: int, t: int) -> list:
        w = paper.direction(xs, t, down, up, convolution, 4, h)
        return paper.transformation(w, paper.beta(xs[t], weight[h], constant[h]))

    taken = [[transformation(h, t) for t in range(len(xs))] for h in range(len(q))]
    return lambda h, i, j: paper.score(q[h][i].tolist(), k[h][j].tolist(), taken[h], i, j)


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("plainly", [True, False])
@pytest.mark.parametrize("block", [64, 2, 3])
def test_attention_is_the_papers(
    formula, lab, monkeypatch, taps: int, heads: int, plainly: bool, block: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    path = made(lab, heads, taps=taps)
    q, k, v, x = inputs(lab, heads)
    expected = lab.softmax_rows(papers(formula, path, q, k, x), v.tolist(), True)
    for start in (0, 1000, 100_000):
        found = lab.attended(path, q, k, v, x=x, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_a_text_of_several_blocks_is_every_matrix_multiplied_out(lab) -> None:
    """150 tokens: past two borders of blocks of 64, and a third one that is not full."""
    path = made(lab)
    q, k, v, x = inputs(lab, 2, 150)
    layout = TokenLayout.of(torch.arange(150)[None])
    directions, betas, _ = path.state(x[None], layout, None)
    rows = []
    for h in range(2):
        w, beta = directions[0, :, h], betas[0, :, h]
        steps = torch.eye(4) - beta[:, None, None] * w[:, :, None] * w[:, None, :]
        reached, found = q.new_zeros(0, 4), []
        for i in range(150):
            reached = torch.cat((reached @ steps[i], k[h, i : i + 1]))  # symmetric matrices
            found.append((reached @ q[h, i] / 2).softmax(0) @ v[h, : i + 1])
        rows.append(torch.stack(found))
    found = lab.attended(path, q, k, v, x=x)
    torch.testing.assert_close(found, torch.stack(rows), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("cuts", [(149,), (63, 64, 65), (10, 70, 128, 130)])
@torch.no_grad()
def test_some_queries_with_all_keys_are_read_the_same(lab, cuts: tuple[int, ...]) -> None:
    path = made(lab)
    q, k, v, x = inputs(lab, 2, 150)
    state = path.state(x[None], TokenLayout.of(torch.arange(150)[None]), None)
    visible = torch.ones(150, 150, dtype=torch.bool).tril()[None, None]
    slots = torch.arange(150)

    def read(rows: Tensor) -> Tensor:
        seen = visible[:, :, rows]
        return path.attend(q[None, :, rows], k[None], v[None], None, state, seen, None, rows)

    pieces = torch.cat([read(rows) for rows in slots.tensor_split(cuts)], 2)
    torch.testing.assert_close(pieces, read(slots), rtol=0, atol=CLOSE)
    apart = slots[[3, 64, 149]]
    torch.testing.assert_close(read(apart), read(slots)[:, :, apart], rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    "spec", ["path:taps=1", pytest.param("path:rank=2", marks=pytest.mark.slow), "path+forgetting"]
)
def test_it_conforms(spec: str) -> None:
    report = check(spec)
    assert report.holds, str(report)


# What the size of a block could change; it is no option, nor kept or saved.
OF_BLOCKS = ("cached", "packed", "padded", "masked", "positions alone", "causal", "windowed")
OF_BLOCKS += ("gradients",)


def test_it_conforms_in_blocks_of_two(monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 2)
    report = check("path", only=OF_BLOCKS)
    assert report.holds, str(report)


# -- traps ------------------------------------------------------------------------------------


def test_the_keys_own_transformation_is_not_in_the_product(formula, lab) -> None:
    """A query on its own key is their plain product."""
    q, k, _, x = inputs(lab, 2)
    score = papers(formula, made(lab), q, k, x)
    assert score(1, 3, 3) == pytest.approx(float(q[1, 3] @ k[1, 3]) / 2)


def test_transformations_do_not_commute(lab) -> None:
    """Two that are exchanged between key and query are read differently."""
    path = made(lab, taps=1)
    q, k, v, x = inputs(lab, 2, 4)
    other = x[[0, 2, 1, 3]]
    keys = k.clone()
    keys[:, 1:3] = k[:, 1:2]
    values = v.clone()
    values[:, 1:3] = v[:, 1:2]
    found = [lab.attended(path, q, keys, values, x=each)[:, 3] for each in (x, other)]
    assert (found[0] - found[1]).abs().max() > 1e-2


def test_a_long_product_is_as_exact_as_a_short_one_in_float32(lab) -> None:
    """1,000 tokens in a bfloat16 model: states and products are float32 all the same."""
    path = made(lab)
    q, k, v, x = inputs(lab, 2, 1000)
    expected = lab.attended(path, q, k, v, x=x)
    found = lab.attended(path, *(each.float() for each in (q, k, v)), x=x.float())
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=FLOAT32)
    layout = TokenLayout.of(torch.arange(1000)[None])
    coarse = path.bfloat16().state(x[None].bfloat16(), layout, None)
    assert all(each.dtype is torch.float32 for each in coarse)


def test_padding_is_the_identity(lab) -> None:
    path = made(lab)
    x = lab.numbers(1, 6, WIDTH)
    documents = torch.tensor([[-1, 0, 0, -1, 0, -1]])
    layout = TokenLayout.of(torch.arange(6)[None], documents)
    betas = path.state(x, layout, None)[1]
    assert ((betas == 0).all(-1) == (documents < 0)).all()
    assert (betas[documents >= 0] > 0).all()


def test_the_convolution_reads_its_own_document_alone(lab) -> None:
    """Three documents, the first with padding within, as each is read by itself."""
    path = made(lab)
    x = lab.numbers(1, 9, WIDTH)
    documents = torch.tensor([[0, -1, -1, 0, 0, 1, 1, 1, 2]])
    found = path.state(x, TokenLayout.of(torch.arange(9)[None], documents), None)[0]
    for slots in ([0, 3, 4], [5, 6, 7], [8]):
        alone = path.state(x[:, slots], TokenLayout.of(torch.tensor([slots])), None)[0]
        torch.testing.assert_close(found[:, slots], alone, rtol=0, atol=CLOSE)


def test_reflections_can_swap() -> None:
    """beta 2 along (1, -1)/sqrt(2) exchanges two dimensions: state that no bias can track."""
    root = 0.5**0.5
    directions = torch.tensor([root, -root]).expand(1, 1, 4, 2)
    betas = torch.tensor([[[0.0, 2, 2, 2]]])
    keys = torch.tensor([[[[1.0, 0], [-9, -9], [-9, -9], [-9, -9]]]])
    queries = torch.tensor([8.0, 0]).expand(1, 1, 4, 2)
    blocks = module.blocks_of(keys, directions, betas)
    found = module.scores_by_block(queries, blocks, torch.arange(4), 1)[0, 0, :, 0]
    torch.testing.assert_close(found, torch.tensor([8.0, 0, 8, 0]), rtol=0, atol=FLOAT32)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Path(ModelShape(2, 4, causal=False))
    assert caught.value.code == "positions.path-bidirectional"
    with pytest.raises(PositionError) as caught:
        Path(ModelShape(2, 4), taps=0)
    assert caught.value.code == "positions.path-sizes"
    assert "taps=0" in str(caught.value)


def test_it_stands_beside_a_forgetting_gate_and_not_beside_another_row(formula, lab) -> None:
    """PaTH-FoX: the score of reflections, and the logarithms of the gates between, are added."""
    shape = ModelShape(2, 4, WIDTH)
    path, forgetting = made(lab), lab.filled(Forgetting(shape))
    q, k, v, x = inputs(lab, 2)
    reflected, gate = papers(formula, path, q, k, x), formula("forgetting")
    weights = zip(forgetting.weight.tolist(), forgetting.bias.tolist(), strict=True)
    gates = [[gate.gate(weight, bias, row) for row in x.tolist()] for weight, bias in weights]

    def score(h: int, i: int, j: int) -> float:
        return reflected(h, i, j) + gate.bias(gates[h], i, j)

    expected = lab.softmax_rows(score, v.tolist(), True)
    layout, inside = TokenLayout.of(torch.arange(7)[None]), [each[None] for each in (q, k, v)]
    for parts in ((path, forgetting), (forgetting, path)):
        whole = Sum(shape, parts)
        tables = tuple(part.prepare(layout) for part in parts)
        given = tables, whole.state(x[None], layout, None)
        found = plain_attention(whole, *inside, *given, layout)
        torch.testing.assert_close(found[0], expected, rtol=0, atol=CLOSE)
        bias = AdditiveMask.of(whole, layout, None, torch.float64)
        found = attention(AttentionProblem.of(*inside, whole, *given, bias, kernel="plain"))
        torch.testing.assert_close(found[0], expected, rtol=0, atol=CLOSE)
    with pytest.raises(PositionError) as caught:
        Sum(shape, (path, Cope(shape)))
    assert caught.value.code == "positions.two-whole-rows"
