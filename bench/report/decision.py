"""The table that a reader in a hurry needs: what to take, by what one cares about, and how sure that is."""

from bench.analysis.contrasts import Pair
from bench.analysis.decisions import CONCERNS, Decision
from bench.analysis.metrics import Metric
from bench.analysis.summary import Comparison
from bench.report.table import Source, Table, headings
from bench.stats.ratio import RatioInterval
from bench.stats.rounding import bare
from bench.stats.verdict import MIN_BLOCKS

NEGLIGIBLE = 0.01
"""A lead below this is said to be small, however sure it is."""
_MEANS = "; ".join(f"{concern.name}: {concern.metric.label} ({concern.metric.better})" for concern in CONCERNS)
_RULE = (
    "A mode is named where it was shown to be ahead of all other candidates: paired log-ratio t over blocks, Holm "
    "over all pairs in the row, adjusted p < 0.05. Taking turns is a candidate for throughput and energy; in the "
    "others it is 1 by definition, and the wait for a turn is not in them. Isolation is that of the job that "
    "suffers most: its rate over its rate alone in its share, or on the whole device where nothing is cut."
)


def decision_table(comparison: Comparison) -> Table:
    """Return for each mix and concern the mode to take, by how much it leads, and how sure that is."""
    table = Table(
        "What to take",
        [
            *headings(("mix", "if you care about", "take", "how sure"), ("its value [95 % CI]", "/ next mode")),
            *headings((), ("blocks", "/ taking turns")),
        ],
        Source(
            "tables/levels.csv",
            ("mix", "mode", "metric", "value", "ci_low", "ci_high", "n_blocks"),
            f"metric is {', '.join(concern.metric.name for concern in CONCERNS)}; pairs of modes from "
            "tables/colocation.csv, block by block",
        ),
        f"By {_MEANS}. {_RULE}",
    )
    for decision in comparison.decisions:
        table.add(*_row(table, decision))
    return table


def _row(table: Table, decision: Decision) -> tuple[str, ...]:
    value, lead, unit = decision.value, decision.lead, decision.concern.metric.unit
    return (
        decision.mix,
        decision.concern.name,
        _taken(decision),
        _sureness(decision),
        f"{table.interval(value.value, value.low, value.high, _nothing(decision))} {unit}".rstrip(),
        _ratio(table, lead) if lead else table.missing("there is no other candidate"),
        str(lead.interval.n if lead else value.n),
        _against_turns(table, decision),
    )


def _against_turns(table: Table, decision: Decision) -> str:
    if not decision.concern.turns:
        return table.missing("taking turns is 1 by definition, so the value is this ratio")
    if decision.against_turns is None:
        return table.missing("taking turns measured best")
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
        return "nothing was measured"
    if decision.candidates == 1:
        return f"{decision.leaders[0]} is all there is"
    if decision.winner:
        return decision.winner
    if _too_few(decision):
        return f"too early to say; so far {decision.leaders[0]}"
    return f"undecided: {', '.join(decision.leaders)}"


def _too_few(decision: Decision) -> bool:
    return decision.lead is not None and decision.lead.interval.n < MIN_BLOCKS


def _nothing(decision: Decision) -> str:
    return f"no mode has {decision.concern.metric.label} in this mix"


def _sureness(decision: Decision) -> str:
    parts = [_shown(decision)] if decision.leaders else []
    if decision.barred:
        parts.append(f"left out, since they fail too often: {', '.join(decision.barred)}")
    if decision.missing:
        parts.append(f"not known: {', '.join(decision.missing)}")
    return "; ".join(parts)


def _shown(decision: Decision) -> str:
    pair = decision.ahead
    if pair is None or decision.lead is None:
        return "nothing to compare with"
    if _too_few(decision):
        return f"not enough data: {decision.lead.interval.n} blocks compare, {MIN_BLOCKS} are needed"
    if pair.p_adjusted is None:
        return f"no test applies against {pair.b}: no spread, or no ratio"
    count = decision.candidates * (decision.candidates - 1) // 2
    p = "p < 0.001" if pair.p_adjusted < 0.001 else f"p = {pair.p_adjusted:.3f}"
    sure = f"{p} against {pair.b} (Holm over {count} pair{'s' * (count > 1)})"
    if decision.winner is None:
        return f"not shown: {sure}"
    return f"shown: {sure}{_smallness(decision.lead.interval, decision.concern.metric)}"


def _smallness(lead: RatioInterval, metric: Metric) -> str:
    """Say where a lead that is sure is small all the same."""
    if lead.ratio is None or lead.low is None or lead.high is None:
        return ""
    far = lead.high - 1 if metric.higher_is_better else 1 - lead.low
    return f", but by less than {NEGLIGIBLE * 100:g} %" if far < NEGLIGIBLE else ""
