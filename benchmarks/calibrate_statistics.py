"""Do the statistics keep what they promise? By simulation, where the truth is known.

Run it from the checkout, about two minutes: `python benchmarks/calibrate_statistics.py`. It prints a Markdown
table and writes it to `docs/calibration.md`. Seeds are fixed beforehand, and what fails is published as it is.
"""

import math
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.stats.bootstrap import (
    bca_paired_ratio,
    bca_ratio_of_means,
    bca_ratio_of_medians,
    two_level_ratio,
)
from bench.stats.changepoint import Behaviour
from bench.stats.colocation import antt, jain, smallest_progress, stp
from bench.stats.equivalence import (
    Equivalence,
    Reproduction,
    tost_paired,
    tost_published,
    tost_unpaired,
    verdict_of,
)
from bench.stats.interval import Interval, geometric_mean_interval, mean_interval, t_quantile
from bench.stats.multiplicity import holm
from bench.stats.planning import next_look, stein_interval, stein_plan
from bench.stats.quantile import nearest_rank
from bench.stats.ranks import a12, hodges_lehmann_ratio
from bench.stats.ratio import RatioInterval, paired_log_ratio
from bench.stats.scaling import usl_fit
from bench.stats.steady_state import judge_window
from bench.stats.unpaired import fieller_ratio, welch_log_ratio
from bench.stats.verdict import Verdict, judge

PAGE = Path(__file__).resolve().parents[1] / "docs" / "calibration.md"
SEED = 20_260_101
LEVEL = 0.005
"""A promise counts as broken when an exact binomial test rejects it at this level."""
TRIALS = (6, 10, 20)
RESAMPLES = 999
SPREAD = 0.08
"""Standard deviation of the logarithm of one trial, about its coefficient of variation."""
RATIO = 0.9
"""The true ratio wherever intervals are checked."""
MARGIN = 0.05
NOISE = 0.02
"""Standard deviation of one unit of a window, relative to its duration."""
WINDOWS = (100, 500)
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

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], bool]
Series = Callable[[np.random.Generator, int], Array]
Tail = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class Check:
    """One promise: how often something may happen, and how often it did."""

    promise: str
    trials: str
    nominal: float
    tail: Tail
    """Which departure breaks the promise: "greater" where lower is fine, "less" where higher is."""
    draw: Draw
    """One simulation; whether it happened."""
    size: int
    sims: int
    advice: str = ""
    """What follows for the user when it is broken."""

    def outcome(self, scale: float = 1.0) -> "Outcome":
        """Run `scale` times as many simulations as the published table, from the same seed."""
        rng = np.random.default_rng([SEED, zlib.crc32(f"{self.promise} {self.trials}".encode())])
        sims = max(int(scale * self.sims), 1)
        return Outcome(self, sum(self.draw(rng, self.size) for _ in range(sims)), sims)


@dataclass(frozen=True)
class Outcome:
    """What became of a promise."""

    check: Check
    hits: int
    sims: int

    @property
    def rate(self) -> float:
        """How often it happened."""
        return self.hits / self.sims

    @property
    def kept(self) -> bool:
        """Whether the binomial test does not reject the nominal rate."""
        test = stats.binomtest(self.hits, self.sims, self.check.nominal, self.check.tail)
        return bool(test.pvalue >= LEVEL)


def trials(rng: np.random.Generator, n: int, median: float = 1.0) -> Array:
    """Return log-normal trials."""
    return median * np.exp(rng.normal(0, SPREAD, n))


def paired(rng: np.random.Generator, n: int, ratio: float = RATIO) -> tuple[Array, Array]:
    """Return two modes over blocks that share each block's luck."""
    blocks = trials(rng, n)
    return ratio * blocks * trials(rng, n), blocks * trials(rng, n)


