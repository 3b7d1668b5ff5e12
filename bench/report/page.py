"""What the HTML page and the Markdown file have in common: sections in reading order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.analysis.cells import EXPLORATORY, PRIMARY
from bench.analysis.contrasts import UNFLAGGED
from bench.analysis.decisions import depends
from bench.analysis.summary import Comparison
from bench.report.checklists import rule_table, sigplan_table
from bench.report.components import component_table
from bench.report.costs import finite_work_table, slowdown_table, unit_table
from bench.report.crosschecks import crosscheck_table
from bench.report.decision import decision_table
from bench.report.evidence import proof_table, provenance_table
from bench.report.figures.style import Drawing
from bench.report.programs import program_table
from bench.report.ranking import rank_pair_table, rank_table
from bench.report.sections import (
    changed_verdicts,
    colocation_table,
    contrast_table,
    energy_table,
    flag_table,
    job_table,
    mishap_table,
    split_table,
)
from bench.report.series import fit_table, point_table
from bench.report.service import service_table
from bench.report.steadiness import repeat_table, window_table
from bench.report.switching import switching_table
from bench.report.table import Table

Figures = Mapping[str, tuple[Drawing, Path]]


@dataclass
class Section:
    """A heading with what stands below it; `folded` sections are closed until asked for."""

    title: str
    words: str = ""
    figures: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    folded: bool = False


def sections(comparison: Comparison, figures: Figures) -> list[Section]:
    """Return all sections that this run has something to say in."""
    return [section for section in _all(comparison, figures) if section.figures or section.tables]


def _all(comparison: Comparison, figures: Figures) -> Iterator[Section]:
    """Yield what there is to say; a run that compares nothing begins with what switching costs."""
    if comparison.decisions:
        yield Section("Which mode to take", depends(comparison.decisions), tables=[decision_table(comparison)])
    yield Section(
        "How the modes compare",
        "The primary family: the questions that the plan declared before the run.",
        _drawn(figures, "ratios"),
        _filled(contrast_table(comparison, "Primary contrasts", PRIMARY)),
    )
    yield Section(
        "Without flagged trials",
        changed_verdicts(comparison),
        tables=_filled(contrast_table(comparison, "Primary contrasts, unflagged trials", PRIMARY, UNFLAGGED)),
        folded=True,
    )
    yield Section(
        "The same by other methods",
        "The headline is the t interval; where one of these disagrees with it, look at the blocks.",
        tables=_filled(crosscheck_table(comparison)),
        folded=True,
    )
    yield Section(
        "Over all workloads",
        figures=_drawn(figures, "critical_difference"),
        tables=_filled(rank_table(comparison), rank_pair_table(comparison)),
        folded=True,
    )
    yield Section(
        "Scaling with the number of clients",
        figures=_drawn(figures, "scaling"),
        tables=_filled(fit_table(comparison), point_table(comparison)),
    )
    yield Section(
        "Throughput, turnaround, fairness",
        "STP alone hides a starved job, so the three always stand together.",
        _drawn(figures, "stp_by_mode", "pareto", "progress_by_job"),
        _filled(colocation_table(comparison)),
    )
    yield Section(
        "Partition and interference",
        figures=_drawn(figures, "interference"),
        tables=_filled(split_table(comparison)),
    )
    yield Section(
        "Latency and throughput of each job",
        figures=_drawn(figures, "latency_by_load", "step_latency", "service_tradeoff", "throughput_by_job"),
        tables=_filled(service_table(comparison), job_table(comparison), slowdown_table(comparison)),
    )
    yield Section("Programs without the protocol", tables=_filled(program_table(comparison)))
    yield Section(
        "What the device did",
        figures=_drawn(figures, "telemetry", "energy"),
        tables=_filled(energy_table(comparison)),
    )
    yield Section(
        "Did results drift?",
        "Every mode is measured in every block, in random order, so that a slow drift hits all of them alike.",
        _drawn(figures, "drift"),
    )
    yield Section(
        "Where the variation sits",
        "What one more repeat would narrow, and where to spend it: described, never tested.",
        _drawn(figures, "components"),
        _filled(component_table(comparison)),
    )
    yield Section(
        "What work costs",
        "Memory, energy, money and time for the same work, mode by mode.",
        tables=_filled(finite_work_table(comparison), unit_table(comparison)),
        folded=True,
    )
    yield Section(
        "What switching costs",
        figures=_drawn(figures, "switching"),
        tables=_filled(switching_table(comparison)),
    )
    yield Section(
        "Exploratory contrasts",
        "Not declared beforehand: leads to follow, not conclusions.",
        tables=_filled(contrast_table(comparison, "Exploratory contrasts", EXPLORATORY)),
        folded=True,
    )
    yield Section(
        "Failures, invalid trials, flags",
        tables=_filled(
            mishap_table(comparison), flag_table(comparison), repeat_table(comparison), window_table(comparison)
        ),
    )
    if comparison.decisions:
        yield Section(
            "What a reviewer would ask",
            "Filled in from the run; nothing here was typed for it.",
            tables=[rule_table(comparison), sigplan_table(comparison)],
            folded=True,
        )
    yield Section("Proof of mode", tables=_filled(proof_table(comparison)))
    yield Section("Provenance", tables=_filled(provenance_table(comparison)))


def _drawn(figures: Figures, *names: str) -> list[str]:
    return [name for name in names if name in figures]


def _filled(*tables: Table | None) -> list[Table]:
    return [table for table in tables if table is not None and table.rows]
