"""Tests of the report build their runs with `tests/analysis/synthetic.py`, and read them with `pages.py`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "analysis"), str(Path(__file__).parent)]
