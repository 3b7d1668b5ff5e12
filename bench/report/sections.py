"""The tables that people read, from a comparison; every one names the CSV file with the unrounded numbers."""

from collections.abc import Iterable, Iterator
from math import inf

from bench.analysis.cells import PRIMARY
from bench.analysis.colocation import EXCLUSIVE, JobProgress
from bench.analysis.contrasts import ALL_TRIALS, UNFLAGGED, Contrast
from bench.analysis.levels import Level
from bench.analysis.metrics import ANTT, ENERGY, JAIN, LATENCY_P50, LATENCY_P99, METRICS, RATE, SMALLEST, STP
from bench.analysis.reading import Reading, first_reason
from bench.analysis.summary import Comparison
from bench.analysis.trials import TrialMeasure
from bench.plan.schedule import Role
from bench.report.labels import whole
from bench.report.table import BLOCKS, Source, Table, headings
from bench.stats.equivalence import TAIL_MARGIN, THROUGHPUT_MARGIN
from bench.stats.interval import geometric_mean_interval, mean_interval
from bench.stats.rounding import bare

_CONTRAST_COLUMNS = (
    "mix", "metric", "job", "unit", "mode", "baseline", "value", "baseline_value", "ratio", "ci_low", "ci_high",
    "n_blocks", "n_planned", "p_adjusted", "effect_size", "failures", "n_attempted", "verdict", "reason",
    "equivalence",
)  # fmt: skip
_LEVEL_COLUMNS = ("mix", "mode", "metric", "job", "unit", "value", "ci_low", "ci_high", "n_blocks", "reason")
_Levels = dict[tuple[str, str, str, str], Level]


def contrast_table(comparison: Comparison, title: str, family: str, trials: str = ALL_TRIALS) -> Table:
    """Return the contrasts of one family: absolute values beside each ratio, n, interval, verdict."""
    correction = "Holm" if family == PRIMARY else "BH"
    table = Table(
        title,
        [
            *headings(("mix", "metric", "mode", "against"), ("value", "its value", "ratio [95 % CI]", "blocks")),
            *headings((), (f"p ({correction})", "d", "fails")),
            *headings(("verdict", "the same?"), ()),
        ],
        Source("tables/contrasts.csv", _CONTRAST_COLUMNS, f"family is {family}, trials is {trials}"),
        "Ratio of the geometric means over the blocks in which both sides are there; d is the mean log-ratio in "
        "units of its standard deviation over blocks. The same: two one-sided tests (5 %) reject every ratio "
        f"outside a band of {100 * THROUGHPUT_MARGIN:g} %, {100 * TAIL_MARGIN:g} % for tails.",
    )
    for row in comparison.contrasts:
        if (row.family, row.trials) == (family, trials):
            table.add(
                row.mix,
                _metric_name(row),
                row.mode,
                row.baseline,
                *_numbers(table, row),
                _verdict(row),
                row.equivalence or "not shown",
            )
    return table


def _metric_name(row: Contrast) -> str:
    metric = METRICS[row.metric]
    unit = f", {row.unit}" if row.unit else ""
    return f"{metric.label} of {row.job}{unit}" if row.job else f"{metric.label}{unit}"


def _numbers(table: Table, row: Contrast) -> Iterator[str]:
    yield table.number(row.value, row.reason)
    yield table.number(row.baseline_value, row.reason)
    yield table.interval(row.ratio, row.ci_low, row.ci_high, row.reason)
    yield f"{row.n_blocks} of {row.n_planned}"
    yield _p_text(row.p_adjusted) or table.missing(row.reason)
    yield table.number(row.effect_size, row.reason)
    yield f"{row.failures} of {row.n_attempted}"


def _p_text(p: float | None) -> str | None:
    if p is None:
        return None
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(row: Contrast) -> str:
    return f"{row.verdict}: {row.reason}" if row.reason else row.verdict


def colocation_table(comparison: Comparison) -> Table:
    """Return STP, ANTT and smallest progress side by side: none of them stands alone."""
    metrics = (STP, ANTT, SMALLEST, JAIN)
    table = Table(
        "Throughput, turnaround and fairness",
        headings(("mix", "mode"), ("blocks", "STP", "ANTT", "smallest progress", "Jain")),
        Source("tables/levels.csv", _LEVEL_COLUMNS, f"metric is {', '.join(metric.name for metric in metrics)}"),
        "Geometric mean over blocks [95 % t interval]. STP: higher is better, 1 is taking turns. ANTT: lower is"
        f" better. Exclusive is derived: its jobs take turns {whole(comparison)}.",
    )
    found = _index(comparison.levels)
    for mix, mode in _cells(comparison.levels):
        of = [found.get((mix, mode, metric.name, "")) for metric in metrics]
        table.add(mix, mode, str(of[0].n_blocks if of[0] else 0), *(table.level(level) for level in of))
    return table


