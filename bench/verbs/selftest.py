"""`selftest`: prove on a real device that each mode that needs no switching is what its label says, in minutes.

It is a run of the preset `selftest` like any other; beside it, it keeps what the driver's tools print while the
tenants run. Compute mode, MIG, clocks and power are left alone: where they are in the way it refuses.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.analysis.selftest import judge
from bench.clock import Clock, SystemClock, utc_now
from bench.doctor.diagnosis import diagnose
from bench.errors import BenchError, RestoreError, SetupError
from bench.experiment import Experiment
from bench.gpu.captures import Capture, at_rest, of_daemon, while_tenants_run
from bench.gpu.device import Device
from bench.gpu.inventory import FINGERPRINT_FIELDS, fingerprint
from bench.gpu.smi import NvidiaSmi
from bench.interrupts import Deadline
from bench.modes.contract import ActiveMode, Evidence, Grade, Grant, Identity
from bench.modes.entering import recover
from bench.modes.journal import Journal
from bench.modes.mps_daemon import pipe_directory
from bench.modes.observe import observe
from bench.plan.catalog import load_catalog
from bench.plan.mode import Mode, Mps
from bench.plan.model import Mix, Timing
from bench.plan.schedule import Role, Schedule, Trial
from bench.progress import Progress
from bench.report.selftest_page import selftest_page
from bench.rig import Rig, find_device
from bench.store.reference import REFERENCE_FOLDER, keep_reference, make_output, masked
from bench.store.run_folder import RunFolder, run_id
from bench.store.software import software
from bench.telemetry.parse import SAMPLED_FIELDS
from bench.verbs import EXIT_FAILURES, EXIT_INTERRUPTED, EXIT_OK, run

LIBRARIES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "pydantic", "nvidia-ml-py")


def selftest(options: argparse.Namespace) -> int:
    """Run the selftest and keep its evidence; 0 only if every claim holds."""
    began_s = SystemClock().monotonic_s()
    device = find_device(options.device or "auto")
    output = Path(options.output) if options.output else REFERENCE_FOLDER
    _refuse(device, output)
    make_output(output)
    doctor = diagnose(device.selector).as_document()
    conduct = partial(_conduct, output=output, doctor=doctor, until_s=began_s + options.within)
    with tempfile.TemporaryDirectory(prefix="selftest-") as scratch:
        launcher = "auto" if device.simulated else "process"
        return run.start(
            argparse.Namespace(
                plan="selftest", device=device.selector, launcher=launcher, results=scratch,
                mode=[], seed=None, allow_reset=False, lock_clocks=None, dry_run=False, quiet=options.quiet,
            ), conduct,
        )  # fmt: skip


def _refuse(device: Device, output: Path) -> None:
    """Refuse what would have to be switched, and what would mix a model's answers with measured ones."""
    if device.simulated and output.resolve().is_relative_to(REFERENCE_FOLDER):
        raise SetupError(
            f"{output} holds what was measured, and this device is simulated; name another --output DIR"
        )
    if device.kind == "cpu":
        return
    if journal := Journal.read(device):
        restore = f"python -m bench mode restore --device {device.selector}"
        raise SetupError(f"a killed run left mode {journal.mode}; put the device back first: {restore}")
    state = observe(device)
    if not state.is_whole:
        raise SetupError(
            f"{device.name} is in compute mode {state.compute_mode} with MIG {state.mig_mode or 'unknown to it'}; "
            "the selftest needs compute mode Default without MIG, and changes neither. To change them: "
            f"gpu_configs/disable_mig.sh and gpu_configs/setup_time_slicing.sh, each with --gpu {device.uuid}"
        )


class _Selftest(Experiment):
    """An experiment that also keeps what the driver prints, at rest and while the tenants of a trial are there."""

    def __init__(self, rig: Rig, folder: RunFolder, progress: Progress) -> None:
        super().__init__(rig, folder, load_catalog(), progress)
        self.captures: list[Capture] = []

    def attempt(self, trial: Trial, active: ActiveMode, timing: Timing) -> None:
        """Run one trial, with a look at the driver in its midst where tenants share a GPU."""
        looked_at = trial.role is Role.MIX and self.rig.device.kind == "gpu"
        super().attempt(trial, _Watched(active, self.rig.device, self.captures) if looked_at else active, timing)


