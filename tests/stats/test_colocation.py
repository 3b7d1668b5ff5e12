import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.colocation import (
    antt,
    jain,
    min_max_fairness,
    normalised_progress,
    slowdown,
    smallest_progress,
    split_slowdown,
    stp,
)

mixes = st.lists(st.floats(1e-6, 10), min_size=1, max_size=8)


def test_two_jobs_of_different_units() -> None:
    progress = [normalised_progress(600, 1000), normalised_progress(150, 200)]
    assert progress == [0.6, 0.75]
    assert stp(progress) == pytest.approx(1.35)
    assert antt(progress) == pytest.approx(1.5)
    assert smallest_progress(progress) == 0.6
    assert min_max_fairness(progress) == pytest.approx(0.8)
    assert jain(progress) == pytest.approx(0.98780488)


@given(st.integers(1, 8))
def test_taking_turns_is_stp_one_and_fair(jobs: int) -> None:
    progress = [1 / jobs] * jobs
    assert stp(progress) == pytest.approx(1)
    assert antt(progress) == pytest.approx(jobs)
    assert jain(progress) == pytest.approx(1)


@given(mixes)
def test_bounds_of_fairness(progress: list[float]) -> None:
    index = jain(progress)
    assert index is not None
    assert 1 / len(progress) - 1e-12 <= index <= 1 + 1e-12


@given(mixes)
def test_mean_slowdown_is_never_below_the_inverse_of_mean_progress(progress: list[float]) -> None:
    mean_slowdown = antt(progress)
    assert mean_slowdown is not None
    assert mean_slowdown >= len(progress) / stp(progress) * (1 - 1e-12)


def test_jain_of_one_job_taking_all_is_one_over_n() -> None:
    assert jain([1, 0, 0, 0]) == pytest.approx(0.25)


def test_starved_job_has_no_bounded_slowdown() -> None:
    assert slowdown(0) is None
    assert antt([1, 0]) is None
    assert smallest_progress([1, 0]) == 0
    assert stp([1, 0]) == 1


def test_nobody_progresses() -> None:
    assert jain([0, 0]) is None
    assert min_max_fairness([0, 0]) is None


def test_split_of_a_slowdown() -> None:
    split = split_slowdown(solo_rate=1000, share_solo_rate=450, shared_rate=432)
    assert split.partition == pytest.approx(2.2222222)
    assert split.interference == pytest.approx(1.0416667)
    assert split.total == pytest.approx(1000 / 432)
    assert split.isolation == pytest.approx(0.96)


def test_split_of_a_starved_job_keeps_the_partition() -> None:
    split = split_slowdown(solo_rate=10, share_solo_rate=5, shared_rate=0)
    assert (split.partition, split.interference, split.total, split.isolation) == (2, None, None, 0)


@pytest.mark.parametrize(
    ("shared", "solo"), [(1, 0), (1, -1), (-1, 1), (math.nan, 1), (1, math.nan), (math.inf, 1)]
)
def test_impossible_rates_are_refused(shared: float, solo: float) -> None:
    with pytest.raises(ValueError, match="rate must be"):
        normalised_progress(shared, solo)


def test_progress_of_nobody_or_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one job"):
        stp([])
    with pytest.raises(ValueError, match="finite"):
        stp([1, math.nan])
    with pytest.raises(ValueError, match="below zero"):
        jain([1, -0.1])
