"""Tables of how modes rank over many different mixes, and their rows for the CSV file."""

from collections.abc import Iterator
from typing import Any

from bench.analysis.metrics import METRICS
from bench.analysis.ranking import Ranking
from bench.analysis.summary import Comparison
from bench.report.table import Source, Table, headings
from bench.stats.many_workloads import MIN_WORKLOADS
from bench.stats.rounding import bare


def rank_table(comparison: Comparison) -> Table:
    """Return the average rank of each mode over the workloads, with Friedman's test that all are equal."""
    table = Table(
        "Modes over all workloads",
        headings(("metric", "mode"), ("workloads", "average rank", "p (Friedman)", "critical difference")),
        Source("tables/rankings.csv", ("metric", "mode", "workloads", "average_rank", "friedman_p")),
        "Rank 1 is best. Friedman's test in the form of Iman and Davenport, over geometric means of blocks; mixes "
        "that differ in numbers alone count once. The critical difference is Nemenyi's, from "
        f"{MIN_WORKLOADS} workloads on.",
    )
    for row in rank_rows(comparison):
        difference = row["critical_difference"]
        reach = table.number(difference, f"fewer than {MIN_WORKLOADS} workloads")
        rank, label = bare(row["average_rank"]), METRICS[row["metric"]].label
        table.add(label, row["mode"], str(row["workloads"]), rank, _p(row["friedman_p"]), reach)
    for ranking in comparison.rankings:
        if ranking.left_out:
            table.note(f"left out, since a mode has no value there: {', '.join(ranking.left_out)}")
    return table


def rank_pair_table(comparison: Comparison) -> Table:
    """Return which pairs of modes differ over the workloads."""
    table = Table(
        "Pairs of modes over all workloads",
        headings(("metric", "one", "other"), ("rank", "its rank", "p (Holm)")),
        Source("tables/rankings.csv", ("metric", "mode", "average_rank")),
        "Wilcoxon's signed ranks over workloads, Holm over all pairs of a metric.",
    )
    for ranking in comparison.rankings:
        ranks = dict(zip(ranking.modes, map(bare, ranking.test.average_ranks), strict=True))
        label = METRICS[ranking.metric].label
        for pair in ranking.pairs:
            p = table.missing("no workload differs") if pair.p_adjusted is None else _p(pair.p_adjusted)
            table.add(label, pair.a, pair.b, ranks[pair.a], ranks[pair.b], p)
    return table


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def rank_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the unrounded rows of `rankings.csv`."""
    for ranking in comparison.rankings:
        yield from _rows(ranking)


def _rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    pairs = {frozenset((pair.a, pair.b)): pair.p_adjusted for pair in ranking.pairs}
    for mode, rank in zip(ranking.modes, ranking.test.average_ranks, strict=True):
        yield {
            "metric": ranking.metric, "mode": mode, "workloads": ranking.test.workloads, "average_rank": rank,
            "chi_squared": ranking.test.chi_squared, "f": ranking.test.f, "friedman_p": ranking.test.p_value,
            "critical_difference": ranking.critical_difference,
            **{f"p_against_{other}": pairs.get(frozenset((mode, other))) for other in ranking.modes},
        }  # fmt: skip
