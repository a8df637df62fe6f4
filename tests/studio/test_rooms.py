"""The rooms' numbers are the library's."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import write_run
from fastapi.testclient import TestClient

from wordorder.cli.options.explain import read_options as explain_options
from wordorder.cli.options.generate import read_options as generate_options
from wordorder.evaluation.ablation import without_position
from wordorder.evaluation.preferences import log_probabilities
from wordorder.model.decoding import Sampling
from wordorder.positions import CATALOGUE, ModelShape, Rotary
from wordorder.positions.picture import picture_of, weights_of_copies
from wordorder.studio.application import create_app
from wordorder.studio.fields import Matrix, numbers
from wordorder.studio.opened import OpenRuns
from wordorder.studio.rooms import ROOMS, attention, embedding
from wordorder.text.corpus import Corpus, Document
from wordorder.text.prompt import Prompt
from wordorder.text.tokenizer import make_tokenizer
from wordorder.training.text_generation import generate_text
from wordorder.words.activations import attention_head
from wordorder.words.explanation import explain
from wordorder.words.sentences import tokens_of

Ask = Callable[..., Any]
Refused = Callable[..., tuple[str, str]]


def test_the_menu_has_the_rooms_the_runs_and_a_colour_for_each_embedding(
    client: TestClient, folders: dict[str, Path]
) -> None:
    entry = client.get("/api/studio").json()
    assert [room["name"] for room in entry["rooms"]] == [room.name for room in ROOMS]
    assert [run["name"] for run in entry["runs"]] == list(folders)
    assert [each["name"] for each in entry["embeddings"]] == list(CATALOGUE)
    paths = client.get("/openapi.json").json()["paths"]
    for room in ROOMS:
        assert client.get(f"/static/rooms/{room.name}.js").status_code == 200
        assert any(path.startswith(f"/api/{room.name}/") for path in paths)


def evaluated(python: str) -> Any:
    """Return the value of the last of the lines that a page shows."""
    scope: dict[str, Any] = {}
    *lines, last = python.splitlines()
    exec("\n".join(lines), scope)
    return eval(last, scope)


def test_a_bidirectional_model_without_positions_sees_a_set(ask: Ask) -> None:
    answer = ask("/api/order/compare", position="none", causal=False, text="I love AI")
    assert answer["sees_from"] is None and answer["set_until"] == answer["layers"] == 4
    assert answer["overlap"] == pytest.approx(1, abs=1e-5)
    assert answer["tokens"] == [[" I", " love", " AI"], [" AI", " love", " I"]]


@pytest.mark.parametrize("position", ["sinusoidal", "rotary", "alibi", "t5"])
def test_an_embedding_sees_order_in_layer_one_and_the_mask_in_layer_two(
    ask: Ask, position: str
) -> None:
    both = ask("/api/order/compare", position=position, causal=False, text="I love AI")
    assert both["sees_from"] == 1 and both["by_layer"][-1]["after_off"] == 0
    causal = ask("/api/order/compare", position=position, text="I love AI", without=[0, 1, 2, 3])
    assert causal["sees_from"] == 2  # the leak of the causal mask
    assert all(at["after"] == at["after_off"] for at in causal["by_layer"])


def test_sentences_begin_and_end_with_their_own_tokens(
    ask: Ask, runs: OpenRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of Llama 2, which begin with <s> and end with </s>."""
    run = runs.run("rotary")
    monkeypatch.setattr(run.tokenizer, "beginning_of_text", 65)
    answer = ask("/api/order/compare", run="rotary", text="one two three")
    readings = explain(run.model, run.tokenizer, "one two three").readings
    ids = [list(reading.ids) for reading in readings]
    end = run.tokenizer.end_of_text
    first, second = log_probabilities(run.model, ids, end, beginning=65).tolist()
    assert answer["difference_nats"] == pytest.approx(first - second)


def test_a_layer_alone_is_switched_off(ask: Ask) -> None:
    answer = ask("/api/order/compare", position="rotary", causal=False, text="a b c", without=[0])
    assert answer["sees_from"] == 2 and not answer["note"]
    note = ask("/api/order/compare", position="learned", text="a b c", without=[0])["note"]
    assert "at the input" in note


