"""A compiled decoding step gives what the full forward pass gives, for every embedding it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from wordorder.batch import Batch
from wordorder.errors import BadInput, Refused
from wordorder.model import LanguageModel, ModelConfig, RecurrentLanguageModel
from wordorder.model.compiled_step import CompiledStep, compile_refusal
from wordorder.model.decoding import Sampling, generate
from wordorder.model.fixed_cache import FixedCache
from wordorder.positions import CATALOGUE

SPECS = [*CATALOGUE, "learned+alibi", "rotary/none", "rotary:scaling=dynamic,factor=2"]
# Tables, rotations, biases, score functions, an embedding that cannot be compiled, a pattern.
QUICK = ["learned", "rotary", "t5", "forgetting", "dape", "rotary/none"]
SLOW = [spec for spec in SPECS if spec not in QUICK]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
GREEDY = Sampling(temperature=0, max_tokens=8)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace a step as for compiling it, and run what was traced as it is."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    yield
    torch._dynamo.reset()


# One layer is traced in half of the time of two, which a pattern needs.
TWO_LAYERS = {"key_value_heads": 2, "windows": (5, 0)}
ONE_LAYER = {"key_value_heads": 2, "windows": (5,), "layers": 1}


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        pytest.param("rotary", {}, marks=pytest.mark.slow),
        *((spec, TWO_LAYERS if "/" in spec else ONE_LAYER) for spec in QUICK),
        *(pytest.param(spec, ONE_LAYER, marks=pytest.mark.slow) for spec in SLOW),
    ],
)
@pytest.mark.usefixtures("traced")
def test_it_gives_the_full_logits(
    make_random: Callable[..., LanguageModel], spec: str, changes: dict
) -> None:
    model = make_random(spec, **changes)
    tokens = torch.randint(40, (1, 14), generator=torch.Generator().manual_seed(0))
    if refusal := compile_refusal(model):
        with pytest.raises(BadInput, match=spec) as caught:
            CompiledStep(model)
        assert caught.value.code == refusal.code == "model.compiled-position"
        return
    step = CompiledStep(model)
    with torch.inference_mode():
        full = model(Batch(tokens, context_length=14))
        cache = model.new_cache(context_length=14)
        model.next_logits(tokens[:, :5], cache)
        fixed = step.cache(cache, 14)
        for i in range(5, 14):
            found = step.next_logits(tokens[:, i : i + 1], fixed)
            torch.testing.assert_close(found, full[:, i], **CLOSE)


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_two_models_have_code_of_their_own(make_random: Callable[..., LanguageModel]) -> None:
    """No guard tells whose compiled code it is, so none may be shared."""
    for seed, options in ((0, {}), (1, {}), (2, {"width": 16, "heads": 2})):
        model = make_random("rotary", seed=seed, layers=1, **options)
        step = CompiledStep(model)
        for prompt in ([1, 2, 3], [4, 5]):
            eager = list(generate(model, prompt, GREEDY))
            assert list(generate(model, prompt, GREEDY, step=step)) == eager


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_texts_of_another_length_have_code_of_their_own(
    make_random: Callable[..., LanguageModel],
) -> None:
    model = make_random("alibi", layers=1)
    step = CompiledStep(model)
    for tokens in (20, 300):
        sampling = Sampling(temperature=0, max_tokens=tokens)
        eager = list(generate(model, [1, 2], sampling))
        assert list(generate(model, [1, 2], sampling, step=step)) == eager
    assert sorted(capacity for capacity, *_ in step.steps) == [256, 512]


def test_what_it_cannot_do_is_said(make_random: Callable[..., LanguageModel]) -> None:
    model = make_random("rotary")
    step = CompiledStep(model)
    for options in ({"window": 4}, {"use_cache": False}):
        with pytest.raises(BadInput) as caught:
            generate(model, [1], GREEDY, step=step, **options)
        assert caught.value.code == "model.compiled-needs-cache"
    gru = RecurrentLanguageModel(ModelConfig(kind="gru", vocabulary_size=9, width=6, layers=1))
    for refused, code in (
        (gru, "model.compiled-gru"),
        (make_random("rotary", causal=False), "model.compiled-bidirectional"),
    ):
        with pytest.raises(BadInput) as caught:
            CompiledStep(refused)
        assert caught.value.code == code


@pytest.mark.usefixtures("traced")
def test_it_ends_where_positions_do(make_random: Callable[..., LanguageModel]) -> None:
    model = make_random("learned", layers=1, trained_length=16)
    written = generate(
        model, [1, 2], Sampling(temperature=0, max_tokens=20), step=CompiledStep(model)
    )
    with pytest.raises(BadInput, match="position 16 ") as caught:
        list(written)
    assert caught.value.code == "model.position-past-limit"


@pytest.mark.usefixtures("traced")
def test_a_full_cache_is_said(make_random: Callable[..., LanguageModel]) -> None:
    model = make_random("rotary", layers=1)
    cache, token = model.new_cache(), torch.zeros(1, 1, dtype=torch.int64)
    with torch.inference_mode():
        model.next_logits(token, cache)
        step, fixed = CompiledStep(model), FixedCache(cache, 2)
        step.next_logits(token, fixed)
        with pytest.raises(BadInput, match="2 tokens") as caught:
            step.next_logits(token, fixed)
    assert caught.value.code == "model.compiled-cache-full"


def test_it_goes_on_with_one_text(make_random: Callable[..., LanguageModel]) -> None:
    model = make_random("rotary")
    cache = model.new_cache()
    for tokens in (None, torch.zeros(2, 3, dtype=torch.int64)):  # empty, then two sequences
        if tokens is not None:
            model.next_logits(tokens, cache)
        with pytest.raises(BadInput) as caught:
            FixedCache(cache, 256)
        assert caught.value.code == "model.fixed-cache-content"


def test_a_failing_compiler_is_one_line(
    make_random: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedding of one's own may do what no compiler follows."""
    model = make_random("rotary")
    asks = type(model.position.instances[0]).transform_queries

    def branching(self, queries, *rest):
        return asks(self, queries if queries.sum() > 0 else -queries, *rest)

    monkeypatch.setattr(type(model.position.instances[0]), "transform_queries", branching)
    with pytest.raises(Refused, match="--compile no") as caught:
        list(generate(model, [1, 2], GREEDY, step=CompiledStep(model)))
    assert caught.value.code == "model.compiler-failed" and "\n" not in str(caught.value)
    torch._dynamo.reset()


@pytest.mark.usefixtures("traced")
@torch.no_grad()
def test_another_length_within_a_block_has_its_own_frequencies(
    make_random: Callable[..., LanguageModel],
) -> None:
    """One step for two prompts: the compiler takes the length of the context for a constant."""
    model = make_random("rotary:scaling=dynamic,factor=2", **ONE_LAYER)
    tokens = torch.randint(40, (1, 14), generator=torch.Generator().manual_seed(0))
    step = CompiledStep(model)
    for context in (40, 240):
        cache = model.new_cache(context_length=context)
        model.next_logits(tokens[:, :-1], cache)
        logits = step.next_logits(tokens[:, -1:], step.cache(cache, context))
        whole = model(Batch(tokens, context_length=context))[:, -1]
        torch.testing.assert_close(logits, whole, **CLOSE)
