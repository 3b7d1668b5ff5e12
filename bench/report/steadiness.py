"""The table that says how often the declared windows were steady."""

from bench.analysis.contrasts import arm_of
from bench.analysis.summary import Comparison
from bench.analysis.windows import DRIFT_FLAG, UNSTEADY_FLAG, flag_of
from bench.report.table import Source, Table, headings
from bench.stats.changepoint import MIN_UNITS
from bench.stats.steady_state import WindowVerdict

STEADY, NOT_JUDGED = "steady", "not judged"
OUTCOMES = (STEADY, DRIFT_FLAG, UNSTEADY_FLAG, NOT_JUDGED)


def window_table(comparison: Comparison) -> Table | None:
    """Return how often the windows of each kind of trial were steady; None where nothing was measured."""
    table = Table(
        "Steadiness of the declared windows",
        headings(("mode", "what ran"), ("windows", *(outcome.replace("_", " ") for outcome in OUTCOMES))),
        Source("tables/jobs.csv", ("window", "window_drift")),
        "One window for each tenant of each trial, judged with the same parameters in every mode and never moved. "
        f"Not judged: fewer than {MIN_UNITS} steps, or so dependent on each other that they tell as little.",
    )
    found: dict[tuple[str, str], list[str]] = {}
    for trial in comparison.trials:
        told = found.setdefault((arm_of(trial.record), trial.record.mix), [])
        told += [_outcome(each.verdict) for each in trial.tenants]
    for (arm, mix), told in found.items():
        table.add(arm, mix, str(len(told)), *(str(told.count(outcome)) for outcome in OUTCOMES))
    return table if table.rows else None


def _outcome(verdict: WindowVerdict) -> str:
    return NOT_JUDGED if verdict.steady is None else flag_of(verdict) or STEADY
