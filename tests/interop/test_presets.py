"""Every preset of a family is a model that the family's class of transformers holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordorder.cli.options.train import read_options
from wordorder.errors import BadInput
from wordorder.interop.holders import stock_class
from wordorder.model import PRESETS, ModelConfig
from wordorder.model.presets import FAMILIES, preset_fields, preset_names
from wordorder.training.config import from_mapping

CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "modernbert": "ModernBertForMaskedLM",
    "smollm3": "SmolLM3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "neox": "GPTNeoXForCausalLM",
    "bloom": "BloomForCausalLM",
    "mpt": "MptForCausalLM",
    "bert": "BertForMaskedLM",
}


@pytest.mark.parametrize("name", [name for name in preset_names() if name not in PRESETS])
def test_a_family_s_class_holds_it(name: str) -> None:
    family, _, size = name.partition("-")
    fields = preset_fields(name)
    assert stock_class(ModelConfig(**fields)).class_name == CLASSES[family]
    assert fields.items() >= PRESETS[size].items()


def test_a_family_sets_no_size() -> None:
    assert set(CLASSES) == set(FAMILIES)
    assert not {name for fields in FAMILIES.values() for name in fields} & set(PRESETS["nano"])


def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("preset: gpt2-mini\nposition: sinusoidal\nbiases: false\n")
    options = read_options(["--config", str(file), "--layers", "3", "--no-tied-embeddings"])
    model = options.train.plain().model
    assert options.preset == "gpt2-mini" and not options.train.auto_size
    assert (model.width, model.layers, model.norm) == (256, 3, "layer")
    assert (model.position, model.biases, model.tied_embeddings) == ("sinusoidal", False, False)


def test_bert_is_trained_on_masked_tokens() -> None:
    for config in (
        read_options(["--preset", "bert-nano"]).train.plain(),
        from_mapping({}, preset="bert-nano"),
    ):
        assert (config.objective, config.model.causal) == ("masked-token", False)
    assert read_options(["--preset", "gpt2-nano"]).train.objective == "next-token"
    with pytest.raises(BadInput):
        read_options(["--preset", "bert-nano", "--causal"])


@pytest.mark.parametrize("name", ["gpt2", "gpt2-huge", "-nano", "falcon-nano", "nano-gpt2"])
def test_an_unknown_family_or_size_is_one_line(name: str) -> None:
    with pytest.raises(BadInput, match="FAMILY-SIZE with llama"):
        read_options([f"--preset={name}"])
    with pytest.raises(BadInput) as caught:
        from_mapping({}, preset=name)
    assert caught.value.code == "training.unknown-preset"