@dataclass
class _Watched:
    """A mode that keeps what the driver prints when its tenants are ready, before their common start."""

    active: ActiveMode
    device: Device
    captures: list[Capture]

    @property
    def mode(self) -> Mode:
        """The mode that is watched."""
        return self.active.mode

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What the device read back on entering."""
        return self.active.evidence

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Prepare the device as the mode does."""
        return self.active.tenancy(mix)

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity], /) -> tuple[Evidence, ...]:
        """Look at the driver, then let the mode compare."""
        self.captures += while_tenants_run(self.device, self.mode.slug)
        if isinstance(self.mode, Mps):
            pipe = pipe_directory(self.device)
            logs = pipe.with_name("log")
            self.captures += of_daemon(self.device.tool_environment, pipe, logs, self.mode.slug)
        return self.active.confirm(grants, identities)

    def inspect(self) -> tuple[Evidence, ...]:
        """Look at the device as the mode does."""
        return self.active.inspect()

    def await_idle(self, clock: Clock) -> None:
        """Wait as the mode does."""
        self.active.await_idle(clock)


def _conduct(
    schedule: Schedule, rig: Rig, folder: RunFolder, quiet: bool, *, output: Path, doctor: Any, until_s: float
) -> int:
    """Measure until all is there or time is up, judge what there is, keep and print it."""
    before, environment = fingerprint(rig.device), _environment(rig, folder)
    deadline = Deadline(until_s - SystemClock().monotonic_s())
    with Progress(schedule, 0, quiet) as progress:
        experiment = _Selftest(rig, folder, progress)
        interrupted, put_back = _measure(experiment, schedule, deadline)
    verdict = judge(folder, schedule, (put_back, _same_settings(rig.device, before)))
    remarks = ["Simulated: no GPU was measured."] if rig.device.simulated else []
    remarks += ["Time was up: what is said to be not measured is missing."] if deadline.passed else []
    page = masked(selftest_page(verdict, environment, remarks))
    files = {
        "summary.md": page,
        "evidence.json": _json({"simulated": rig.device.simulated, "holds": verdict.holds, **asdict(verdict)}),
        "environment.json": _json(environment),
        "doctor.json": _json(doctor),
        **{f"driver_outputs/{capture.name}": capture.text for capture in experiment.captures},
    }
    kept = keep_reference(output, f"selftest-{_suffix(rig.device)}", files, folder)
    print(f"{page}\nkept in {kept}")
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OK if verdict.holds else EXIT_FAILURES


def _measure(experiment: _Selftest, schedule: Schedule, deadline: Deadline) -> tuple[bool, Evidence]:
    """Measure; return whether the user interrupted, and whether the device could be put back."""
    claim = "the device is put back as it was found"
    interrupted = False
    try:
        try:
            with deadline:
                if experiment.rig.device.kind == "gpu":
                    fields = [*FINGERPRINT_FIELDS, *SAMPLED_FIELDS]
                    experiment.captures += at_rest(experiment.rig.device, fields)
                experiment.conduct(schedule)
        except KeyboardInterrupt:
            interrupted = not deadline.passed
            if experiment.rig.device.kind == "gpu":
                recover(experiment.rig.switch)
    except RestoreError as error:
        return interrupted, Evidence(claim, "as found", str(error), Grade.READ_BACK, holds=False)
    return interrupted, Evidence(claim, "as found", "as found", Grade.READ_BACK, holds=True)


def _same_settings(device: Device, before: Any) -> Evidence:
    """Ask for limits and modes again: a selftest leaves all of them alone."""
    claim = "settings of the device that differ from before (limits, modes, persistence)"
    try:
        after = fingerprint(device)
    except BenchError as error:
        return Evidence(claim, [], str(error), Grade.READ_BACK, holds=False)
    changed = sorted(name for name in before if before[name] != after.get(name))
    return Evidence(claim, [], changed, Grade.READ_BACK, not changed)


def _environment(rig: Rig, folder: RunFolder) -> dict[str, Any]:
    """Return what the page tells of the set-up, and beside it all that identifies the device."""
    device = rig.device
    cuda = NvidiaSmi(device.tool_environment).versions().cuda if device.kind == "gpu" else None
    told = {
        "device": device.name,
        "run": folder.record.run_id,
        "driver": device.driver_version,
        "CUDA of the driver": cuda,
        "launcher": rig.launcher.name,
        **{name: _version(name) for name in LIBRARIES},
    }
    return {**told, **{key: value for key, value in software().items() if key != "bench"},
            "identity": dict(rig.description)}  # fmt: skip


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _suffix(device: Device) -> str:
    """Return device and instant for the folder's name: `nvidia-h100-80gb-hbm3-20261122-031500`."""
    date, time, name = run_id(utc_now(), "", device.name).split("-", 2)
    return f"{name}-{date}-{time}"


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
