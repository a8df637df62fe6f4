"""Chat templates of exports: the tokens that training wrote, in transformers and in GGUF files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exported_runs import write_run

from wordorder.interop.export import Export, export
from wordorder.interop.gguf.export import opens_texts
from wordorder.interop.gguf.llama_cpp import LlamaVocabulary
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.interop.targets import TARGETS
from wordorder.text.backends import ENDS_OF_TEXT, add_special, byte_backend
from wordorder.text.chat_template import ChatML, JinjaTemplate, Plain, recorded_template
from wordorder.text.corpus import Turn
from wordorder.text.special_tokens import declare
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

TURNS = (
    Turn("user", "What colour is snow?"),
    Turn("assistant", "White."),
    Turn("user", "And  coal, naïve 東京?\n"),
    Turn("assistant", "Black.\n"),
)
END, IM_START, IM_END = 256, 257, 258
# The template of an imported model: with names of its own, and a token that opens a conversation.
SOURCE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\n"
    "{% else %}A:{{ m.content + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}\n"
)
VARIABLES = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def chat_tokenizer() -> Tokenizer:
    backend = byte_backend()
    add_special(backend, ENDS_OF_TEXT)
    add_special(backend, ("<|im_start|>",))
    add_special(backend, ("<|im_end|>",))
    return Tokenizer(backend)


def chat_run(folder: Path, record: dict[str, Any], **changed: Any) -> Run:
    """Return a run of a random model that was trained on conversations."""
    write_run(folder, chat_tokenizer(), trained_length=128)
    path = folder / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "data": {"chat": record}, **changed}))
    return Run.load(folder)


def jinja_record() -> dict[str, Any]:
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    return JinjaTemplate(SOURCE, names, VARIABLES).record()


RECORDS = {
    "plain": Plain().record(),
    "chatml": ChatML().record(),
    "tokenizer": jinja_record(),
}


def exported(tmp_path: Path, name: str, target: str = "hf", **changed: Any) -> tuple[Run, Export]:
    run = chat_run(tmp_path / "run", RECORDS[name], **changed)
    return run, export(run, TARGETS[target])


def theirs(folder: Path, turns: tuple[Turn, ...], **options: Any) -> list[int]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [{"role": role, "content": content} for role, content in turns]
    ids = tokenizer.apply_chat_template(messages, return_dict=True, **options)["input_ids"]
    return list(ids)


@pytest.mark.parametrize("name", RECORDS)
def test_transformers_writes_the_tokens_of_training(tmp_path: Path, name: str) -> None:
    run, result = exported(tmp_path, name)
    assert not result.written.notes
    template = recorded_template(RECORDS[name])
    for turns in (TURNS, TURNS[:2])[not template.has_history :]:
        ids, _ = template.encode(turns, run.tokenizer)
        assert theirs(result.folder, turns) == [END, *ids.tolist()]
        ids, _ = template.encode(turns[:-1], run.tokenizer, answering=True)
        prompt = theirs(result.folder, turns[:-1], add_generation_prompt=True)
        assert prompt == [END, *ids.tolist()]
    generation = json.loads((result.folder / "generation_config.json").read_text())
    ends = [END] if name == "plain" else [END, IM_END]
    assert generation["eos_token_id"] == (ends if len(ends) > 1 else END)


def test_a_model_of_single_answers_refuses_more(tmp_path: Path) -> None:
    folder = exported(tmp_path, "plain")[1].folder
    with pytest.raises(Exception, match="single answers"):
        theirs(folder, TURNS)


@pytest.mark.parametrize("name", RECORDS)
def test_an_import_of_an_export_reads_the_same_tokens(tmp_path: Path, name: str) -> None:
    run, result = exported(tmp_path, name)
    imported = import_folder(result.folder, tmp_path / "again")
    again = Run.load(imported.folder)
    assert again.chat is not None and not imported.notes
    for number, answering in ((2, False), (1, True)):
        ids, expected = (
            recorded_template(each.chat).encode(TURNS[:number], run.tokenizer, answering=answering)[
                0
            ]
            for each in (again, run)
        )
        assert ids.tolist() == expected.tolist()
    second = export(again, TARGETS["hf"], tmp_path / "second").folder
    source = (result.folder / "chat_template.jinja").read_text()
    assert (second / "chat_template.jinja").read_text() == source


@pytest.mark.parametrize("variables", [VARIABLES, {"bos_token": "<|endoftext|>"}])
def test_the_template_of_an_import_is_written_as_it_was_read(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    """Names of tokens that its folder gave are written into it where the export's differ."""
    source = SOURCE if variables == VARIABLES else "{{ bos_token }}{{ messages[0].content }}\n"
    record = JinjaTemplate(source, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), variables)
    run = chat_run(tmp_path / "run", record.record(), **{"import": {"from": "somewhere"}})
    folder = export(run, TARGETS["hf"]).folder
    written = (folder / "chat_template.jinja").read_text()
    assert written.endswith(source) and (written == source) == (variables != VARIABLES)
    ids, _ = record.encode(TURNS[:1], run.tokenizer, answering=True)
    assert theirs(folder, TURNS[:1], add_generation_prompt=True) == ids.tolist()


