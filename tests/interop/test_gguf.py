"""Every row of llama.cpp's architectures is exported, run, compared; a broken map is refused."""

from __future__ import annotations

import ctypes
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import GGUF_ROWS, TRAINED, write_run

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop.comparison import TOLERANCE
from wordorder.interop.export import Export, export
from wordorder.interop.gguf import algorithm, architectures, rotary
from wordorder.interop.gguf import export as exporting
from wordorder.interop.gguf.export import LLAMA_CPP
from wordorder.interop.gguf.llama_cpp import Log, library
from wordorder.interop.gguf.verify import DTYPE_SHARES, GELU_SHARE
from wordorder.positions import Rotary

ALL = [(kind, name) for kind, rows in GGUF_ROWS.items() for name in rows]
SMALLEST = 0.3  # of the spread of logits: they must depend on something to be worth comparing


def exported(folder: Path, kind: str, name: str, dtype: str = "f32") -> Export:
    run = write_run(folder / "run", **GGUF_ROWS[kind][name])
    return export(run, LLAMA_CPP.with_dtype(dtype))


# -- what is held --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind,name", ALL)
def test_each_row_is_exact(tmp_path: Path, kind: str, name: str) -> None:
    run = write_run(tmp_path / "run", **GGUF_ROWS[kind][name])
    result = export(run, LLAMA_CPP).written
    assert result.holder == f"llama.cpp's {kind}"
    with torch.no_grad():
        spread = run.model(torch.arange(TRAINED)[None]).std()
    assert spread > SMALLEST
    rounds = run.model_config.feed_forward.startswith(("gelu", "geglu"))
    largest = 2 * spread * GELU_SHARE if rounds else TOLERANCE
    assert result.largest_difference < largest / 4
    longest = TRAINED if run.model.position.max_position == TRAINED - 1 else 2 * TRAINED
    lengths = {comparison.tokens for comparison in result.comparisons}
    assert lengths >= {TRAINED // 2, TRAINED, longest}
    readings = {comparison.reading for comparison in result.comparisons}
    assert readings == {"alone", "batched", "cached"}


@pytest.mark.parametrize("dtype", ["f16", "bf16", "q8_0"])
@pytest.mark.parametrize("kind,name", [("qwen3", "default"), ("gpt2", "learned")])
def test_a_rounded_file_is_smaller_and_within_its_tolerance(
    tmp_path: Path, kind: str, name: str, dtype: str
) -> None:
    result = exported(tmp_path, kind, name, dtype)
    assert TOLERANCE < result.written.largest_difference < 2 * DTYPE_SHARES[dtype]
    assert {path.name for path in result.folder.iterdir()} == {
        f"model-{dtype}.gguf",
        "Modelfile",
        "README.md",
        "wordorder.json",
    }
    whole = export(write_run(tmp_path / "other", **GGUF_ROWS[kind][name]), LLAMA_CPP).folder
    file = result.folder / f"model-{dtype}.gguf"
    assert file.stat().st_size < 0.8 * (whole / "model-f32.gguf").stat().st_size


def test_a_longer_text_may_differ_by_the_rounding_of_its_angles(tmp_path: Path) -> None:
    """llama.cpp's angles are off by 6e-8 of themselves for each pair of dimensions."""
    run = write_run(tmp_path / "run", trained_length=256)
    written = export(run, LLAMA_CPP).written
    allowed = {each.tokens: each.tolerance for each in written.comparisons}
    assert allowed[128] == TOLERANCE < allowed[512] < 3e-4
    assert len(written.notes) == 1 and "angles of rotary" in written.notes[0]
    alibi = write_run(tmp_path / "other", trained_length=256, qk_norm=False, position="alibi")
    written = export(alibi, LLAMA_CPP).written
    assert {each.tolerance for each in written.comparisons} == {TOLERANCE}
    assert written.notes == ()


def test_ollama_samples_as_wordorder_does(tmp_path: Path) -> None:
    from wordorder.cli.options.generate import GenerateOptions

    lines = (exported(tmp_path, "qwen3", "default").folder / "Modelfile").read_text().splitlines()
    usual = GenerateOptions("r")
    assert lines[:2] == ["FROM ./model-f32.gguf", 'TEMPLATE """{{ .Prompt }}"""']
    parameters = dict(line.removeprefix("PARAMETER ").split(" ", 1) for line in lines[2:])
    assert parameters == {
        "temperature": str(usual.temperature),
        "top_k": str(usual.top_k),
        "top_p": str(usual.top_p),
        "min_p": str(usual.min_p),
        "repeat_penalty": str(usual.repetition_penalty),
        "num_predict": str(usual.max_tokens),
        "num_ctx": str(TRAINED),
        "stop": '"<|endoftext|>"',
    }


# -- what is refused -----------------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def form(kind: str, **fields: Any) -> Patch:
    """Return a patch of what is special about one architecture."""
    broken = architectures.FORMS[kind]._replace(**fields)
    return lambda monkeypatch: monkeypatch.setitem(architectures.FORMS, kind, broken)


def tensors(change: Callable[[dict], dict]) -> Patch:
    """Return a patch that changes the tensors of every architecture."""
    right = architectures.tensors
    return lambda m: m.setattr(architectures, "tensors", lambda *model: change(right(*model)))


def metadata(**fields: Any) -> Patch:
    """Return a patch that sets metadata of every architecture; None removes a key."""
    right = architectures.metadata

    def changed(*model: Any) -> dict[str, Any]:
        values = {**right(*model), **{k.replace("__", "."): v for k, v in fields.items()}}
        return {name: value for name, value in values.items() if value is not None}

    return lambda monkeypatch: monkeypatch.setattr(architectures, "metadata", changed)


def attribute(module: Any, name: str, value: Any) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(module, name, value)


def without(*names: str) -> Patch:
    return tensors(lambda w: {n: v for n, v in w.items() if not n.endswith(names)})


def multiplied(name: str, factor: float) -> Patch:
    return tensors(lambda w: {n: v * factor if n == name else v for n, v in w.items()})


def plain(rotary_embedding: Any) -> rotary.RopeSettings:
    return rotary.RopeSettings({"rope.freq_base": 312.5})


def rounded_divisors(embedding: Any, context_length: int) -> Any:
    """Return the divisors as if ends of YaRN's ramp were rounded."""
    options = {**embedding.options(), "truncate": True}
    return DIVISORS(Rotary(embedding.shape, **options), context_length)


DIVISORS = rotary._divisors
DEFAULT, GEMMA = ("qwen3", "default"), ("gemma3", "two bases")
SCALINGS = [
    *(("qwen3", name) for name in ("linear", "ntk")),
    *(("llama", name) for name in ("linear", "ntk", "yarn", "llama3", "proportional", "partial")),
    *(("llama", f"longrope, {name}") for name in ("long", "short")),
    *(("exaone-moe", name) for name in ("yarn", "llama3", "proportional")),
    ("gptneox", "whole, tied"),
]
MISTAKES: dict[str, tuple[tuple[str, str], Patch]] = {
    "permutation left out": (DEFAULT, form("qwen3", halves=False)),
    "permutation left out of GPT-NeoX": (("gptneox", "partial"), form("gptneox", halves=False)),
    "permutation of whole heads": (("gptneox", "partial"), form("gptneox", whole=True)),
    "permutation that llama lacks": (("llama", "default"), form("llama", halves=True)),
    "permutation left out of norms": (DEFAULT, attribute(rotary, "TURNED", rotary.TURNED[:2])),
    "permutation left out of keys": (DEFAULT, attribute(rotary, "TURNED", rotary.TURNED[::2])),
    "base lost": (DEFAULT, metadata(rope__freq_base=None)),
    **{
        f"scaling dropped: {kind} {name}": ((kind, name), form(kind, rope=plain))
        for kind, name in SCALINGS
    },
    "positions of none kept": (("qwen3", "none"), form("qwen3", rope=plain)),
    "positions of none kept in granite": (
        ("granite", "none"),
        metadata(rope__scaling__finetuned=True),
    ),
    "divisors dropped": (("llama", "llama3"), without("rope_freqs.weight")),
    "softmax not sharpened": (("llama", "yarn"), attribute(rotary, "sharpened", lambda w, f: w)),
    "long divisors in the place of short ones": (
        ("llama", "longrope, short"),
        tensors(lambda w: {**w, "rope_factors_short.weight": w["rope_factors_long.weight"]}),
    ),
    "every layer rotary": (
        ("granite_swa", "pattern"),
        metadata(attention__rope_pattern=[True] * 3),
    ),
    "window one longer": (("granite_swa", "windows"), metadata(attention__sliding_window=6)),
    "window lost": (("exaone-moe", "windows"), metadata(attention__sliding_window=1 << 20)),
    "a sink that takes attention": (
        ("granite_swa", "windows"),
        tensors(lambda w: {n: v * ("sinks" not in n) for n, v in w.items()}),
    ),
    "sinks dropped": (
        ("granite_swa", "sinks"),
        tensors(lambda w: {n: v - 1e9 * ("sinks" in n) for n, v in w.items()}),
    ),
    "truncate lost": (
        ("llama", "yarn, ends not rounded"),
        attribute(rotary, "_divisors", rounded_divisors),
    ),
    "local base of Gemma lost": (GEMMA, metadata(rope__freq_base_swa=None)),
    "scaling of Gemma lost": (GEMMA, metadata(rope__scaling__factor=1.0)),
    "windows of Gemma in other layers": (GEMMA, metadata(attention__sliding_window_pattern=2)),
    "cap of Gemma lost": (
        ("gemma3", "no windows, capped"),
        metadata(final_logit_softcapping=None),
    ),
    "Gemma's norms without their 1": (
        GEMMA,
        tensors(lambda w: {n: v - 1 * ("norm" in n) for n, v in w.items()}),
    ),
    "Gemma's multiplier twice": (GEMMA, multiplied("token_embd.weight", 32**0.5)),
    "Gemma's gate and up exchanged": (
        GEMMA,
        attribute(
            architectures,
            "NAMES",
            {**architectures.NAMES, "feed_forward.gate": "ffn_up", "feed_forward.up": "ffn_gate"},
        ),
    ),
    "tied head untied": (
        DEFAULT,
        tensors(lambda w: {**w, "output.weight": w["token_embd.weight"] / 2}),
    ),
    "untied head dropped": (("llama", "biases"), without("output.weight")),
    "multiplier not taken out of a tied head": (DEFAULT, multiplied("output_norm.weight", 32**0.5)),
    "multiplier lost": (("gpt2", "sinusoidal"), multiplied("token_embd.weight", 32**-0.5)),
    "biases missing": (("llama", "biases"), without("bias")),
    "biases zero": (
        ("gpt2", "learned"),
        tensors(lambda w: {n: v * (not n.endswith("qkv.bias")) for n, v in w.items()}),
    ),
    "gate and up exchanged": (
        DEFAULT,
        attribute(
            architectures,
            "NAMES",
            {
                **architectures.NAMES,
                "feed_forward.gate": "ffn_up",
                "feed_forward.up": "ffn_gate",
            },
        ),
    ),
    "table one row off": (
        ("gpt2", "sinusoidal"),
        tensors(lambda w: {**w, "position_embd.weight": w["position_embd.weight"].roll(1, 0)}),
    ),
    "another epsilon": (DEFAULT, metadata(attention__layer_norm_rms_epsilon=1e-2)),
    "residual not parallel": (("gptneox", "partial"), metadata(use_parallel_residual=False)),
    "embedding norm dropped": (("bloom", "4 heads"), without("token_embd_norm.weight")),
    "ALiBi dropped": (("mpt", "no biases"), metadata(attention__max_alibi_bias=0.0)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_map_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    (kind, name), patch = MISTAKES[mistake]
    patch(monkeypatch)
    with pytest.raises(Refused) as caught:
        exported(tmp_path, kind, name)
    assert caught.value.code in ("interop.gguf-cannot-be-run", "interop.logits-differ")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_mistake_is_not_taken_for_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of f32 shows the maps right before one whose rounding would hide this mistake."""
    metadata(attention__layer_norm_rms_epsilon=1e-3)(monkeypatch)
    with pytest.raises(Refused) as caught:
        exported(tmp_path, *DEFAULT, "q8_0")
    assert caught.value.code == "interop.logits-differ"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_command_exits_with_3_and_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    monkeypatch.setattr(algorithm, "OURS", "no such pattern")
    library().llama_log_set(Log(), None)  # as a server of xllamacpp in the same process does
    assert main(["export", str(tmp_path / "run"), "--to", "gguf"]) == 3
    printed = capfd.readouterr()  # what llama.cpp writes to the descriptors too
    lines = printed.err.splitlines()
    assert printed.out == "" and len(lines) == 1 and "no such pattern" in lines[0], lines
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# -- extra, record, dtype ------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["gguf", "xllamacpp"])
def test_a_missing_extra_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    run = write_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInput, match=r"pip install 'wordorder\[gguf\]'") as caught:
        export(run, LLAMA_CPP)
    assert caught.value.code == "interop.not-installed"


def test_another_interface_of_the_library_is_refused_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wordorder.interop.gguf import llama_cpp

    class Shifted(ctypes.Structure):
        """The parameters of another version, in which a number is missing."""

        _fields_ = llama_cpp._ContextParameters._fields_[1:]

    Shifted.context = 512
    name = "llama_context_default_params"
    monkeypatch.setitem(llama_cpp.FUNCTIONS, name, (Shifted, ()))
    with pytest.raises(BadInput, match="pip install 'xllamacpp==") as caught:
        llama_cpp.library.__wrapped__()
    assert caught.value.code == "interop.llama-cpp-interface"


def test_the_record_names_the_program(tmp_path: Path) -> None:
    folder = exported(tmp_path, *DEFAULT).folder
    assert folder == tmp_path / "run-gguf"
    record = json.loads((folder / "wordorder.json").read_text())
    assert record["export"] == "gguf" and record["program"].startswith("xllamacpp ")
    assert exporting.commands(folder)[0] == (
        f'wordorder generate {folder} "The" --engine llama.cpp'
    )


@pytest.mark.parametrize(
    "name,ollama", [("My run (v1)-gguf", "my-run-v1-gguf"), ("Привет", "my-model"), ("a.b", "a.b")]
)
def test_what_to_type_is_quoted_for_a_shell(name: str, ollama: str) -> None:
    folder = Path("my runs") / name
    assert [shlex.split(command) for command in exporting.commands(folder, dtype="f16")] == [
        ["wordorder", "generate", str(folder), "The", "--engine", "llama.cpp"],
        ["llama-completion", "-m", f"{folder}/model-f16.gguf", "-p", "The", "-n", "200"],
        ["ollama", "create", ollama, "-f", f"{folder}/Modelfile"],
    ]


def test_a_dtype_of_another_target_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--to", "hf", "--dtype", "q8_0"]) == 2
    assert "--dtype q8_0" in capsys.readouterr().err
