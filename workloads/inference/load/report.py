"""The summary as a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.inference.load.slo_search import MaxRate


def summary_text(summary: Mapping[str, Any]) -> str:
    """Return what a person wants to know of a run."""
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary["statuses"].items()))
    lines = [
        f"{summary['scenario']}: {summary['requests']} requests in {summary['window_s']:.4g} s ({counts})",
        f"  rate        {_rate(summary['offered_per_s'])} sent, {_rate(summary['completed_per_s'])} answered well",
        f"  latency     {distribution_text(summary['latency_ms'])}",
        f"  send lag    {distribution_text(summary['send_lag_ms'])}",
        *_promise(summary),
        *_mlperf(summary["mlperf"]),
        *(_gate(gate) for gate in summary["gates"]),
    ]
    return "\n".join(lines) + "\n"


def search_text(found: MaxRate, slo_ms: float) -> str:
    """Return what a search has found."""
    if found.rate_per_s is None:
        lines = [f"no rate was confirmed within {slo_ms:g} ms"]
    else:
        interval = found.attainment_interval
        spread = f" [{100 * interval[0]:.3f}, {100 * interval[1]:.3f}]" if interval else ""
        attained = f"{100 * (found.attainment or 0):.3f} %{spread}"
        lines = [f"{found.rate_per_s:.2f}/s confirmed within {slo_ms:g} ms: {attained} of the requests"]
    if found.lowest_failing_per_s is not None:
        lines.append(f"  lowest failing rate {found.lowest_failing_per_s:.2f}/s")
    if found.client_fault:
        lines.append(f"  the client was the limit there, not the server: {found.client_fault}")
    return "\n".join(lines) + "\n"


def distribution_text(numbers: Mapping[str, float | None]) -> str:
    """Return mean, percentiles and maximum (ms) on one line."""
    told = (f"{name.replace('_', '.')} {_ms(value)}" for name, value in numbers.items())
    return "  ".join(told) + "  (ms)"


def _promise(summary: Mapping[str, Any]) -> list[str]:
    if summary["attainment"] is None:
        return []
    rule = "passes" if summary["early_stopping_passes"] else "fails"
    within = f"{100 * summary['attainment']:.3f} % within {summary['slo_ms']:g} ms"
    return [f"  SLO         {within}, goodput {summary['goodput_per_s']:.2f}/s; MLPerf's Server rule {rule}"]


def _mlperf(metric: Mapping[str, Any] | None) -> list[str]:
    if metric is None:
        return []
    value = "n.a., too few queries" if metric["value"] is None else f"{metric['value']:.4g}"
    return [f"  MLPerf      {metric['metric']}: {value}"]


def _gate(gate: Mapping[str, Any]) -> str:
    if gate["holds"] is None:
        return f"  gate        {gate['name']}: n.a."
    verdict = "holds" if gate["holds"] else "BROKEN"
    return f"  gate        {gate['name']}: {gate['value']:.3g}, limit {gate['limit']:g}: {verdict}"


def _rate(value: float | None) -> str:
    return "n.a." if value is None else f"{value:.2f}/s"


def _ms(value: float | None) -> str:
    return "n.a." if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"
