#!/usr/bin/env python3
"""The front door: `python run_experiments.py --mode mps` is `python -m bench run --mode mps`."""

import sys

from bench.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]], program="run_experiments.py"))
