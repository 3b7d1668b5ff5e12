"""The simulated server against queueing theory, and the search for its highest rate."""

from dataclasses import replace

import numpy as np
import pytest

from bench.simulator.serving import REFUSED, Server

SERVICE_S = 0.01


def server(rate_per_s, arrivals="poisson", batch_size=1, delay_s=0.0, queue=10**6, host_s=0.0, seed=1):
    return Server(rate_per_s, arrivals, seed, batch_size, delay_s, queue, host_s)


def constant(count):
    return np.full(count, SERVICE_S)


def exponential(count):
    return np.random.default_rng(8).exponential(SERVICE_S, count)


@pytest.mark.parametrize("rate_per_s", [20, 50, 70])
def test_means_are_those_of_theory(rate_per_s):
    rho = rate_per_s * SERVICE_S
    for service, mean_s in (
        (exponential, SERVICE_S / (1 - rho)),  # M/M/1
        (constant, SERVICE_S * (1 + rho / (2 * (1 - rho)))),  # M/D/1
    ):
        sent_s, done_s, _ = server(rate_per_s).requests(0.0, 2000.0, service)
        assert (done_s - sent_s).mean() == pytest.approx(mean_s, rel=0.05)


def test_a_batch_waits_for_company_until_it_is_full_or_its_time_is_up():
    sent_s, done_s, status = server(1000, "constant", 4, delay_s=0.01).requests(0.0, 0.006, constant)
    assert status == ["ok"] * 6
    full_s = 0.003 + SERVICE_S  # the fourth fills it
    part_s = 0.014 + SERVICE_S / 2  # two more wait for 10 ms, and are half of the work
    assert done_s == pytest.approx([full_s] * 4 + [part_s] * 2)
    assert sent_s == pytest.approx(np.arange(6) / 1000)
    _, held_s, _ = server(1000, "constant", 4, delay_s=0.01, host_s=0.008).requests(0.0, 0.006, constant)
    assert held_s[-1] == pytest.approx(0.014 + 0.008)  # the host takes its time whatever the batch


def test_overload_is_refused_at_once_and_the_rest_is_bounded():
    sent_s, done_s, status = server(200, queue=10).requests(0.0, 100.0, constant)
    refused = np.asarray(status) == REFUSED
    assert refused.mean() == pytest.approx(0.5, abs=0.02)  # it can do half of what comes
    assert (done_s - sent_s)[refused].max() == 0
    assert (done_s - sent_s).max() <= 11 * SERVICE_S + 1e-9
    assert (np.diff(done_s) >= 0).all()


@pytest.mark.parametrize("arrivals", ["poisson", "constant", "bursty"])
def test_arrivals_come_at_their_rate_and_a_longer_span_extends_a_shorter_one(arrivals):
    long_s = np.sort(server(100, arrivals).requests(5.0, 2005.0, constant)[0])
    short_s = np.sort(server(100, arrivals).requests(5.0, 105.0, constant)[0])
    assert len(long_s) / 2000 == pytest.approx(100, rel=0.05)
    counts = np.histogram(long_s, bins=2000)[0]
    spread = {"poisson": 1.0, "constant": 0.0}
    if arrivals in spread:
        assert counts.var() / counts.mean() == pytest.approx(spread[arrivals], abs=0.1)
        assert long_s[: len(short_s)] == pytest.approx(short_s)
    else:
        assert counts.var() / counts.mean() > 5


def test_a_trace_is_sent_as_it_stands_and_ends_with_the_span():
    replayed = replace(server(1.0, "trace"), trace=(0.0, 0.5, 0.5, 2.0))
    sent_s, done_s, _ = replayed.requests(5.0, 7.0, constant)
    assert sent_s.tolist() == [5.0, 5.5, 5.5]  # the last comes when the span is over
    assert done_s == pytest.approx([5.01, 5.51, 5.52])


def test_the_search_finds_the_highest_rate_that_keeps_the_promise():
    found = server(1.0, "bursty").search(0.1, exponential)
    assert found["rate_per_s"] == pytest.approx(53.95, rel=0.08)  # M/M/1: p99 of 100 ms at 100 a second
    assert found["rate_per_s"] < found["lowest_failing_per_s"] <= found["rate_per_s"] * 1.03
    assert server(1.0).search(0.001, constant)["rate_per_s"] is None
