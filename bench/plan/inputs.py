"""Files that parameters of jobs name: each is read once, with the plan, and from then on known by its content."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

DIGITS = 12  # of a hash, enough to tell the files of a run apart

Find = Callable[[str], Path]
"""Returns where the file is that a plan calls by this name."""


class InputFile(BaseModel):
    """A file as it was when the plan was read. Records keep its hash; its content is in the run's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # as the plan has it
    sha256: str
    content: bytes = Field(default=b"", exclude=True, repr=False)

    @property
    def copy_name(self) -> str:
        """What the copy in the run's folder is called: a name that no other content has."""
        return copy_name(self.name, self.sha256)


def copy_name(name: str, digest: str) -> str:
    """Return `0d4a1185a3f2-monday.csv`."""
    return f"{digest[:DIGITS]}-{Path(name).name[-100:]}"


def read_input(name: str, kind: str, path: Path) -> InputFile:
    """Read a file and check that it is of its kind (CHECKS); raises ValueError that says what is wrong."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a relative path begins where the plan lies")
    try:
        content = path.read_bytes()
        CHECKS[kind](content)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return InputFile(name=name, sha256=sha256(content).hexdigest(), content=content)


@lru_cache(maxsize=16)
def instants_in(content: bytes) -> tuple[float, ...]:
    """Return the arrivals of a trace, in seconds after the start; raises ValueError with the line that is wrong.

    They stand in the first column of a CSV file, below a heading or none, as `load_test --trace` has them.
    """
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    cells = [(f"line {rows.line_num}", row[0]) for row in rows if row]
    if cells and _number(cells[0][1]) is None:
        del cells[0]
    if not cells:
        raise ValueError("no instants; the first column is to hold seconds after the start")
    instants: list[float] = []
    for place, cell in cells:
        instants.append(_instant(place, cell, instants[-1] if instants else 0.0))
    return tuple(instants)


def _instant(place: str, cell: str, earlier_s: float) -> float:
    instant_s = _number(cell)
    if instant_s is None or not math.isfinite(instant_s):
        raise ValueError(f"{place}: {cell!r} is no instant; the first column is to hold seconds after the start")
    if instant_s < 0:
        raise ValueError(f"{place}: {cell} is negative; instants are seconds after the start")
    if instant_s < earlier_s:
        raise ValueError(f"{place}: {cell} comes after {earlier_s:g}; instants are to be in order")
    return instant_s


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_notebook(content: bytes) -> None:
    """Raise ValueError unless this is a notebook of nbformat 4 with code to execute."""
    try:
        cells = json.loads(content)["cells"]
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("not a notebook of nbformat 4 (.ipynb)") from error
    if not any("".join(source).strip() for source in code):
        raise ValueError("the notebook has no code cells")


CHECKS: Mapping[str, Callable[[bytes], object]] = {"arrivals": instants_in, "notebook": _check_notebook}
"""What is asked of a file, by the kind that the catalog gives its parameter."""
