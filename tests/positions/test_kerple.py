"""KERPLE against its paper's kernels, and the traps its users hit."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import Kerple, ModelShape, PositionError, build
from wordorder.positions.conformance import check

CLOSE = 5e-6  # biases are float32, of size 10 here


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


@pytest.mark.parametrize("kernel", ["log", "power"])
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, kernel, heads, causal, plainly) -> None:
    kerple = lab.filled(Kerple(ModelShape(heads, 4, causal=causal), kernel=kernel))
    q, k, v = (lab.numbers(heads, 6, 4, seed=seed) for seed in range(3))
    paper = formula("kerple").logarithmic if kernel == "log" else formula("kerple").power
    r1, r2 = (r.tolist() for r in kerple.coefficients())
    steps = torch.tensor([0, 1, 2, 5, 40, 300])

    def rows(start: int) -> torch.Tensor:
        def score(h: int, i: int, j: int) -> float:
            m, n = start + int(steps[i]), start + int(steps[j])
            return dot(q[h][i], k[h][j]) / 2 + paper(r1[h], r2[h], m, n)

        return lab.softmax_rows(score, v.tolist(), causal)

    for start in (0, 1000, 100_000):
        found = lab.attended(kerple, q, k, v, positions=start + steps, plainly=plainly)
        torch.testing.assert_close(found, rows(start), rtol=0, atol=CLOSE)
    consecutive = lab.attended(kerple, q, k, v, start=3, plainly=plainly)
    steps = torch.arange(6)
    torch.testing.assert_close(consecutive, rows(3), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("kernel", ["log", "power"])
@pytest.mark.parametrize("raw", [-60.0, -5.0, 0.0, 5.0])
def test_parameters_stay_positive(kernel: str, raw: float) -> None:
    """Wherever an optimizer takes the raw numbers, and with a slope to come back by."""
    kerple = Kerple(ModelShape(3, 4), kernel=kernel)
    with torch.no_grad():
        kerple.raw1.fill_(raw)
        kerple.raw2.fill_(raw)
    r1, r2 = kerple.coefficients()
    assert (r1 > 0).all() and (r2 > 0).all()
    bias = kerple.distance_bias(torch.tensor([1, 2, 1000, 1_000_000]))
    assert torch.isfinite(bias).all() and (bias.diff(dim=1) <= 0).all()
    slopes = torch.autograd.grad(bias.sum(), [kerple.raw1, kerple.raw2])
    assert all(torch.isfinite(slope).all() for slope in slopes)
    if raw > -60:
        assert all(slope.all() for slope in slopes)


@pytest.mark.parametrize("kernel", ["log", "power"])
def test_at_distance_0_the_bias_is_0(kernel: str) -> None:
    """ln(1 + r2 n), not ln(r2 n); and a slope there that is 0, not 0 times infinity."""
    kerple = Kerple(ModelShape(3, 4), kernel=kernel)
    bias = kerple.distance_bias(torch.zeros(2, dtype=torch.int64))
    assert torch.equal(bias, torch.zeros(3, 2))
    slopes = torch.autograd.grad(bias.sum(), [kerple.raw1, kerple.raw2])
    assert all(torch.equal(slope, torch.zeros(3)) for slope in slopes)


def test_the_power_is_at_most_2() -> None:
    kerple = Kerple(ModelShape(3, 4), kernel="power")
    with torch.no_grad():
        kerple.raw2.fill_(100.0)
    assert (kerple.coefficients()[1] <= 2).all()


@pytest.mark.parametrize("kernel", ["log", "power"])
def test_first_values_are_those_of_the_papers_code(kernel: str) -> None:
    """p from U(0, 2), a from U(0, 1); -p ln(1 + a n) and -a n^p."""
    kerple = Kerple(ModelShape(4000, 4), kernel=kernel)
    kerple.reset_parameters(torch.Generator().manual_seed(0))
    r1, r2 = kerple.coefficients()
    p, a = (r1, r2) if kernel == "log" else (r2, r1)
    for numbers, most in ((p, 2.0), (a, 1.0)):
        assert 0.0099 < numbers.min().item() < 0.02
        assert 0.98 * most < numbers.max().item() <= most
        assert numbers.mean().item() == pytest.approx(most / 2, rel=0.05)


def test_each_layer_has_its_own_numbers() -> None:
    assert len(build("kerple", ModelShape(6, 4, layers=3)).instances) == 3


def test_another_kernel_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Kerple(ModelShape(2, 4), kernel="linear")
    assert caught.value.code == "positions.kerple-kernel"
    assert "'linear'" in str(caught.value)


@pytest.mark.parametrize("spec", ["kerple:kernel=power"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
