"""One call from a run to its report: tables, figures, the HTML page and the Markdown file."""

import base64
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.analysis.summary import Comparison, analyse
from bench.errors import RecordError
from bench.plan.model import Mix
from bench.report.costs import faster_remarks
from bench.report.exports import write_tables
from bench.report.figures.draw import draw_all
from bench.report.labels import QUESTIONS, banners, block_remarks, watermark
from bench.report.latex import write_latex
from bench.report.page import Figures, sections
from bench.report.references import marked, spelled
from bench.report.refusals import refuse_unsound
from bench.report.rendering import environment
from bench.report.steadiness import repeat_remarks
from bench.stats.quantile import minimum_count
from bench.stats.rounding import counted
from bench.stats.verdict import ALPHA, MAX_FAILURE_SHARE, MIN_BLOCKS
from bench.store.record import Status
from bench.store.run_folder import RunFolder


def write_report(run: RunFolder, comparison: Comparison | None = None) -> Path:
    """Rebuild everything under `report/` from the run's records; return the path of index.html.

    Raises RecordError where records cannot be pooled or the folder cannot be written, and ValueError where the
    comparison holds a number that no report may print (`refusals`). Figures aside, the same
    records always give the same bytes.
    """
    comparison = comparison or analyse(run)
    refuse_unsound(comparison)
    folder = run.report_folder
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("figures", "tables"):
            (folder / name).mkdir(parents=True)
        files = write_tables(comparison, folder / "tables")
        figures = draw_all(comparison, run, folder / "figures")
        context = _context(comparison, figures, files)
        tables = [table for section in context["sections"] for table in section.tables]
        context["latex"] = write_latex(tables, _methods(comparison, marked), watermark(comparison), folder)
        for template, name in (("report.md.j2", "report.md"), ("index.html.j2", "index.html")):
            text = environment().get_template(template).render(context)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{folder}: {error.strerror}; the records are safe. Make room, then: python -m bench report {run.path}"
        ) from error
    return folder / "index.html"


def _context(comparison: Comparison, figures: Figures, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run": comparison.run,
        "plan": comparison.plan,
        "question": QUESTIONS[comparison.plan.timing.measures],
        "answers": comparison.answers,
        "remarks": [
            *block_remarks(comparison.block_decision),
            *repeat_remarks(comparison),
            *(control.text for control in comparison.controls),
            *faster_remarks(comparison),
        ],
        "banners": banners(comparison),
        "watermark": watermark(comparison),
        "counts": [(status.value, comparison.counts.get(status, 0)) for status in Status],
        "scheduled": comparison.scheduled,
        "sections": sections(comparison, figures),
        "figures": {name: drawing for name, (drawing, _) in figures.items()},
        "images": {name: _data_uri(path) for name, (_, path) in figures.items()},
        "methods": _methods(comparison, spelled),
        "files": files,
        "device": comparison.run.device.get("name", comparison.run.device_request),
    }


def _methods(comparison: Comparison, cite: Callable[..., str]) -> list[tuple[str, str]]:
    """Return headings and paragraphs of the methods section, with the numbers of this run in them.

    `cite` turns keys of `references` into what stands in the text.
    """
    timing = comparison.plan.timing
    name = "methods_switching.txt.j2" if timing.measures == "switching" else "methods.txt.j2"
    text = (
        environment()
        .get_template(name)
        .render(
            cite=cite,
            run_words=_run_words(comparison),
            settle=f"{timing.settle_s:g}",
            stop=f"{timing.settle_s + timing.window_s:g}",
            repeats=timing.repeats_unsteady,
            primary=", ".join(comparison.plan.primary),
            users=any(job.serves_users for mix in comparison.plan.mixes for job in mix.jobs),
            min_blocks=MIN_BLOCKS,
            alpha=ALPHA,
            failure_percent=f"{MAX_FAILURE_SHARE * 100:g}",
            p99_count=minimum_count(0.99),
        )
    )
    paragraphs = (paragraph.split(":\n", 1) for paragraph in text.strip().split("\n\n"))
    return [(heading, " ".join(words.split())) for heading, words in paragraphs]


def _run_words(comparison: Comparison) -> str:
    """Return what was run on what, how often, and what became of it, in sentences."""
    run, plan, counts = comparison.run, comparison.plan, comparison.counts
    device = run.device.get("name", run.device_request)
    driver = run.device.get("driver_version")
    modes = ", ".join(mode.label for mode in plan.sharing_modes) or "none"
    outcome = ", ".join(f"{counts.get(status, 0)} {status.value}" for status in Status)
    made = "The model of a device, not a device, was asked" if run.simulated else "Measured"
    return (
        f"{made}: {device}{f', driver {driver}' if driver else ''}. Sharing modes: {modes}. Mixes: "
        f"{'; '.join(_sized(mix) for mix in plan.mixes)}. {counted(plan.blocks, 'block')} in random order "
        f"(seed {run.seed}), windows of {plan.timing.window_s:g} s; {counted(len(comparison.records), 'trial')}: "
        f"{outcome}; {len(comparison.flagged)} flagged. Version {run.software.get('bench', 'not recorded')}, "
        f"commit {run.software.get('commit') or 'not recorded'}"
        f"{' with local changes' if run.software.get('dirty') else ''}."
    )


def _sized(mix: Mix) -> str:
    return f"{mix.name} ({counted(len(mix.jobs), 'job')})"


def _data_uri(png: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode("ascii")
