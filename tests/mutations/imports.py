"""Mistakes in the maps that imports and exports share, and in what an import checks."""

from .mutant import Mutant

FAMILIES = "families"
IMPORT, REFUSED = "tests/interop/test_import.py", "tests/interop/test_import_refused.py"
OLDER = f"{IMPORT}::test_files_of_older_versions_are_read"
ALL = f"{IMPORT}::test_each_model_gives_the_same_logits_and_goes_back"
GPT_OSS = f"{ALL}[GptOssForCausalLM-default]"
LLAMA, BERT = f"{ALL}[LlamaForCausalLM-default]", f"{ALL}[BertForMaskedLM-default]"


def slip(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """Return a mistake in a file of interop that these tests catch."""
    folder = "interop" if file == "weights.py" else "interop/huggingface"
    return Mutant(f"import: {name}", f"{folder}/{file}", ((old, new),), tests)


MUTANTS = (
    slip(
        "permutation left out", "weights.py", "layer = in_pairs(layer, ", "in_pairs(layer, ", LLAMA
    ),
    slip(
        "base lost",
        "rope_fields.py",
        '{"base": fields.number("rope_theta")}',
        '{"base": 10_000.0}',
        LLAMA,
    ),
    slip(
        "scaling dropped",
        "rope_fields.py",
        "options |= scaling if scaling",
        "options |= {} if scaling",
        f"{ALL}[LlamaForCausalLM-llama3]",
    ),
    slip(
        "original length lost",
        "rope_fields.py",
        "values[ours] = original",
        "values[ours] = length",
        f"{ALL}[LlamaForCausalLM-llama3]",
    ),
    slip(
        "attention factor ignored",
        "rope_fields.py",
        "(given / usual) ** 2",
        "1.0",
        f"{ALL}[LlamaForCausalLM-yarn, attention factor]",
    ),
    slip(
        "attention factor once",
        "rope_fields.py",
        "(given / usual) ** 2",
        "given / usual",
        f"{ALL}[LlamaForCausalLM-yarn, two scales]",
    ),
    slip(
        "biases left at zero",
        "weights.py",
        "state[key] = weights.get(key, zeros)",
        "state[key] = weights.get(key, zeros) * (kind != 'bias')",
        f"{ALL}[GPT2LMHeadModel-default]",
    ),
    slip(
        "keys before queries",
        "weights.py",
        "zip(PROJECTIONS, parts, strict=True)",
        "zip(PROJECTIONS[::-1], parts, strict=True)",
        f"{ALL}[GPT2LMHeadModel-default]",
    ),
    slip(
        "joined by parts",
        "weights.py",
        "parts = rows.view(-1, 3, head_dim, *rows.shape[1:]).unbind(1)",
        "parts = rows.view(3, -1, head_dim, *rows.shape[1:]).unbind(0)",
        f"{ALL}[BloomForCausalLM-4 heads]",
    ),
    slip(
        "matrices not transposed",
        "weights.py",
        "is_turned = self.is_transposed and",
        "is_turned = False and",
        f"{ALL}[GPT2LMHeadModel-default]",
    ),
    slip(
        "unused rows read",
        "weights.py",
        "[self.offset :]",
        "[: -self.offset or None]",
        f"{ALL}[OPTForCausalLM-default]",
    ),
    slip(
        "offset of norms lost",
        "weights.py",
        "(value + offset) * factor",
        "value * factor",
        f"{ALL}[Gemma3ForCausalLM-linear]",
    ),
    slip(
        "a tied head untied",
        f"{FAMILIES}/llama.py",
        "options = rms_decoder.options(fields, rotary, biases=biases)",
        'options = rms_decoder.options(fields, rotary, biases=biases) | {"tied_embeddings": True}',
        LLAMA,
    ),
    slip(
        "window one longer",
        f"{FAMILIES}/mistral.py",
        '(fields.integer("sliding_window", window),)',
        '(fields.integer("sliding_window", window) + 1,)',
        f"{ALL}[MistralForCausalLM-window]",
    ),
    slip(
        "windows in other layers",
        f"{FAMILIES}/rms_decoder.py",
        "KINDS[i < first]",
        "KINDS[i >= first]",
        OLDER,
    ),
    slip(
        "rotary in every layer",
        f"{FAMILIES}/smollm3.py",
        'if turns else "none"',
        "if turns else rotary.spec",
        f"{ALL}[SmolLM3ForCausalLM-pattern]",
    ),
    slip(
        "whole heads turned",
        f"{FAMILIES}/gpt_neox.py",
        "base=base, fraction=fraction)",
        "base=base, fraction=1.0)",
        OLDER,
    ),
    slip(
        "residual not parallel",
        f"{FAMILIES}/gpt_neox.py",
        '"parallel_residual": fields.flag("use_parallel_residual", True)',
        '"parallel_residual": not fields.flag("use_parallel_residual", True)',
        f"{ALL}[GPTNeoXForCausalLM-partial]",
    ),
    slip(
        "MPT's other GELU",
        f"{FAMILIES}/mpt.py",
        '"feed_forward": "gelu"',
        '"feed_forward": "gelu_tanh"',
        f"{ALL}[MptForCausalLM-4 heads]",
    ),
    slip(
        "no norm on BLOOM's embeddings",
        f"{FAMILIES}/bloom.py",
        '"embedding_norm": True',
        '"embedding_norm": False',
        f"{ALL}[BloomForCausalLM-4 heads]",
    ),
    slip(
        "segment lost",
        f"{FAMILIES}/bert.py",
        "value + tensors[SEGMENTS][0] if is_table else value",
        "value",
        BERT,
    ),
    slip(
        "BERT's head without its transform",
        f"{FAMILIES}/bert.py",
        '"output_transform": has_head',
        '"output_transform": False',
        BERT,
    ),
    slip(
        "scores scaled that GPT-Neo does not scale",
        f"{FAMILIES}/gpt_neo.py",
        "(width / heads) ** 0.5",
        "1.0",
        f"{ALL}[GPTNeoForCausalLM-windows]",
    ),
    slip(
        "ReLU read as GELU",
        f"{FAMILIES}/opt.py",
        '"feed_forward": fields.choice("activation_function", FUNCTIONS, "relu")',
        '"feed_forward": "gelu"',
        f"{ALL}[OPTForCausalLM-default]",
    ),
    slip(
        "a multiplier lost",
        f"{FAMILIES}/granite.py",
        'branch_factor=fields.number("residual_multiplier", 1.0)',
        'branch_factor=fields.number("residual_multiplier", 1.0) and 1.0',
        f"{ALL}[GraniteForCausalLM-default]",
    ),
    slip(
        "query biases lost",
        f"{FAMILIES}/qwen2.py",
        "biases=True",
        "biases=False",
        f"{ALL}[Qwen2ForCausalLM-default]",
    ),
    slip(
        "one base for all layers",
        f"{FAMILIES}/layer_kinds.py",
        "pattern([rotary[kind].spec for kind in kinds])",
        "pattern([rotary[kind].spec for kind in kinds[:1]])",
        f"{ALL}[Gemma3ForCausalLM-linear]",
    ),
    slip(
        "QK-norm lost",
        f"{FAMILIES}/qwen3.py",
        '"qk_norm": True',
        '"qk_norm": False',
        f"{ALL}[Qwen3ForCausalLM-default]",
    ),
    slip(
        "table of GPT-2 one row off",
        f"{FAMILIES}/gpt2.py",
        'positions="transformer.wpe",',
        'positions="transformer.wpe",\n    offset=1,',
        f"{ALL}[GPT2LMHeadModel-default]",
    ),
    slip(
        "sinks dropped",
        "weights.py",
        "for kind in (*KINDS, SINKS):",
        "for kind in KINDS:",
        f"{ALL}[GraniteSWAForCausalLM-bases]",
    ),
    slip(
        "ends of YaRN's ramp rounded",
        "rope_fields.py",
        'values["truncate"] = False',
        'values["truncate"] = True',
        f"{ALL}[LlamaForCausalLM-yarn, ends not rounded]",
    ),
    slip(
        "gate and up of experts exchanged",
        f"{FAMILIES}/gpt_oss.py",
        "torch.cat((joined[:, ::2], joined[:, 1::2]), 1)",
        "torch.cat((joined[:, 1::2], joined[:, ::2]), 1)",
        GPT_OSS,
    ),
    slip(
        "experts in another order",
        f"{FAMILIES}/gpt_oss.py",
        'tensors[f"{experts}.down_proj"].mT,',
        'tensors[f"{experts}.down_proj"].mT.flip(0),',
        GPT_OSS,
    ),
    slip(
        "bias of the router lost",
        f"{FAMILIES}/gpt_oss.py",
        "layer = super()._restored(tensors, prefix, model)",
        "layer = {**super()._restored(tensors, prefix, model)}\n"
        '        layer[f"{ROUTER}.bias"] = 0 * layer[f"{ROUTER}.bias"]',
        GPT_OSS,
    ),
    slip(
        "windows of gpt-oss in other layers",
        f"{FAMILIES}/gpt_oss.py",
        "window if kind == SLIDING else 0",
        "window if kind == FULL else 0",
        GPT_OSS,
    ),
    slip(
        "one base for GraniteSWA",
        f"{FAMILIES}/granite_swa.py",
        'of_base[base].spec if base else "none"',
        'rotary.spec if base else "none"',
        f"{ALL}[GraniteSWAForCausalLM-bases]",
    ),
    slip(
        "unknown fields ignored",
        "fields.py",
        'if value is not None and value is not False and value not in ("", [], {}):',
        "if False:",
        REFUSED,
    ),
    slip(
        "an index may point outside",
        "weight_files.py",
        "if file != Path(file).name or not",
        "if not",
        REFUSED,
    ),
    slip("extra tensors ignored", "weight_files.py", '("also have", extra), ', "", REFUSED),
    slip(
        "not compared",
        "import_folder.py",
        'if find_spec("transformers") is None:\n        missing',
        "if True:\n        missing",
        REFUSED,
    ),
)
