"""How often the declared windows were steady, and what was measured once more because of those that were not."""

from collections.abc import Sequence

from bench.analysis.cells import arm_of
from bench.analysis.steadiness import unsteady_windows
from bench.analysis.summary import Comparison
from bench.analysis.windows import DRIFT_FLAG, UNSTEADY_FLAG, flag_of
from bench.plan.schedule import block_name
from bench.report.table import Source, Table, headings
from bench.stats.changepoint import MIN_UNITS
from bench.stats.steady_state import WindowVerdict
from bench.store.decision import UnsteadyWindow

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


def repeat_remarks(comparison: Comparison) -> list[str]:
    """Say which blocks were measured once more, longer, and in which of them that did not help."""
    blocks = comparison.repeats.blocks
    if not blocks:
        return []
    again = sorted({
        window.block for trial in comparison.counted if trial.record.longer for window in unsteady_windows(trial)
    })  # fmt: skip
    outcome = f"in {_numbered(again)} a window was not steady then, either" if again else "all were steady then"
    seconds = f"{comparison.plan.timing.longer.window_s:g} s"
    return [
        f"Windows that were not steady: {_numbered(blocks)} measured once more in every mode, with windows of "
        f"{seconds}; {outcome}. The repeats count, and the first time is listed."
    ]


def repeat_table(comparison: Comparison) -> Table | None:
    """Return the windows for which blocks were measured once more, each with its outcome; None without any."""
    table = Table(
        "Blocks measured once more",
        headings(("trial", "tenant", "first time", "once more"), ()),
        Source("repeats.json", ("unsteady",)),
        "One window that is not steady, in whichever mode, repeats its block once in every mode, with windows "
        "twice as long. The repeat counts in its place, however it turns out.",
    )
    for window in comparison.repeats.unsteady:
        table.add(window.trial, window.tenant, f"{window.flag}: {window.reason}", _once_more(comparison, window))
    return table if table.rows else None


def _once_more(comparison: Comparison, window: UnsteadyWindow) -> str:
    """Return what became of a window's repeat, whose trial has the same name in a block of another."""
    first, repeat = (block_name(window.block, longer) for longer in (False, True))
    name = repeat + window.trial.removeprefix(first)
    if trial := comparison.measured.get(name):
        return next(_outcome(each.verdict) for each in trial.tenants if each.tenant.name == window.tenant)
    return next((record.status.value for record in comparison.records if record.id == name), "not measured yet")


def _numbered(blocks: Sequence[int]) -> str:
    return f"block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}"


def _outcome(verdict: WindowVerdict) -> str:
    return NOT_JUDGED if verdict.steady is None else flag_of(verdict) or STEADY
