"""The table that a reader in a hurry needs: what to take, by what one cares about, and how sure that is."""

from collections.abc import Iterable

from bench.analysis.decisions import Decision
from bench.analysis.metrics import GOODPUT, Metric
from bench.analysis.pairwise import Pair
from bench.analysis.summary import Comparison
from bench.report.table import BLOCKS, Source, Table, headings
from bench.stats.equivalence import TAIL_MARGIN, THROUGHPUT_MARGIN
from bench.stats.ratio import RatioInterval
from bench.stats.rounding import bare, counted
from bench.stats.verdict import MIN_BLOCKS

NEGLIGIBLE = 0.01
"""A lead below this is said to be small, however sure it is."""
_RULE = (
    "A mode is named where it was shown to be ahead of all other candidates: paired log-ratio t over blocks, "
    "Holm over all pairs in the row, adjusted p < 0.05; rows are not corrected for one another. “Any of”: the "
    "first measured best, and the others were shown to be the same within "
    f"{100 * THROUGHPUT_MARGIN:g} %, {100 * TAIL_MARGIN:g} % for tails (two one-sided tests, 5 %). Taking turns "
    "is a candidate for throughput and energy; in the others it is 1 by definition, and the wait for a turn is "
    "not in them. Isolation is that of the job that suffers most: its rate over its rate alone in its share, or "
    "on the whole device where nothing is cut."
)
_SERVED = "Goodput: requests answered within the SLO; attainment, their share, is in the table of these jobs."


def decision_table(comparison: Comparison) -> Table:
    """Return for each mix and concern the mode to take, by how much it leads, and how sure that is."""
    metrics = dict.fromkeys(decision.concern.metric for decision in comparison.decisions)
    table = Table(
        "What to take",
        [
            *headings(("mix", "if you care about", "take"), ("its value [95 % CI]", "over the next")),
            *headings((), ("over taking turns", BLOCKS)),
            *headings(("how sure",), ()),
        ],
        Source(
            "tables/levels.csv",
            ("mix", "mode", "metric", "job", "value", "ci_low", "ci_high", "n_blocks"),
            f"metric is {', '.join(metric.name for metric in metrics)}; pairs of modes from "
            f"{', '.join(_files(metrics))}, block by block",
        ),
        f"{_RULE} {_SERVED}" if GOODPUT in metrics else _RULE,
    )
    for decision in comparison.decisions:
        table.add(*_row(table, decision))
    return table


def _files(metrics: Iterable[Metric]) -> list[str]:
    return ["tables/colocation.csv", *["tables/jobs.csv"] * (GOODPUT in metrics)]


def _row(table: Table, decision: Decision) -> tuple[str, ...]:
    value, lead, unit = decision.value, decision.lead, decision.concern.metric.unit
    level = table.interval(value.value, value.low, value.high, _nothing(decision))
    return (
        decision.mix,
        _care(decision),
        _taken(decision),
        level if value.value is None else f"{level} {unit}".rstrip(),
        _ratio(table, lead) if lead else table.missing(_alone(decision)),
        _against_turns(table, decision),
        str(lead.interval.n if lead else value.n),
        _sureness(decision),
    )


def _care(decision: Decision) -> str:
    """Name a concern with its metric, where that has another name, and its direction."""
    metric = decision.concern.metric
    label = "" if metric.label == decision.concern.name else f"{metric.label}, "
    return f"{decision.name} ({label}{metric.better} is better)"


def _against_turns(table: Table, decision: Decision) -> str:
    if decision.job:
        return table.missing("users take no turns")
    if not decision.concern.turns:
        return table.missing("taking turns is 1 by definition, so the value is this ratio")
    if decision.against_turns is None:
        return table.missing("taking turns measured best" if decision.leaders else _nothing(decision))
    return _ratio(table, decision.against_turns)


def _ratio(table: Table, pair: Pair) -> str:
    """Return a ratio with its interval, and what it is a ratio to: its name and its own value."""
    interval, value = pair.interval, pair.baseline_value
    text = table.interval(interval.ratio, interval.low, interval.high, "no block in which a ratio is finite")
    if value is None and interval.ratio is not None:
        raise ValueError(f"{pair.a} over {pair.b}: a ratio without the value that it is a ratio to")
    return text if value is None else f"{text} ({pair.b} {bare(value)})"


def _taken(decision: Decision) -> str:
    if not decision.leaders:
        return "not known"
    if decision.candidates == 1:
        return f"only {decision.leaders[0]} is known"
    if decision.winner:
        return decision.winner
    if _too_few(decision):
        return f"too early to say; so far {decision.leaders[0]}"
    return f"{'any of' if decision.alike else 'undecided:'} {', '.join(decision.leaders)}"


def _too_few(decision: Decision) -> bool:
    return decision.lead is not None and decision.lead.interval.n < MIN_BLOCKS


def _nothing(decision: Decision) -> str:
    return decision.reason or f"no mode has {decision.concern.metric.label} in this mix"


def _alone(decision: Decision) -> str:
    return "there is no other candidate" if decision.leaders else _nothing(decision)


def _sureness(decision: Decision) -> str:
    parts = [_shown(decision)] if decision.leaders else []
    if decision.barred:
        fails = "it fails" if len(decision.barred) == 1 else "they fail"
        parts.append(f"left out, since {fails} too often: {', '.join(decision.barred)}")
    if decision.missing:
        why = f" ({decision.reason})" if decision.leaders and decision.reason else ""
        parts.append(f"not known: {', '.join(decision.missing)}{why}")
    return "; ".join(parts)


def _shown(decision: Decision) -> str:
    pair = decision.ahead
    if pair is None or decision.lead is None:
        return "nothing to compare with"
    if _too_few(decision):
        n = decision.lead.interval.n
        return f"not enough data: {counted(n, 'block')} compare{'s' * (n == 1)}, {MIN_BLOCKS} are needed"
    if pair.p_adjusted is None:
        return f"no test applies: {_untested(pair)}"
    count = decision.candidates * (decision.candidates - 1) // 2
    p = "p < 0.001" if pair.p_adjusted < 0.001 else f"p = {pair.p_adjusted:.3f}"
    pairs = f"Holm over {counted(count, 'pair')}"
    if decision.alike:
        return f"{_alike(decision)} (difference from {pair.b}: {p}, {pairs})"
    sure = f"{p} against {pair.b} ({pairs})"
    if decision.winner is None:
        return f"not shown: {sure}"
    return f"shown: {sure}{_smallness(decision.lead.interval, decision.concern.metric)}"


def _untested(pair: Pair) -> str:
    if pair.interval.ratio is None:
        return f"no ratio to {pair.b} is finite"
    return f"the ratio to {pair.b} is the same in all blocks"


def _alike(decision: Decision) -> str:
    return f"shown to be the same within {100 * decision.concern.metric.margin:g} %"


def _smallness(lead: RatioInterval, metric: Metric) -> str:
    """Say where a lead that is sure is small all the same."""
    if lead.ratio is None or lead.low is None or lead.high is None:
        return ""
    far = lead.high - 1 if metric.higher_is_better else 1 - lead.low
    return f", but by less than {NEGLIGIBLE * 100:g} %" if far < NEGLIGIBLE else ""