def test_a_template_that_writes_the_date_is_left_out(tmp_path: Path) -> None:
    source = "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}{{ messages[0].content }}"
    record = {**jinja_record(), "jinja": source}
    run = chat_run(tmp_path / "run", record)
    result = export(run, TARGETS["hf"])
    assert not (result.folder / "chat_template.jinja").exists()
    assert "no chat template" in result.written.notes[-1]


def test_text_that_spells_a_special_token_is_the_token(tmp_path: Path) -> None:
    """Unlike in exports without conversations: the template spells its special tokens."""
    folder = exported(tmp_path, "chatml")[1].folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("a<|im_end|>", add_special_tokens=False)["input_ids"] == [97, IM_END]


@pytest.mark.parametrize("name", RECORDS)
def test_llama_cpp_writes_as_many_tokens_as_training(tmp_path: Path, name: str) -> None:
    """Its server fills in the template that the file holds, and counts the tokens."""
    xllamacpp = pytest.importorskip("xllamacpp")
    run, result = exported(tmp_path, name, "gguf")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(result.folder / "model-f32.gguf")
    parameters.n_ctx, parameters.n_parallel, parameters.use_jinja = 256, 1, True
    server = xllamacpp.Server(parameters)
    template = recorded_template(RECORDS[name])
    turns = TURNS[:3] if template.has_history else TURNS[:1]
    messages = [{"role": role, "content": content} for role, content in turns]
    answer = server.handle_chat_completions({"messages": messages, "max_tokens": 1})
    ids, _ = template.encode(turns, run.tokenizer, answering=True)
    assert answer["usage"]["prompt_tokens"] == len(ids) + 1
    assert opens_texts(run)


def test_llama_cpp_puts_nothing_before_conversations_of_an_import(tmp_path: Path) -> None:
    """Where its own tokenizer puts nothing before a text, as Qwen's."""
    record = JinjaTemplate(SOURCE, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), VARIABLES)
    run = chat_run(tmp_path / "run", record.record(), **{"import": {"from": "somewhere"}})
    declare(run.tokenizer.backend, {"eos_token": [IM_END], "end_of_text": [IM_END]})
    run.tokenizer.save(run.folder / "tokenizer.json")
    run = Run.load(run.folder)
    assert not opens_texts(run)
    result = export(run, TARGETS["gguf"])
    assert any("puts no token before a text" in note for note in result.written.notes)
    with LlamaVocabulary(result.folder / "model-f32.gguf") as theirs:
        assert not theirs.adds_start
        assert theirs.tokenize("a", start=True) == [97]