def covers(interval: Interval | RatioInterval, truth: float) -> bool:
    """Tell whether an interval exists and contains the truth."""
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def unpaired(rng: np.random.Generator, n: int, ratio: float = RATIO) -> tuple[Array, Array]:
    """Return two arms that share nothing."""
    return trials(rng, n, ratio), trials(rng, n)


def resampled(interval: Callable[..., Interval], draw: Callable[..., tuple[Array, Array]]) -> Draw:
    """Return a draw that tells whether a bootstrap interval contains the ratio."""
    return lambda rng, n: covers(interval(*draw(rng, n), resamples=RESAMPLES, seed=rng), RATIO)


def coverage() -> Iterator[Check]:
    """Return checks of how often a nominal 95 % interval contains the truth."""
    mean, share = math.exp(SPREAD**2 / 2), float(stats.norm.cdf(math.sqrt(0.5)))
    cross = "a cross-check; the headline is the t interval"
    promises: list[tuple[str, Draw, int, str]] = [
        ("mean, t", lambda rng, n: covers(mean_interval(trials(rng, n)), mean), 4_000, ""),
        ("geometric mean, t", lambda rng, n: covers(geometric_mean_interval(trials(rng, n)), 1), 4_000, ""),
        ("paired ratio, t", lambda rng, n: covers(paired_log_ratio(*paired(rng, n)), RATIO), 4_000, ""),
        ("unpaired ratio, Welch", lambda rng, n: covers(welch_log_ratio(*unpaired(rng, n)), RATIO), 4_000, ""),
        (
            "unpaired ratio, Fieller",
            lambda rng, n: covers(fieller_ratio(*unpaired(rng, n)), RATIO),
            4_000,
            "wider than promised, which is the safe side",
        ),
        (
            "A12, Brunner-Munzel",
            lambda rng, n: covers(a12(rng.normal(1, 1, n), rng.normal(0, 1, n)), share),
            4_000,
            "an aid to reading, never a claim",
        ),
        ("paired ratio, BCa", resampled(bca_paired_ratio, paired), 2_000, cross),
        ("ratio of means, BCa", resampled(bca_ratio_of_means, unpaired), 2_000, cross),
        ("ratio of medians, BCa", resampled(bca_ratio_of_medians, unpaired), 2_000, "prefer Hodges-Lehmann"),
        ("nested ratio, two levels", resampled(two_level_ratio, nested), 2_000, "Fieller on the means of trials"),
    ]
    for promise, draw, sims, advice in promises:
        yield from (Check(promise, f"{n}", 0.95, "two-sided", draw, n, sims, advice) for n in TRIALS)
    for n in TRIALS:
        yield Check("unpaired ratio, Hodges-Lehmann", f"{n}", 0.95, "less", shift_covers, n, 4_000)


def shift_covers(rng: np.random.Generator, n: int) -> bool:
    """Draw for Hodges-Lehmann: exact, hence at least 95 %."""
    return covers(hodges_lehmann_ratio(trials(rng, n, RATIO), trials(rng, n)), RATIO)


