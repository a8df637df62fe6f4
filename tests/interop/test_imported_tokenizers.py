"""A folder's own special tokens: where its texts end, and what an export of the run writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from small_config import TEXT
from stock_models import STOCK, save_stock
from tokenizers import AddedToken, processors

from wordorder.cli.main import main
from wordorder.interop.export import export
from wordorder.interop.gguf.export import _chat_metadata, _notes_on_ends
from wordorder.interop.gguf.tokenizer import metadata, read_back
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.interop.targets import TARGETS
from wordorder.model.decoding import Sampling
from wordorder.text.backends import byte_backend
from wordorder.text.chat_template import recorded_template
from wordorder.text.conversation import Conversation
from wordorder.text.prompt import Prompt
from wordorder.training.run import Run
from wordorder.training.text_generation import decoded

transformers = pytest.importorskip("transformers")

LLAMA, GEMMA, BERT = "LlamaForCausalLM", "Gemma2ForCausalLM", "BertForMaskedLM"
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
FIRST = 256  # the id of the first special token
TEXTS = ("a b", "a</s>b", "  x\n\n", "naïve")


def around(
    names: tuple[str, ...], before: str = "", after: str = "", second: str = ""
) -> processors.TemplateProcessing:
    """Return a post-processor with tokens before and after a text, and before a second one."""
    used = {*filter(None, (before, after, second))}
    return processors.TemplateProcessing(
        single=[*filter(None, (before, "$A", after))],
        pair=[*filter(None, (before, "$A", after, second, "$B", after))],
        special_tokens=[(name, FIRST + names.index(name)) for name in used],
    )


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
GEMMAS = ("<pad>", "<eos>", "<bos>", "<turn>")
BERTS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MODERN = ("<|endoftext|>", *BERTS)
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
MASKED_NAMES = dict(zip(("pad", "unk", "cls", "sep", "mask"), BERTS, strict=True))
EOS_ALONE = ("[EOS]", ["[EOS]"], "[EOS]")
# By name: class, special tokens, post-processor, names by role, eos_token_id, and the tokens that
# wordorder must find: the end, all ends, the beginning.
FOLDERS: dict[str, tuple[str, tuple[str, ...], Any, dict[str, str], Any, tuple[Any, ...]]] = {
    "gemma": (
        GEMMA,
        GEMMAS,
        around(GEMMAS, "<bos>", second="<bos>"),
        {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"},
        [257, 259],
        ("<eos>", ["<eos>", "<turn>"], "<bos>"),
    ),
    "qwen": (
        LLAMA,
        CHATML,
        None,
        {"eos": "<|im_end|>", "pad": "<|endoftext|>"},
        [258, 256],
        ("<|im_end|>", ["<|im_end|>", "<|endoftext|>"], "<|endoftext|>"),
    ),
    "ids alone": (LLAMA, CHATML, None, {}, [258, 256], ("<|im_end|>", [*CHATML[2::-2]], CHATML[0])),
    "ids of text": (LLAMA, CHATML, None, {}, [97, 256], (CHATML[0], ["a", CHATML[0]], CHATML[0])),
    "deepseek": (
        LLAMA,
        DEEPSEEK,
        around(DEEPSEEK, DEEPSEEK[0], second=DEEPSEEK[0]),
        {"bos": DEEPSEEK[0], "eos": DEEPSEEK[1]},
        257,
        (DEEPSEEK[1], [DEEPSEEK[1]], DEEPSEEK[0]),
    ),
    "another name": (
        LLAMA,
        ("[EOS]",),
        None,
        {"eos": "[EOS]"},
        None,
        EOS_ALONE,
    ),
    "closing": (
        LLAMA,
        ("[EOS]", "[UNK]"),
        around(("[EOS]",), after="[EOS]"),
        {"unk": "[UNK]"},
        None,
        EOS_ALONE,
    ),
    "bert": (
        BERT,
        BERTS,
        processors.BertProcessing(("[SEP]", 259), ("[CLS]", 258)),
        MASKED_NAMES,
        None,
        ("[SEP]", ["[SEP]"], "[CLS]"),
    ),
    "modern bert": (
        BERT,
        MODERN,
        around(MODERN, "[CLS]", "[SEP]"),
        MASKED_NAMES,
        None,
        ("[SEP]", ["[SEP]"], "[CLS]"),
    ),
    "roberta": (
        BERT,
        ROBERTA,
        processors.Sequence(
            [
                processors.ByteLevel(),
                processors.RobertaProcessing(("</s>", 258), ("<s>", 256)),
            ]
        ),
        {"bos": "<s>", "eos": "</s>", "mask": "<mask>", "pad": "<pad>", "unk": "<unk>"},
        None,
        ("</s>", ["</s>"], "<s>"),
    ),
}


def save_folder(folder: Path, name: str) -> Path:
    """Write a random model whose tokenizer has the special tokens of a row, and `</s>` as text."""
    kind, special, post_processor, roles, ends, _ = FOLDERS[name]
    save_stock(folder, kind, STOCK[kind]["default"])
    backend = byte_backend()
    backend.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in special])
    if "</s>" not in special:
        backend.add_tokens([AddedToken("</s>", special=False, normalized=False)])
    if post_processor is not None:
        backend.post_processor = post_processor
    backend.save(str(folder / "tokenizer.json"))
    settings = {f"{role}_token": token for role, token in roles.items()}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": ends}))
    if (folder / "generation_config.json").exists():
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return folder


def imported(tmp_path: Path, name: str) -> Run:
    import_folder(save_folder(tmp_path / "stock", name), tmp_path / "run")
    return Run.load(tmp_path / "run")


def special_names(tokenizer: Any) -> dict[str, str]:
    return {role: str(token) for role, token in tokenizer.special_tokens_map.items()}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_run_has_the_special_tokens_of_its_folder(tmp_path: Path, name: str) -> None:
    run, (end, ends, beginning) = imported(tmp_path, name), FOLDERS[name][-1]
    tokenizer = run.tokenizer
    names = tokenizer.backend.id_to_token
    assert (names(tokenizer.end_of_text), names(tokenizer.beginning_of_text)) == (end, beginning)
    assert [names(index) for index in tokenizer.ends_of_text] == [
        *([ends] if ends == end else ends)
    ]
    for spelling in FOLDERS[name][1]:
        assert tokenizer.encode(spelling) == list(spelling.encode())
    prompt = Prompt("a", tokenizer)
    for index in tokenizer.ends_of_text:
        written = decoded(iter([98, index, 99]), prompt, Sampling(max_tokens=3))
        assert "".join(written) == "b"


@pytest.mark.parametrize("name", FOLDERS)
def test_an_export_tokenizes_as_the_folder_did(tmp_path: Path, name: str) -> None:
    run = imported(tmp_path, name)
    result = export(run, TARGETS["hf"])
    original, exported = (
        transformers.AutoTokenizer.from_pretrained(folder)
        for folder in (tmp_path / "stock", result.folder)
    )
    for text in (*TEXTS, *FOLDERS[name][1]):
        assert exported(text)["input_ids"] == original(text)["input_ids"]
        pair = (text, "another")
        assert exported(*pair)["input_ids"] == original(*pair)["input_ids"]
    assert special_names(exported) == special_names(original) or not FOLDERS[name][3]
    ends = [*run.tokenizer.ends_of_text]
    files = ["config.json", *(["generation_config.json"] if not run.fills_in else [])]
    for file in files:
        written = json.loads((result.folder / file).read_text())["eos_token_id"]
        assert written == (ends if len(ends) > 1 else ends[0])
    again = Run.load(import_folder(result.folder, tmp_path / "again").folder).tokenizer
    assert again.ends_of_text == run.tokenizer.ends_of_text
    assert again.beginning_of_text == run.tokenizer.beginning_of_text


def test_a_folder_that_names_no_end_is_told_where_to_name_it(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "stock", "another name")
    for role in ("eos_token", "unk_token"):  # the second makes it a known token of no end
        (folder / "tokenizer_config.json").write_text(json.dumps({role: "[EOS]"}))
        backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        data = json.loads(backend.to_str())
        data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] != "</s>"]
        (folder / "tokenizer.json").write_text(json.dumps(data))
        refused = main(["import", str(folder), "--out", str(tmp_path / role)])
        assert refused == (0 if role == "eos_token" else 2)


def test_training_goes_on_with_the_declared_tokens(tmp_path: Path) -> None:
    run, text = imported(tmp_path, "gemma"), tmp_path / "text.txt"
    text.write_text(TEXT * 8 + "</s>", encoding="utf-8")
    options = ["--data", str(text), "--steps", "2", "--threads", "1", "--kernel", "plain"]
    options += ["--dtype", "float32", "--compile", "no", "--batch-size", "2"]
    tuned = tmp_path / "tuned"
    assert main(["train", "--init", str(run.folder), "--out", str(tuned), *options]) == 0
    trained = Run.load(tuned).tokenizer
    assert trained.ends_of_text == run.tokenizer.ends_of_text == (257, 259)
    assert trained.beginning_of_text == trained.end_of_text  # as training begins texts
    exported = export(Run.load(tuned), TARGETS["hf"]).folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    assert tokenizer("a")["input_ids"] == [257, 97]
    assert (tokenizer.bos_token, tokenizer.pad_token) == ("<eos>", "<pad>")


def test_an_imported_template_writes_all_of_a_conversation(tmp_path: Path) -> None:
    """The end of a turn does not stand before it, as the end of text does in training."""
    folder = save_folder(tmp_path / "stock", "qwen")
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role + '\\n' + m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(source)
    run = Run.load(import_folder(folder, tmp_path / "run").folder)
    assert run.chat is not None and not run.opens_conversations
    template = recorded_template(run.chat)
    conversation = Conversation(template, run.tokenizer, opens=run.opens_conversations)
    prompt, _ = conversation.ask("b", most_tokens=100)
    assert prompt is not None and prompt.ends == {256, 258}
    original = transformers.AutoTokenizer.from_pretrained(folder)
    message = [{"role": "user", "content": "b"}]
    expected = original.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
    assert prompt.tokens == expected["input_ids"]


def test_a_gguf_file_names_each_end(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "stock", "qwen")
    data = json.loads((folder / "tokenizer.json").read_text())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["special"]]
    (folder / "tokenizer.json").write_text(json.dumps(data))
    generation = folder / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": [258, 256, 257, 97]}))
    run = Run.load(import_folder(folder, tmp_path / "run").folder)
    algorithm = {"model": "gpt2", "pre": "gpt-2", "add_space_prefix": False}
    values = metadata(run.tokenizer, run.model_config.vocabulary_size, algorithm)
    assert (values["eos_token_id"], values["bos_token_id"]) == (258, 256)
    assert values["padding_token_id"] == 256
    assert _chat_metadata(run) == {"ggml.eot_token_id": 256, "ggml.eom_token_id": 257}
    assert "may not stop at a" in _notes_on_ends(run)[0]
    again = read_back({f"tokenizer.ggml.{key}": value for key, value in values.items()}, "file")
    assert again.ends_of_text == (258, 256, 257, 97) and again.beginning_of_text == 256


def test_a_run_that_was_imported_before_is_read_as_before(tmp_path: Path) -> None:
    """Its tokenizer.json declares nothing, so that its end is known by name."""
    run = imported(tmp_path, "bert")
    stored = tokenizers.Tokenizer.from_file(str(tmp_path / "stock" / "tokenizer.json"))
    rows = run.model_config.vocabulary_size
    more = [f"<|unused {i}|>" for i in range(stored.get_vocab_size(), rows)]
    stored.add_special_tokens(more)
    stored.save(str(run.folder / "tokenizer.json"))
    older = Run.load(run.folder)
    assert (
        older.tokenizer.backend.id_to_token(older.tokenizer.end_of_text) == "</s>"
    )  # before [SEP]
    assert older.tokenizer.beginning_of_text == run.tokenizer.beginning_of_text


def test_the_card_of_a_masked_model_reads_the_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the last token, which is the one that closes a text."""
    run = imported(tmp_path, "bert")
    folder = export(run, TARGETS["hf"]).folder
    code = (folder / "README.md").read_text().split("```")[1].removeprefix("python\n")
    monkeypatch.chdir(folder)
    capsys.readouterr()
    exec(code, {})
    printed = capsys.readouterr().out.removesuffix("\n")
    mask = run.tokenizer.mask
    assert mask is not None
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("The[MASK]", return_tensors="pt")
    ids = tokens["input_ids"]
    likeliest = run.model(ids)[0, ids[0].tolist().index(mask)].argmax()
    assert printed == run.tokenizer.decode([int(likeliest)])
