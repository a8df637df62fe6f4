"""Exports with a modelling file, loaded where wordorder cannot be imported."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import TRAINED, write_run
from made_once import made_once
from mechanisms import each
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordorder.batch import Batch
from wordorder.interop.comparison import TOLERANCE
from wordorder.interop.huggingface.own_code.sources import source_files
from wordorder.model import ModelConfig
from wordorder.positions import CATALOGUE
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

READER = Path(__file__).parent / "own_code_reader.py"
BIDIRECTIONAL = {"causal": False}
GPT = {"norm": "layer", "biases": True, "qk_norm": False, "feed_forward": "gelu"}
# Compared in every way: names with "whole" are generated from, trained and saved again too.
MODELS: dict[str, dict[str, Any]] = {
    **{name: {"position": name} for name in CATALOGUE},
    "sum": {"position": "rotary+alibi", "key_value_heads": 2},
    "pattern": {"position": "rotary:base=100/t5/none", "layers": 3, "windows": (5, 0)},
    "dynamic": {"position": "rotary:scaling=dynamic,factor=4,original_length=12"},
    "dape of kerple": {"position": "dape:bias=kerple"},
    "gpt": {**GPT, "position": "fire+learned:length=40", "tied_embeddings": False},
    "parallel": {"position": "kerple", "parallel_residual": True, "logit_softcap": 5.0},
    "bidirectional": {**BIDIRECTIONAL, "position": "t5"},
    "bidirectional after": {
        **BIDIRECTIONAL,
        "position": "deberta",
        "norm_placement": "after",
        "embedding_norm": True,
    },
    "whole kerple": {"position": "kerple+rotary"},
    "whole forgetting": {"position": "forgetting", "tied_embeddings": False},
    "whole dynamic": {"position": "rotary:scaling=dynamic,factor=4,original_length=12"},
}
WHOLE = [name for name in MODELS if name.startswith("whole")]
# One for each way in which positions enter a model, and for each shape of a model.
QUICK = ["kerple", "dape", "pope", "forgetting", "path", "sum", "pattern", "dynamic"]
QUICK += ["bidirectional", "whole kerple"]
SMALLEST = 0.3  # of the spread of logits


def file_name(name: str) -> str:
    return name.replace(" ", "-")


def inputs(run: Run) -> dict[str, Tensor]:
    """Two sequences of each length, the second with padding on its left."""
    last = run.model.position.max_position  # type: ignore[union-attr]
    tensors = {}
    generator = torch.Generator().manual_seed(3)
    for name, length in {"half": TRAINED // 2, "trained": TRAINED, "twice": 2 * TRAINED}.items():
        length = length if last is None else min(length, last + 1)
        tokens = torch.randint(run.tokenizer.vocabulary_size, (2, length), generator=generator)
        mask = torch.ones_like(tokens)
        mask[1, : length // 3] = 0
        tensors |= {f"{name}.tokens": tokens, f"{name}.mask": mask}
    return tensors


Read = tuple[Path, dict[str, Any]]


def written_and_read(
    factory: pytest.TempPathFactory, group: str, models: dict[str, dict[str, Any]]
) -> Read:
    """These models as exports, and what one process without wordorder computes with them."""
    from wordorder.interop.holders import OWN_CODE
    from wordorder.interop.huggingface.convert import quiet_transformers
    from wordorder.interop.huggingface.export import write_model

    def make(folder: Path) -> None:
        (folder / "exports").mkdir()
        (folder / "runs").mkdir()
        for name, options in models.items():
            run = write_run(folder / "runs" / name, **options)
            path = folder / "exports" / file_name(name)
            path.mkdir()
            with quiet_transformers():
                write_model(path, run, run.model, OWN_CODE[run.model_config.causal])
            save_file(inputs(run), path.with_suffix(".inputs"))
        site = sysconfig.get_paths()["purelib"]
        command = [sys.executable, "-I", "-S", str(READER), site, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    folder = made_once(factory, f"own-code-{group}", make)
    return folder, json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Read:
    return written_and_read(tmp_path_factory, "quick", {name: MODELS[name] for name in QUICK})


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Read:
    others = {name: options for name, options in MODELS.items() if name not in QUICK}
    return written_and_read(tmp_path_factory, "rest", others)


@pytest.fixture
def read_with(request: pytest.FixtureRequest) -> Callable[[str], Read]:
    """Return a function that takes a model's name and returns the results of its group."""
    return lambda name: request.getfixturevalue("quick" if name in QUICK else "rest")


