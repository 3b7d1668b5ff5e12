"""The search finds the rate that theory gives, and does not promise more."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats

from workloads.inference.load import arrivals
from workloads.inference.load.request_log import RequestLog
from workloads.inference.load.scenarios import OpenLoop, drive
from workloads.inference.load.slo_search import MaxRate, Probe, Search, mean_interval, t_quantile

SLO_S = 0.1


def stepped(limit: float, **more: Any) -> Callable[[float, int, bool], Probe]:
    """A server that keeps its promise up to a rate and never above."""
    return lambda rate, seed, confirms: Probe(
        rate, seed, 1000, 0 if rate <= limit else 900, confirms=confirms, **more
    )


def test_it_finds_the_rate_of_mm1(queue: Any, exponential: Any, expected: Any) -> None:
    theory = expected("slo_max_rate_mm1")["expected"]
    requests = 40_000

    def run(rate: float, seed: int, confirms: bool) -> Probe:
        log = RequestLog()
        times = arrivals.within(arrivals.poisson(rate, seed), requests / rate)
        drive(queue(exponential(100.0, -1 - seed)), OpenLoop(times, 0.0), log.append)
        return Probe(rate, seed, len(log), log.over(SLO_S), confirms=confirms)

    found = Search(run, seed=1).find(10.0)
    assert found.rate_per_s == pytest.approx(theory["lambda_max"], rel=0.06)
    assert found.rate_per_s < found.lowest_failing_per_s < 1.1 * theory["lambda_max"]
    assert found.attainment > 0.99
    low, high = found.attainment_interval
    assert low < found.attainment < high <= 1


@pytest.mark.parametrize("first", [0.3, 10.0, 79.9, 80.0, 5000.0])
def test_from_any_guess_it_ends_within_two_percent(first: float) -> None:
    found = Search(stepped(80.0)).find(first)
    assert 80.0 / 1.0201 <= found.rate_per_s <= 80.0 < found.lowest_failing_per_s
    assert found.lowest_failing_per_s / found.rate_per_s <= 1.02
    assert found.attainment_interval == (1.0, 1.0)


def test_every_probe_has_a_fresh_seed_and_the_last_five_confirm() -> None:
    found = Search(stepped(80.0), seed=100).find(10.0)
    assert len({probe.seed for probe in found.probes}) == len(found.probes)
    last = found.probes[-5:]
    assert [probe.confirms for probe in found.probes].count(True) == 5
    assert {probe.rate_per_s for probe in last} == {found.rate_per_s}


def test_a_lucky_rate_is_stepped_down_until_all_confirm() -> None:
    """Above 60/s a run passes four times out of five: the search believes it, the confirmation does not."""
    luck = random.Random(3)

    def run(rate: float, seed: int, confirms: bool) -> Probe:
        bad = rate > 80 or (rate > 60 and luck.random() < 0.2)
        return Probe(rate, seed, 1000, 900 if bad else 0, confirms=confirms)

    found = Search(run, confirmations=25).find(50.0)
    assert 58.0 <= found.rate_per_s <= 60.0
    assert found.rate_per_s < found.lowest_failing_per_s <= found.rate_per_s / 0.98 * 1.0001


def test_a_server_that_never_keeps_it_has_no_rate() -> None:
    found = Search(stepped(0.0)).find(100.0)
    assert (found.rate_per_s, found.attainment, found.attainment_interval) == (None, None, None)
    assert 0 < found.lowest_failing_per_s < 1e-6


def test_a_client_that_cannot_keep_up_is_named_as_the_limit() -> None:
    def run(rate: float, seed: int, confirms: bool) -> Probe:
        return Probe(rate, seed, 1000, 0, "client CPU is 0.9 > 0.7" if rate > 500 else None, confirms)

    found = Search(run).find(100.0)
    assert found.rate_per_s == pytest.approx(500, rel=0.02)
    assert "CPU" in found.client_fault
    assert Search(stepped(80.0)).find(10.0).client_fault is None


def test_what_it_found_goes_into_json() -> None:
    found = Search(stepped(80.0)).find(10.0)
    told = found.as_dict()
    assert told["probes"][0] == {
        "rate_per_s": 10.0, "seed": 0, "count": 1000, "over": 0, "client_fault": None, "confirms": False,
        "attainment": 1.0,
    }  # fmt: skip
    assert MaxRate.__dataclass_fields__.keys() == told.keys()


@pytest.mark.parametrize("freedom", [4, 5, 9, 30])
def test_t_quantiles(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)


def test_the_interval_of_a_mean() -> None:
    values = [0.991, 0.992, 0.995, 0.99, 0.993]
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((low, high), rel=1e-5)
    assert mean_interval([1.0, 1.0, 0.9])[1] == 1.0
