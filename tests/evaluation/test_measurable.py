"""The context lengths that a text can measure, and the note on those that it cannot."""

from __future__ import annotations

from numbered_store import store_of

from wordorder.evaluation.context import curve_lengths, measurable


def test_only_lengths_that_enough_documents_reach_are_kept() -> None:
    """Documents of 1,000 tokens reach 512; three of them reach 1,024 too."""
    store = store_of(*[1000] * 6, *[3000] * 3)
    found = measurable(store, [64, 512, 1024, 4096], trained_length=64)
    assert found.lengths == (64, 512)
    assert found.left_out == (
        "contexts of 1,024 and 4,096 tokens are left out: 3 documents of the text reach 1,024 "
        "tokens, and 4 are needed: give longer documents, or let windows cross document "
        "boundaries with --pack",
    )
    assert found.note is None
    packed = measurable(store, [64, 4096], trained_length=64, across_documents=True)
    assert packed.lengths == (64, 4096)


def test_only_lengths_with_enough_targets_are_kept() -> None:
    """Four documents of 128 + 7 * 32 tokens have 8 windows of 32 targets each."""
    assert measurable(store_of(*[352] * 4), [128], trained_length=64).lengths == (128,)
    found = measurable(store_of(351, 352, 352, 352), [128], trained_length=64)
    assert found.lengths == ()
    assert found.left_out == (
        "a context of 128 tokens is left out: the text has 992 target tokens with 128 tokens of "
        "context, and 1,024 are needed: give more text",
    )


def test_what_is_left_out_of_one_document_is_said_once() -> None:
    found = measurable(store_of(1200), [64, 128, 256, 512, 1024], trained_length=64)
    assert found.lengths == (64, 128)
    assert found.left_out == (
        "contexts of 256 to 1,024 tokens are left out: the text has 960 target tokens with 256 "
        "tokens of context, and 1,024 are needed: give more text",
    )


def test_a_curve_begins_at_short_contexts_and_doubles_through_the_trained_length() -> None:
    assert curve_lengths(128, 1024) == (16, 32, 64, 128, 256, 512, 1024)
    assert curve_lengths(100, 300) == (25, 50, 100, 200, 300)
    assert curve_lengths(8, 32) == (16, 32)
    assert curve_lengths(256, 64) == (16, 32, 64)