def nested(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Return two arms with ten units a trial, a row each."""
    a, b = (arm[:, None] * np.exp(rng.normal(0, SPREAD / 2, (n, 10))) for arm in unpaired(rng, n))
    return a, b


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
    return covers(mean_interval(rng.binomial(REQUESTS, 1 - misses) / REQUESTS), ATTAINED)


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


def planning() -> Iterator[Check]:
    """Return coverage checks of a nominal 95 % where the number of blocks is chosen from data."""
    for n in (6, 10):
        yield Check(
            "Stein's two stages, log-ratio within 5 %", f"pilot {n}", 0.95, "two-sided", stein_covers, n, 4_000
        )
    warning = "print the warning beside it, or plan by Stein"
    yield Check(
        "sequential, mean within 5 %", "10 to 40", 0.95, "two-sided", sequential_covers, 40, 4_000, warning
    )


def stein_covers(rng: np.random.Generator, n: int) -> bool:
    """Run a pilot of n blocks, then as many as it asks for."""
    pilot = np.log(RATIO) + rng.normal(0, SPREAD, n)
    plan = stein_plan(pilot, math.log1p(0.05))
    assert plan is not None
    rest = np.log(RATIO) + rng.normal(0, SPREAD, plan.n - n)
    return covers(stein_interval(plan, np.concatenate([pilot, rest])), math.log(RATIO))


def sequential_covers(rng: np.random.Generator, cap: int) -> bool:
    """Look at 10, 15, ... blocks and stop when the interval is narrow enough."""
    values = trials(rng, cap)
    n, look = 0, next_look(0, None, 0.05, cap)
    while look is not None:
        n = look
        interval = mean_interval(values[:n])
        assert interval.half_width is not None
        assert interval.value is not None
        look = next_look(n, interval.half_width / interval.value, 0.05, cap)
    return covers(mean_interval(values[:n]), math.exp(SPREAD**2 / 2))


def decisions() -> Iterator[Check]:
    """Return checks of false claims: at most 5 % each."""
    for n in TRIALS:
        yield Check(
            "any difference in an A/A campaign, after Holm", f"{n}", 0.05, "greater", false_claim, n, 1_000
        )
    edge = 1 - MARGIN
    tests: list[tuple[str, Draw]] = [
        ("published number", lambda rng, n: equivalent(tost_published(trials(rng, n, edge), 1.0, MARGIN))),
        ("paired", lambda rng, n: equivalent(tost_paired(*paired(rng, n, edge), MARGIN))),
        ("unpaired", lambda rng, n: equivalent(tost_unpaired(*unpaired(rng, n, edge), MARGIN))),
    ]
    for name, draw in tests:
        yield from (
            Check(f"equivalence at the margin, {name}", f"{n}", 0.05, "greater", draw, n, 4_000) for n in TRIALS
        )


def false_claim(rng: np.random.Generator, n: int) -> bool:
    """Three modes against one baseline in two metrics, all alike: whether any is called better or worse."""
    metrics = [[trials(rng, n) for _ in range(4)] for _ in range(2)]
    family = [paired_log_ratio(mode, baseline) for baseline, *modes in metrics for mode in modes]
    adjusted = holm([contrast.p_value for contrast in family])
    verdicts = [
        judge(contrast, p, higher_is_better=True, blocks=n).verdict
        for contrast, p in zip(family, adjusted, strict=True)
    ]
    return any(verdict in {Verdict.BETTER, Verdict.WORSE} for verdict in verdicts)


def equivalent(test: Equivalence) -> bool:
    """Tell whether a test claims equivalence."""
    return test.verdict in {Reproduction.REPRODUCED, Reproduction.REPRODUCED_BUT_DIFFERENT}


def flat(rng: np.random.Generator, n: int) -> Array:
    """Return durations that vary independently around 1."""
    return 1 + rng.normal(0, NOISE, n)


def correlated(rng: np.random.Generator, n: int, phi: float) -> Array:
    """Return durations that vary as much, each depending on the one before."""
    series = np.zeros(n + 100)
    for i, step in enumerate(rng.normal(0, NOISE * math.sqrt(1 - phi**2), n + 100)):
        series[i] = phi * series[i - 1] + step
    return 1 + series[100:]


def turns(rng: np.random.Generator, n: int) -> Array:
    """Return durations that are 10 % longer in every other eighth of the window."""
    return flat(rng, n) + 0.1 * (8 * at(n) // 1 % 2)


def at(n: int) -> Array:
    """Return where each unit stands in the window, from 0 to 1."""
    return np.arange(n) / n


def detector() -> Iterator[Check]:
    """Return checks of the judgement of windows: false alarms at most 5 %, misses at most 5 %."""
    alarms: list[tuple[str, Series]] = [
        ("flat", flat),
        ("AR(1), φ = 0.6", lambda rng, n: correlated(rng, n, 0.6)),
        ("AR(1), φ = 0.9", lambda rng, n: correlated(rng, n, 0.9)),
        ("two modes, at random", lambda rng, n: flat(rng, n) + 0.1 * (rng.random(n) < 0.5)),
    ]
    longer = "take longer windows where neighbours depend so much on each other"
    for name, series in alarms:
        for n in WINDOWS:
            yield Check(f"false alarm: {name}", f"{n} units", 0.05, "greater", alarmed(series), n, 400, longer)
    shapes: list[tuple[str, Series, set[Behaviour]]] = [
        (
            "warm-up, a fifth slower by 20 %",
            lambda rng, n: flat(rng, n) + 0.2 * (at(n) < 0.2),
            {Behaviour.WARM_UP},
        ),
        ("warm-up, exponential", lambda rng, n: flat(rng, n) + 0.3 * np.exp(-15 * at(n)), {Behaviour.WARM_UP}),
        (
            "slowdown by 5 % after a third",
            lambda rng, n: flat(rng, n) + 0.05 * (at(n) > 1 / 3),
            {Behaviour.SLOWDOWN},
        ),
        ("two modes in long turns", turns, {Behaviour.NO_STEADY_STATE}),
        ("drift, 3 % over the window", lambda rng, n: flat(rng, n) + 0.03 * at(n), set(Behaviour)),
    ]
    too_short = "windows need more units to tell; 500 are enough"
    for name, series, classes in shapes:
        for n in WINDOWS:
            draw = detected(series, classes)
            yield Check(f"detected: {name}", f"{n} units", 0.95, "less", draw, n, 400, too_short)
    for n in WINDOWS:
        yield Check("called steady: two modes in long turns", f"{n} units", 0.05, "greater", steady_turns, n, 400)


def alarmed(series: Series) -> Draw:
    """Return a draw that tells whether a steady series is called anything else."""
    return lambda rng, n: judge_window(series(rng, n)).steady is False


def steady_turns(rng: np.random.Generator, n: int) -> bool:
    """Tell whether a window of long turns is called steady; that it cannot be judged is a right answer."""
    return judge_window(turns(rng, n)).steady is True


def detected(series: Series, classes: set[Behaviour]) -> Draw:
    """Return a draw that tells whether a series is called not steady, and by its name."""

    def draw(rng: np.random.Generator, n: int) -> bool:
        verdict = judge_window(series(rng, n))
        return verdict.steady is False and verdict.behaviour in classes

    return draw


def checks() -> list[Check]:
    """Return every promise of the published table."""
    return [*coverage(), *of_mixes(), *planning(), *decisions(), *claims_of_mixes(), *detector()]


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    lines = ["| promise | n | nominal | simulations | observed | kept | advice |", "|---|---|---|---|---|---|---|"]
    signs = {"two-sided": "", "greater": "≤ ", "less": "≥ "}
    for outcome in outcomes:
        check = outcome.check
        cells = (
            check.promise,
            check.trials,
            f"{signs[check.tail]}{100 * check.nominal:g} %",
            f"{outcome.sims:,}",
            f"{100 * outcome.rate:.1f} %",
            "yes" if outcome.kept else "**no**",
            "" if outcome.kept else check.advice,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


HEAD = f"""# Do the statistics keep what they promise?

Written by `python benchmarks/calibrate_statistics.py`; a smaller version runs with the tests. Trials are
log-normal with a spread of {100 * SPREAD:g} %, and the true ratio is {RATIO}; rates of mixes, alone and side by
side, spread by {100 * MIX_SPREAD:g} %; windows have
{100 * NOISE:g} % noise; bootstraps take {RESAMPLES} resamples. Seeds were fixed beforehand ({SEED}). A promise is
kept when an exact binomial test at {100 * LEVEL:g} % does not reject the nominal rate. What is not kept stands
here with the advice that follows.

"""

if __name__ == "__main__":
    page = HEAD + table([check.outcome() for check in checks()])
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
