"""What two runs say together, as a page, Markdown and CSV; nothing is pooled."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.metrics import METRICS
from bench.analysis.repeated import Repeat, Repetition
from bench.errors import RecordError
from bench.report.labels import watermark
from bench.report.rendering import environment
from bench.report.table import BLOCKS, Source, Table, headings
from bench.stats.equivalence import ALPHA, TAIL_MARGIN, THROUGHPUT_MARGIN
from bench.stats.rounding import counted

CSV = "compare.csv"
_REMARK = (
    "Ratio of B to A: Welch on logarithms, 90 % interval; reproduced where it lies within the margin, "
    f"{THROUGHPUT_MARGIN * 100:g} %, or {TAIL_MARGIN * 100:g} % for tails (two one-sided tests at {ALPHA * 100:g} "
    "%). Levels: geometric mean over blocks [95 % t interval]. p: of no difference, after Holm over all rows; the "
    "verdict is for each row by itself."
)


def repeat_table(found: Repetition) -> Table:
    """Return every quantity that both runs have: absolute values of both, ratio, margin and verdict."""
    table = Table(
        "Does B reproduce A?",
        [
            *headings(("mix", "mode", "metric"), ("A", "B", "B / A [90 % CI]", BLOCKS, "margin", "p (Holm)")),
            *headings(("verdict",), ()),
        ],
        Source(CSV, tuple(row_columns())),
        _REMARK,
    )
    for row in found.repeats:
        table.add(row.mix, row.mode, _metric(row), *_numbers(table, row), row.verdict)
    return table


def _metric(row: Repeat) -> str:
    unit = f", {row.unit}" if row.unit else ""
    return f"{METRICS[row.metric].label}{f' of {row.job}' if row.job else ''}{unit}"


def _numbers(table: Table, row: Repeat) -> Iterator[str]:
    starved = "a job starved, so no ratio is finite"
    for level in (row.a, row.b):
        yield table.interval(level.value, level.low, level.high, starved)
    interval = row.equivalence.interval if row.equivalence else None
    yield table.interval(interval.ratio, interval.low, interval.high) if interval else table.missing(starved)
    yield f"{row.a.n} and {row.b.n}"
    yield f"{row.equivalence.margin * 100:g} %" if row.equivalence else table.missing(starved)
    p = row.p_different
    yield table.missing("no spread, or too few blocks: no test") if p is None else _p_text(p)


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict_counts(found: Repetition) -> str:
    """Say how many quantities got which verdict, and in which fields the set-ups differ."""
    counts = Counter(row.verdict for row in found.repeats)
    told = "; ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"Of {len(found.repeats)} quantities that A and B have in common: {told}. {_differ(found)}"


def _differ(found: Repetition, most: int = 3) -> str:
    fields = [each.field for each in found.differences]
    if not fields:
        return "Their set-ups are the same in every recorded field."
    named = f"{', '.join(fields[:most])}{f' and {len(fields) - most} more' if len(fields) > most else ''}"
    return f"Their set-ups differ in {counted(len(fields), 'field')}: {named}."


def difference_table(found: Repetition) -> Table:
    """Return every field in which the two runs differ: what a different result may be due to."""
    table = Table(
        "What differs",
        headings(("field", "A", "B"), ()),
        Source(
            "run.json", ("device", "software"), "with plan.yaml, and tenants of trials/*/trial.json, of both runs"
        ),
        "Unequal set-ups make a verdict say something of the difference, and nothing of repeatability.",
    )
    for each in found.differences:
        table.add(each.field, each.a, each.b)
    return table


def row_columns() -> list[str]:
    """Return the columns of compare.csv."""
    return [
        "mix", "mode", "metric", "job", "unit", "a", "a_low", "a_high", "a_blocks", "b", "b_low", "b_high",
        "b_blocks", "ratio", "ci_low", "ci_high", "margin", "p_equivalent", "p_different", "p_adjusted", "verdict",
    ]  # fmt: skip


def _row(row: Repeat) -> dict[str, Any]:
    tested, interval = row.equivalence, row.equivalence.interval if row.equivalence else None
    values: list[Any] = [row.mix, row.mode, row.metric, row.job, row.unit]
    for level in (row.a, row.b):
        values += [level.value, level.low, level.high, level.n]
    values += [interval.ratio, interval.low, interval.high] if interval else [None] * 3
    values += [tested.margin, tested.p_value] if tested else [None] * 2
    values += [interval.p_value if interval else None, row.p_different, row.verdict]
    return dict(zip(row_columns(), values, strict=True))


def write_repetition(found: Repetition, output: Path) -> Path:
    """Write `compare-A-B/` with index.html, compare.md and compare.csv; return the page.

    Raises RecordError where the folder cannot be written.
    """
    folder = output / f"compare-{found.a.run.run_id}-{found.b.run.run_id}"
    context = {
        "a": found.a.run,
        "b": found.b.run,
        "stamps": [(name, words) for name, of in (("A", found.a), ("B", found.b)) if (words := watermark(of))],
        "verdicts": verdict_counts(found),
        "unshared": found.unshared,
        "tables": [table for table in (difference_table(found), repeat_table(found)) if table.rows],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = pd.DataFrame([_row(row) for row in found.repeats], columns=row_columns())
        rows.to_csv(folder / CSV, index=False, lineterminator="\n")
        for template, name in (("compare.md.j2", "compare.md"), ("compare.html.j2", "index.html")):
            (folder / name).write_text(environment().get_template(template).render(context), encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{folder}: {error.strerror}; name another folder with --output DIR") from error
    return folder / "index.html"
