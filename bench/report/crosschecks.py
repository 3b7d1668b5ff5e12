"""The primary contrasts by other methods: a table, and its rows for the CSV file."""

from collections.abc import Iterator
from typing import Any

from bench.analysis.metrics import METRICS
from bench.analysis.summary import Comparison
from bench.report.table import BLOCKS, Source, Table, headings
from bench.stats.interval import Interval
from bench.stats.ratio import RatioInterval

_COLUMNS = (
    "mix", "metric", "mode", "baseline", "n_blocks", "ratio", "bca_low", "bca_high", "hodges_lehmann",
    "sign_flip_p", "signed_rank_p", "a12", "cliffs_delta",
)  # fmt: skip
_TOO_FEW = "too few blocks"


def crosscheck_table(comparison: Comparison) -> Table:
    """Return the ratios of the primary family by t, BCa and Hodges-Lehmann, with tests that assume less."""
    table = Table(
        "Cross-checks of the primary contrasts",
        [
            *headings(("mix", "metric", "mode", "against"), (BLOCKS, "t (headline)", "BCa", "Hodges-Lehmann")),
            *headings((), ("p (sign flip)", "p (signed rank)", "A12 [95 % CI]", "Cliff's delta")),
        ],
        Source("tables/crosschecks.csv", _COLUMNS),
        "Ratios with 95 % intervals by Student's t on log-ratios, by bootstrap (BCa, too short with few blocks), "
        "and as the median of all ratios of a block of one side to one of the other. p of exact tests is after "
        "Holm. A12 is how often a block of the mode exceeds one of what it is held against: with little noise it "
        "is 0 or 1, and ranks no effects.",
    )
    for check in comparison.crosschecks:
        names = (check.mix, METRICS[check.metric].label, check.mode, check.baseline, str(check.n_blocks))
        ratios = (
            table.interval(*_limits(each), _TOO_FEW) for each in (check.headline, check.bca, check.hodges_lehmann)
        )
        tests = (_p(table, p) for p in (check.sign_flip_p, check.signed_rank_p))
        wins = table.interval(*_limits(check.a12), _TOO_FEW)
        table.add(*names, *ratios, *tests, wins, table.number(check.cliffs_delta, _TOO_FEW))
    return table


def _limits(of: Interval | RatioInterval) -> tuple[float | None, float | None, float | None]:
    value = of.ratio if isinstance(of, RatioInterval) else of.value
    return value, of.low, of.high


def _p(table: Table, p: float | None) -> str:
    if p is None:
        return table.missing("no spread, or no block")
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def crosscheck_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the unrounded rows of `crosschecks.csv`."""
    for check in comparison.crosschecks:
        yield {
            **{name: getattr(check, name) for name in ("mix", "metric", "mode", "baseline", "n_blocks")},
            **_named(check.headline, "ratio", "ci_low", "ci_high"),
            **_named(check.bca, "bca", "bca_low", "bca_high"),
            **_named(check.hodges_lehmann, "hodges_lehmann", "hodges_lehmann_low", "hodges_lehmann_high"),
            **_named(check.a12, "a12", "a12_low", "a12_high"),
            **{name: getattr(check, name) for name in ("cliffs_delta", "sign_flip_p", "signed_rank_p")},
        }


def _named(of: Interval | RatioInterval, *names: str) -> dict[str, float | None]:
    return dict(zip(names, _limits(of), strict=True))
