"""`--lock-clocks`: at which frequency the SM clock is locked, and how that was found."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.errors import DeviceError, SetupError
from bench.gpu.device import Device
from bench.gpu.smi import NvidiaSmi
from bench.launch.corun import CoRun, co_run
from bench.launch.tenants import make_tenants
from bench.modes.availability import may_change, why_unavailable
from bench.modes.entering import entered, lock_call
from bench.modes.helpers import run_helper
from bench.plan.catalog import load_catalog
from bench.plan.mode import Mode
from bench.plan.model import TIMINGS, Plan
from bench.plan.schedule import Role, Trial
from bench.rig import Rig
from bench.store.record import ClockLock
from bench.telemetry.contract import Telemetry

AUTO = "auto"
LOW_QUANTILE = 0.05  # of the clocks under load: the power cap moves them up and down
_BY_HAND = "name one with --lock-clocks MHZ"
UNMODELLED = "the model shows the lock in its telemetry, and computes no slower for it"


def refuse_impossible_lock(request: int | str | None, device: Device) -> None:
    """Raise SetupError, before anything is touched, where the clock cannot be locked as `request` says."""
    if request is None:
        return
    if device.kind == "cpu":
        raise SetupError("--lock-clocks is for GPUs; leave it out with --device cpu")
    if not may_change(device):
        raise SetupError(
            f"only root may lock clocks; run it all as root, or leave out --lock-clocks. To try it:\n"
            f"  sudo gpu_configs/lock_clocks.sh --gpu {device.uuid} --sm-mhz MHZ --dry-run"
        )
    if isinstance(request, int):
        run_helper(lock_call(request, "--dry-run"), device)


def find_lock(request: int | str | None, rig: Rig, plan: Plan, seed: int) -> ClockLock | None:
    """Return the lock that was asked for; for `auto`, one that holds under the plan's heaviest mix."""
    note = UNMODELLED if rig.device.simulated else None
    if request is None:
        return None
    if isinstance(request, int):
        return ClockLock(sm_clock_mhz=request, note=note)
    if any(job.load is not None for mix in plan.mixes for job in mix.jobs):
        raise SetupError(f"--lock-clocks comes before the rate of a load: is known; {_BY_HAND}")
    trial = Trial("calibration", 0, _most_loading(plan, rig), max(plan.mixes, key=lambda mix: len(mix.jobs)),
                  Role.MIX, None, seed)  # fmt: skip
    sustained_mhz, samples = _clock_under_load(*_run(trial, rig))
    return ClockLock(
        sm_clock_mhz=_one_step_below(sustained_mhz, NvidiaSmi(rig.device.tool_environment), rig.device),
        sustained_mhz=sustained_mhz, samples=samples, mode=trial.mode.label, mix=trial.mix.name, note=note,
    )  # fmt: skip


def with_lock(rig: Rig, lock: ClockLock | None) -> Rig:
    """Return the rig on which every visit locks the clock, and every record says so."""
    if lock is None:
        return rig
    mhz = lock.sm_clock_mhz
    described = {**rig.description, "sm_clock_lock_mhz": mhz}
    return replace(rig, switch=replace(rig.switch, sm_clock_mhz=mhz), description=described)


def _most_loading(plan: Plan, rig: Rig) -> Mode:
    """Return plain MPS, in which most kernels run at once, where plan and device have it; else the first mode."""
    modes = plan.sharing_modes or plan.modes
    unavailable = why_unavailable(modes, rig.device, rig.switch.allow_reset)
    possible = [mode for mode in modes if mode.label not in unavailable]
    if not possible:
        raise SetupError(f"--lock-clocks has no mode to find the clock in; {_BY_HAND}")
    return next((mode for mode in possible if mode.mode == "mps"), possible[0])


def _run(trial: Trial, rig: Rig) -> tuple[CoRun, Telemetry]:
    """Run the trial unlocked for a short window, in a folder that goes again."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, entered(trial.mode, rig.switch) as active:
        active.await_idle(rig.clock)
        grants, catalog = active.tenancy(trial.mix), load_catalog()
        tenants = make_tenants(trial, grants, catalog, rig.device, Path(folder), trial.id)
        with rig.sampler.watch() as watch:
            corun = co_run(
                rig.launcher, tenants, TIMINGS["smoke"], rig.clock, lambda seen: active.confirm(grants, seen)
            )
        return corun, watch.result()


def _clock_under_load(corun: CoRun, telemetry: Telemetry) -> tuple[float, int]:
    """Return the clock (MHz) that the window stayed above for 95 % of its samples, and their number."""
    unproven = [each.claim for each in corun.evidence if not each.holds]
    if corun.window is None or corun.errors or unproven:
        why = "; ".join([*corun.errors, *unproven])
        raise DeviceError(f"--lock-clocks found no clock, since its trial failed: {why}; {_BY_HAND}")
    inside = telemetry.samples["time_s"].between(corun.window.settle_s, corun.window.stop_s)
    clocks = sorted(telemetry.samples["sm_clock_mhz"][inside].dropna())
    if not clocks:
        why = telemetry.reasons.get("sm_clock_mhz", "no sample in the window")
        raise DeviceError(f"--lock-clocks found no clock: {why}; {_BY_HAND}")
    return float(clocks[math.ceil(LOW_QUANTILE * len(clocks)) - 1]), len(clocks)


def _one_step_below(sustained_mhz: float, smi: NvidiaSmi, device: Device) -> int:
    below = [mhz for mhz in smi.supported_sm_clocks(device.uuid) if mhz < sustained_mhz]
    if not below:
        raise SetupError(f"{device.name} names no clock below {sustained_mhz:g} MHz; {_BY_HAND}")
    return below[-1]
