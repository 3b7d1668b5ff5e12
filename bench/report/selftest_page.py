"""What a selftest found, as a page of Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.analysis.selftest import Claim, Rate, Verdict
from bench.modes.contract import Evidence

_CLAIM_COLUMNS = ("claim", "expected", "observed", "grade", "holds")
_RATE_COLUMNS = ("mode", "trial", "tenant", "rate", "unit")


def selftest_page(verdict: Verdict, environment: Mapping[str, Any], remarks: Sequence[str]) -> str:
    """Return the page: the answer, what it was found on, the claims of each trial, and what was measured."""
    failed = [claim for claim in verdict.claims if not claim.evidence.holds]
    total = len(verdict.claims)
    answer = f"{len(failed)} of {total} claims do not hold." if failed else f"All {total} claims hold."
    told = [f"- {name}: {value}" for name, value in environment.items() if isinstance(value, str)]
    trials = dict.fromkeys((claim.mode, claim.trial) for claim in verdict.claims)
    lines = [
        f"# Selftest on {environment['device']}", "", answer, *remarks, "",
        *_table(("trial", *_CLAIM_COLUMNS), ((claim.trial or "", *_cells(claim.evidence)) for claim in failed)),
        *([""] if failed else []), *told, "", "## Rates", "",
        "Items per second in the window, measured once: they show that work was done, and no more.", "",
        *_table(_RATE_COLUMNS, map(_rate, verdict.rates)),
        *(line for mode, trial in trials for line in _section(mode, trial, verdict.claims)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _section(mode: str | None, trial: str | None, claims: Sequence[Claim]) -> list[str]:
    """Return the claims of one trial; what was read back twice with the same answer stands there once."""
    rows = dict.fromkeys(_cells(claim.evidence) for claim in claims if claim.trial == trial)
    return ["", f"## {mode}: {trial}" if trial else "## The whole run", "", *_table(_CLAIM_COLUMNS, rows)]


def _cells(told: Evidence) -> tuple[str, ...]:
    holds = "yes" if told.holds else "NO"
    return told.claim, _shown(told.expected), _shown(told.observed), told.grade.value, holds


def _rate(rate: Rate) -> Sequence[str]:
    return rate.mode, rate.trial, rate.tenant, f"{rate.rate:.4g}", f"{rate.unit}/s"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "not told" if value is None else str(value)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table; nothing where it has no row."""
    body = [[" ".join(cell.replace("|", "/").split()) for cell in row] for row in rows]
    lines = [titles, ["---"] * len(titles), *body] if body else []
    return [f"| {' | '.join(line)} |" for line in lines]
