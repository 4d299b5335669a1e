import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.output import age, aligned, clean, count, iso, size


@given(st.text())
def test_what_is_clean_is_printable_and_clean_text_stays(words: str) -> None:
    assert clean(words).isprintable()
    assert clean(clean(words)) == clean(words)


@pytest.mark.parametrize(
    ("given_ms", "told"),
    [(0, "0 ms"), (999, "999 ms"), (1_000, "1 s"), (192_000, "3 min 12 s"), (14_400_000, "4 h"), (86_400_000, "24 h")],
)
def test_an_age_has_its_two_largest_units(given_ms: int, told: str) -> None:
    assert age(given_ms) == told


def test_days_count_from_the_second_on() -> None:
    assert age(7 * 86_400_000) == "7 d"


def test_aligned_columns_have_no_trailing_blanks_and_cut_nothing() -> None:
    assert aligned([("a", "b"), ("longer", ""), ("x", "y" * 200)]) == ["a       b", "longer", f"x       {'y' * 200}"]


def test_figures_are_told_for_people() -> None:
    assert [size(512), size(4 * 1024 * 1024), size(1_536)] == ["512 bytes", "4 MiB", "1.5 KiB"]
    assert [count(1, "lane"), count(1_200, "hash", "hashes")] == ["1 lane", "1,200 hashes"]
    assert iso(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
