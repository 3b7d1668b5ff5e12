import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.window import Window, credited_items, overlap_s

units = st.lists(st.tuples(st.floats(-10, 110), st.floats(0, 50), st.integers(0, 64)), max_size=20)


def credit(window: Window, work: list[tuple[float, float, int]]) -> float:
    return credited_items(window, [u[0] for u in work], [u[1] for u in work], [u[2] for u in work])


def test_units_at_the_edges_count_by_their_part_inside() -> None:
    # before, a quarter in, whole, half in, after; one unit longer than the window
    work = [(9.0, 2.0, 8), (11.0, 4.0, 8), (15.0, 4.0, 8), (22.0, 4.0, 8), (30.0, 2.0, 8), (40.0, 40.0, 8)]
    assert credit(Window(10, 20), work) == pytest.approx(0 + 2 + 8 + 4 + 0 + 2)


def test_a_whole_unit_counts_whole_even_late_on_the_clock() -> None:
    assert credit(Window(1e7, 1e7 + 1), [(1e7 + 0.5, 1e-5, 3)]) == 3


def test_an_instant_belongs_to_the_window_it_ends() -> None:
    at_the_edge = [(5.0, 0.0, 1)]
    assert credit(Window(0, 5), at_the_edge) == 1
    assert credit(Window(5, 10), at_the_edge) == 0


def test_a_unit_too_short_for_the_clock_is_an_instant() -> None:
    parts = [credit(Window(0, 5), [(5.0, 1e-300, 1)]), credit(Window(5, 10), [(5.0, 1e-300, 1)])]
    assert parts == [1, 0]


def test_no_work_is_no_credit() -> None:
    assert credit(Window(0, 1), []) == 0


@given(units, st.floats(1, 99))
def test_windows_that_touch_share_all_work_without_loss(
    work: list[tuple[float, float, int]], cut_s: float
) -> None:
    parts = credit(Window(0, cut_s), work) + credit(Window(cut_s, 100), work)
    assert parts == pytest.approx(credit(Window(0, 100), work), abs=1e-9)


@given(units)
def test_an_enclosing_window_credits_every_item(work: list[tuple[float, float, int]]) -> None:
    assert credit(Window(-1000, 1000), work) == sum(items for *_, items in work)


def test_overlap_is_what_all_spans_share() -> None:
    assert overlap_s([Window(0, 10), Window(2, 12), Window(1, 9)]) == 7
    assert overlap_s([Window(0, 10)]) == 10
    assert overlap_s([Window(0, 4), Window(5, 9)]) == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="stop after it starts"):
        Window(5, 5)
    with pytest.raises(ValueError, match="stop after it starts"):
        Window(0, math.nan)
    with pytest.raises(ValueError, match="end_s 2, duration_s 1, items 2"):
        credited_items(Window(0, 1), [1, 2], [1], [1, 1])
    with pytest.raises(ValueError, match="duration_s must not be below zero"):
        credited_items(Window(0, 1), [1], [-1], [1])
    with pytest.raises(ValueError, match="at least one span"):
        overlap_s([])
