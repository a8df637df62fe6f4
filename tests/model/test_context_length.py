"""Scaling that depends on the length: one context length, fixed before a text begins.

Then it makes no difference how a text is read or written: at once, through a cache, or
whole again at every step. Compared in float64, at every step, below, at and past the
original length.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import transformers
from torch import Tensor
from transformers.models.llama import modeling_llama

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, TokenModel
from wordorder.model.decoding import Sampling, generate

# float64 throughout, but for the sines and cosines, which are the same float32 ones.
EXACT = 1e-10
APART = 1e-2
ORIGINAL = 16
# Four pairs in a head of 8; the sets differ so that a switch of them would show.
FACTORS = "factor=4,short_factors=[1,1.1,1.2,1.3],long_factors=[1,1.5,3,4]"
DYNAMIC = f"rotary:scaling=dynamic,original_length={ORIGINAL}"
LONGROPE = f"rotary:scaling=longrope,original_length={ORIGINAL},{FACTORS}"
SPECS = [DYNAMIC, f"{DYNAMIC},factor=2", LONGROPE, f"{LONGROPE}/alibi"]

MakeModel = Callable[..., TokenModel]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def exact(make_random: MakeModel, spec: str, **options: object) -> LanguageModel:
    model = make_random(spec, trained_length=ORIGINAL, **options).double()
    model.compute_dtype = torch.float64
    return model


def some_tokens(length: int) -> Tensor:
    return torch.randint(40, (2, length), generator=torch.Generator().manual_seed(length))


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("context_length", [0, 8, ORIGINAL + 1, 200])
@pytest.mark.parametrize("spec", SPECS)
def test_every_step_of_a_cache_is_the_whole_text_again(
    make_random: MakeModel, spec: str, context_length: int
) -> None:
    """40 steps, past the original length from the 17th on; and no more is known of a text's end."""
    model, tokens = exact(make_random, spec), some_tokens(40)
    cache = model.new_cache(context_length=context_length)
    length = context_length or ORIGINAL  # a cache that is told nothing is for the trained length
    whole = model(Batch(tokens, context_length=length))
    for step in range(40):
        same(model.next_logits(tokens[:, step : step + 1], cache), whole[:, step])
    for step in (1, ORIGINAL, ORIGINAL + 1, 39):
        same(model.next_logits(Batch(tokens[:, :step], context_length=length)), whole[:, step - 1])


@pytest.mark.parametrize("spec", SPECS)
def test_a_text_is_written_the_same_with_a_cache_and_without(
    make_random: MakeModel, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    """Logits and all: from a short prompt past the original length, and from a long one."""
    model = exact(make_random, spec, tied_embeddings=False)
    seen: list[Tensor] = []
    given = model.next_logits

    def listened(*arguments: object, **options: object) -> Tensor:
        seen.append(given(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(model, "next_logits", listened)
    for prompt, more in ((3, 6), (3, 13), (3, 30), (20, 20)):
        sampling = Sampling(max_tokens=more, seed=prompt)
        texts, logits = [], []
        for use_cache in (True, False):
            seen.clear()
            start = some_tokens(prompt)[0].tolist()
            texts.append(list(generate(model, start, sampling, use_cache=use_cache)))
            logits.append(torch.cat(seen))
        assert texts[0] == texts[1] and len(texts[0]) == more
        same(*logits)
        length = prompt + more
        again = torch.tensor([start + texts[0]])[:, :-1]
        same(logits[0], model(Batch(again, context_length=length))[0, prompt - 1 :])


@pytest.mark.parametrize("spec", [DYNAMIC, LONGROPE])
def test_it_is_the_context_that_counts_and_not_how_far_a_text_has_come(
    make_random: MakeModel, spec: str
) -> None:
    model, tokens = exact(make_random, spec), some_tokens(12)
    expected = model(tokens)
    same(model(Batch(tokens, context_length=12)), expected)
    same(model(Batch(tokens, context_length=ORIGINAL)), expected)
    assert (model(Batch(tokens, context_length=ORIGINAL + 1)) - expected).abs().max() > APART
    assert torch.equal(model(tokens), expected)  # nothing is left of the longer one
    longer = model.hidden(Batch(tokens, context_length=64))
    assert (longer - model.hidden(tokens)).abs().max() > APART


def test_where_nothing_asks_for_it_it_changes_nothing(make_random: MakeModel) -> None:
    tokens = some_tokens(12)
    for options in ({"position": "rotary:scaling=yarn,factor=4"}, {"kind": "gru"}):
        model = make_random(**options)
        assert torch.equal(model(Batch(tokens, context_length=500)), model(tokens))
        cache = model.new_cache(context_length=500)
        found = model.next_logits(Batch(tokens, context_length=500), cache=cache)
        assert torch.equal(found, model.next_logits(tokens))


def test_a_cache_has_one_context_length(make_random: MakeModel) -> None:
    model, tokens = exact(make_random, DYNAMIC), some_tokens(5)
    cache = model.new_cache(context_length=40)
    model(Batch(tokens, context_length=40), cache=cache)
    with pytest.raises(BadInput) as caught:
        model(Batch(tokens, context_length=1000), cache=cache)
    assert caught.value.code == "model.context-length-differs"
    assert "1,000" in str(caught.value) and " 40:" in str(caught.value)
    assert cache.length == 5


def theirs(rope: dict[str, object]) -> modeling_llama.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=ORIGINAL,
        initializer_range=0.5,  # scores that matter
        rope_parameters={"rope_theta": 1e4, **rope},
    )
    return modeling_llama.LlamaForCausalLM(config).eval()


def test_transformers_keeps_keys_turned_at_older_frequencies() -> None:
    """What is avoided here, shown there: its cache holds rotated keys.

    Its dynamic scaling takes the largest position of a call for the length of the text, so
    that a key stays turned as far as the text had come when it was read (transformers #25104;
    Peng et al. 2023 tell to cache keys before they are turned), and LongRoPE's sets switch
    between two tokens. Within the original length both roads agree.
    """
    dynamic = {"rope_type": "dynamic", "factor": 2.0}
    switching = {
        "rope_type": "longrope",
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [1.0, 1.5, 3.0, 4.0],
        "original_max_position_embeddings": ORIGINAL,
        "factor": 4.0,
    }
    tokens = some_tokens(40)
    for rope in (dynamic, switching):
        model = theirs(rope)
        whole = [model(tokens[:, : step + 1]).logits[:, -1] for step in range(40)]
        past, apart = transformers.DynamicCache(config=model.config), []
        for step in range(40):
            read = model(tokens[:, step : step + 1], past_key_values=past, use_cache=True)
            apart.append(float((read.logits[:, -1] - whole[step]).abs().max()))
        assert max(apart[:ORIGINAL]) < 1e-4
        assert max(apart[ORIGINAL:]) > 0.1


def test_transformers_remembers_a_longer_text() -> None:
    """Its dynamic frequencies are kept in the module: the same text is read differently later."""
    model, tokens = theirs({"rope_type": "dynamic", "factor": 2.0}), some_tokens(40)
    before = model(tokens[:, :20]).logits
    model(tokens)
    assert (model(tokens[:, :20]).logits - before).abs().max() > 0.1
