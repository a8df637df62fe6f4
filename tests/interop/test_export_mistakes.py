"""A mistake in any map of an export to transformers is refused, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import ROWS, TRAINED, write_run

from wordorder.errors import Refused
from wordorder.interop import rotary_layout as layout
from wordorder.interop import weights
from wordorder.interop.export import export
from wordorder.interop.huggingface import rotary
from wordorder.interop.huggingface.export import HUGGING_FACE
from wordorder.interop.huggingface.families import FAMILIES, Family, gemma3, rms_decoder

transformers = pytest.importorskip("transformers")


def replaced_weights(change: Callable[[dict], dict]) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a patch that changes the weights of every family."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, family in FAMILIES.items():
            broken = family._replace(
                weights=lambda model, right=family.weights: change(right(model))
            )
            monkeypatch.setitem(FAMILIES, name, broken)

    return patch


def changed(
    ending: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a patch that changes weights whose names end so."""
    return replaced_weights(
        lambda w: {n: change(v) if n.endswith(ending) else v for n, v in w.items()}
    )


def exchanged(name: str, one: str, other: str) -> str:
    if one in name:
        return name.replace(one, other)
    return name.replace(other, one)


def replaced_fields(**fields: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a patch that sets fields of every family's configuration."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, family in FAMILIES.items():
            monkeypatch.setitem(FAMILIES, name, with_fields(family, fields))

    return patch


def with_fields(family: Family, fields: dict[str, Any]) -> Family:
    return family._replace(configuration=lambda a: {**family.configuration(a), **fields})


def replaced_names(**names: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a patch that gives other names to modules of the default's class."""
    right = rms_decoder.WEIGHTS
    broken = replace(right, names={**right.names, **names})
    family = FAMILIES["qwen3"]._replace(weights=broken.write)
    return lambda monkeypatch: monkeypatch.setitem(FAMILIES, "qwen3", family)


def attribute(module: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(module, name, value)


def rope(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict], dict]) -> None:
    right = rotary.rope_parameters
    monkeypatch.setattr(rotary, "rope_parameters", lambda r: change(right(r)))


PLAIN_ROPE = {"rope_type": "default", "rope_theta": 312.5}
DEFAULT, LLAMA, GPT2 = ("Qwen3ForCausalLM", "default"), "LlamaForCausalLM", "GPT2LMHeadModel"
GPT_OSS, GEMMA = ("GptOssForCausalLM", "yarn"), ("Gemma3ForCausalLM", "two bases")
NEOX, BERT = ("GPTNeoXForCausalLM", "partial"), ("BertForMaskedLM", "learned")
MISTAKES: dict[str, tuple[tuple[str, str], Callable[[pytest.MonkeyPatch], None]]] = {
    "permutation left out": (DEFAULT, attribute(layout, "half_split", lambda x, *sizes: x)),
    "permutation left out of GPT-NeoX": (NEOX, attribute(layout, "half_split", lambda x, *s: x)),
    "permutation left out of norms": (
        DEFAULT,
        attribute(layout, "TURNED", layout.TURNED[:2]),
    ),
    "permutation left out of keys": (
        DEFAULT,
        attribute(layout, "TURNED", layout.TURNED[::2]),
    ),
    "permutation where the layout is half": (
        ("Qwen3ForCausalLM", "half layout"),
        attribute(layout, "turned_dimensions", lambda r: 8),
    ),
    "permutation of whole heads": (NEOX, attribute(layout, "turned_dimensions", lambda r: 16)),
    "base lost": (DEFAULT, lambda m: rope(m, lambda r: {**r, "rope_theta": 10_000.0})),
    **{
        f"{scaling} dropped": ((LLAMA, scaling), lambda m: rope(m, lambda r: PLAIN_ROPE))
        for scaling in ("linear", "ntk", "dynamic", "yarn", "llama3", "longrope", "proportional")
    },
    "factor halved": (
        (LLAMA, "linear"),
        lambda m: rope(m, lambda r: {**r, "factor": r["factor"] / 2}),
    ),
    "original length from the trained one": (
        (LLAMA, "llama3"),
        lambda m: rope(m, lambda r: {**r, "original_max_position_embeddings": TRAINED}),
    ),
    "beta of YaRN's paper": (
        (LLAMA, "yarn"),
        lambda m: rope(m, lambda r: {**r, "beta_fast": 32, "beta_slow": 1}),
    ),
    "short factors lost": (
        (LLAMA, "longrope"),
        lambda m: rope(m, lambda r: {**r, "short_factor": [1.0] * 4}),
    ),
    "every layer rotary": (
        ("SmolLM3ForCausalLM", "pattern"),
        replaced_fields(no_rope_layers=[1] * 3),
    ),
    "window lost": (
        ("Qwen3ForCausalLM", "windows"),
        replaced_fields(layer_types=["full_attention"] * 2),
    ),
    "window one longer": (("SmolLM3ForCausalLM", "windows"), replaced_fields(sliding_window=6)),
    "tied head untied": (
        DEFAULT,
        replaced_weights(lambda w: {**w, "lm_head.weight": w["model.embed_tokens.weight"] / 2}),
    ),
    "untied head dropped": (
        (LLAMA, "biases"),
        replaced_weights(lambda w: {n: v for n, v in w.items() if n != "lm_head.weight"}),
    ),
    "multiplier not taken out of a tied head": (
        DEFAULT,
        replaced_weights(lambda w: {**w, "model.norm.weight": w["model.norm.weight"] * 32**0.5}),
    ),
    "multiplier lost": (
        (GPT2, "sinusoidal"),
        replaced_weights(
            lambda w: {**w, "transformer.wte.weight": w["transformer.wte.weight"] / 32**0.5}
        ),
    ),
    "biases missing": (
        (LLAMA, "biases"),
        replaced_weights(lambda w: {n: v for n, v in w.items() if not n.endswith("bias")}),
    ),
    "biases zero": (
        (GPT2, "learned"),
        replaced_weights(lambda w: {n: v * (not n.endswith("attn.bias")) for n, v in w.items()}),
    ),
    "keys before queries": (
        (GPT2, "learned"),
        attribute(weights, "PROJECTIONS", ("key", "query", "value")),
    ),
    "a matrix not transposed": (
        (GPT2, "learned"),
        replaced_weights(lambda w: {n: v.T if "attn.c_proj.w" in n else v for n, v in w.items()}),
    ),
    "matrices not transposed": (
        (GPT2, "learned"),
        replaced_weights(lambda w: {n: v.T if "c_fc.w" in n else v for n, v in w.items()}),
    ),
    "a type that transformers lacks": (
        DEFAULT,
        lambda m: rope(m, lambda r: {**r, "rope_type": "another"}),
    ),
    "gate and up exchanged": (
        DEFAULT,
        replaced_names(**{"feed_forward.gate": "mlp.up_proj", "feed_forward.up": "mlp.gate_proj"}),
    ),
    "table one row off": (
        (GPT2, "sinusoidal"),
        replaced_weights(
            lambda w: {**w, "transformer.wpe.weight": w["transformer.wpe.weight"].roll(1, 0)}
        ),
    ),
    "another activation": ((GPT2, "learned"), replaced_fields(activation_function="gelu_new")),
    "another epsilon": (DEFAULT, replaced_fields(rms_norm_eps=1e-2)),
    "residual not parallel": (NEOX, replaced_fields(use_parallel_residual=False)),
    "Gemma's norms without their 1": (
        GEMMA,
        lambda m: m.setitem(
            FAMILIES,
            "gemma3",
            FAMILIES["gemma3"]._replace(weights=replace(gemma3.WEIGHTS, norm_offset=0.0).write),
        ),
    ),
    "Gemma's gate and up exchanged": (
        GEMMA,
        replaced_weights(lambda w: {exchanged(n, "gate_proj", "up_proj"): v for n, v in w.items()}),
    ),
    "Gemma's output norms exchanged": (
        GEMMA,
        replaced_weights(
            lambda w: {exchanged(n, "post_attention", "post_feedforward"): v for n, v in w.items()}
        ),
    ),
    "gate and up of experts exchanged": (
        GPT_OSS,
        replaced_weights(
            lambda w: {
                n: v.unflatten(-1, (-1, 2)).flip(-1).flatten(-2) if "gate_up" in n else v
                for n, v in w.items()
            }
        ),
    ),
    "gate before up instead of in turn": (
        GPT_OSS,
        replaced_weights(
            lambda w: {
                n: v.unflatten(-1, (-1, 2)).mT.flatten(-2) if "gate_up" in n else v
                for n, v in w.items()
            }
        ),
    ),
    "experts in another order": (GPT_OSS, changed("experts.down_proj", lambda v: v.flip(0))),
    "biases of experts lost": (GPT_OSS, changed("experts.down_proj_bias", torch.zeros_like)),
    "bias of the router lost": (GPT_OSS, changed("router.bias", torch.zeros_like)),
    "sinks dropped": (GPT_OSS, changed("sinks", lambda v: v - 1e9)),
    "sinks dropped from GraniteSWA": (
        ("GraniteSWAForCausalLM", "sinks"),
        changed("sinks", lambda v: v - 1e9),
    ),
    "sinks that take attention": (
        ("GptOssForCausalLM", "without sinks and biases"),
        changed("sinks", torch.zeros_like),
    ),
    **{
        f"truncate lost: {kind}": (
            (kind, name),
            lambda m: rope(m, lambda r: {n: v for n, v in r.items() if n != "truncate"}),
        )
        for kind, name in ((LLAMA, "yarn, ends not rounded"), GPT_OSS)
    },
    "steepness of the gate lost": (GPT_OSS, replaced_fields(swiglu_alpha=1.0)),
    "another limit of the clamp": (GPT_OSS, replaced_fields(swiglu_limit=0.5)),
    "BERT's own head": (
        BERT,
        replaced_weights(lambda w: {n: v * ("dense.bias" not in n) for n, v in w.items()}),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_map_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    (kind, name), patch = MISTAKES[mistake]
    patch(monkeypatch)
    with pytest.raises(Refused) as caught:
        export(write_run(tmp_path / "run", **ROWS[kind][name]), HUGGING_FACE)
    assert caught.value.code in (
        "interop.cannot-be-loaded",
        "interop.logits-differ",
        "interop.weights-do-not-fit",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
