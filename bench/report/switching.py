"""The table of what switching costs, and its rows for the CSV file."""

from collections.abc import Iterator
from typing import Any

from bench.analysis.summary import Comparison
from bench.report.table import Source, Table, headings
from bench.stats.rounding import bare


def switching_table(comparison: Comparison) -> Table:
    """Return what entering and leaving each mode takes, and its steps: mean with interval, median, extremes."""
    table = Table(
        "What switching costs",
        headings(("mode", "what"), ("blocks", "mean (s)", "median (s)", "shortest (s)", "longest (s)")),
        Source(
            "tables/switching.csv",
            ("mode", "what", "n_blocks", "mean_s", "ci_low_s", "ci_high_s", "median_s", "min_s", "max_s"),
        ),
        "Seconds of the host's time: arithmetic mean over blocks [95 % t interval]. Entering and leaving are "
        "whole: looking, changing, asking again for proof; the steps below them are the driver's tools alone.",
    )
    for time in comparison.switching:
        mean, durations_s = time.interval, time.durations_s
        spread = (time.median_s, min(durations_s), max(durations_s))
        table.add(
            time.mode,
            time.what,
            str(mean.n),
            table.interval(mean.value, mean.low, mean.high),
            *(bare(value) for value in spread),
        )
    return table


def switching_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the unrounded rows of `switching.csv`."""
    for time in comparison.switching:
        mean, durations_s = time.interval, time.durations_s
        yield {
            "mode": time.mode,
            "what": time.what,
            "n_blocks": mean.n,
            "mean_s": mean.value,
            "ci_low_s": mean.low,
            "ci_high_s": mean.high,
            "median_s": time.median_s,
            "min_s": min(durations_s),
            "max_s": max(durations_s),
            "simulated": comparison.run.simulated,
        }
