"""What queueing theory says a load generator and a server must show, and whether arrivals are what they claim.

Rates are per second, times in seconds. Sources: Kleinrock, Queueing Systems I, 1975; Erlang, 1909 (M/D/1);
Lindley, 1952; Little, Operations Research 9, 1961; Fisher's dispersion test; Tene, "How NOT to
measure latency", 2013.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from bench.stats.checks import Vector, finite, fraction, positive


def fifo_departures(arrivals: ArrayLike, service_times: ArrayLike) -> Vector:
    """Return when each request leaves one server that takes them in order; the last axis counts requests.

    Latency is departure minus *scheduled* arrival, whatever the client was doing then.
    """
    service = np.asarray(service_times, dtype=np.float64)
    worked = np.cumsum(service, axis=-1)
    # work begins when the latest of all arrivals so far found the server with nothing left of what came before
    departures: Vector = worked + np.maximum.accumulate(np.asarray(arrivals) - worked + service, axis=-1)
    return departures


def mm1_mean(arrival_rate: float, service_rate: float) -> float:
    """Return the mean time in an M/M/1 system: random arrivals, random service, one server."""
    return 1 / _spare(arrival_rate, service_rate)


def mm1_percentile(arrival_rate: float, service_rate: float, p: float) -> float:
    """Return the percentile `p` of the time in an M/M/1 system; with arrival rate 0, of the service alone."""
    return -math.log(1 - fraction("p", p)) / _spare(arrival_rate, service_rate)


def mm1_highest_rate(service_rate: float, p: float, objective_s: float) -> float:
    """Return the highest arrival rate whose percentile `p` meets the objective; 0 where none does."""
    return max(service_rate + math.log(1 - fraction("p", p)) / objective_s, 0.0)


def mm1_attainment(arrival_rate: float, service_rate: float, objective_s: float) -> float:
    """Return the share of requests within the objective."""
    return -math.expm1(-_spare(arrival_rate, service_rate) * objective_s)


def md1_mean(arrival_rate: float, service_s: float) -> float:
    """Return the mean time in an M/D/1 system (constant service) by Pollaczek and Khinchine."""
    _spare(arrival_rate, 1 / service_s)
    load = arrival_rate * service_s
    return service_s + load * service_s / (2 * (1 - load))


def md1_percentile(arrival_rate: float, service_s: float, p: float) -> float:
    """Return the percentile `p` of the time in an M/D/1 system, by Erlang's exact distribution."""
    fraction("p", p)
    if p <= 1 - arrival_rate * service_s:
        return service_s  # nobody was before them
    above = md1_mean(arrival_rate, service_s)
    while _md1_wait_cdf(above, arrival_rate, service_s) < p:
        above *= 2
    return service_s + float(
        optimize.brentq(lambda wait: _md1_wait_cdf(wait, arrival_rate, service_s) - p, 0, above)
    )


def littles_law_residual(in_flight: float, rate: float, response_s: float) -> float | None:
    """Return how far the mean number in flight is from rate times response, relative to it; None without any.

    Beyond 5 % the three were not measured on the same requests. For closed clients add their think time to the
    response: N = X (R + Z).
    """
    expected = rate * response_s
    return (in_flight - expected) / expected if expected > 0 else None


@dataclass(frozen=True)
class SelfCheck:
    """A test that arrivals are what was planned."""

    statistic: float
    p_value: float


def exponential_gaps(gaps_s: ArrayLike, rate: float) -> SelfCheck | None:
    """Test gaps between arrivals against the planned rate by Kolmogorov and Smirnov; None without gaps.

    The rate is the planned one, not estimated from the gaps, so that the test keeps its level.
    """
    gaps = finite("gaps_s", gaps_s)
    if not len(gaps):
        return None
    test = stats.kstest(gaps, "expon", args=(0, 1 / positive("rate", rate)[0]))
    return SelfCheck(float(test.statistic), float(test.pvalue))


def poisson_counts(counts: ArrayLike) -> SelfCheck | None:
    """Test counts of arrivals in equal spans by their dispersion, two-sided; None below two spans or arrivals.

    Too regular fails as well: constant pacing has p = 0. The statistic is (n - 1) times the index of dispersion.
    """
    values = finite("counts", counts)
    n = len(values)
    if n < 2 or not values.sum() > 0:
        return None
    statistic = (n - 1) * float(values.var(ddof=1) / values.mean())
    tails = special.chdtr(n - 1, statistic), special.chdtrc(n - 1, statistic)
    return SelfCheck(statistic, min(1.0, 2 * float(min(tails))))


def filled_omissions(latencies: ArrayLike, interval: float) -> Vector:
    """Return the latencies of a closed loop with those of the requests it omitted while it waited.

    Each one longer than the planned `interval` stands for others that would have waited less by one interval
    each (HdrHistogram's correction). A repair for foreign logs; ours count from the scheduled instant.
    """
    values = positive("latencies", latencies)
    missed = np.maximum(np.floor(values / positive("interval", interval)[0] + 1e-9).astype(int) - 1, 0)
    which = np.repeat(np.arange(len(values)), missed)
    order = np.arange(len(which)) - np.repeat(np.cumsum(missed) - missed, missed) + 1
    return np.concatenate([values, values[which] - interval * order])


def _spare(arrival_rate: float, service_rate: float) -> float:
    if not 0 <= arrival_rate < service_rate:
        raise ValueError(f"{arrival_rate} arrivals/s have no steady state at {service_rate} services/s")
    return service_rate - arrival_rate


def _md1_wait_cdf(wait_s: float, arrival_rate: float, service_s: float) -> float:
    """Return P(wait ≤ wait_s); its terms alternate and grow with the load, hence many digits."""
    with localcontext() as context:
        context.prec = 60 + int(2 * arrival_rate * wait_s)
        rate, service, wait = (Decimal(number) for number in (arrival_rate, service_s, wait_s))
        total = Decimal(0)
        for k in range(int(wait / service) + 1):
            lead = rate * (wait - k * service)
            total += (-lead) ** k / math.factorial(k) * lead.exp() if k else lead.exp()
        return float((1 - rate * service) * total)
