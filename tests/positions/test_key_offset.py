"""Partial key offset against its formula, the record's own lines, and its users' traps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import KeyOffset, ModelShape, PositionError, TokenLayout
from wordorder.positions.conformance import check

# Everything is float64, except for the values of the expected rows.
CLOSE = 1e-6


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("fraction", "moved"), [(0.25, 1), (0.5, 2), (0.74, 2), (1.0, 4)])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_formula(formula, lab, causal, fraction, moved, plainly) -> None:
    position = KeyOffset(ModelShape(3, 4, causal=causal), fraction=fraction)
    q, k, v = (lab.numbers(3, 6, 4, seed=seed) for seed in range(3))
    keys = [
        [formula("key_offset").key(head, [0] * 6, j, moved) for j in range(6)]
        for head in k.tolist()
    ]

    def score(h: int, i: int, j: int) -> float:
        return sum(a * b for a, b in zip(q[h][i].tolist(), keys[h][j], strict=True)) / 2

    expected = lab.softmax_rows(score, v.tolist(), causal)
    for given in (None, torch.arange(6) * 1000 + 5):  # positions have no part in it
        output = lab.attended(position, q, k, v, positions=given, plainly=plainly)
        torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


def test_keys_of_documents_are_the_formulas(formula, lab) -> None:
    """In whatever order documents stand, and with padding between their tokens."""
    generator = torch.Generator().manual_seed(0)
    documents = torch.randint(-1, 4, (5, 20), generator=generator)
    position, keys = KeyOffset(ModelShape(2, 4)), lab.numbers(5, 2, 20, 4)
    tables = position.prepare(TokenLayout.of(torch.arange(20)[None], documents))
    output = position.transform_keys(keys, tables, None)
    for row, ids in enumerate(documents.tolist()):
        for j in range(20):
            if ids[j] >= 0:
                expected = formula("key_offset").key(keys[row, 1].tolist(), ids, j, 2)
                assert output[row, 1, j].tolist() == expected


def test_it_is_the_shift_of_the_record(lab) -> None:
    """Its published line, on keys (batch, time, heads, head_dim) of one document."""
    keys = lab.numbers(2, 9, 3, 8)
    expected = keys.clone()
    expected[:, 1:, :, 4:] = keys[:, :-1, :, 4:]
    position = KeyOffset(ModelShape(3, 8))
    tables = position.prepare(TokenLayout.of(torch.arange(9)[None]))
    assert torch.equal(
        position.transform_keys(keys.transpose(1, 2), tables, None), expected.transpose(1, 2)
    )


@pytest.mark.parametrize("spec", ["rotary:fraction=0.5+key-offset", "key-offset/none"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


# -- traps ------------------------------------------------------------------------------------


def test_one_layer_finds_what_followed_a_word(lab) -> None:
    """A query for a word finds the token after it; with own keys it finds the word itself."""
    words = torch.eye(4, dtype=torch.float64)
    sequence = [0, 1, 2, 3, 1]  # the last token looks for an earlier 1, after which came 2
    keys = torch.cat((torch.zeros(5, 4), words[sequence]), -1)[None].double()
    queries = 50 * torch.cat((torch.zeros(5, 4), words[sequence]), -1)[None].double()
    values = torch.arange(5.0, dtype=torch.float64)[None, :, None].expand(1, 5, 8)
    output = lab.attended(KeyOffset(ModelShape(1, 8)), queries, keys, values)
    assert output[0, 4, 0] == pytest.approx(2.0, abs=1e-3)


def test_a_cache_keeps_raw_keys() -> None:
    config = ModelConfig(width=32, heads=4, layers=2, position="rotary:fraction=0.5+key-offset")
    model = LanguageModel(config)
    assert not model.new_cache().rotated


def test_a_window_sees_one_token_more() -> None:
    config = ModelConfig(
        width=32, heads=4, layers=1, vocabulary_size=40, position="key-offset", windows=(3,)
    )
    model = LanguageModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))

        def last(tokens: Tensor) -> Tensor:
            return model(Batch(tokens))[0, -1]

        tokens = torch.arange(9)[None]
        for index, reached in ((4, False), (5, True), (6, True)):
            other = tokens.clone()
            other[0, index] = 30
            assert bool((last(other) - last(tokens)).abs().max() > 1e-6) == reached


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.1, 0.1, float("nan")])
def test_bad_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(PositionError) as caught:
        KeyOffset(ModelShape(2, 4), fraction=fraction)
    assert caught.value.code == "positions.key-offset-fraction"


def test_latent_attention_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        LanguageModel(
            ModelConfig(width=32, heads=4, layers=1, position="key-offset", attention="latent")
        )
    assert caught.value.code == "positions.key-offset-latent"