@pytest.fixture(params=each(WHOLE, QUICK))
def whole(
    request: pytest.FixtureRequest, read_with: Callable[[str], Read]
) -> tuple[Run, dict[str, Any]]:
    """A run, and what was computed with its export in every way."""
    folder, results = read_with(request.param)
    return Run.load(folder / "runs" / request.param), results[file_name(request.param)]


@pytest.mark.parametrize("name", each(MODELS, QUICK))
def test_logits_are_ours(name: str, read_with: Callable[[str], Read]) -> None:
    """Shorter than, as long as and longer than the trained length, padded, and with a cache."""
    folder, results = read_with(name)
    run = Run.load(folder / "runs" / name)
    tensors = inputs(run)
    logits = load_file(folder / "exports" / f"{file_name(name)}.logits")
    assert results[file_name(name)]["report"] == {}
    assert len(logits) == 3 + 3 * run.model_config.causal
    for key, theirs in logits.items():
        length, _, reading = key.partition(".")
        tokens, mask = tensors[f"{length}.tokens"], tensors[f"{length}.mask"]
        time = tokens.shape[1]
        # A cache that is told no length scales for at least the trained one.
        context = max(time - 3, TRAINED) if reading == "cached" else time
        padding = int((mask[1] == 0).sum())
        with torch.no_grad():
            for row, part in enumerate((tokens[:1], tokens[1:, padding:])):
                ours = run.model(Batch(part, context_length=context))[0]
                assert ours.std() > SMALLEST
                compared = theirs[row, time - part.shape[1] :]
                assert (compared - ours).abs().max() < TOLERANCE / 10, (key, row)


def test_nothing_of_wordorder_was_imported(quick: Read) -> None:
    assert quick[1]["imported"] == []


@pytest.mark.slow
def test_nothing_of_wordorder_was_imported_for_the_rest(rest: Read) -> None:
    assert rest[1]["imported"] == []


def test_files_import_one_another_torch_and_transformers_only(quick: Read) -> None:
    """Of all models: the files of an export are these."""
    allowed = {"torch", "transformers", *sys.stdlib_module_names}
    nodes: dict[str, list[ast.AST]] = {}  # most files are those of other models too
    for model, options in MODELS.items():
        files = source_files(ModelConfig(**{"width": 32, "layers": 2, "heads": 4, **options}))
        folder = quick[0] / "exports" / file_name(model)
        if model in QUICK:
            written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
            assert written == files
        names = {Path(name).stem for name in files}
        for text in files.values():
            assert text.startswith("# Generated by wordorder ")
            if text not in nodes:
                nodes[text] = list(ast.walk(ast.parse(text)))
            for node in nodes[text]:
                if isinstance(node, ast.Import):
                    assert {a.name.partition(".")[0] for a in node.names} <= allowed
                elif isinstance(node, ast.ImportFrom) and node.level:
                    assert (
                        {node.module} <= names
                        if node.module
                        else {alias.name for alias in node.names} <= names
                    )
                elif isinstance(node, ast.ImportFrom):
                    assert node.module.partition(".")[0] in allowed


def test_a_folder_has_the_files_that_its_model_needs_and_no_others(quick: Read) -> None:
    def embeddings(name: str) -> set[str]:
        prefix = "wordorder_positions_"
        files = (quick[0] / "exports" / name).glob(f"{prefix}*.py")
        return {path.stem.removeprefix(prefix) for path in files}

    shared = {"aliases", "base", "composed", "defaults", "layout", "recipes", "shape", "spec"}
    assert embeddings("kerple") == {*shared, "kerple"}
    assert embeddings("sum") == {*shared, "alibi", "angles", "rotary", "rotary_scaling"}
    # DAPE may take the bias of either.
    assert embeddings("dape") == {*shared, "alibi", "dape", "kerple", "whole_row"}


