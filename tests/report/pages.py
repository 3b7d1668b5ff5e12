"""A report as its reader has it: the words of the page, its images, and the rows of its tables."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

from bench import report
from bench.report.write import write_report
from bench.store.run_folder import RunFolder

LOADS = re.compile(
    r"""<(script|link|img|iframe)[^>]+(src|href)=["']?(https?:)?//|(@import|url\()[^;)]*//""", re.IGNORECASE
)
SORTING = (Path(report.__file__).parent / "templates" / "table.js").read_text(encoding="utf-8")
VOID = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """The page's visible words, its images, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.words = ""
        self.cells: list[tuple[str, str]] = []
        """Of all tables: the title of a cell's column, as a card on a phone shows it, and the cell's text."""
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "td":
            self.cells.append((str(dict(attrs)["data-of"]), ""))
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.words += data
            if self.open and self.open[-1] == "td":
                title, text = self.cells[-1]
                self.cells[-1] = (title, text + data)


def read(run: RunFolder) -> Page:
    html = write_report(run).read_text(encoding="utf-8")
    assert not LOADS.search(html)
    assert len(html) < 5_000_000
    page = Page(html)
    assert page.open == []
    assert [script.strip() for script in page.scripts] == [SORTING.strip()]  # ours, and nothing of the run in it
    return page


def rows(run: RunFolder, name: str) -> list[dict[str, str]]:
    with (run.report_folder / "tables" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
