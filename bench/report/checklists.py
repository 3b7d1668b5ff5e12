"""Two lists that reviewers use, filled in from the run: what it satisfies, where, and what it does not.

Sources: Hoefler & Belli, "Scientific Benchmarking of Parallel Computing Systems", SC 2015, twelve rules; ACM
SIGPLAN, Empirical Evaluation Checklist, 2018. The items are put in our own words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.analysis.cells import PRIMARY
from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.contrasts import ALL_TRIALS
from bench.analysis.summary import Comparison
from bench.plan.schedule import Role
from bench.report.table import Source, Table, headings
from bench.stats.rounding import MOST_DIGITS, counted
from bench.stats.verdict import MIN_BLOCKS
from bench.store.record import Status

YES, NO, PARTLY, AUTHORS = "yes", "no", "in part", "for the authors"


@dataclass(frozen=True)
class Check:
    """Whether a run satisfies an item, and where that is seen or why it does not."""

    satisfied: str
    where: str


_Item = tuple[str, Callable[[Comparison], Check]]


def rule_table(comparison: Comparison) -> Table:
    """Return the twelve rules of Hoefler & Belli."""
    return _table("Twelve rules of Hoefler and Belli", RULES, comparison)


def sigplan_table(comparison: Comparison) -> Table:
    """Return the checklist of SIGPLAN."""
    return _table("SIGPLAN checklist", SIGPLAN, comparison)


def _table(title: str, items: Sequence[_Item], comparison: Comparison) -> Table:
    table = Table(
        title,
        headings(("item", "satisfied", "where, or why not"), ()),
        Source(
            "run.json", ("simulated", "device", "software"), "with plan.yaml, trials/*/trial.json and tables/*.csv"
        ),
        "Computed from this run. What only a text can satisfy is left to its authors.",
    )
    for item, check in items:
        found = check(comparison)
        table.add(item, found.satisfied, found.where)
    return table


def _always(where: str) -> Callable[[Comparison], Check]:
    return lambda _: Check(YES, where)


def _never(where: str) -> Callable[[Comparison], Check]:
    return lambda _: Check(NO, where)


def _partly(where: str) -> Callable[[Comparison], Check]:
    return lambda _: Check(PARTLY, where)


def _authors(where: str) -> Callable[[Comparison], Check]:
    return lambda _: Check(AUTHORS, where)


def _absolutes(comparison: Comparison) -> Check:
    rows = [row for row in comparison.contrasts if row.ratio is not None]
    bare = [row for row in rows if row.value is None or row.baseline_value is None]
    if not rows:
        return Check(NO, "no ratio could be formed")
    told = f"{len(rows) - len(bare)} of {len(rows)} ratios have both absolute values beside them (contrasts.csv)"
    return Check(NO if bare else YES, told)


def _complete(comparison: Comparison) -> Check:
    left_out = [
        f"{count} {status.value}" for status, count in comparison.counts.items() if status is not Status.OK
    ]
    if comparison.missing:
        return Check(NO, f"{comparison.missing} of {comparison.scheduled} scheduled trials have not been measured")
    if left_out:
        return Check(YES, f"all {len(comparison.records)} trials are listed; {', '.join(left_out)}, with reasons")
    return Check(YES, f"all {len(comparison.records)} scheduled trials are ok and in the tables")


def _intervals(comparison: Comparison) -> Check:
    rows = [row for row in comparison.contrasts if (row.family, row.trials) == (PRIMARY, ALL_TRIALS)]
    with_limits = [row for row in rows if row.ci_low is not None]
    told = f"{len(with_limits)} of {len(rows)} primary contrasts have a 95 % interval"
    return Check(YES if rows and len(with_limits) == len(rows) else PARTLY if with_limits else NO, told)


def _tested(comparison: Comparison) -> Check:
    if not any(row.p_adjusted is not None for row in comparison.contrasts):
        return Check(NO, "no contrast could be tested")
    return Check(YES, "paired log-ratio t over blocks, effect size beside it, Holm over the declared family")


def _tails(comparison: Comparison) -> Check:
    jobs = [job for trial in comparison.trials for job in trial.jobs]
    there = [job for job in jobs if job.latency.p99_s is not None]
    told = f"median and p99 of each job; p99 has enough steps in {len(there)} of {len(jobs)} measurements"
    return Check(YES if jobs and len(there) == len(jobs) else PARTLY if there else NO, told)


def _documented(comparison: Comparison) -> Check:
    run, ran = comparison.run, [record for record in comparison.records if record.status is Status.OK]
    missing = [f"device.{name}" for name in ("name", "driver_version") if not run.device.get(name)]
    missing += ["software.commit"] if not run.software.get("commit") else []
    missing += [] if any(t.provenance or t.libraries for r in ran for t in r.tenants) else ["images or libraries"]
    if run.software.get("dirty"):
        missing.append("a clean commit (the tree had local changes)")
    where = "device, driver, code, image and every factor are under Provenance"
    return Check(PARTLY, f"{where}; not recorded: {', '.join(missing)}") if missing else Check(YES, where)


def _bounds(comparison: Comparison) -> Check:
    if not comparison.cells:
        return Check(NO, "nothing was measured that has a bound")
    return Check(YES, "STP 1 (taking turns) and n (perfect sharing) are drawn; solo rates bound each job")


def _fair(comparison: Comparison) -> Check:
    if comparison.run.device.get("kind") == "cpu":
        return Check(PARTLY, "same jobs in every mode, random order in each block; their CPUs are not pinned")
    return Check(YES, "same jobs, CPUs and memory in every mode; random order in each block")


def _open_loop(comparison: Comparison) -> Check:
    jobs = {job.label: job for mix in comparison.plan.mixes for job in mix.jobs}
    serving = sorted(label for label, job in jobs.items() if job.serves_users)
    if not serving:
        return Check(AUTHORS, "all jobs work as fast as they can; say whether requests would arrive in their use")
    return Check(YES, f"response time counts from the scheduled instant (requests.parquet): {', '.join(serving)}")


def _enough(comparison: Comparison) -> Check:
    blocks = comparison.plan.blocks
    if blocks < MIN_BLOCKS:
        return Check(NO, f"{counted(blocks, 'block')}; with fewer than {MIN_BLOCKS} no verdict is given")
    return Check(YES, f"{blocks} blocks of fresh processes; intervals are over blocks, never over steps")


def _baseline(comparison: Comparison) -> Check:
    there = any(cell.mode == EXCLUSIVE for cell in comparison.cells)
    if not there:
        return Check(NO, "taking turns could not be derived: solo trials are missing")
    against = f", and {comparison.plan.reference}" if comparison.plan.reference else ""
    return Check(YES, f"taking turns on the same device in the same block{against}")


def _scoped(comparison: Comparison) -> Check:
    if comparison.run.simulated:
        return Check(
            PARTLY, "simulated: every sentence says that the model predicts; nothing is claimed of a device"
        )
    return Check(
        PARTLY, "one device: claims about others of its kind need other devices (python -m bench compare)"
    )


def _publishable(comparison: Comparison) -> Check:
    timing = comparison.plan.timing
    if comparison.run.simulated or not timing.publishable:
        why = "a simulated device" if comparison.run.simulated else f"{timing.name} timing"
        return Check(NO, f"{why}; figures and tables are marked")
    return Check(YES, f"{timing.name} timing on {comparison.run.device.get('name', 'a device')}")


def _whole_effect(comparison: Comparison) -> Check:
    powered = [trial for trial in comparison.trials if trial.record.role is Role.MIX and trial.mean_power_w.value]
    shared = [trial for trial in comparison.trials if trial.record.role is Role.MIX]
    told = f"throughput, turnaround, slowest job, fairness, tails; power in {len(powered)} of {len(shared)} trials"
    return Check(YES if shared and len(powered) == len(shared) else PARTLY, told)


RULES: Sequence[_Item] = (
    ("1. A speedup names its base case and its absolute performance", _absolutes),
    ("2. What is left out is said and justified", _complete),
    ("3. Costs are averaged arithmetically, rates harmonically", _partly(
        "a rate is work over the whole window; power and utilisation: arithmetic mean over blocks; rates, "
        "latencies and energy: geometric mean over blocks, so that a ratio of means is the mean of ratios")),
    ("4. Ratios are not averaged", _always(
        "contrasts are made of log-ratios of paired values, and equal the ratio of geometric means")),
    ("5. Values that are not deterministic have confidence intervals", _intervals),
    ("6. No normality is assumed unchecked", _never(
        "log-ratios over blocks are taken as normal; docs/calibration.md says by simulation what that costs")),
    ("7. Noisy data are compared by sound statistics", _tested),
    ("8. The right summary: mean, median or tail", _tails),
    ("9. Factors, levels and set-up are documented", _documented),
    ("10. Parallel timing: how it was synchronised and summarised", _always(
        "all jobs are released at one instant on one clock and share one window (Methods)")),
    ("11. Upper bounds or a model", _bounds),
    ("12. Plots show enough; lines only where interpolation is valid", _always(
        "STP and throughput of every block are marks; lines join only percentiles of one distribution and samples "
        "of one trial")),
)  # fmt: skip

SIGPLAN: Sequence[_Item] = (
    ("Claims: explicit, and scoped to the evidence", _scoped),
    ("Claims: limitations are acknowledged", _always("banners, verdicts without a winner, notes under tables")),
    ("Comparison: an appropriate baseline", _baseline),
    ("Comparison: fair", _fair),
    ("Benchmarks: an appropriate suite", _authors("say why the jobs stand for the claim")),
    ("Benchmarks: applications, not only kernels", _authors(
        "catalogued jobs are whole steps, with random weights and synthetic input unless the plan names others")),
    ("Data analysis: enough trials", _enough),
    ("Data analysis: the right summary, and the distribution", _tails),
    ("Metrics: direct, not a proxy", _always("work done and time taken by the jobs themselves")),
    ("Metrics: all important effects", _whole_effect),
    ("Design: repeatable", _documented),
    ("Design: a reasonable platform", _publishable),
    ("Design: key parameters are explored", _authors("one plan is one setting; say which others were tried")),
    ("Design: load is open-loop where requests arrive", _open_loop),
    ("Design: not tested on what it was tuned on", _authors("nothing was tuned by this run")),
    ("Presentation: no best case as a summary", _always("a sentence per mix, with interval and number of blocks")),
    ("Presentation: axes", _always("ratios on a log axis; others begin at zero, but for clocks, latencies")),
    ("Presentation: precision", _always(
        f"two digits of the half-width, {MOST_DIGITS} in all at most, and the value to the same decimal")),
)  # fmt: skip
