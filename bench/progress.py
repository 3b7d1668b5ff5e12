"""What an onlooker sees while a run goes on: what runs now, what has been found so far, when it will be done."""

from collections import Counter, defaultdict
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from bench.launch.corun import CoRun
from bench.plan.schedule import Role, Schedule, Trial
from bench.stats.colocation import normalised_progress, stp
from bench.stats.window import Window, credited_items
from bench.store.record import Status, TrialRecord


class Progress:
    """A bar on standard error; quiet where it is told to be or nobody watches."""

    def __init__(self, schedule: Schedule, done: int, quiet: bool) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trials"),
            TimeRemainingColumn(), TextColumn("{task.fields[found]}"),
            console=Console(stderr=True), disable=quiet, transient=True,
        )  # fmt: skip
        self._expected = len(schedule.trials)
        self._task = self._bar.add_task("", total=self._expected, completed=done, found="")
        self._solo: dict[tuple[int, str], float] = {}
        self._stp: dict[str, list[float]] = defaultdict(list)
        self._compares = schedule.timing.measures == "sharing"
        self.counts: Counter[Status] = Counter()

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def extended(self, trials: int) -> None:
        """Expect so many trials more."""
        self._expected += trials
        self._bar.update(self._task, total=self._expected)

    def started(self, trial: Trial) -> None:
        """Show what runs now."""
        alone = " alone" if trial.slot is not None else ""
        block = f"block {trial.block}{', longer' if trial.longer else ''}"
        self._bar.update(self._task, description=f"{block}: {trial.mode.label}, {trial.mix.name}{alone}")

    def ended(self, record: TrialRecord, corun: CoRun | None) -> None:
        """Count the trial, and show the mean system throughput of each mode so far."""
        self.counts[record.status] += 1
        if record.status is Status.OK and corun is not None and self._compares:
            self._learn(record, corun)
        found = ", ".join(f"{mode} {fmean(values):.2f}" for mode, values in self._stp.items())
        bad = self.counts[Status.FAILED] + self.counts[Status.INVALID]
        text = " ".join([f"STP so far: {found}" if found else "", f"({bad} failed or invalid)" if bad else ""])
        self._bar.update(self._task, advance=1, found=text.strip())

    def _learn(self, record: TrialRecord, corun: CoRun) -> None:
        rates = _rates(corun)
        if record.role is Role.SOLO:
            self._solo[record.block, record.tenants[0].job] = rates[0]
        elif record.role is Role.MIX:
            solo = [self._solo.get((record.block, tenant.job)) for tenant in record.tenants]
            if all(solo):
                pairs = zip(rates, solo, strict=True)
                self._stp[record.mode_label].append(
                    stp([normalised_progress(rate, alone) for rate, alone in pairs if alone])
                )


def _rates(corun: CoRun) -> list[float]:
    """Items per second of each tenant in the window."""
    if corun.window is None:
        return []
    window = Window(corun.window.settle_s, corun.window.stop_s)
    steps = [outcome.events.steps for outcome in corun.outcomes]
    return [credited_items(window, s.end_s, s.duration_s, s.items) / window.length_s for s in steps]
