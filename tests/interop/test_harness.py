"""lm-evaluation-harness scores a run as its own hf model scores the run's export."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import ROWS, TRAINED, write_run

from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.interop.export import export
from wordorder.interop.harness import blimp, tasks
from wordorder.interop.harness.environment import offline_and_quiet
from wordorder.interop.harness.tasks import HarnessScore, HarnessScores, score_tasks
from wordorder.interop.huggingface.export import HUGGING_FACE
from wordorder.training.run import Run

pytest.importorskip("lm_eval", reason="pip install 'wordorder[eval]'")
with offline_and_quiet():
    import lm_eval.tasks
    from lm_eval.api.instance import Instance

    from wordorder.interop.harness.language_model import HarnessModel

PAIRS = [("The cat sat.", "The sat cat."), ("A b", "b A"), ("dogs bark", "dogs barks")]
CHOICES = """\
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choices.jsonl}, cache_dir: FOLDER/cache}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: ["yes", "no", "perhaps"]
doc_to_target: 0
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """\
task: rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choices.jsonl}, cache_dir: FOLDER/cache}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
WRITING = """\
task: writing
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choices.jsonl}, cache_dir: FOLDER/cache}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "x"
generation_kwargs: {until: ["e"], max_gen_toks: 6}
metric_list: [{metric: exact_match}]
"""
HUB = "task: far\ndataset_path: someone/somewhere\noutput_type: multiple_choice\ntest_split: test\n"
BROKEN = CHOICES.replace("task: choices", "task: broken").replace("test_split: test\n", "")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_run(tmp_path / "run", **ROWS["LlamaForCausalLM"]["default"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    questions = ("Is it so?", "Short", "A question that is longer than sixteen bytes, is it?")
    lines = [json.dumps({"question": question}) for question in questions]
    (folder / "choices.jsonl").write_text("\n".join(lines))
    for text in (CHOICES, ROLLING, WRITING, HUB, BROKEN):
        name = text.split()[1]
        (folder / f"{name}.yaml").write_text(text.replace("FOLDER", str(folder)))
    return folder


def write_blimp(folder: Path, *paradigms: str) -> Path:
    folder.mkdir()
    rows = [json.dumps({"sentence_good": good, "sentence_bad": bad}) for good, bad in PAIRS]
    for paradigm in paradigms:
        with gzip.open(folder / f"{paradigm}.jsonl.gz", "wt") as file:
            file.write("\n".join(rows))
    return folder


ALL = [paradigm for paradigms in blimp.phenomena().values() for paradigm in paradigms]


# -- the same numbers as the harness' hf model ---------------------------------------------------


def scored_by_hf(run: Run, folder: Path, names: list[str], scratch: Path, **options: Any) -> Any:
    pytest.importorskip("accelerate", reason="the harness' hf model needs it")
    scratch.mkdir()
    with offline_and_quiet():
        from lm_eval.models.huggingface import HFLM

        exported = export(run, HUGGING_FACE, overwrite=True).folder
        theirs = HFLM(pretrained=str(exported), device="cpu", **options)
        loaded = tasks.load_tasks(names, folder, scratch)
        return tasks.scores_of(tasks.evaluate_tasks(theirs, loaded))


def assert_alike(ours: HarnessScores, theirs: tuple[HarnessScore, ...]) -> None:
    assert [each.task for each in ours.scores] == [each.task for each in theirs]
    for mine, other in zip(ours.scores, theirs, strict=True):
        assert (mine.metric, mine.examples) == (other.metric, other.examples)
        assert mine.value == pytest.approx(other.value, rel=1e-5)


def test_choices_score_as_the_export_does(run: Run, folder: Path, tmp_path: Path) -> None:
    """A context is longer than the trained length and loses its beginning."""
    ours = score_tasks(run, ["choices"], folder=folder)
    assert ours.truncated == 4 and ours.max_length == TRAINED
    assert_alike(ours, scored_by_hf(run, folder, ["choices"], tmp_path / "scratch"))


def test_whole_texts_score_as_the_export_does(run: Run, folder: Path, tmp_path: Path) -> None:
    """hf would put two end-of-text tokens before a text: its tokenizer's and its own."""
    ours = score_tasks(run, ["rolling"], folder=folder)
    theirs = scored_by_hf(run, folder, ["rolling"], tmp_path / "scratch", add_bos_token=False)
    assert_alike(ours, theirs)


