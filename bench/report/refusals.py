"""What no report may print. Each rule is checked on the finished comparison, before a file is written.

A report that breaks one is a fault of this tool and not of a run, hence ValueError, with the number in question.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isclose

from bench.analysis.cells import EXPLORATORY, PRIMARY
from bench.analysis.contrasts import Contrast
from bench.analysis.summary import Comparison
from bench.report.figures.style import Drawing
from bench.stats.multiplicity import benjamini_hochberg, holm
from bench.stats.quantile import minimum_count
from bench.stats.verdict import ALPHA, Verdict

_PERCENTILES = (("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99))
_DIGITS = 1e-9
_CORRECTIONS: Mapping[str, Callable[[Sequence[float | None]], list[float | None]]] = {
    PRIMARY: holm,
    EXPLORATORY: benjamini_hochberg,
}
_Cell = tuple[str, float | None, float | None, int]


def refuse_unsound(comparison: Comparison) -> None:
    """Raise ValueError where a number must not be printed as it is."""
    _percentiles(comparison)
    told: list[_Cell] = [(f"{x.metric} of {x.mode}", x.ci_low, x.ci_high, x.n_blocks) for x in comparison.levels]
    told += [(_named(row), row.ci_low, row.ci_high, row.n_blocks) for row in comparison.contrasts]
    _intervals(told)
    for row in comparison.contrasts:
        _absolutes(row)
    for trials in dict.fromkeys(row.trials for row in comparison.contrasts):
        for family in _CORRECTIONS:
            rows = [row for row in comparison.contrasts if (row.trials, row.family) == (trials, family)]
            _corrected(rows, family)


def refuse_unmarked(drawings: Iterable[Drawing], words: str | None) -> None:
    """Raise ValueError where a figure of a run that may not be published, or is simulated, does not say so."""
    for drawing in drawings if words else ():
        if words not in [text.get_text() for text in drawing.figure.texts]:
            raise ValueError(f"figure {drawing.name} lacks the words {words!r} across it")


def _percentiles(comparison: Comparison) -> None:
    for trial in comparison.trials:
        for job in trial.jobs:
            for name, p in _PERCENTILES:
                needed = minimum_count(p)
                if getattr(job.latency, name) is not None and job.latency.count < needed:
                    told = f"p{p * 100:g} of {job.job} from {job.latency.count} steps"
                    raise ValueError(f"{trial.record.id}: {told}; {needed} are needed")


def _intervals(told: Iterable[_Cell]) -> None:
    for name, low, high, n in told:
        if (low is not None or high is not None) and n < 2:
            raise ValueError(f"{name}: an interval over {n} blocks")


def _absolutes(row: Contrast) -> None:
    """Refuse a ratio without both its values, and one that is no ratio of them, such as a mean of ratios."""
    if row.ratio is None:
        return
    if row.value is None or row.baseline_value is None:
        raise ValueError(f"{_named(row)}: a ratio without absolute values")
    if not isclose(row.ratio, row.value / row.baseline_value, rel_tol=_DIGITS):
        quotient = row.value / row.baseline_value
        raise ValueError(
            f"{_named(row)}: {row.ratio} is not the ratio of its values, {quotient}: a mean of ratios?"
        )


def _corrected(rows: Sequence[Contrast], family: str) -> None:
    """Refuse a verdict that does not rest on the p of its whole family, corrected."""
    adjusted = _CORRECTIONS[family]([row.p_value for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        if (row.p_adjusted is None) != (p is None) or (p and not isclose(row.p_adjusted or 0, p, rel_tol=_DIGITS)):
            raise ValueError(f"{_named(row)}: p {row.p_adjusted} is not that of its family after correction, {p}")
        if row.verdict in (Verdict.BETTER, Verdict.WORSE) and (p is None or p >= ALPHA):
            raise ValueError(f"{_named(row)}: {row.verdict} with p {p} after correction")


def _named(row: Contrast) -> str:
    return f"{row.mix}, {row.metric}, {row.mode} against {row.baseline}"
