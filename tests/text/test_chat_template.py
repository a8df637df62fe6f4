"""Templates write conversations as tokens: which are targets, and which are special."""

from __future__ import annotations

import pytest
import tokenizers

from wordorder.errors import BadInput
from wordorder.text.chat_template import (
    ChatML,
    ChatTemplate,
    JinjaTemplate,
    Plain,
    recorded_template,
    template_for,
)
from wordorder.text.conversation import Conversation
from wordorder.text.corpus import Corpus, Document, Turn
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

TURNS = (Turn("user", "a b?"), Turn("assistant", "c."), Turn("user", "d"), Turn("assistant", "e"))
PAIR = (Turn("prompt", "a b?"), Turn("answer", "c."))
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@pytest.fixture
def tokenizer() -> Tokenizer:
    corpus = Corpus("c", [Document("user\na b? assistant\nc. d e", "c")])
    return make_tokenizer("bytes", corpus, special_tokens=SPECIAL[1:])


def spelled(template: ChatTemplate, turns: tuple[Turn, ...], tokenizer: Tokenizer) -> str:
    """The tokens in Unicode, with a bar before and after targets."""
    ids, counted = template.encode(turns, tokenizer)
    text, before = "", False
    for index, is_counted in zip(ids.tolist(), counted.tolist(), strict=True):
        bar = "|" if is_counted != before else ""
        name = tokenizer.backend.id_to_token(index)
        text += bar + (f"[{name}]" if index > 255 else chr(index))
        before = is_counted
    return text + ("|" if before else "")


def test_plain_is_a_prompt_a_newline_and_an_answer(tokenizer: Tokenizer) -> None:
    assert spelled(Plain(), PAIR, tokenizer) == "a b?\n|c.|"
    assert Plain().ends_of_answer(tokenizer) == {tokenizer.end_of_text}


def test_chatml_learns_answers_and_their_ends(tokenizer: Tokenizer) -> None:
    first = "[<|im_start|>]user\na b?[<|im_end|>]\n[<|im_start|>]assistant\n|c.[<|im_end|>]|\n"
    assert spelled(ChatML(), PAIR, tokenizer) == first
    whole = spelled(ChatML(), TURNS, tokenizer)
    second = "[<|im_start|>]user\nd[<|im_end|>]\n[<|im_start|>]assistant\n|e[<|im_end|>]|\n"
    assert whole == first + second
    ends = {tokenizer.end_of_text, tokenizer.special_id("<|im_end|>")}
    assert ChatML().ends_of_answer(tokenizer) == ends


@pytest.mark.parametrize("template", [ChatML(), JinjaTemplate(CHATML, SPECIAL, {})])
def test_text_that_spells_a_special_token_is_characters(
    tokenizer: Tokenizer, template: ChatTemplate
) -> None:
    turns = (Turn("user", "x<|im_end|>\ue000"), Turn("assistant", "<|endoftext|>"))
    ids, _ = template.encode(turns, tokenizer)
    assert sum(index > 255 for index in ids.tolist()) == 4  # those of the template
    text = "user\nx<|im_end|>\ue000\nassistant\n<|endoftext|>\n"
    assert tokenizer.decode(ids.tolist()) == text


def test_a_template_of_transformers_gives_its_tokens(tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=CHATML, bos_token="<|endoftext|>"
    )
    messages = [{"role": role, "content": content} for role, content in TURNS]
    expected = theirs.apply_chat_template(messages, return_dict=False)
    template = JinjaTemplate(CHATML, SPECIAL, {})
    ids, counted = template.encode(TURNS, tokenizer)
    assert ids.tolist() == expected
    asked = theirs.apply_chat_template(messages[:3], add_generation_prompt=True, return_dict=False)
    assert template.encode(TURNS[:3], tokenizer, answering=True)[0].tolist() == asked
    # ChatML differs in the newline after an answer alone, which it does not learn.
    same, fewer = ChatML().encode(TURNS, tokenizer)
    assert same.tolist() == expected and (counted.sum(), fewer.sum()) == (7, 5)
    assert recorded_template(template.record()).content_hash == template.content_hash


def test_tags_around_what_is_generated_are_read() -> None:
    source = CHATML.replace("{{", "{% generation %}{{").replace("}}", "}}{%- endgeneration %}")
    pieces = JinjaTemplate(source, SPECIAL, {}).pieces(TURNS)
    assert pieces == JinjaTemplate(CHATML, SPECIAL, {}).pieces(TURNS)


def test_an_answer_ends_with_what_follows_its_text(tokenizer: Tokenizer) -> None:
    """Without a generation prompt, what opens an answer is counted as well."""
    source = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    ends = JinjaTemplate(source, SPECIAL, {}).ends_of_answer(tokenizer)
    assert tokenizer.special_id("<|im_end|>") in ends
    assert tokenizer.special_id("<|im_start|>") not in ends


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("{% for %}", "text.chat-template-fails"),
        ("{{ raise_exception('no') }}", "text.chat-template-fails"),
        ("{{ messages[0].content.__class__.__mro__ }}", "text.chat-template-fails"),
        ("{{ messages|length }}{{ messages[-1].content }}", "text.chat-template-rewrites"),
    ],
)
def test_a_template_that_fails_is_refused(source: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        JinjaTemplate(source, SPECIAL, {})
    assert caught.value.code == code and "--chat-template chatml" in str(caught.value)


def test_the_template_follows_from_the_data_and_the_first_run() -> None:
    pairs, messages = (
        Corpus("p", [Document("t", "s", PAIR)]),
        Corpus("m", [Document("t", "s", TURNS)]),
    )
    assert template_for(pairs).name == "plain" and template_for(messages).name == "chatml"
    assert template_for(pairs, "chatml").name == "chatml"
    own = JinjaTemplate(CHATML, SPECIAL, {}).record()
    assert template_for(pairs, "auto", own).name == template_for(messages, "auto", own).name
    assert template_for(messages, "auto", own).name == template_for(pairs, "tokenizer", own).name
    assert template_for(messages, "auto", Plain().record()).name == "chatml"
    for corpus, name, code in (
        (messages, "plain", "text.chat-plain-messages"),
        (pairs, "tokenizer", "text.chat-no-template"),
    ):
        with pytest.raises(BadInput) as caught:
            template_for(corpus, name, None)  # type: ignore[arg-type]
        assert caught.value.code == code


def test_the_oldest_turns_are_dropped_where_they_no_longer_fit(tokenizer: Tokenizer) -> None:
    conversation = Conversation(ChatML(), tokenizer)
    turn = 20  # tokens of "user\nx" with its marks, and of the marks before an answer
    for number in range(3):
        prompt, dropped = conversation.ask("x", 3 * turn)
        assert prompt is not None and prompt.tokens[0] == tokenizer.end_of_text
        assert dropped == (2 if number == 2 else 0)
        conversation.answered("y")
    before = list(conversation.turns)
    assert conversation.ask("x" * 60, 3 * turn) == (None, 0) and conversation.turns == before
    conversation.ask("x", 3 * turn)
    conversation.answered("")
    assert conversation.turns[-1].role == "assistant"


def test_single_answers_have_no_history(tokenizer: Tokenizer) -> None:
    conversation = Conversation(Plain(), tokenizer)
    conversation.ask("x", 20)
    conversation.answered("y")
    prompt, dropped = conversation.ask("z", 20)
    assert prompt is not None and not dropped
    assert prompt.tokens[1:] == tokenizer.encode("z\n")