def test_log_probabilities_are_the_export_s(run: Run, tmp_path: Path) -> None:
    """Spaces at the end of a context, an empty context, one that is cut."""
    pytest.importorskip("accelerate")
    pairs = [("a ", "b"), ("", " The"), ("x" * 40, " yes"), ("The", " dog"), ("The", " cat sat")]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    generated = [Instance("generate_until", {}, ("Once", {"until": ["~"], "max_gen_toks": 8}), 0)]
    with offline_and_quiet():
        from lm_eval.models.huggingface import HFLM

        exported = export(run, HUGGING_FACE, tmp_path / "export").folder
        theirs = HFLM(pretrained=str(exported), device="cpu", batch_size=2)
        expected = theirs.loglikelihood(requests)
        text = theirs.generate_until(generated)
    ours = HarnessModel(run.model, run.tokenizer, TRAINED)
    scores = ours.loglikelihood(requests)
    for (score, is_likeliest), (other, is_theirs) in zip(scores, expected, strict=True):
        assert score == pytest.approx(other, abs=1e-4) and is_likeliest == is_theirs
    assert ours.generate_until(generated) == text


def test_blimp_scores_as_the_export_does(run: Run, tmp_path: Path) -> None:
    data = write_blimp(tmp_path / "blimp", *blimp.phenomena()["ellipsis"])
    ours = score_tasks(run, ["blimp_ellipsis"], folder=data)
    expected = scored_by_hf(run, data, ["blimp_ellipsis"], tmp_path / "scratch")
    assert_alike(ours, expected)
    assert [each.depth for each in ours.scores] == [0, 1, 1]


# -- the model -----------------------------------------------------------------------------------


def test_a_token_that_takes_in_the_continuation_leaves_it_whole(run: Run) -> None:
    model = HarnessModel(run.model, run.tokenizer, TRAINED)
    run.tokenizer.encode = lambda text: [7] if text in ("ab", "a") else [8]  # type: ignore
    assert model._encode_pair("a", "b") == ([model.eot_token_id, 7], [8])


def test_batches_have_equal_lengths_and_no_padding(run: Run) -> None:
    model = HarnessModel(run.model, run.tokenizer, TRAINED)
    seen: list[torch.Size] = []
    scores = model._scores
    model._scores = lambda tokens: seen.append(tokens.shape) or scores(tokens)  # type: ignore
    requests = [Instance("loglikelihood", {}, ("a", text), 0) for text in ("b", "bc", "d", "ef")]
    together = model.loglikelihood(requests)
    assert seen == [(2, 4), (2, 3)]
    assert together[2] == pytest.approx(model.loglikelihood(requests[2:3])[0])


def test_what_does_not_fit_is_one_line(run: Run) -> None:
    model = HarnessModel(run.model, run.tokenizer, TRAINED)
    with pytest.raises(BadInput, match="--length 20") as caught:
        model.loglikelihood([Instance("loglikelihood", {}, ("a", "b" * 20), 0)])
    assert caught.value.code == "interop.continuation-too-long"
    with pytest.raises(BadInput) as caught:
        model.generate_until([Instance("generate_until", {}, ("a", {"until": ["."]}), 0)])
    assert caught.value.code == "interop.no-room-to-generate"
    with pytest.raises(BadInput) as caught:
        settings = {"num_beams": 2, "max_gen_toks": 2}
        model.generate_until([Instance("generate_until", {}, ("a", settings), 0)])
    assert caught.value.code == "interop.unknown-generation-setting"


# -- tasks ---------------------------------------------------------------------------------------


def test_blimp_has_67_paradigms_in_12_phenomena() -> None:
    assert (len(blimp.phenomena()), len(ALL), len(set(ALL))) == (12, 67, 67)
    with offline_and_quiet():
        from lm_eval.tasks import TaskManager

        theirs = TaskManager(
            include_path=str(Path(lm_eval.tasks.__file__).parent / "blimp"), include_defaults=False
        )
    assert {f"blimp_{name}" for name in ALL} == set(theirs.all_subtasks)