def test_the_orders_of_a_run_are_those_of_explain(ask: Ask, runs: OpenRuns) -> None:
    run = runs.run("rotary")
    answer = ask("/api/order/compare", run="rotary", text="one two three", without=[1])
    explained = explain(without_position(run.model, 2), run.tokenizer, "one two three")
    after = [0.0 if apart.same else apart.relative for apart in explained.after_apart]
    assert [at["after"] for at in answer["by_layer"]] == pytest.approx(after)
    off = explain(without_position(run.model), run.tokenizer, "one two three")
    assert answer["by_layer"][-1]["after_off"] == pytest.approx(off.after_apart[-1].relative)
    ids = [list(reading.ids) for reading in explained.readings]
    model = without_position(run.model, 2)
    first, second = log_probabilities(model, ids, run.tokenizer.end_of_text).tolist()
    assert answer["difference_nats"] == pytest.approx(first - second)
    measured = evaluated(answer["command"])
    assert [0.0 if apart.same else apart.relative for apart in measured] == pytest.approx(after)
    whole = ask("/api/order/compare", run="rotary", text="one two three")
    assert whole["command"] == f"wordorder explain {run.folder} 'one two three'"


def test_other_tokens_are_no_set_of_the_same_vectors(ask: Ask) -> None:
    asked = {"position": "none", "causal": False, "text": "a b c"}
    answer = ask("/api/order/compare", **asked, other="a b d")
    assert not answer["same_tokens"] and answer["set_until"] is None
    assert {at["words"] for at in answer["by_layer"]} == {None}


@pytest.mark.parametrize("other", ["", "人工智能爱我"])
def test_the_characters_of_a_text_without_spaces_have_orders(ask: Ask, other: str) -> None:
    asked = {"position": "none", "causal": False, "text": "我爱人工智能", "other": other}
    answer = ask("/api/order/compare", **asked)
    assert answer["same_tokens"] and answer["sees_from"] is None
    assert len(answer["tokens"][0]) == 6


def test_a_gru_and_a_masked_model_have_orders_too(ask: Ask, client: TestClient) -> None:
    listed = {run["name"]: run["position"] for run in client.get("/api/studio").json()["runs"]}
    for name in ("gru", "masked"):
        answer = ask("/api/order/compare", run=name, text="one two")
        assert answer["sees_from"] == 1 and answer["position"] == listed[name]
    assert listed["gru"] == ""


@pytest.mark.parametrize("off", [(), (0,), (2, 1), (0, 1, 2, 3)])
@pytest.mark.parametrize("causal", [True, False])
def test_the_code_for_random_models_gives_the_same_numbers(
    ask: Ask, off: tuple[int, ...], causal: bool
) -> None:
    asked = {"position": "rotary", "causal": causal, "without": off}
    answer = ask("/api/order/compare", **asked, text="I love AI")
    after = [0.0 if a.same else a.relative for a in evaluated(answer["command"])]
    assert [at["after"] for at in answer["by_layer"]] == pytest.approx(after, abs=1e-5)


def test_a_trace_is_what_the_model_computes(ask: Ask, runs: OpenRuns) -> None:
    run = runs.run("rotary")
    answer = ask("/api/inside/trace", run="rotary", text="a few words", layer=1, head=2, token=3)
    ids = [run.tokenizer.end_of_text, *tokens_of(run.tokenizer, "a few words")]
    head = attention_head(run.model, ids, 1, 2)
    assert [each["id"] for each in answer["tokens"]] == ids and answer["token"] == 3
    attention = answer["attention"]
    assert attention["weights"] == numbers(head.weights[3])
    assert attention["placed_query"] == numbers(head.placed_queries[3])
    assert attention["query"] != attention["placed_query"]
    assert attention["scores"][3] == pytest.approx(float(head.scores[3, 3]), abs=1e-5)
    assert attention["scores"][4] is None  # after the token
    assert not any(answer["input"]["added"])


