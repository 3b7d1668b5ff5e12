"""The story: for each block, for each mode, enter it, run its trials side by side under watch, record each.

Whatever happens to a job is data and the sweep goes on; only a device that cannot be put back ends it.
"""

from concurrent.futures import ThreadPoolExecutor

from bench.clock import utc_now
from bench.errors import DeviceError, ModeUnavailable
from bench.launch.corun import CoRun, co_run
from bench.launch.tenants import board_flags, host_flags, make_tenants
from bench.modes.contract import ActiveMode
from bench.modes.entering import entered
from bench.modes.proof import after_the_window
from bench.modes.switch import Switch
from bench.plan.catalog import Catalog
from bench.plan.model import Timing
from bench.plan.schedule import Schedule, Trial, Visit
from bench.progress import Progress
from bench.rig import Rig
from bench.store.compose import measured, not_measured, visited
from bench.store.decision import rates_of
from bench.store.record import RunRecord, Status, TrialRecord
from bench.store.run_folder import RunFolder


class Experiment:
    """One run on one rig. What is already in the run's folder is not measured again."""

    def __init__(self, rig: Rig, run: RunFolder, catalog: Catalog, progress: Progress) -> None:
        self.rig, self.folder, self.catalog, self.progress = rig, run, catalog, progress
        self.run: RunRecord = run.record
        self.rates = rates_of(run.calibration)

    def conduct(self, schedule: Schedule) -> None:
        """Measure every trial of the schedule that has no record yet."""
        for block in schedule.blocks:
            for visit in block.visits:
                self.visit(visit, schedule.timing)

    def visit(self, visit: Visit, timing: Timing) -> None:
        """Enter a mode once and run its trials; a mode that cannot be entered explains why in each record."""
        waiting = [trial for trial in visit.trials if not self.folder.has(trial.id)]
        if not waiting:
            return
        switch = self.rig.switch.for_visit()
        try:
            with entered(visit.mode, switch) as active:
                self.note(visit, switch)
                for trial in waiting:
                    self.attempt(trial, active, timing)
        except (ModeUnavailable, DeviceError) as error:
            self.give_up(waiting, error)
        finally:
            self.note(visit, switch)

    def note(self, visit: Visit, switch: Switch) -> None:
        """Write down what switching has taken so far; a run that is killed later keeps that."""
        if record := visited(self.run, visit, switch.stopwatch):
            self.folder.keep_visit(record)

    def attempt(self, trial: Trial, active: ActiveMode, timing: Timing) -> None:
        """Run one trial; a device that fails meanwhile spoils this trial and no other."""
        self.progress.started(trial)
        try:
            with self.folder.writing():
                self.measure(trial, active, timing)
        except (ModeUnavailable, DeviceError) as error:
            self.give_up([trial], error)

    def measure(self, trial: Trial, active: ActiveMode, timing: Timing) -> None:
        """Run one trial on an idle device: grants, tenants, launch under watch, another look, record."""
        started_at = utc_now()
        active.await_idle(self.rig.clock)
        grants = active.tenancy(trial.mix)
        scratch = self.folder.scratch(trial.id)
        tenants = make_tenants(trial, grants, self.catalog, self.rig.device, scratch, self.run.run_id, self.rates)
        granted = [tenant.grant for tenant in tenants]
        with self.rig.sampler.watch() as watch:
            corun = co_run(
                self.rig.launcher, tenants, timing, self.rig.clock, lambda seen: active.confirm(granted, seen)
            )
        with ThreadPoolExecutor(1) as meanwhile:
            seen = meanwhile.submit(after_the_window, active)  # and before the next trial
            telemetry = watch.result()
            self.folder.keep_samples(trial.id, corun, telemetry)
        corun.evidence += seen.result() if corun.window else ()
        flags = (*host_flags(trial, self.catalog, self.rig.device), *board_flags(granted), *corun.flags)
        record = measured(self.run, trial, self.rig.launcher, active.evidence, corun, telemetry, flags, started_at)
        self.keep(record, corun)

    def give_up(self, trials: list[Trial], why: Exception) -> None:
        """Record trials that could not be measured: skipped if the device cannot do it, else invalid."""
        status = Status.SKIPPED if isinstance(why, ModeUnavailable) else Status.INVALID
        for trial in trials:
            self.keep(not_measured(self.run, trial, self.rig.launcher, status, str(why), utc_now()))

    def keep(self, record: TrialRecord, corun: CoRun | None = None) -> None:
        """Write a record, then tell the onlooker."""
        self.folder.keep(record)
        self.progress.ended(record, corun)