def test_the_whole_of_blimp_is_its_mean_over_paradigms(run: Run, tmp_path: Path) -> None:
    data = write_blimp(tmp_path / "blimp", *ALL)
    before = sorted(data.iterdir())
    scored = score_tasks(run, ["blimp"], folder=data, limit=1)
    assert len(scored.scores) == 1 + 12 + 67 and sorted(data.iterdir()) == before
    assert scored.scores[0].task == "blimp" and scored.scores[0].examples == 67
    paradigms = [each.value for each in scored.scores if each.depth == 2]
    assert scored.scores[0].value == pytest.approx(sum(paradigms) / 67)


def test_part_of_blimp_is_not_called_blimp(run: Run, tmp_path: Path) -> None:
    data = write_blimp(tmp_path / "blimp", "wh_island")
    assert score_tasks(run, ["blimp_wh_island"], folder=data).scores[0].examples == 3
    with pytest.raises(BadInput, match="66 of the 67") as caught:
        score_tasks(run, ["blimp"], folder=data)
    assert caught.value.code == "interop.blimp-incomplete"


@pytest.mark.parametrize(
    "name,code",
    [
        ("far", "interop.task-needs-hub"),
        ("broken", "interop.task-not-loaded"),
        ("choises", "interop.unknown-task"),
    ],
)
def test_a_task_that_cannot_be_scored_is_one_line(
    run: Run, folder: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with offline_and_quiet():
        from lm_eval.tasks import TaskManager
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **options: manager)
    with pytest.raises(BadInput) as caught:
        score_tasks(run, [name], folder=folder)
    assert caught.value.code == code and "\n" not in str(caught.value)
    assert name != "choises" or "did you mean choices?" in str(caught.value)


def test_a_folder_without_tasks_is_refused(run: Run, tmp_path: Path) -> None:
    for name, code in (("none", "interop.no-tasks-folder"), ("run", "interop.no-tasks-in-folder")):
        with pytest.raises(BadInput) as caught:
            score_tasks(run, ["choices"], folder=tmp_path / name)
        assert caught.value.code == code


def test_a_masked_model_and_a_missing_extra_are_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = write_run(tmp_path / "masked", **ROWS["BertForMaskedLM"]["learned"])
    with pytest.raises(BadInput) as caught:
        score_tasks(masked, ["blimp"])
    assert caught.value.code == "training.not-next-token"
    monkeypatch.setattr("wordorder.interop.harness.environment.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'wordorder\[eval\]'") as caught:
        score_tasks(run, ["blimp"])
    assert caught.value.code == "interop.harness-not-installed"


# -- the command ---------------------------------------------------------------------------------


def test_the_command_prints_a_table_or_json(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(run.folder), "--tasks", "choices,rolling", "--tasks-path", str(folder)]
    assert main([*command, "--limit", "3"]) == 0
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()[:4]] == [
        *("task", "choices", "choices", "rolling")
    ]
    assert "lost the beginning" in captured.err
    assert main([*command, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["max_length"] == TRAINED
    assert {score["metric"] for score in values["scores"]} == {
        *("acc", "acc_norm", "word_perplexity", "bits_per_byte")
    }


@pytest.mark.parametrize(
    "options,code",
    [
        ("--tasks blimp --stride 4", "cli.eval-text-and-tasks"),
        ("--limit 3", "cli.eval-needs-tasks"),
    ],
)
def test_options_without_effect_are_refused(options: str, code: str) -> None:
    from wordorder.cli.options.eval import read_options

    with pytest.raises(BadInput) as caught:
        read_options(["run", *options.split()])
    assert caught.value.code == code


@pytest.mark.slow
def test_a_process_of_its_own_prints_the_scores_alone(run: Run, tmp_path: Path) -> None:
    data = write_blimp(tmp_path / "blimp", "wh_island")
    options = ["--tasks", "blimp_wh_island", "--tasks-path", str(data), "--json"]
    command = [sys.executable, "-m", "wordorder", "eval", str(run.folder), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.strip() == ""
    assert json.loads(done.stdout)["scores"][0]["task"] == "blimp_wh_island"
