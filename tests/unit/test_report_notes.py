"""Footnotes share a reason between values and keep the figures."""

from hypothesis import given
from hypothesis import strategies as st

from results.report.notes import Notes


def test_the_same_reason_has_one_note() -> None:
    notes = Notes()
    assert [notes.add("no meter"), notes.add("no price"), notes.add("no meter")] == [1, 2, 1]
    assert notes.texts() == ["no meter", "no price"]


def test_reasons_that_differ_in_figures_share_a_note_with_their_range() -> None:
    notes = Notes()
    for queries in (412, 35, 1_204):
        assert notes.add(f"{queries} queries; p99 needs 662") == 1
    assert notes.texts() == ["35 to 1204 queries; p99 needs 662"]


def test_digits_of_names_are_no_figures() -> None:
    notes = Notes()
    assert notes.add("p99 needs more") != notes.add("p90 needs more")
    assert notes.add("resnet50 has random weights") != notes.add("resnet8 has random weights")


def test_an_empty_reason_is_said_to_be_empty() -> None:
    notes = Notes()
    notes.add("  ")
    assert notes.texts() == ["no reason was recorded"]


@given(st.lists(st.text(max_size=40), max_size=20))
def test_every_reason_has_a_note(reasons: list[str]) -> None:
    notes = Notes()
    numbers = [notes.add(reason) for reason in reasons]
    assert all(1 <= number <= len(notes.texts()) for number in numbers)
    assert len(notes.texts()) == len(set(numbers))
