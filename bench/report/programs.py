"""The table of programs that do not speak the job protocol: all that can be known of them."""

from collections.abc import Sequence

from bench.analysis.steadiness import is_counted
from bench.analysis.summary import Comparison
from bench.plan.schedule import Role
from bench.report.table import Source, Table, headings
from bench.stats.interval import mean_interval
from bench.store.record import Status, TenantRecord

NOTHING_TOLD = (
    "These programs do not speak the job protocol, so neither progress nor latency is known, and STP, ANTT, "
    "smallest progress and Jain are of the other jobs of their mix. Duration: from start to exit, of those that "
    "ended by themselves with status 0 before the window did (its blocks); arithmetic mean [95 % t interval]."
)


def program_table(comparison: Comparison) -> Table | None:
    """Return duration and exit of each program in each mode; None where every job speaks the protocol."""
    table = Table(
        "Programs without the protocol",
        headings(("mix", "program", "mode"), ("runs", "blocks", "duration (s)")),
        Source("trials/*/trial.json", ("tenants.duration_s", "tenants.exit_status"), "tenants.reports is nothing"),
        NOTHING_TOLD,
    )
    runs: dict[tuple[str, str, str], list[TenantRecord]] = {}
    for record in comparison.records:
        if record.status is Status.OK and is_counted(record, comparison.repeats):
            mix = record.mix if record.role is Role.MIX else "alone"
            for tenant in record.tenants:
                if tenant.reports == "nothing":
                    runs.setdefault((mix, tenant.job, record.mode_label), []).append(tenant)
    for (mix, job, mode), tenants in sorted(runs.items()):
        table.add(mix, job, mode, str(len(tenants)), *_durations(table, tenants))
    return table if table.rows else None


def _durations(table: Table, tenants: Sequence[TenantRecord]) -> tuple[str, str]:
    known = [tenant.duration_s for tenant in tenants if tenant.duration_s is not None]
    if not known:
        return "0", table.missing("still at work when the window ended, and then asked to end")
    mean = mean_interval(known)
    return str(len(known)), table.interval(mean.value, mean.low, mean.high)