@pytest.mark.parametrize("text", ["a few words", "word", "-x 'y'"])
def test_the_lines_of_a_trace_give_its_row(ask: Ask, text: str) -> None:
    answer = ask("/api/inside/trace", run="rotary", text=text, layer=1, head=3, token=1)
    assert answer["attention"]["weights"] == numbers(evaluated(answer["command"]))


def test_an_input_embedding_adds_a_vector(ask: Ask) -> None:
    trace = ask("/api/inside/trace", run="learned", text="a few words")
    word, added, total = (trace["input"][name] for name in ("word", "added", "input"))
    assert any(added)
    assert total == pytest.approx([a + b for a, b in zip(word, added, strict=True)], abs=2e-5)
    assert trace["embeddings"][0]["at_input"]


def test_a_head_that_is_not_there(refused: Refused) -> None:
    code, message = refused("/api/inside/trace", run="rotary", text="a b", layer=7)
    assert code == "words.no-such-head" and "1 to 2" in message
    assert refused("/api/inside/trace", run="gru", text="a b")[0] == "studio.gru"
    assert refused("/api/inside/predict", run="masked", text="a b")[0] == "training.not-next-token"


def test_predictions_are_those_that_generate_draws_from(ask: Ask, runs: OpenRuns) -> None:
    run = runs.run("rotary")
    answer = ask("/api/inside/predict", run="rotary", text="some text", temperature=0.5, top_k=3)
    tokens = Prompt("some text", run.tokenizer).tokens
    own = run.model.next_logits(torch.tensor([tokens]))[0].softmax(-1).detach()
    assert answer["kept"] == 3 and answer["vocabulary"] == len(own)
    first = answer["candidates"][0]
    assert first["probability"] == pytest.approx(float(own.max()), rel=1e-4)
    assert sum(each["drawn"] for each in answer["candidates"]) == pytest.approx(1)
    cold = ask("/api/inside/predict", run="rotary", text="some text", temperature=0)
    assert cold["kept"] == 1 and cold["candidates"][0]["drawn"] == 1


def test_space_that_ends_a_text_is_predicted_again_as_generate_does(tmp_path: Path) -> None:
    corpus = Corpus("made", (Document("the cat saw a kite. " * 40, "all"),))
    run = write_run(tmp_path / "bpe", make_tokenizer("bpe", corpus, 270), trained_length=64)
    prompt = Prompt("the cat ", run.tokenizer)
    allowed = prompt.allowed([])
    assert prompt.held_back and allowed
    own = run.model.next_logits(torch.tensor([prompt.tokens]))[0].softmax(-1).detach()
    question = {"run": "bpe", "text": "the cat ", "temperature": 1.0}
    with TestClient(create_app(OpenRuns([run.folder])), base_url="http://127.0.0.1:8321") as client:
        answer = client.post("/api/inside/predict", json=question).json()
    assert answer["kept"] == len(allowed)
    first, best = answer["candidates"][0], float(own[allowed].max())
    assert first["probability"] == pytest.approx(best, rel=1e-4)
    assert first["drawn"] == pytest.approx(best / float(own[allowed].sum()), rel=1e-4)
    # What it writes has the probability that it is predicted with.
    sure = {"run": "bpe", "text": "the cat ", "temperature": 0, "count": 1}
    with TestClient(create_app(OpenRuns([run.folder])), base_url="http://127.0.0.1:8321") as client:
        stream = client.get("/api/inside/write", params=sure).text
    written = json.loads(stream.partition("data: ")[2].splitlines()[0])
    assert best / float(own[allowed].sum()) > 1.01 * best
    assert written["probability"] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("text", ["-x y", "--help", "-", "- a b"])
def test_commands_for_a_text_that_begins_with_a_hyphen(text: str, ask: Ask, runs: OpenRuns) -> None:
    """They can be pasted: what the shell makes of them is the text, and no option."""
    folder = str(runs.run("rotary").folder)
    generate = ask("/api/inside/predict", run="rotary", text=text, seed=3)["command"]
    if text == "-":  # read from standard input
        assert generate.startswith("printf %s - | wordorder generate ")
    else:
        options = generate_options(shlex.split(generate)[2:])
        assert (options.run, options.prompt, options.seed) == (folder, text, 3)
    asked = {"run": "rotary", "text": "-a b", "other": "-b a"}
    explained = explain_options(shlex.split(ask("/api/order/compare", **asked)["command"])[2:])
    assert (explained.run, explained.text) == (folder, "-a b")
    assert explained.other == asked["other"]