def test_the_source_is_that_of_the_package(quick: Read) -> None:
    """Only the imports of a file differ, so that a reader recognises it."""
    import wordorder.positions.kerple as kerple

    original = Path(kerple.__file__).read_text(encoding="utf-8").splitlines()
    flat = quick[0] / "exports" / "kerple" / "wordorder_positions_kerple.py"
    written = flat.read_text(encoding="utf-8").splitlines()[1:]
    different = [line for line in written if line not in original]
    assert len(written) == len(original) and all(line.startswith("from .") for line in different)
    licence = Path(__file__).parents[2] / "LICENSE"
    assert (flat.parent / "LICENSE-wordorder.txt").read_bytes() == licence.read_bytes()


def test_generate_writes_what_wordorder_writes(whole: tuple[Run, dict[str, Any]]) -> None:
    run, results = whole
    texts = results["generated"]
    assert texts["cached"] == texts["uncached"]
    assert texts["beams"] == texts["beams uncached"] != texts["cached"]
    model, tokenizer = run.model, run.tokenizer
    for row, prompt in zip(texts["cached"], ["ab", "abcdef gh"], strict=True):
        tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(prompt)]])
        context = len(row)  # of the batch, padding included
        with torch.no_grad():
            for _ in range(12):
                logits = model(Batch(tokens, context_length=context))
                tokens = torch.cat((tokens, logits[:, -1:].argmax(-1)), 1)
        assert row[-tokens.shape[1] :] == tokens[0].tolist()
    for name, prompt in {"pipeline": "ab", "one": "abcdef gh"}.items():
        ours = run.generate(prompt, temperature=0, max_tokens=12)
        # wordorder leaves out a last character that was cut short.
        assert texts[name].rstrip("\ufffd") == ours.rstrip("\ufffd")


def test_it_is_saved_and_loaded_again_with_its_code(whole: tuple[Run, dict[str, Any]]) -> None:
    again = whole[1]["saved_again"]
    assert again["difference"] == 0
    assert {"modelling_wordorder.py", "wordorder_positions.py"} <= set(again["files"])


def test_it_trains(whole: tuple[Run, dict[str, Any]]) -> None:
    losses = whole[1]["trained"]["losses"]
    assert losses[0] > losses[1] > losses[2]
    assert whole[1]["trained"]["without"] == []


def test_its_vocabulary_can_grow(whole: tuple[Run, dict[str, Any]]) -> None:
    before, columns, configured = whole[1]["resized"]
    assert columns == configured == before + 3


def test_the_other_outputs(whole: tuple[Run, dict[str, Any]]) -> None:
    outputs, config = whole[1]["others"], whole[0].model_config.resolved
    assert outputs["layers"] == config.layers + 1 and outputs["hidden"] and outputs["last"]
    assert outputs["rows"] < 1e-5
    assert outputs["tuple"] == 1
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        ours = whole[0].model(Batch(tokens[:, :-1], tokens[:, 1:], context_length=8)).mean()
    assert abs(outputs["loss"] - float(ours)) < 1e-5
    assert 4 < outputs["new"] < 7  # of 257 tokens, log 257 = 5.5
    assert 0 < outputs["half"] < 0.5 and outputs["half dtype"] == "torch.bfloat16"
    assert "input_ids" in outputs["refused"]
    assert outputs["sizes"] == [config.layers, config.width, config.heads]


def test_sentences_have_the_log_probabilities_of_wordorder(
    whole: tuple[Run, dict[str, Any]],
) -> None:
    """As the BabyLM challenge scores minimal pairs."""
    run, results = whole
    for text, score in zip(["ab abc", "abcdef gh ab"], results["sentence_scores"], strict=True):
        tokens = torch.tensor([[run.tokenizer.end_of_text, *run.tokenizer.encode(text)]])
        length = len(run.tokenizer.encode("abcdef gh ab")) + 1
        with torch.no_grad():
            losses = run.model(Batch(tokens[:, :-1], targets=tokens[:, 1:], context_length=length))
        assert abs(score + float(losses.sum())) < 1e-4
