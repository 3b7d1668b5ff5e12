"""The table of jobs that serve users: what these asked for, and what they got in time."""

from bench.analysis.levels import Level
from bench.analysis.metrics import ATTAINMENT, ERRORS, GOODPUT, LATENCY_P50, LATENCY_P99, OFFERED
from bench.analysis.summary import Comparison
from bench.report.table import BLOCKS, Source, Table, headings

_METRICS = (OFFERED, GOODPUT, ATTAINMENT, ERRORS, LATENCY_P50, LATENCY_P99)


def service_table(comparison: Comparison) -> Table | None:
    """Return offered rate, goodput, attainment, errors and response times; None where no job serves users."""
    table = Table(
        "Each job that serves users: goodput under its SLO",
        [
            *headings(("mix", "job", "mode"), (BLOCKS, "SLO (s)", "offered (/s)", "goodput (/s)", "attainment")),
            *headings((), ("errors", "median (ms)", "p99 (ms)")),
        ],
        Source(
            "tables/levels.csv", ("mix", "mode", "metric", "job", "value", "ci_low", "ci_high", "n_blocks"),
            f"metric is {', '.join(metric.name for metric in _METRICS)}; the SLO is in tables/jobs.csv",
        ),
        "Requests scheduled in the window, each followed to its end, of one tenant; exclusive is the job alone. "
        "Goodput: those answered within the SLO, per second; attainment: their share, where what failed, was "
        "refused or never ended is a miss; errors: the share of these. Response time runs from the scheduled "
        "instant; what failed took for ever, and a percentile that falls on it is n.a. Means over blocks [95 % t "
        "interval], arithmetic for offered rate and shares, else geometric. These jobs are outside STP, ANTT and "
        "Jain: at the rate of their users progress is 1 whatever happens.",
    )  # fmt: skip
    users = {(mix.name, job.label) for mix in comparison.plan.mixes for job in mix.jobs if job.serves_users}
    slo_s = {each.tenant.job: each.tenant.slo_s for trial in comparison.trials for each in trial.tenants}
    cells: dict[tuple[str, str, str], dict[str, Level]] = {}
    for level in comparison.levels:
        if (level.mix, level.job) in users:
            cells.setdefault((level.mix, level.job, level.mode), {})[level.metric] = level
    for (mix, job, mode), found in cells.items():
        table.add(mix, job, mode, *_cells(table, found, slo_s.get(job)))
    return table if table.rows else None


def _cells(table: Table, found: dict[str, Level], slo_s: float | None) -> list[str]:
    offered = found.get(OFFERED.name)
    objective = table.missing("no SLO was given: set slo_s in the plan") if slo_s is None else f"{slo_s:g}"
    numbers = [
        table.level(found.get(metric.name), 1000 if metric in (LATENCY_P50, LATENCY_P99) else 1)
        for metric in _METRICS
    ]
    return [str(offered.n_blocks if offered else 0), objective, *numbers]