def job_table(comparison: Comparison) -> Table:
    """Return throughput and step latency of each job in each mode, in the job's own unit."""
    table = Table(
        "Each job: throughput and step latency",
        headings(("mix", "job", "mode", "unit"), (BLOCKS, "throughput", "median (ms)", "p99 (ms)")),
        Source(
            "tables/levels.csv", _LEVEL_COLUMNS, f"metric is {RATE.name}, {LATENCY_P50.name}, {LATENCY_P99.name}"
        ),
        "Throughput is that of one tenant; exclusive counts its turns only, 1/n of the solo rate, and its "
        "latency is that of a job alone. Percentiles by nearest rank in each trial, then geometric mean over "
        "blocks [95 % t interval].",
    )
    found = _index(comparison.levels)
    users = {job.label for mix in comparison.plan.mixes for job in mix.jobs if job.serves_users}
    jobs = dict.fromkeys(
        (level.mix, level.job) for level in comparison.levels if level.job and level.job not in users
    )
    for mix, job in jobs:
        for mode in dict.fromkeys(
            level.mode for level in comparison.levels if (level.mix, level.job) == (mix, job)
        ):
            rate, p50, p99 = (found.get((mix, mode, m.name, job)) for m in (RATE, LATENCY_P50, LATENCY_P99))
            unit, blocks = (rate.unit, str(rate.n_blocks)) if rate else ("", "0")
            of = (table.level(rate), table.level(p50, 1000), table.level(p99, 1000))
            table.add(mix, job, mode, unit, blocks, *of)
    return table


def split_table(comparison: Comparison) -> Table | None:
    """Return slowdown as partition x interference; None where no mode of this run cuts the device."""
    table = Table(
        "Slowdown = partition \N{MULTIPLICATION SIGN} interference",
        headings(("mix", "mode", "job", "share"), ("blocks", "partition", "interference", "total", "isolation")),
        Source(
            "tables/jobs.csv",
            ("block", "mode", "mix", "tenant", "share", "partition", "interference"),
            "role is mix",
        ),
        "Partition: what the smaller share alone costs. Interference: what the neighbours cost on top. "
        "Isolation is 1 / interference. Geometric means over the blocks in which the job also ran alone in its "
        "share.",
    )
    parts: dict[tuple[str, str, str, str], list[JobProgress]] = {}
    for cell in comparison.cells:
        for job in cell.jobs:
            if job.share is not None:
                parts.setdefault((cell.mix, cell.mode, job.tenant, job.share), []).append(job)
    order = {name: index for index, name in enumerate(dict.fromkeys(_cells(comparison.levels)))}
    for (mix, mode, tenant, share), jobs in sorted(parts.items(), key=lambda part: order[part[0][:2]]):
        table.add(mix, mode, tenant, share, *_split_cells(table, jobs))
    return table if table.rows else None


def _split_cells(table: Table, jobs: list[JobProgress]) -> Iterator[str]:
    splits = [split for job in jobs if (split := job.split) is not None]
    bounded = [split for split in splits if split.interference is not None]
    yield str(len(splits))
    if not splits or len(bounded) < len(splits):
        dash = table.missing("the job starved" if splits else "no ok trial alone in this share in the same block")
        yield from (dash,) * 4
        return
    for values in (
        [split.partition for split in bounded],
        [split.interference or 0 for split in bounded],
        [split.total or 0 for split in bounded],
        [split.isolation for split in bounded],
    ):
        mean = geometric_mean_interval(values)
        yield table.interval(mean.value, mean.low, mean.high)


def energy_table(comparison: Comparison) -> Table:
    """Return power, energy and utilisation per mix and mode: those of the whole device, never split by guess."""
    table = Table(
        "Power, energy and utilisation",
        [
            *headings(("mix", "mode"), (BLOCKS, "mean power (W)", "J per solo second", "units per joule")),
            *headings((), ("utilisation (%)",)),
        ],
        Source(
            "tables/trials.csv",
            ("trial", "block", "mode", "mix", "power_w", "energy_j", "utilisation_percent"),
            f"role is mix, counts is True; J per solo second from tables/levels.csv, metric is {ENERGY.name}",
        ),
        "Of the whole device over the window. J per solo second: energy for as much work as the device does "
        "alone in one second (power / STP). Arithmetic mean over blocks [95 % t interval] of power and "
        "utilisation.",
    )
    found = _index(comparison.levels)
    for mix, mode in _cells(comparison.levels):
        trials = [t for t in comparison.counted if _is_cell(t, mode, mix)]
        level = found.get((mix, mode, ENERGY.name, ""))
        energy = table.level(level)
        if mode == EXCLUSIVE:
            derived = table.missing("derived from the solo trials, which tables/trials.csv lists")
            table.add(mix, mode, _blocks(level), energy, energy, derived, derived)
        elif trials:
            power = _mean(table, [trial.mean_power_w for trial in trials])
            work, busy = _per_joule(table, trials), _utilisation(table, trials)
            table.add(mix, mode, _blocks(level), power, energy, work, busy)
    return table


