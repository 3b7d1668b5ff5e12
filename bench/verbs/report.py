"""`report RUN`: rebuild a report from the records alone; neither Docker nor a GPU is needed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.analysis.summary import analyse
from bench.analysis.trials import TrialMeasure
from bench.report.write import write_report
from bench.store.run_folder import RunFolder


def report(options: argparse.Namespace) -> int:
    """Write the report of a run and say the answer."""
    tell(RunFolder.open(Path(options.run)))
    return 0


def tell(run: RunFolder, known: Sequence[TrialMeasure] = ()) -> None:
    """Write the report; print the answer in a sentence per mix, and where the report is.

    Trials that are `known` are not measured again.
    """
    comparison = analyse(run, known)
    page = write_report(run, comparison)
    for answer in comparison.answers:
        print(answer.text)
    print(f"report: {page}")
