"""Two languages in one model: what is asked, what is counted, and criteria that can fail."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wordorder.claims import languages, two_languages
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    ClaimPlan,
    Verdict,
    judge,
)
from wordorder.errors import BadInput
from wordorder.experiments.calibration import config_of
from wordorder.model import LanguageModel, make_model
from wordorder.training.compute import Compute
from wordorder.training.config import with_vocabulary

ARTICLE, LITERATURE = languages.CLAIMS
PLAN = ClaimPlan(seeds=5)
WORDS = "the a dog man bit saw old small happy tree under over house never always again".split()


def text(lines: int, words: int = 14) -> str:
    drawn = random.Random(0)
    return "\n".join(" ".join(drawn.choices(WORDS, k=words)) for _ in range(lines)) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "sentences.txt"
    path.write_text(text(620))
    return str(path)


@pytest.fixture
def translated(tmp_path: Path) -> tuple[str, str]:
    first, second = tmp_path / "lower.txt", tmp_path / "upper.txt"
    first.write_text(text(300))
    second.write_text(text(300).upper())
    return str(first), str(second)


def config(plan: ClaimPlan, position: str = "sinusoidal") -> Any:
    return config_of(languages.bilingual(plan, position, 0).job)


def results(plan: ClaimPlan, **found: list[float]) -> dict[str, Any]:
    """What models would have scored: per cent of sentences, by embedding and seed."""
    record = {"untrained": 0.2, "asked": 500, "words": 50.0, "losses": [2.0, 2.1]}
    return {
        languages.bilingual(plan, position, seed).name: {**record, "sentences": value}
        for position, values in found.items()
        for seed, value in enumerate(values)
    }


def verdict(claim: Any, plan: ClaimPlan = PLAN, **found: list[float]) -> Verdict:
    return judge(claim, claim.read(plan, results(plan, **found)), seeds=plan.seeds)


SINUSOIDAL = [30.0, 32.0, 31.0, 31.5, 30.5]


def test_rotary_holds_only_where_it_finds_ten_points_more() -> None:
    def word(rotary: list[float]) -> str:
        return verdict(ARTICLE, sinusoidal=SINUSOIDAL, rotary=rotary).word

    assert word([60, 62, 61.5, 61, 60.5]) == HOLDS
    assert word([1, 2, 1.5, 1, 2]) == FAILS
    assert word([42, 40, 46, 43, 41]) == UNDECIDED
    many = ClaimPlan(seeds=20)
    some = verdict(ARTICLE, many, sinusoidal=SINUSOIDAL * 4, rotary=[36, 36.5, 36, 35.5, 36] * 4)
    assert some.word == DIRECTION
    worse = verdict(ARTICLE, sinusoidal=SINUSOIDAL, rotary=[1, 2, 1.5, 1, 2])
    assert worse.reasons[0].startswith("cause: two languages without a common word share")


def test_relative_may_not_find_more_than_sinusoidal() -> None:
    def found(shaw: list[float]) -> Verdict:
        return verdict(LITERATURE, sinusoidal=SINUSOIDAL, shaw=shaw)

    assert found([1, 2, 1, 1, 1]).word == HOLDS
    assert found([50, 53, 52, 51, 52]).by_criterion == (FAILS,)
    assert found([28, 35, 31, 30, 32]).word == UNDECIDED


def test_nothing_is_tested_at_floor_or_ceiling() -> None:
    floor = verdict(ARTICLE, sinusoidal=[1, 2, 1, 1, 2], rotary=[2, 1, 1, 1, 1])
    assert floor.word == NOT_TESTABLE
    assert floor.reasons == ("needs more training: neither is much better than untrained",)
    ceiling = verdict(ARTICLE, sinusoidal=[95, 96, 97, 96, 95], rotary=[96, 95, 96, 97, 95])
    assert ceiling.word == NOT_TESTABLE
    assert ceiling.reasons == ("needs a harder retrieval task: both find nearly all",)


def test_what_failed_leaves_its_claim_undecided() -> None:
    for claim in languages.CLAIMS:
        assert verdict(claim).word == UNDECIDED
        assert verdict(claim, sinusoidal=SINUSOIDAL).word == UNDECIDED
        assert verdict(claim, sinusoidal=[30.0], rotary=[1.0], shaw=[1.0]).word == UNDECIDED
    both = languages.compared(
        PLAN, results(PLAN, sinusoidal=[30, 32], rotary=[1]), "rotary", "sinusoidal"
    )
    assert both.by_seed == {0: pytest.approx(-29.0)}


def test_three_seeds_are_too_few() -> None:
    plan = ClaimPlan(seeds=3)
    found = verdict(ARTICLE, plan, sinusoidal=[30, 32, 31], rotary=[60, 62, 61])
    assert (found.word, found.reasons) == (NOT_TESTABLE, ("needs 5 seeds, has 3",))


def test_every_seed_and_both_losses_are_told() -> None:
    notes = verdict(ARTICLE, sinusoidal=SINUSOIDAL, rotary=[1, 2, 1.5]).measurements.notes
    assert notes[-1] == (
        "rotary: 1.0, 2.0, 1.5% of 500 sentences found, 0.2 before training; 50.0% of words; "
        "masked loss 2.000 and 2.100 nats"
    )


def test_the_clone_says_the_same_in_tokens_of_its_own(data: str) -> None:
    two = two_languages.read_languages(config(ClaimPlan(data=(data,))), ())
    end, half = two.training.end_of_text, two.training.vocabulary_size // 2
    length = len(two.training) // 2
    first, second = two.training.tokens[:length], two.training.tokens[length:]
    assert set(first) & set(second) == {end}
    assert ((second == first + half) | (first == end)).all()
    assert second[0] == first[0] + half and two.mask < half
    for one, other in zip(*two.sentences, strict=True):
        assert len(one) == two_languages.TOKENS_LOOKED_UP
        assert other == tuple(token + half for token in one)
    assert len(set(two.sentences[0])) == len(two.sentences[0]) >= two_languages.FEWEST_PAIRS
    assert all(b == a + half and a != end for a, b in zip(*two.words, strict=True))


def test_held_out_sentences_are_not_learnt(data: str) -> None:
    two = two_languages.read_languages(config(ClaimPlan(data=(data,))), ())
    learnt = set(two_languages._documents(two.training))
    for store, sentences in zip(two.held_out, two.sentences, strict=True):
        held = two_languages._documents(store)
        assert not learnt & set(held)
        assert {d[: two_languages.TOKENS_LOOKED_UP] for d in held} >= set(sentences)


def test_rows_are_windows_of_one_language_with_sentences_apart(data: str) -> None:
    settings = config(ClaimPlan(data=(data,)))
    two = two_languages.read_languages(settings, ())
    half = two.training.vocabulary_size // 2
    batch = two.batches(settings).at(0)
    again = two.batches(settings).at(0)
    assert torch.equal(batch.tokens, again.tokens)
    assert batch.documents is not None and batch.positions is not None
    assert int(batch.documents.max()) > 0 and int((batch.positions == 0).sum()) > len(batch.tokens)
    # Targets are what was hidden: of the row's own language alone, but where the text turns round.
    second = [set((row[row >= 0] >= half).tolist()) for row in batch.targets]
    assert sum(len(kinds) == 1 for kinds in second) >= len(second) - 1
    assert {True} in second and {False} in second


def test_two_files_are_two_languages_line_by_line(translated: tuple[str, str]) -> None:
    settings = config(ClaimPlan(languages=translated))
    two = two_languages.read_languages(settings, translated)
    assert two.words == ((), ())
    assert len(two.sentences[0]) == len(two.sentences[1]) == 60
    assert not set(two.sentences[0]) & set(two.sentences[1])
    assert two.training.vocabulary_size <= settings.model.vocabulary_size


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (text(300), text(299), r"has 300 lines and .* 299"),
        (text(20), text(20).upper(), r"20 distinct sentences: give at least 250"),
        (text(300), None, r"no such file"),
    ],
)
def test_files_that_are_no_translations(
    tmp_path: Path, first: str, second: str | None, message: str
) -> None:
    paths = (tmp_path / "a.txt", tmp_path / "b.txt")
    paths[0].write_text(first)
    if second is not None:
        paths[1].write_text(second)
    files = tuple(map(str, paths))
    with pytest.raises(BadInput, match=message):
        two_languages.read_languages(config(ClaimPlan(languages=files)), files)


def test_one_file_is_no_pair(translated: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match="--languages has 1 file: give two"):
        two_languages.translations(translated[:1])


def test_too_few_sentences_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text(text(40))
    with pytest.raises(BadInput, match="40 distinct sentences: give at least 500"):
        two_languages.read_languages(config(ClaimPlan(data=(str(path),))), ())
    path.write_text("".join(f"sentence of number {n} here\n" for n in range(2000)))
    with pytest.raises(BadInput, match="held-out sentences of at least 12 tokens"):
        two_languages.read_languages(config(ClaimPlan(data=(str(path),))), ())


def test_nearest_counts_both_ways_and_takes_off_what_tells_languages_apart() -> None:
    first = torch.eye(4, 8)
    assert languages.nearest(first, first + 100) == 100
    assert languages.nearest(first, first[[1, 0, 2, 3]] + 100) == 50


def test_nearest_agrees_with_counting_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    second = first + torch.randn(8, 5, generator=generator, dtype=torch.float64)
    rows = [
        [[v - m for v, m in zip(row, side.mean(0).tolist(), strict=True)] for row in side.tolist()]
        for side in (first, second)
    ]

    def dot(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    def found(asked: list[list[float]], among: list[list[float]]) -> float:
        right = 0
        for own, vector in enumerate(asked):
            cosines = [dot(vector, w) / math.hypot(*w) for w in among]
            right += cosines.index(max(cosines)) == own
        return 100 * right / len(asked)

    ways = found(*rows), found(rows[1], rows[0])
    assert ways[0] != ways[1]  # or one way twice would pass
    assert languages.nearest(first, second) == pytest.approx(sum(ways) / 2)


def models(data: str) -> tuple[LanguageModel, two_languages.Languages]:
    settings = config(ClaimPlan(data=(data,)))
    two = two_languages.read_languages(settings, ())
    settings = with_vocabulary(settings, two.training.vocabulary_size)
    model = make_model(settings.model)
    assert isinstance(model, LanguageModel)
    model.initialise(1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model, two


def test_a_model_whose_clone_has_the_same_vectors_finds_all(data: str) -> None:
    model, two = models(data)
    half = two.training.vocabulary_size // 2
    assert languages.retrieval(model, two) < 20
    assert languages.words_found(model, two) < 20
    with torch.no_grad():
        model.embedding.weight[half:] = model.embedding.weight[:half] + 1.0
    assert languages.words_found(model, two) == 100
    with torch.no_grad():
        model.embedding.weight[half:] = model.embedding.weight[:half]
    assert languages.retrieval(model, two) == 100


def test_a_sentence_does_not_see_what_stands_beside_it(data: str) -> None:
    model, two = models(data)
    long, short = two.sentences[0][0], two.sentences[0][1][:5]
    end = two.training.end_of_text
    together = languages.sentence_vectors(model, (long, short), end)
    alone = languages.sentence_vectors(model, (short,), end)
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)
    assert not languages.sentence_vectors(model, (short[::-1],), end).allclose(alone, atol=1e-3)


@pytest.mark.parametrize("position", languages.POSITIONS)
def test_the_job_returns_what_json_can_hold(position: str, data: str) -> None:
    work = languages.bilingual(ClaimPlan(data=(data,), steps=1), position, 0)
    told: list[float] = []
    job = json.loads(json.dumps({**work.job, "machine": asdict(Compute("cpu", 1))}))
    found = work.function(job, lambda share, line: told.append(share))
    assert json.loads(json.dumps(found)) == found
    assert 0 <= found["sentences"] <= 100 and found["asked"] >= 50
    assert len(found["losses"]) == 2 and min(found["losses"]) > 0
    assert work.function(job, lambda share, line: None) == found


def test_the_job_reads_two_files(translated: tuple[str, str]) -> None:
    plan = replace(ClaimPlan(), languages=translated, steps=1)
    work = languages.bilingual(plan, "rotary", 0)
    found = work.function({**work.job, "machine": asdict(Compute("cpu", 1))}, lambda s, line: None)
    assert found["words"] is None and found["asked"] == 60
    notes = ARTICLE.read(plan, {work.name: found}).notes
    assert any(line.startswith("rotary: ") and "words" not in line for line in notes)


def test_works_are_named_apart_and_shared_by_both_claims() -> None:
    names = [work.name for work in LITERATURE.works(PLAN)]
    assert len(set(names)) == len(names) == PLAN.seeds * len(languages.POSITIONS)
    assert {work.name for work in ARTICLE.works(PLAN)} < set(names)
