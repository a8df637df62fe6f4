"""Loads exports where wordorder cannot be imported, and writes what their models compute.

    python -I -S own_code_reader.py SITE_PACKAGES FOLDER

FOLDER has one export in each of its folders. Beside each, NAME.safetensors gets logits, and
results.json what the functions below return. Run with -S, so that no installed path leads to
wordorder; what else its modules must not need is refused too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

site, folder = sys.argv[1], Path(sys.argv[2])
sys.path.append(site)
ABSENT = ("wordorder", "annotated_types", "tyro", "gensim")


class Absent:
    """Refuses to import what a user of the export may not have."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Absent())

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoProcessor,
    AutoTokenizer,
    dynamic_module_utils,
    pipeline,
)
from transformers.utils import logging  # noqa: E402

dynamic_module_utils.HF_MODULES_CACHE = str(folder / "modules")
logging.set_verbosity_error()
logging.disable_progress_bar()
STEPS = 3  # tokens read one by one through the cache
TRUST = {"trust_remote_code": True}


def read(model, tokens, mask, use_cache):
    """Logits of all tokens, the last of them read one by one if there is a cache."""
    if not use_cache:
        return model(tokens, attention_mask=mask).logits
    time = tokens.shape[1]
    start = time - STEPS
    output = model(tokens[:, :start], attention_mask=mask[:, :start], use_cache=True)
    logits = [output.logits]
    for i in range(start, time):
        output = model(
            tokens[:, i : i + 1],
            attention_mask=mask[:, : i + 1],
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        logits.append(output.logits)
    return torch.cat(logits, 1)


def all_logits(path, model):
    """Logits of the sequences that the test wrote, whole and, of a causal model, cached."""
    inputs = load_file(path.with_suffix(".inputs"))
    logits = {}
    with torch.no_grad():
        for name in {name.partition(".")[0] for name in inputs}:
            tokens, mask = inputs[f"{name}.tokens"], inputs[f"{name}.mask"]
            for cached in [False, True][: 1 + model.config.causal]:
                key = f"{name}.{'cached' if cached else 'whole'}"
                logits[key] = read(model, tokens, mask, cached).contiguous()
    save_file(logits, path.with_suffix(".logits"))


def generated(path, model):
    """What `generate` writes after two prompts, of which one is padded, in several ways."""
    tokenizer = AutoTokenizer.from_pretrained(path, **TRUST)
    tokens = tokenizer(["ab", "abcdef gh"], return_tensors="pt", padding=True)
    usual = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": None}
    ways = {"cached": {}, "uncached": {"use_cache": False}}
    ways["beams"] = {"num_beams": 3}
    ways["beams uncached"] = {"num_beams": 3, "use_cache": False}
    written = {name: model.generate(**tokens, **usual, **way) for name, way in ways.items()}
    text = pipeline("text-generation", model=str(path), tokenizer=tokenizer, **TRUST)(
        "ab", do_sample=False, max_new_tokens=12, eos_token_id=None, return_full_text=True
    )
    return {
        **{name: rows.tolist() for name, rows in written.items()},
        "pipeline": text[0]["generated_text"],
        "one": tokenizer.decode(written["cached"][1], skip_special_tokens=True),
    }


def saved_again(path, model):
    """The largest difference after save_pretrained and another load, and the files there."""
    again = path.parent.parent / f"{path.name}-again"
    model.save_pretrained(again)
    loaded = AutoModelForCausalLM.from_pretrained(again, **TRUST).eval()
    tokens = torch.arange(8)[None]
    difference = (loaded(tokens).logits - model(tokens).logits).abs().max()
    return {
        "difference": float(difference.detach()),
        "files": sorted(p.name for p in again.iterdir()),
    }


def trained(path, model):
    """Losses of steps on one sequence, without dropout; which parameters got no gradient."""
    model = AutoModelForCausalLM.from_pretrained(path, dropout=0.0, **TRUST).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    tokens, losses = torch.arange(12)[None] % 7, []
    for _ in range(3):
        loss = model(input_ids=tokens, attention_mask=tokens * 0 + 1, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    without = [name for name, p in model.named_parameters() if p.grad is None]
    return {"losses": losses, "without": without}


def resized(path, model):
    """The shape of the logits after the vocabulary has grown."""
    model = AutoModelForCausalLM.from_pretrained(path, **TRUST).eval()
    before = model.config.vocab_size
    model.resize_token_embeddings(before + 3, mean_resizing=False)
    return [before, model(torch.arange(5)[None]).logits.shape[-1], model.config.vocab_size]


def others(path, model):
    """Outputs beside logits; half precision; a model with new weights; what is refused."""
    tokens = torch.arange(8)[None]
    output = model(tokens, output_hidden_states=True, output_attentions=True)
    last = model(tokens, logits_to_keep=1).logits
    base = AutoModel.from_pretrained(path, **TRUST).eval()
    hidden = base(tokens).last_hidden_state
    config = AutoConfig.from_pretrained(path, **TRUST)
    new = AutoModelForCausalLM.from_config(config, **TRUST)
    half = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, **TRUST).eval()
    try:
        model(inputs_embeds=torch.zeros(1, 2, config.hidden_size))
        refused = ""
    except ValueError as error:
        refused = str(error)
    return {
        "layers": len(output.hidden_states),
        "hidden": bool(torch.equal(output.hidden_states[-1], hidden)),
        "rows": float((output.attentions[0].sum(-1) - 1).abs().max()),
        "last": bool(torch.allclose(last[:, 0], output.logits[:, -1], atol=1e-6)),
        "tuple": len(model(tokens, return_dict=False)),
        "loss": float(model(tokens, labels=tokens).loss),
        "new": float(new(tokens, labels=tokens).loss),
        "half": float((half(tokens).logits.float() - output.logits).abs().max()),
        "half dtype": str(half(tokens).logits.dtype),
        "refused": refused,
        "sizes": [config.num_hidden_layers, config.hidden_size, config.num_attention_heads],
    }


def sentence_scores(path, model):
    """The log-probability of each sentence, read as the BabyLM challenge's evaluation reads it.

    Tokens come from AutoProcessor, with offsets, and are padded on the right.
    """
    processor = AutoProcessor.from_pretrained(path, padding_side="right", **TRUST)
    sentences = ["ab abc", "abcdef gh ab"]
    read = [processor(text=text, return_offsets_mapping=True) for text in sentences]
    assert all(
        each["offset_mapping"][-1][1] == len(t) for each, t in zip(read, sentences, strict=True)
    )
    rows = {"input_ids": [each["input_ids"] for each in read]}
    batch = processor.pad(rows, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch)["logits"]
    logs = logits[:, :-1].log_softmax(-1)
    scored = logs.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    return (scored * batch["attention_mask"][:, 1:]).sum(-1).tolist()


results = {}
for path in sorted(path for path in (folder / "exports").iterdir() if path.is_dir()):
    settings = json.loads((path / "config.json").read_text())
    auto = AutoModelForCausalLM if settings["causal"] else AutoModelForMaskedLM
    model, report = auto.from_pretrained(path, output_loading_info=True, **TRUST)
    model.eval()
    results[path.name] = {"report": {key: len(value) for key, value in report.items() if value}}
    all_logits(path, model)
    if path.name.startswith("whole"):
        for check in (generated, saved_again, trained, resized, others, sentence_scores):
            results[path.name][check.__name__] = check(path, model)
results["imported"] = sorted({name.partition(".")[0] for name in sys.modules} & set(ABSENT))
(folder / "results.json").write_text(json.dumps(results))