def test_the_page_writes_what_the_command_writes(
    client: TestClient, ask: Ask, runs: OpenRuns
) -> None:
    run = runs.run("rotary")
    question = {"run": "rotary", "text": "some text", "seed": 5, "temperature": 0.7}
    writes = shlex.split(ask("/api/inside/predict", **question)["writes"])
    options = generate_options(writes[2:])
    body = client.get("/api/inside/write", params=question).text
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
    assert events[-1]["end"] and not events[-1]["problem"]
    prompt = Prompt("some text", run.tokenizer)
    sampling = Sampling(temperature=0.7, min_p=0.0, seed=5, max_tokens=options.max_tokens)
    expected = "".join(generate_text(run.model, prompt, sampling))
    assert "".join(event["text"] for event in events[:-1]) == expected
    assert all(0 < event["probability"] <= 1 for event in events[:-1])


def test_writing_ends_where_positions_do(client: TestClient) -> None:
    question = {"run": "learned", "text": "x" * 70, "count": 3}
    body = client.get("/api/inside/write", params=question).text
    assert "has only 64 positions" in json.loads(body.strip()[6:])["problem"]
    assert client.get("/api/inside/write", params={**question, "count": 9999}).status_code == 422


def test_every_embedding_has_its_options_and_a_picture(client: TestClient, ask: Ask) -> None:
    entries = {each["name"]: each for each in client.get("/api/embedding/catalogue").json()}
    assert list(entries) == list(CATALOGUE)
    for name, kind in CATALOGUE.items():
        assert [each["name"] for each in entries[name]["options"]] == list(kind.options())
        answer = ask("/api/embedding/picture", position=name, length=32)
        assert answer["picture"] or name in ("shaw-values", "stick-breaking")
    options = {each["name"]: each for each in entries["rotary"]["options"]}
    assert options["scaling"]["choices"][-1] == "llama3"
    assert options["fraction"]["most"] == 1 and options["factor"]["most"] == 16
    assert options["base"]["follows"]


def test_a_picture_is_that_of_the_library(ask: Ask) -> None:
    answer = ask("/api/embedding/picture", position="rotary:base=100", length=40)
    rotary = Rotary(ModelShape(4, 64, trained_length=40), base=100)
    drawn = picture_of(rotary, 40)
    assert drawn is not None
    assert answer["picture"]["matrix"]["values"] == numbers(drawn.values)
    weights = weights_of_copies(rotary, 40)
    assert weights is not None
    log = (weights[1, -3] / weights[1, -1]).log()
    assert answer["similarity"]["untrained"][1][2] == pytest.approx(float(log), abs=1e-4)
    angles = rotary.frequencies().tolist()
    assert [each["angle"] for each in answer["frequencies"]] == pytest.approx(angles)
    assert answer["frequencies"][0]["wraps_at"] == pytest.approx(2 * torch.pi)


def test_scalings_of_rotary(ask: Ask) -> None:
    scalings = ask("/api/embedding/picture", position="rotary", factor=8)["scalings"]
    assert list(scalings) == ["none", "linear", "ntk", "dynamic", "yarn", "llama3"]
    assert set(scalings["linear"]) == {0.125}
    for name in ("ntk", "yarn", "llama3"):  # the fastest stays, the slowest is slowed fully
        assert (scalings[name][0], scalings[name][-1]) == (1, 0.125)


def test_a_trained_run_is_in_the_picture(ask: Ask, runs: OpenRuns) -> None:
    learned = ask("/api/embedding/picture", position="learned", run="learned", word="x")
    weight = runs.transformer("learned").position.instances[0].weight
    assert learned["trained_picture"]["matrix"]["values"] == numbers(weight)
    assert learned["picture"] != learned["trained_picture"]
    assert len(learned["similarity"]["trained"]) == 4
    other = ask("/api/embedding/picture", position="rotary", run="learned")
    assert other["trained_picture"] is None


