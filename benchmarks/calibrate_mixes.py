"""What reports print of mixes, users and numbers of clients, as promises: for `calibrate_statistics.py`."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from promises import MARGIN, TRIALS, Array, Check, Draw, Tail, covers
from scipy import stats

from bench.stats.colocation import antt, jain, smallest_progress, stp
from bench.stats.equivalence import Reproduction, verdict_of
from bench.stats.interval import geometric_mean_interval, mean_interval, t_quantile
from bench.stats.quantile import nearest_rank
from bench.stats.ratio import paired_log_ratio
from bench.stats.scaling import usl_fit
from bench.stats.verdict import Verdict, judge

MIX_SPREAD = 0.02
"""Standard deviation of the logarithm of a job's rate between trials of a mix."""
FASTER, SLOWER = (0.6, 0.75), (0.5, 0.7)
"""True progress of two jobs in two modes."""
POWERS_W = (300.0, 280.0)
"""True power of the device in the same two modes."""
STEPS, STEP_SPREAD = 1_000, 0.05
REQUESTS, ATTAINED = 1_000, 0.99
CLIENTS = np.array([1, 2, 3, 4, 6, 8])
CONTENTION, COHERENCY = 0.05, 0.01

Metric = Callable[[Array], float | None]


def progress(rng: np.random.Generator, n: int, *modes: tuple[float, ...]) -> list[Array]:
    """Return the progress of the jobs of a mix in each mode, a row a block; its modes share the solo trials."""
    jobs = len(modes[0])
    alone = np.exp(rng.normal(0, MIX_SPREAD, (n, jobs)))
    return [np.array(true) * np.exp(rng.normal(0, MIX_SPREAD, (n, jobs))) / alone for true in modes]


def by_block(metric: Metric, blocks: Array) -> Array:
    """Return a metric of the progress of a mix, block by block."""
    return np.array([metric(jobs) for jobs in blocks], dtype=np.float64)


def between(metric: Metric) -> Draw:
    """Return a draw that tells whether the ratio of a metric in two modes is in its interval."""
    truth = float(by_block(metric, np.array([FASTER]))[0] / by_block(metric, np.array([SLOWER]))[0])

    def draw(rng: np.random.Generator, n: int) -> bool:
        ours, theirs = (by_block(metric, blocks) for blocks in progress(rng, n, FASTER, SLOWER))
        return covers(paired_log_ratio(ours, theirs), truth)

    return draw


def against_turns(rng: np.random.Generator, n: int) -> bool:
    """Hold STP against that of taking turns, which has no error."""
    (blocks,) = progress(rng, n, FASTER)
    return covers(paired_log_ratio(by_block(stp, blocks), np.ones(n)), stp(FASTER))


def energy(rng: np.random.Generator, n: int) -> bool:
    """Hold two modes against each other by power over STP."""
    ours, theirs = (
        power_w * np.exp(rng.normal(0, MIX_SPREAD, n)) / by_block(stp, blocks)
        for power_w, blocks in zip(POWERS_W, progress(rng, n, FASTER, SLOWER), strict=True)
    )
    return covers(paired_log_ratio(ours, theirs), POWERS_W[0] / POWERS_W[1] * stp(SLOWER) / stp(FASTER))


def p99_of_steps(rng: np.random.Generator, n: int) -> bool:
    """Draw for a p99 over trials: that of the steps which no trial has all of."""
    steps = np.exp(rng.normal(0, MIX_SPREAD, (n, 1)) + rng.normal(0, STEP_SPREAD, (n, STEPS)))
    interval = geometric_mean_interval([nearest_rank(trial, 0.99) for trial in steps])
    return covers(interval, math.exp(STEP_SPREAD * float(stats.norm.ppf(0.99))))


def attainment(rng: np.random.Generator, n: int) -> bool:
    """Draw for a share of requests: misses vary between trials by half, beyond those that chance gives."""
    misses = (1 - ATTAINED) * np.exp(rng.normal(-(0.5**2) / 2, 0.5, n))
    return covers(mean_interval(rng.binomial(REQUESTS, 1 - misses) / REQUESTS).within(0, 1), ATTAINED)


