"""Every row of the table of holders is exported, loaded, compared; a broken map is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import ROWS, TRAINED, write_run
from safetensors.torch import load_file

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop import rotary_layout as layout
from wordorder.interop import tokenizer_files, weights
from wordorder.interop.comparison import TOLERANCE, LogitComparison
from wordorder.interop.export import Export, export
from wordorder.interop.huggingface import export as exporting
from wordorder.interop.huggingface import rotary
from wordorder.interop.huggingface.export import HUGGING_FACE
from wordorder.interop.huggingface.families import FAMILIES, Family, gemma3, rms_decoder
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

ALL = [(kind, name) for kind, rows in ROWS.items() for name in rows]
SMALLEST = 0.3  # of the spread of logits: they must depend on something to be worth comparing


def exported(folder: Path, kind: str, name: str) -> Export:
    return export(write_run(folder / "run", **ROWS[kind][name]), HUGGING_FACE)


# -- what is held --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind,name", ALL)
def test_each_row_is_exact(tmp_path: Path, kind: str, name: str) -> None:
    result = exported(tmp_path, kind, name).written
    assert result.holder == kind
    # Layers that leave hidden states as they are round them.
    assert result.largest_difference < TOLERANCE / (4 if "Bert" in kind else 10)
    run = Run.load(tmp_path / "run")
    is_limited = run.model.position.max_position == TRAINED - 1
    longest = TRAINED if is_limited else 2 * TRAINED
    lengths = {comparison.tokens for comparison in result.comparisons}
    assert lengths >= {TRAINED // 2, TRAINED, longest}
    readings = {comparison.reading for comparison in result.comparisons}
    assert readings == {"alone", "padded", *(["cached"] if "Bert" not in kind else [])}
    with torch.no_grad():
        assert run.model(torch.arange(TRAINED)[None]).std() > SMALLEST


def test_the_folder_has_what_transformers_reads_and_no_pickle(tmp_path: Path) -> None:
    folder = exported(tmp_path, "LlamaForCausalLM", "yarn").folder
    assert folder == tmp_path / "run-hf"
    without_chat = set(exporting.FILES) - {"chat_template.jinja"}
    assert {path.name for path in folder.iterdir()} == {*without_chat, "wordorder.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == config["rope_theta"]
    assert config["rope_scaling"]["rope_type"] == "yarn"
    assert config["pad_token_id"] is None  # whose row in the table would not be trained
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == generation["pad_token_id"] == 256
    assert all(
        value.dtype == torch.float32 for value in load_file(folder / "model.safetensors").values()
    )


def test_what_generate_writes_is_what_transformers_writes() -> None:
    from wordorder.cli.options.generate import GenerateOptions

    usual = GenerateOptions("r")
    expected = {
        "do_sample": True,
        "temperature": usual.temperature,
        "top_k": usual.top_k,
        "top_p": usual.top_p,
        "min_p": usual.min_p,
    }
    assert expected == exporting.SAMPLING


def test_a_limit_of_the_caller_overrules_that_of_the_folder(tmp_path: Path) -> None:
    folder = exported(tmp_path, "LlamaForCausalLM", "default").folder
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokens, options = torch.arange(4)[None], {"do_sample": False, "eos_token_id": None}
    assert theirs.generate(tokens, **options).shape[1] == TRAINED
    assert theirs.generate(tokens, max_length=6, **options).shape[1] == 6
    assert theirs.generate(tokens, max_new_tokens=20, **options).shape[1] == 24


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_generating_past_a_length_dependent_scaling_is_exact(tmp_path: Path, name: str) -> None:
    """With transformers' cache keys would keep the frequencies of the shorter text."""
    result = exported(tmp_path, "LlamaForCausalLM", name)
    assert result.written.notes and all("\n" not in note for note in result.written.notes)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(result.folder)
    assert theirs.generation_config.use_cache is False
    run, tokens = Run.load(tmp_path / "run"), torch.arange(10)[None]
    written = theirs.generate(tokens, do_sample=False, max_new_tokens=20, eos_token_id=None)
    with torch.no_grad():
        for _ in range(20):
            tokens = torch.cat((tokens, run.model(tokens)[:, -1:].argmax(-1)), 1)
    assert written.tolist() == tokens.tolist()


# -- what is refused -----------------------------------------------------------------------------


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
        exported(tmp_path, kind, name)
    assert caught.value.code in (
        "interop.cannot-be-loaded",
        "interop.logits-differ",
        "interop.weights-do-not-fit",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_nan_is_not_exact() -> None:
    assert not LogitComparison("alone", 8, float("nan")).is_exact


def test_the_command_exits_with_3_and_keeps_the_earlier_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(tmp_path, *DEFAULT).folder
    before = (folder / "config.json").read_text()
    monkeypatch.setattr(layout, "half_split", lambda x, *sizes: x)
    command = ["export", str(tmp_path / "run"), "--to", "hf"]
    assert main([*command, "--overwrite"]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "config.json").read_text() == before


# -- folders, tokenizer, extra -------------------------------------------------------------------


def test_what_is_there_is_replaced_only_if_an_export_wrote_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    out = tmp_path / "deep" / "er"
    assert export(run, HUGGING_FACE, out).folder == out
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, out)
    assert caught.value.code == "interop.out-is-an-export"
    export(run, HUGGING_FACE, out, overwrite=True)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, out, overwrite=True)
    assert caught.value.code == "interop.out-not-empty"
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, tmp_path / "run", overwrite=True)
    assert caught.value.code == "interop.out-not-empty"
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, out / "mine.txt", overwrite=True)
    assert caught.value.code == "interop.out-is-a-file"


def test_a_tokenizer_that_differs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_files, "_opening_with", lambda *token: None)
    run = write_run(tmp_path / "run")
    with pytest.raises(Refused) as caught:
        export(run, HUGGING_FACE, tmp_path / "a" / "new" / "folder")
    assert caught.value.code == "interop.tokenizer-differs"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_text_that_spells_a_special_token_is_characters(tmp_path: Path) -> None:
    folder = exported(tmp_path, *DEFAULT).folder
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    text = "a <|endoftext|> b"
    ours = Run.load(tmp_path / "run").tokenizer
    assert theirs(text)["input_ids"] == [ours.end_of_text, *ours.encode(text)]


def test_a_masked_model_reads_its_mask_token(tmp_path: Path) -> None:
    folder = exported(tmp_path, *BERT).folder
    assert not (folder / "generation_config.json").exists()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = Run.load(tmp_path / "run").tokenizer
    assert theirs(f"a{theirs.mask_token}")["input_ids"] == [ours.end_of_text, 97, ours.mask]
    filled = transformers.pipeline("fill-mask", model=str(folder))(f"a{theirs.mask_token}b")
    assert len(filled) == 5


def test_a_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadInput, match=r"pip install 'wordorder\[hf\]'") as caught:
        export(run, HUGGING_FACE)
    assert caught.value.code == "interop.not-installed"


def test_what_cannot_be_exported_is_said_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", position="kerple")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    config = tmp_path / "run" / "config.json"
    record = json.loads(config.read_text())
    record["model"]["kind"] = "gru"
    config.write_text(json.dumps(record))
    assert main(["export", str(tmp_path / "run"), "--to", "hf"]) == 2
    error = capsys.readouterr().err
    assert "gru" in error and error.count("\n") == 1
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "--to" in capsys.readouterr().err
