"""One call from a run to its report: tables, figures, the HTML page and the Markdown file."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.analysis.summary import Comparison, analyse
from bench.errors import RecordError
from bench.report.exports import write_tables
from bench.report.figures.draw import draw_all
from bench.report.labels import QUESTIONS, banners, block_remarks, watermark
from bench.report.page import Figures, sections
from bench.stats.quantile import minimum_count
from bench.stats.verdict import ALPHA, MAX_FAILURE_SHARE, MIN_BLOCKS
from bench.store.record import Status
from bench.store.run_folder import RunFolder

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: RunFolder, comparison: Comparison | None = None) -> Path:
    """Rebuild everything under `report/` from the run's records; return the path of index.html.

    Raises RecordError where records cannot be pooled or the folder cannot be written. Figures aside, the same
    records always give the same bytes.
    """
    comparison = comparison or analyse(run)
    folder = run.report_folder
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("figures", "tables"):
            (folder / name).mkdir(parents=True)
        files = write_tables(comparison, folder / "tables")
        figures = draw_all(comparison, run, folder / "figures")
        context = _context(comparison, figures, files)
        for template, name in (("report.md.j2", "report.md"), ("index.html.j2", "index.html")):
            text = _environment().get_template(template).render(context)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{folder}: {error.strerror}; the records are safe. Make room, then: python -m bench report {run.path}"
        ) from error
    return folder / "index.html"


def _environment() -> Environment:
    """Escape whatever stands in a record in HTML, and in Markdown what would break a table."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _markdown_cell
    return environment


def _context(comparison: Comparison, figures: Figures, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run": comparison.run,
        "plan": comparison.plan,
        "question": QUESTIONS[comparison.plan.timing.measures],
        "answers": comparison.answers,
        "remarks": [*block_remarks(comparison.decision), *(control.text for control in comparison.controls)],
        "banners": banners(comparison),
        "watermark": watermark(comparison),
        "counts": [(status.value, comparison.counts.get(status, 0)) for status in Status],
        "scheduled": comparison.scheduled,
        "sections": sections(comparison, figures),
        "figures": {name: drawing for name, (drawing, _) in figures.items()},
        "images": {name: _data_uri(path) for name, (_, path) in figures.items()},
        "methods": _methods(comparison),
        "files": files,
        "device": comparison.run.device.get("name", comparison.run.device_request),
    }


def _methods(comparison: Comparison) -> list[tuple[str, str]]:
    """Return headings and paragraphs of the methods section, with the numbers of this run in them."""
    timing = comparison.plan.timing
    name = "methods_switching.txt.j2" if timing.measures == "switching" else "methods.txt.j2"
    text = (
        _environment()
        .get_template(name)
        .render(
            settle=f"{timing.settle_s:g}",
            stop=f"{timing.settle_s + timing.window_s:g}",
            primary=", ".join(comparison.plan.primary),
            min_blocks=MIN_BLOCKS,
            alpha=ALPHA,
            failure_percent=f"{MAX_FAILURE_SHARE * 100:g}",
            p99_count=minimum_count(0.99),
        )
    )
    paragraphs = (paragraph.split(":\n", 1) for paragraph in text.strip().split("\n\n"))
    return [(heading, " ".join(words.split())) for heading, words in paragraphs]


def _data_uri(png: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode("ascii")


def _markdown_cell(text: str) -> str:
    """Return text that stays inside one cell of a Markdown table, and is no HTML."""
    flat = " ".join(text.split())
    for character, replacement in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        flat = flat.replace(character, replacement)
    return flat
