"""`run`, once all is reserved: rates, blocks, what these ask for beyond the plan, and the report."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import RestoreError
from bench.experiment import Experiment
from bench.modes.entering import recover
from bench.plan.catalog import load_catalog
from bench.plan.model import Timing
from bench.plan.schedule import Schedule, make_repeats, make_schedule
from bench.progress import Progress
from bench.rig import Rig
from bench.store.record import Status
from bench.store.run_folder import RunFolder
from bench.verbs import EXIT_FAILURES, EXIT_INTERRUPTED, EXIT_OK
from bench.verbs.calibration import find_rates

if TYPE_CHECKING:
    from bench.analysis.trials import TrialMeasure

CHARTS = "bench.verbs.report"
FAILURES = (Status.FAILED, Status.INVALID)


def conduct(schedule: Schedule, rig: Rig, folder: RunFolder, quiet: bool) -> int:
    """Measure what is missing, write the report, and say the answer."""
    done = sum(folder.has(trial.id) for trial in schedule.trials)
    if rig.left_behind:
        print(f"put the GPU back from mode {rig.left_behind}, which a killed run had left", file=sys.stderr)
    if rig.device.simulated:  # nothing is measured, so the charts may be imported while the driver's tools run
        threading.Thread(target=_import_charts, daemon=True).start()
    try:
        find_rates(schedule, rig, folder)
        with Progress(schedule, done, quiet) as progress:
            experiment = Experiment(rig, folder, load_catalog(), progress)
            known = _measure(schedule, experiment, folder)
            while schedule.timing.stopping != "fixed" and not (folder.decision and folder.decision.is_final):
                known = _measure(_extended(folder, progress, known), experiment, folder, known)
        _tell(folder, known)
    except KeyboardInterrupt:
        if rig.device.kind == "gpu":
            recover(rig.switch)  # where the signal came between the end of a trial and the restoring
        print(f"\ninterrupted; the device is as it was. {_how_to_go_on(folder)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except RestoreError as error:
        raise RestoreError(f"{error}\n  {_how_to_go_on(folder)}") from error
    return EXIT_FAILURES if any(trial.status in FAILURES for trial in folder.trials()) else EXIT_OK


def _import_charts() -> None:
    """Import what reports need; the first time in another process, since compiling it would hold up the trials."""
    drawer = find_spec("seaborn")
    if drawer and drawer.cached and not Path(drawer.cached).exists():
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", f"import {CHARTS}"], env=here, capture_output=True, check=False)
    import_module(CHARTS)


def _measure(
    schedule: Schedule, experiment: Experiment, folder: RunFolder, known: Sequence["TrialMeasure"] = ()
) -> Sequence["TrialMeasure"]:
    """Measure a schedule, then once more, longer, its blocks in which a window was not steady.

    Returns the analysis of trials as far as it was needed for that.
    """
    experiment.conduct(schedule)
    if not schedule.timing.repeats_unsteady:
        return known
    from bench.analysis.steadiness import decide_repeats  # noqa: PLC0415 - as for the pilot below
    from bench.analysis.summary import measures, plan_of  # noqa: PLC0415

    known = measures(folder, list(folder.trials()), known)
    if folder.repeats.judged_blocks < len(schedule.blocks):
        folder.keep_repeats(decide_repeats(folder.repeats, known, len(schedule.blocks)))
    repeats = make_repeats(plan_of(folder), folder.record.seed, folder.repeats.blocks)
    if missing := sum(not folder.has(trial.id) for trial in repeats.trials):
        _announce(folder.repeats.blocks, repeats.timing)
        experiment.progress.extended(missing)
        experiment.conduct(repeats)
    return known


def _announce(blocks: Sequence[int], timing: Timing) -> None:
    numbers = f"block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}"
    print(
        f"\n{numbers}: a window was not steady, so every mode is measured once more, {timing.window_s:g} s long",
        file=sys.stderr,
    )


def _extended(folder: RunFolder, progress: Progress, known: Sequence["TrialMeasure"]) -> Schedule:
    """Decide from the finished blocks how many there are to be; return the schedule of all of them.

    The same seed goes on, so the part of it that is measured is as it was.
    """
    from bench.analysis.blocks import decide_blocks  # noqa: PLC0415 - other runs need no statistics before the report
    from bench.analysis.summary import plan_of  # noqa: PLC0415

    decision = decide_blocks(folder, known)
    folder.keep_decision(decision)
    done = f"pilot of {decision.pilot_blocks}" if decision.rule == "stein" else f"{decision.pilot_blocks}"
    print(f"\n{done} blocks finished; blocks in all: {decision.blocks}", file=sys.stderr)
    schedule = make_schedule(plan_of(folder), folder.record.seed)
    progress.extended(sum(trial.block > decision.pilot_blocks for trial in schedule.trials))
    return schedule


def _tell(folder: RunFolder, known: Sequence["TrialMeasure"]) -> None:
    from bench.verbs.report import tell  # noqa: PLC0415 - a dry run or a refusal need not wait a second for charts

    tell(folder, known)


def _how_to_go_on(folder: RunFolder) -> str:
    return f"Every finished trial is kept; go on with:\n  python run_experiments.py --resume {folder.path}"
