"""Runs to measure are built with `tests/analysis/synthetic.py`, and scripts imported by `scripts.py` here."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "analysis"), str(Path(__file__).parent)]
