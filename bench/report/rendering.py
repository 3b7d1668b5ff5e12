"""Templates become text here: what stands in a record is escaped, in HTML and in Markdown."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
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


def _markdown_cell(text: str) -> str:
    """Return text that stays inside one cell of a Markdown table, and is no HTML."""
    flat = " ".join(text.split())
    for character, replacement in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        flat = flat.replace(character, replacement)
    return flat