def scaled(rng: np.random.Generator, n: int, beta: float) -> tuple[Array, Array]:
    """Return numbers of clients and their throughput, by blocks that share their luck."""
    law = CLIENTS / (1 + CONTENTION * (CLIENTS - 1) + beta * CLIENTS * (CLIENTS - 1))
    luck = rng.normal(0, MIX_SPREAD, (n, 1)) + rng.normal(0, MIX_SPREAD, (n, len(CLIENTS)))
    return np.tile(CLIENTS, n).astype(np.float64), (law * np.exp(luck)).ravel()


def fitted(parameter: str, true: float) -> Draw:
    """Return a draw that tells whether a parameter of the USL is within its error, times the quantile of t."""

    def draw(rng: np.random.Generator, n: int) -> bool:
        fit = usl_fit(*scaled(rng, n, COHERENCY))
        reach = t_quantile(n * len(CLIENTS) - 3, 0.95)
        return fit is not None and abs(getattr(fit, parameter) - true) <= reach * getattr(
            fit, f"{parameter}_error"
        )

    return draw


def false_peak(rng: np.random.Generator, n: int) -> bool:
    """Tell whether a number of clients is called the best where more are always better."""
    fit = usl_fit(*scaled(rng, n, 0.0))
    return fit is not None and fit.peak_clients is not None


def worst_job_claim(jobs: int, turns: bool, margin: bool) -> Draw:
    """Return a draw that tells whether a mode that disturbs no job is told from one that does not, either.

    That is taking turns, whose value has no error, or its equal; by the margin that reports ask for, or without.
    """

    def draw(rng: np.random.Generator, n: int) -> bool:
        ours, alike = (by_block(smallest_progress, mode) for mode in progress(rng, n, *[(1.0,) * jobs] * 2))
        theirs = np.ones(n) if turns else alike
        found = paired_log_ratio(ours, theirs)
        verdict = judge(found, found.p_value, higher_is_better=True, blocks=n).verdict
        within = verdict_of(paired_log_ratio(ours, theirs, 0.9), MARGIN, found.p_value)
        told = not margin or within is Reproduction.NOT_REPRODUCED
        return told and verdict in {Verdict.WORSE, Verdict.BETTER}

    return draw


def of_mixes() -> Iterator[Check]:
    """Return coverage checks of what reports print of mixes, users and numbers of clients."""
    lucky = "near 100 % it is too short after a lucky run; hold goodputs against each other"
    shared = "points of a block share its luck; its interval over blocks is in the table of points"
    found: list[tuple[str, Draw, int, Tail, str]] = [
        ("STP against taking turns", against_turns, 2_000, "two-sided", ""),
        ("ANTT of two modes", between(antt), 2_000, "two-sided", ""),
        ("smallest progress of two modes", between(smallest_progress), 2_000, "two-sided", ""),
        ("Jain of two modes", between(jain), 2_000, "two-sided", ""),
        ("energy of two modes", energy, 2_000, "two-sided", ""),
        (f"p99 of {STEPS:,} steps, over trials", p99_of_steps, 2_000, "two-sided", ""),
        (f"attainment of {100 * ATTAINED:g} %, over trials", attainment, 4_000, "two-sided", lucky),
        ("USL's throughput of one client, by its error", fitted("gamma", 1.0), 400, "less", shared),
        ("USL's contention, by its error", fitted("alpha", CONTENTION), 400, "less", ""),
        ("USL's coherency, by its error", fitted("beta", COHERENCY), 400, "less", ""),
    ]
    for promise, draw, sims, tail, advice in found:
        yield from (Check(promise, f"{n}", 0.95, tail, draw, n, sims, advice) for n in TRIALS)


def claims_of_mixes() -> Iterator[Check]:
    """Return checks of false claims about mixes and numbers of clients: at most 5 % each."""
    hence = "noise alone does that; hence reports ask for the margin"
    found: list[tuple[str, Draw, int]] = [
        ("worst of 2 undisturbed jobs, without a margin", worst_job_claim(2, turns=True, margin=False), 2_000),
        ("worst of 2 undisturbed jobs, beyond the margin", worst_job_claim(2, turns=True, margin=True), 2_000),
        ("worst of 7 undisturbed jobs, beyond the margin", worst_job_claim(7, turns=True, margin=True), 2_000),
        ("worst of 7 undisturbed jobs, of two modes alike", worst_job_claim(7, turns=False, margin=False), 2_000),
        ("a best number of clients where there is none", false_peak, 400),
    ]
    for promise, draw, sims in found:
        yield from (Check(promise, f"{n}", 0.05, "greater", draw, n, sims, hence) for n in TRIALS)
