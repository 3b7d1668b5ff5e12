"""Tables of how throughput grows with the number of equal jobs, and their rows for the CSV files."""

from collections.abc import Iterator
from math import isfinite
from typing import Any

from bench.analysis.series import Series
from bench.analysis.summary import Comparison
from bench.report.table import BLOCKS, Source, Table, headings
from bench.stats.rounding import bare, with_half_width
from bench.stats.scaling import ScalingFit

_ALPHA, _BETA, _GAMMA = "alpha", "beta", "gamma"
_BOUND = "at a bound of its range, where no standard error can be told"
_PARAMETERS = ("gamma", "gamma_error", "alpha", "alpha_error", "beta", "beta_error", "residual_sd", "aicc")


def fit_table(comparison: Comparison) -> Table:
    """Return the fits of both laws to each series, with standard errors, and which of them the data prefer."""
    table = Table(
        "Laws of scaling",
        [
            *headings(("job", "mode", "law"), ("points", f"{_GAMMA} (one client)")),
            *headings((), (f"{_ALPHA} (contention)", f"{_BETA} (coherency)")),
            *headings((), ("AICc", "most clients of use")),
            *headings(("preferred",), ()),
        ],
        Source("tables/scaling_fits.csv", ("job", "mode", "law", "points", *_PARAMETERS)),
        f"USL: X(n) = {_GAMMA} n / (1 + {_ALPHA} (n - 1) + {_BETA} n (n - 1)); Amdahl has no {_BETA}. Each with "
        "one standard error; a point is one block of one number of clients. The law with the smaller AICc is "
        "preferred, by 2 at least. Nothing is said beyond the most clients measured.",
    )
    for one in comparison.series:
        for law, fit in _laws(one):
            table.add(one.job, one.mode, law, str(_count(one)), *_parameters(table, one, fit))
    return table


def _laws(one: Series) -> tuple[tuple[str, ScalingFit | None], ...]:
    return (("USL", one.usl), ("Amdahl", one.amdahl))


def _count(one: Series) -> int:
    return sum(point.throughput.n for point in one.points)


def _parameters(table: Table, one: Series, fit: ScalingFit | None) -> Iterator[str]:
    if fit is None:
        yield from (table.missing(one.reason),) * 6
        return
    yield _with_error(table, fit.gamma, fit.gamma_error)
    yield _with_error(table, fit.alpha, _inside(fit.alpha, fit.alpha_error))
    yield (
        _with_error(table, fit.beta, _inside(fit.beta, fit.beta_error))
        if fit is one.usl
        else table.missing("0 by definition")
    )
    yield table.number(fit.aicc, "too few points, or an exact fit")
    peak = fit.peak_clients
    seen = peak is not None and peak <= max(point.clients for point in one.points)
    yield bare(peak) if peak and seen else table.missing("no peak among the clients measured")
    yield one.preferred or "neither"


def _inside(value: float, error: float | None) -> float | None:
    """Return the error of a parameter that lies inside its range from 0 to 1."""
    return error if 1e-9 < value < 1 - 1e-9 else None


def _with_error(table: Table, value: float, error: float | None) -> str:
    """Return a parameter with its standard error, which says nothing at a bound of the parameter's range."""
    if error is None or not isfinite(error):
        return f"{bare(value)} {table.note(_BOUND)}"
    return with_half_width(value, error)


def point_table(comparison: Comparison) -> Table:
    """Return the throughput of all clients together, for each number of them."""
    table = Table(
        "Throughput by number of clients",
        headings(("job", "mode", "unit"), ("clients", BLOCKS, "throughput", "of one client")),
        Source(
            "tables/scaling.csv", ("job", "mode", "unit", "clients", "n_blocks", "throughput", "ci_low", "ci_high")
        ),
        "Of all clients together. Geometric mean over blocks [95 % t interval].",
    )
    for row in point_rows(comparison):
        mean = table.interval(row["throughput"], row["ci_low"], row["ci_high"])
        each = bare(row["throughput"] / row["clients"])
        table.add(row["job"], row["mode"], row["unit"], str(row["clients"]), str(row["n_blocks"]), mean, each)
    return table


def point_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the unrounded rows of `scaling.csv`."""
    for one in comparison.series:
        for point in one.points:
            mean = point.throughput
            yield {
                "job": one.job, "mode": one.mode, "unit": f"{one.unit}/s", "clients": point.clients,
                "n_blocks": mean.n, "throughput": mean.value, "ci_low": mean.low, "ci_high": mean.high,
            }  # fmt: skip


def fit_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the unrounded rows of `scaling_fits.csv`."""
    for one in comparison.series:
        for law, fit in _laws(one):
            yield {
                "job": one.job, "mode": one.mode, "law": law, "points": _count(one),
                **{name: getattr(fit, name) if fit else None for name in _PARAMETERS},
                "preferred": one.preferred, "reason": None if fit else one.reason,
            }  # fmt: skip
