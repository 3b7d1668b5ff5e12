"""Runs to measure are built with `tests/analysis/synthetic.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))
