"""`report RUN`: rebuild a report from the records alone; neither Docker nor a GPU is needed."""

import argparse
from pathlib import Path

from bench.report import write_report
from bench.store.run_folder import RunFolder


def report(options: argparse.Namespace) -> int:
    """Write the report of a run and say the answer."""
    written = write_report(RunFolder.open(Path(options.run)))
    for sentence in written.answers:
        print(sentence)
    print(f"report: {written.page}")
    return 0
