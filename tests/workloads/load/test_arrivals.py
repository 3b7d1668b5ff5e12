"""Arrivals are what they claim to be, and the same for equal seeds."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import pytest

from workloads.inference.load import arrivals

BURSTS = arrivals.Bursts(factor=5.0, burst_s=1.0, calm_s=4.0)
MADE = {
    "poisson": lambda seed: arrivals.poisson(50.0, seed),
    "bursty": lambda seed: arrivals.bursty(50.0, seed, BURSTS),
}


@pytest.mark.parametrize("process", MADE)
def test_equal_seeds_give_equal_traces_and_others_others(process: str) -> None:
    first, again, other = (list(arrivals.within(MADE[process](seed), 20.0)) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first)


@pytest.mark.parametrize("process", MADE)
def test_a_longer_span_changes_nothing_in_a_shorter_one(process: str) -> None:
    short, long = (list(arrivals.within(MADE[process](1), seconds)) for seconds in (20.0, 60.0))
    assert long[: len(short)] == short
    assert long[len(short)] >= 20.0


@pytest.mark.parametrize("process", MADE)
def test_the_mean_rate_is_as_asked(process: str) -> None:
    assert len(arrivals.within(MADE[process](3), 4000.0)) == pytest.approx(200_000, rel=0.03)


def test_constant_arrivals_are_equally_far_apart() -> None:
    assert list(arrivals.within(arrivals.constant(4.0), 1.0)) == [0.0, 0.25, 0.5, 0.75]


def test_bursts_are_as_frequent_as_stated() -> None:
    """Counts in bins of 0.1 s: their mean squared must show two rates, 1 : 5, a fifth of the time in bursts."""
    counts = [0] * 40_000
    for at_s in arrivals.within(arrivals.bursty(50.0, 1, BURSTS), 4000.0):
        counts[int(at_s / 0.1)] += 1
    calm = BURSTS.calm_rate(50.0)
    assert (4 * calm + 5 * calm) / 5 == pytest.approx(50.0)
    spread_of_rates = 0.2 * (5 * calm - 50) ** 2 + 0.8 * (calm - 50) ** 2
    bound = spread_of_rates * 0.1**2 + 50 * 0.1  # the variance, if no bin saw two states
    assert 0.9 * bound < variance(counts) < bound * 1.05
    assert fmean(counts) == pytest.approx(5.0, rel=0.05)


def test_a_trace_is_read_from_the_first_column(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("time_s,tokens\n0.5,9\n0.5,1\n\n1.25,7\n")
    assert arrivals.trace(file) == [0.5, 0.5, 1.25]
    assert list(arrivals.within(arrivals.trace(file), 1.0)) == [0.5, 0.5]


@pytest.mark.parametrize("text", ["", "time_s\n", "1\n0.5\n", "-1\n", "nan\n", "1\ninf\n", "1\nsoon\n"])
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"soon|trace\.csv"):
        arrivals.trace(file)


def test_the_distance_of_gaps_is_that_of_kolmogorov_and_smirnov(expected: Any) -> None:
    fixture = expected("poisson_gaps_ks")
    gaps, rate = fixture["input"]["gaps_s"], fixture["input"]["rate"]
    distance = arrivals.ks_distance(gaps, rate)
    assert distance == pytest.approx(fixture["expected"]["D"], rel=1e-6)
    assert arrivals.ks_probability(distance, len(gaps)) == pytest.approx(fixture["expected"]["p"], abs=0.02)
    constant = arrivals.ks_distance([1 / rate] * len(gaps), rate)
    assert constant == pytest.approx(fixture["expected"]["constant_rate_D"], abs=0.005)


def test_the_dispersion_index_is_fishers(expected: Any) -> None:
    fixture = expected("poisson_dispersion")
    index, probability = arrivals.dispersion(fixture["input"]["counts"])
    assert index == pytest.approx(fixture["expected"]["index"], rel=1e-6)
    assert probability == pytest.approx(fixture["expected"]["p_two_sided"], abs=0.001)
    assert arrivals.dispersion([10] * 20) == (0.0, pytest.approx(0.0, abs=1e-6))


def test_the_check_tells_poisson_from_what_is_not() -> None:
    made = {
        "poisson": arrivals.poisson(50.0, 7),
        "constant": arrivals.constant(50.0),
        "bursty": arrivals.bursty(50.0, 7, BURSTS),
        "of another rate": arrivals.poisson(60.0, 7),
    }
    checks = {
        name: arrivals.self_check(arrivals.within(times, 200.0), 200.0, 50.0) for name, times in made.items()
    }
    assert checks["poisson"]["gaps_ks_p"] > 0.01
    assert checks["poisson"]["dispersion_p"] > 0.01
    assert checks["constant"]["dispersion_index"] < 0.1
    assert checks["bursty"]["dispersion_index"] > 2
    assert all(check["gaps_ks_p"] < 1e-6 for name, check in checks.items() if name != "poisson")


def test_a_check_fails_one_good_trace_in_twenty() -> None:
    checks = [
        arrivals.self_check(arrivals.within(arrivals.poisson(50.0, k), 20.0), 20.0, 50.0) for k in range(300)
    ]
    for name in ("gaps_ks_p", "dispersion_p"):
        assert 3 <= sum(check[name] < 0.05 for check in checks) <= 30


def test_too_few_arrivals_say_nothing() -> None:
    assert set(arrivals.self_check([], 1.0, 5.0).values()) == {None}
    assert arrivals.self_check([0.5], 1.0, 5.0)["dispersion_index"] is None
    assert all(a < b for a, b in itertools.pairwise(arrivals.within(arrivals.poisson(5.0, 0), 9.0)))
