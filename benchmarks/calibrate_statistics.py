"""Do the statistics keep what they promise? By simulation, where the truth is known.

Run it from the checkout, about two minutes: `python benchmarks/calibrate_statistics.py`. It prints a Markdown
table and writes it to `docs/calibration.md`. Seeds are fixed beforehand, and what fails is published as it is.
"""

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibrate_mixes import MIX_SPREAD, claims_of_mixes, of_mixes
from promises import LEVEL, MARGIN, SEED, TRIALS, Array, Check, Draw, Outcome, covers

from bench.stats.bootstrap import (
    bca_paired_ratio,
    bca_ratio_of_means,
    bca_ratio_of_medians,
    two_level_ratio,
)
from bench.stats.changepoint import Behaviour
from bench.stats.equivalence import (
    Equivalence,
    Reproduction,
    tost_paired,
    tost_published,
    tost_unpaired,
)
from bench.stats.interval import Interval, geometric_mean_interval, mean_interval
from bench.stats.multiplicity import holm
from bench.stats.planning import next_look, stein_interval, stein_plan
from bench.stats.ranks import a12, brunner_munzel, hodges_lehmann_ratio
from bench.stats.ratio import paired_log_ratio
from bench.stats.steady_state import judge_window
from bench.stats.unpaired import fieller_ratio, welch_log_ratio
from bench.stats.verdict import Verdict, judge

PAGE = Path(__file__).resolve().parents[1] / "docs" / "calibration.md"
RESAMPLES = 999
SPREAD = 0.08
"""Standard deviation of the logarithm of one trial, about its coefficient of variation."""
RATIO = 0.9
"""The true ratio wherever intervals are checked."""
NOISE = 0.02
"""Standard deviation of one unit of a window, relative to its duration."""
WINDOWS = (100, 500)

Series = Callable[[np.random.Generator, int], Array]


def trials(rng: np.random.Generator, n: int, median: float = 1.0) -> Array:
    """Return log-normal trials."""
    return median * np.exp(rng.normal(0, SPREAD, n))


def paired(rng: np.random.Generator, n: int, ratio: float = RATIO) -> tuple[Array, Array]:
    """Return two modes over blocks that share each block's luck."""
    blocks = trials(rng, n)
    return ratio * blocks * trials(rng, n), blocks * trials(rng, n)


def unpaired(rng: np.random.Generator, n: int, ratio: float = RATIO) -> tuple[Array, Array]:
    """Return two arms that share nothing."""
    return trials(rng, n, ratio), trials(rng, n)


def resampled(interval: Callable[..., Interval], draw: Callable[..., tuple[Array, Array]]) -> Draw:
    """Return a draw that tells whether a bootstrap interval contains the ratio."""
    return lambda rng, n: covers(interval(*draw(rng, n), resamples=RESAMPLES, seed=rng), RATIO)


def wins(interval: Callable[[Array, Array], Interval]) -> Draw:
    """Return a draw that tells whether an interval of A12 contains it, for arms a standard deviation apart."""
    share = float(stats.norm.cdf(math.sqrt(0.5)))
    return lambda rng, n: covers(interval(rng.normal(1, 1, n), rng.normal(0, 1, n)), share)


def coverage() -> Iterator[Check]:
    """Return checks of how often a nominal 95 % interval contains the truth."""
    mean = math.exp(SPREAD**2 / 2)
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
        ("A12, Newcombe", wins(a12), 4_000, "an aid to reading, never a claim"),
        ("A12, Brunner-Munzel", wins(brunner_munzel), 4_000, "in no report, which has Newcombe's"),
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
here with the advice that follows. "Worst of" rows tell how often a mode that disturbs no job is told from taking
turns, or from a mode alike.

"""

if __name__ == "__main__":
    page = HEAD + table([check.outcome() for check in checks()])
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