def _blocks(level: Level | None) -> str:
    return str(level.n_blocks if level else 0)


def _is_cell(trial: TrialMeasure, mode: str, mix: str) -> bool:
    return (trial.record.role, trial.record.mode_label, trial.record.mix) == (Role.MIX, mode, mix)


def _utilisation(table: Table, trials: list[TrialMeasure]) -> str:
    return _mean(table, [trial.utilisation_percent for trial in trials], most=100)


def _mean(table: Table, readings: list[Reading], most: float = inf) -> str:
    known = [reading.value for reading in readings if reading.value is not None]
    if not known:
        return table.missing(first_reason(readings))
    mean = mean_interval(known).within(0, most)
    return table.interval(mean.value, mean.low, mean.high)


def _per_joule(table: Table, trials: list[TrialMeasure]) -> str:
    """Return units of each job per joule of the whole device: total work over total energy, blocks together."""
    known = [trial for trial in trials if trial.mean_power_w.value]
    if not known:
        return table.missing(first_reason(trial.mean_power_w for trial in trials))
    energy = sum((trial.mean_power_w.value or 0) * trial.window.length_s for trial in known)
    parts = []
    for job in known[0].jobs:
        tenants = [t for trial in known for t in trial.tenants if t.tenant.job == job.job]
        work = sum(tenant.rate for tenant in tenants) * known[0].window.length_s
        parts.append(f"{bare(work / energy)} {job.unit} ({job.job})")
    return "; ".join(parts)


def changed_verdicts(comparison: Comparison) -> str:
    """Say how many trials are flagged, and which primary verdicts change without them."""
    verdicts: dict[str, dict[str, str]] = {}
    for row in comparison.contrasts:
        if row.family == PRIMARY:
            asked = f"{row.mix}: {_metric_name(row)}, {row.mode} against {row.baseline}"
            verdicts.setdefault(asked, {})[row.trials] = row.verdict
    changed = [
        f"{asked}: {answers[ALL_TRIALS]} becomes {answers[UNFLAGGED]}"
        for asked, answers in verdicts.items()
        if len(answers) == 2 and answers[ALL_TRIALS] != answers[UNFLAGGED]
    ]
    effect = f"changes {'; '.join(changed)}" if changed else "changes no primary verdict"
    count = f"{len(comparison.flagged)} of {len(comparison.records)} trials are flagged."
    if len(comparison.flagged) == len(comparison.records):
        return f"{count} Without them nothing is left to compare."
    return f"{count} Leaving them out {effect}."


def flag_table(comparison: Comparison) -> Table | None:
    """Return the flags of instruments and windows that invalidate no trial; None where there are none."""
    table = Table(
        "Flagged trials",
        headings(("trial", "flags", "why"), ()),
        Source("tables/trials.csv", ("trial", "flags"), "flags is not empty"),
        "docs/results.md says what each flag means.",
    )
    for name, flags in comparison.flagged.items():
        measured = comparison.measured.get(name)
        table.add(name, "; ".join(flags), "; ".join(measured.remarks) if measured else "")
    return table if table.rows else None


def mishap_table(comparison: Comparison) -> Table | None:
    """Return every trial that is not ok, with its reason; None where all are."""
    table = Table(
        "Trials that are not ok",
        headings(("trial", "status", "reason"), ()),
        Source("tables/trials.csv", ("trial", "status", "reason"), "status is not ok"),
    )
    for record in comparison.records:
        if record.status != "ok":
            table.add(record.id, record.status.value, record.reason or "no reason recorded")
    return table if table.rows else None


def _index(levels: Iterable[Level]) -> _Levels:
    return {(level.mix, level.mode, level.metric, level.job): level for level in levels}


def _cells(levels: Iterable[Level]) -> dict[tuple[str, str], None]:
    return dict.fromkeys((level.mix, level.mode) for level in levels)
