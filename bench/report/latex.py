"""The report for a paper: each table with booktabs, a methods paragraph, BibTeX, and a document that has them all.

Letters that a plain pdfLaTeX cannot set are written by their code point, U+6DF7, so that every name compiles.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.report.references import CITED, REFERENCES, bibtex
from bench.report.table import Table

PACKAGES = ("booktabs", "longtable", "array")
LONG_CELL = 26
"""From this many characters on, a column of text is broken into lines."""
_PAGE_ROWS = 24
_LETTER_WIDTH, _GAP_WIDTH = 1 / 190, 1 / 60
"""Of the line of `report.tex`: landscape A4 at the size of scripts."""
_COMMANDS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}",  # not the option of a \\ before it
    "\N{EN DASH}": "--", "—": "---", "“": "``", "”": "''", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "…": r"\ldots{}", "\N{MULTIPLICATION SIGN}": r"$\times$", "∞": r"$\infty$", "≤": r"$\leq$", "≥": r"$\geq$",
    "±": r"$\pm$", "µ": r"\textmu{}", "μ": r"\textmu{}", "\N{NO-BREAK SPACE}": "~",
}  # fmt: skip
_LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it stands: no command, no line break, no letter that it does not know."""
    return "".join(map(_letter, " ".join(text.split())))


def _letter(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if " " <= character <= "~" or character in _LETTERS:
        return character
    return f"\\texttt{{U+{ord(character):04X}}}"


def paragraph(title: str, text: str) -> str:
    """Return a paragraph under a heading, in which `references.marked` keys have become citations."""
    words = CITED.split(" ".join(text.split()))
    parts = [f"\\cite{{{part}}}" if index % 2 else _spaced(part) for index, part in enumerate(words)]
    return f"\\paragraph{{{escaped(title)}.}} {''.join(parts)}\n"


def _spaced(part: str) -> str:
    """Escape a part of a line, whose spaces at both ends stand between it and its neighbours."""
    return f"{' ' * part.startswith(' ')}{escaped(part)}{' ' * (len(part) > 1 and part.endswith(' '))}"


def table_tex(table: Table, name: str, stamp: str | None) -> str:
    """Return a table as a float, or, where it is longer than a page, broken; `stamp` opens the caption."""
    marked = f"[{stamp}] " if stamp else ""
    caption = f"\\caption{{{escaped(f'{marked}{table.title}. {table.remark}')}}}\\label{{tab:{name}}}"
    head = " & ".join(escaped(column.title) for column in table.columns) + r" \\"
    rows = [" & ".join(map(escaped, row)) + r" \\" for row in table.rows]
    specification = "".join(_specification(table))
    notes = "".join(f"\\par\\noindent [{n}] {escaped(note)}\n" for n, note in enumerate(table.notes, 1))
    origin = f"% {escaped(str(table.source))}\n"
    body = _long if len(rows) > _PAGE_ROWS else _float
    return origin + body(caption, specification, head, rows, notes)


def _float(caption: str, specification: str, head: str, rows: Sequence[str], notes: str) -> str:
    lines = [
        r"\begin{table*}[t]", r"\centering\scriptsize", caption, f"\\begin{{tabular}}{{{specification}}}",
        r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n" + notes + "\\end{table*}\n"


def _long(caption: str, specification: str, head: str, rows: Sequence[str], notes: str) -> str:
    lines = [
        r"\begingroup\scriptsize", f"\\begin{{longtable}}{{{specification}}}", caption + r"\\", r"\toprule", head,
        r"\midrule", r"\endfirsthead", r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot",
        *rows, r"\end{longtable}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n" + notes + "\\endgroup\n"


def _specification(table: Table) -> Iterable[str]:
    """Yield a letter for each column; long text gets a width, so that it is broken into lines."""
    titles = [max(map(len, column.title.split())) for column in table.columns]
    columns = zip(titles, *table.rows, strict=True)
    widest = [max([title, *map(len, cells)]) for title, *cells in columns]
    broken = sum(width > LONG_CELL for width in widest)
    others = sum(width for width in widest if width <= LONG_CELL)
    share = (1 - others * _LETTER_WIDTH - len(widest) * _GAP_WIDTH) / max(broken, 1)
    for column, width in zip(table.columns, widest, strict=True):
        if width > LONG_CELL:
            side = r"\raggedleft" if column.numeric else r"\raggedright"
            yield f">{{{side}\\arraybackslash}}p{{{min(max(share, 0.08), 0.5):.2f}\\linewidth}}"
        else:
            yield "r" if column.numeric else "l"


def write_latex(
    tables: Sequence[Table], methods: Iterable[tuple[str, str]], stamp: str | None, folder: Path
) -> Mapping[str, str]:
    """Write `tables/*.tex`, `methods.tex`, `references.bib` and `report.tex`; return what each holds, by name."""
    names = [_name(table.title) for table in tables]
    for name, table in zip(names, tables, strict=True):
        (folder / "tables" / f"{name}.tex").write_text(table_tex(table, name, stamp), encoding="utf-8")
    text = "\n".join(paragraph(title, words) for title, words in methods)
    (folder / "methods.tex").write_text(text, encoding="utf-8")
    (folder / "references.bib").write_text(bibtex(REFERENCES.values()), encoding="utf-8")
    (folder / "report.tex").write_text(_document(names), encoding="utf-8")
    return {
        "tables/*.tex": "each table of this page for a paper, with booktabs",
        "methods.tex": "the methods of this run, with citations",
        "references.bib": "what the methods cite, as BibTeX",
        "report.tex": "one document of all these: pdflatex report, bibtex report, pdflatex report twice",
    }


def _name(title: str) -> str:
    """Return a table's title as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _document(names: Iterable[str]) -> str:
    packages = "".join(f"\\usepackage{{{package}}}\n" for package in PACKAGES)
    tables = "".join(f"\\input{{tables/{name}}}\n\\clearpage\n" for name in names)
    return (
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\\usepackage{textcomp}\n"
        "\\usepackage[a4paper,landscape,margin=15mm]{geometry}\n"
        f"{packages}\\begin{{document}}\n\\input{{methods}}\n{tables}"
        "\\bibliographystyle{plain}\n\\bibliography{references}\n\\end{document}\n"
    )