@pytest.mark.parametrize("run", [None, "rotary"])
@pytest.mark.parametrize("position", ["rotary", "alibi", "cope", "shaw-values"])
def test_the_lines_below_a_picture_give_it(ask: Ask, position: str, run: str | None) -> None:
    answer = ask("/api/embedding/picture", position=position, run=run, length=40, head=1)
    values = evaluated(answer["command"])
    if answer["picture"]:
        assert answer["picture"]["matrix"]["values"] == numbers(values)
    else:
        assert values is None  # its attention cannot be described by weights


def test_pictures_of_long_contexts_show_the_first_tokens(
    ask: Ask, runs: OpenRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "MOST_LENGTH", 24)
    answer = ask("/api/embedding/picture", position="t5", run="rotary")
    trained = runs.run("rotary").model_config.trained_length
    assert (answer["length"], answer["shown"]) == (trained, 24)
    assert answer["picture"]["matrix"]["rows"] == 24
    assert {len(head) for head in answer["similarity"]["trained"]} == {24}


def test_maps_are_the_weights_and_large_ones_are_averaged(ask: Ask, runs: OpenRuns) -> None:
    run, text = runs.run("rotary"), "word " * 60
    answer = ask("/api/attention/maps", run="rotary", text=text, layer=1, head=1)
    ids = [run.tokenizer.end_of_text, *tokens_of(run.tokenizer, text)]
    weights = attention_head(run.model, ids, 1, 1).weights
    chosen = answer["chosen"]
    assert (chosen["rows"], chosen["step"], len(chosen["values"])) == (302, 2, 151)
    mean = float(weights[200:202, 40:42].mean())
    assert chosen["values"][100][20] == pytest.approx(mean, abs=1e-5)
    assert len(answer["small"]) == 2 and len(answer["small"][0]) == 4
    assert len(answer["small"][0][0]["values"]) <= 24
    assert torch.equal(evaluated(answer["command"]), weights)


def test_cells_without_a_number_are_left_out_of_means() -> None:
    matrix = torch.tensor([[1.0, -torch.inf, -torch.inf], [2.0, 3.0, -torch.inf], [1, 1, 5]])
    assert Matrix.of(matrix, 2).values == [[2.0, None], [1.0, 5.0]]


def test_mass_needs_a_causal_model(refused: Refused) -> None:
    assert refused("/api/attention/mass", run="masked")[0] == "studio.bidirectional"


def test_mass_is_measured_once(monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    measurements, measure = [], attention.attention_mass
    monkeypatch.setattr(
        attention, "attention_mass", lambda *a, **k: measurements.append(a) or measure(*a, **k)
    )
    first = ask("/api/attention/mass", run="learned")
    assert first == ask("/api/attention/mass", run="learned") and len(measurements) <= 1
    assert len(first["heads"]) == 8 and sum(first["heads"][0]["by_distance"]) == pytest.approx(1)


def test_a_run_that_was_deleted_while_it_was_open_is_named(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("gone", "incomplete"):
        shutil.copytree(folders["rotary"], tmp_path / name)
    runs = OpenRuns([tmp_path / "gone", tmp_path / "incomplete"])
    with TestClient(create_app(runs), base_url="http://127.0.0.1") as client:

        def code(name: str) -> str:
            answer = client.post("/api/inside/trace", json={"run": name, "text": "a b"})
            return str(answer.json().get("code"))

        (tmp_path / "incomplete" / "model.safetensors").unlink()
        assert (code("gone"), code("incomplete")) == ("None", "studio.run-incomplete")
        shutil.rmtree(tmp_path / "gone")
        assert code("gone") == "studio.run-gone"
        assert [each["name"] for each in client.get("/api/studio").json()["runs"]] == ["incomplete"]


def test_an_empty_text_is_named(refused: Refused) -> None:
    assert refused("/api/order/compare", text="")[1] == "the text is empty: type something"
    assert refused("/api/words/neighbours", run="rotary", word=" ")[1].startswith(
        "the word is empty"
    )
