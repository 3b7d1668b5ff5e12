"""The table of where the variation sits, level by level, and its rows for the CSV file."""

from collections.abc import Iterator
from itertools import zip_longest
from math import ceil
from typing import Any

from bench.analysis.components import LAUNCHES, LEVELS, Components, JobComponents
from bench.analysis.summary import Comparison
from bench.analysis.windows import PARTS
from bench.report.table import BLOCKS, Source, Table, headings

_COLUMNS = ("mix", "mode", "job", "level", "n_blocks", "variance", "spread", "share", "cost_s", "best_repeats")
_MANY = 10  # launches in a block: no plan has more, and an estimate beyond says only that


def component_table(comparison: Comparison) -> Table | None:
    """Return the spread that each level adds to the rate of each job; None where nothing was launched twice."""
    found = comparison.components
    if found is None:
        return None
    table = Table(
        "Spread of rates by level",
        [
            *headings(("mix", "mode", "job"), (BLOCKS, "between blocks (%)", "between launches (%)")),
            *headings((), ("within a window (%)", "best window (s)", "best launches a block")),
            *headings(("what narrows intervals",), ()),
        ],
        Source("tables/components.csv", _COLUMNS),
        f"Standard deviation that each level adds to the logarithm of the rate: {LAUNCHES} launches in each block "
        f"(the mix, and A/A), {PARTS} equal parts of each window. None: no more than the levels below explain. "
        "Only blocks are degrees of freedom, so these are rough. A difference between blocks that all modes share "
        "cancels in paired contrasts: that is what pairing saves. "
        f"Best: for this rate in a given time, {_priced(found, comparison.run.simulated)}.",
    )
    for job in found.jobs:
        table.add(
            found.mix,
            found.mode,
            job.job,
            str(found.n_blocks),
            *_spreads(table, job),
            *_best(table, found, job),
            found.advice(job),
        )
    return table


def _priced(found: Components, simulated: bool) -> str:
    part, launch, block = (f"{cost_s:.0f} s" for cost_s in found.costs_s)
    source = "as --dry-run assumes, since the host's time is not the model's" if simulated else "as recorded"
    return f"if a part costs {part}, a launch {launch} and its window, a block {block} and its launches, {source}"


def _spreads(table: Table, job: JobComponents) -> Iterator[str]:
    if job.variances is None:
        yield from (table.missing(job.reason) for _ in LEVELS)
        return
    for own in reversed(job.spreads):
        yield "none" if own is None else table.number(100 * own)


def _best(table: Table, found: Components, job: JobComponents) -> Iterator[str]:
    if job.variances is None:
        yield from (table.missing(job.reason) for _ in LEVELS[1:])
        return
    window_s, launches = found.best_window_s(job), job.best[1]
    yield table.missing("launches add nothing: the longer the better") if window_s is None else f"{window_s:.0f}"
    if launches is None:
        yield table.missing("blocks add nothing: a launch is worth a block")
    else:
        yield f"over {_MANY}" if launches > _MANY else str(max(1, ceil(launches)))


def component_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the unrounded rows of `components.csv`, lowest level first."""
    found = comparison.components
    if found is None:
        return
    for job in found.jobs:
        variances = job.variances.unbiased if job.variances else ()
        values = zip_longest(LEVELS, variances, job.spreads, job.shares, found.costs_s, job.best)
        for level, variance, spread, share, cost_s, best in values:
            told = (found.mix, found.mode, job.job, level, found.n_blocks, variance, spread, share, cost_s, best)
            yield {**dict(zip(_COLUMNS, told, strict=True)), "reason": job.reason}
