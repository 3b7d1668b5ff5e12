"""`run`: what the command line asks for, checked and reserved, for a new run or one that goes on."""

import argparse
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.clock import utc_now
from bench.errors import ModeUnavailable, SetupError
from bench.gpu.device import Device
from bench.launch.tenants import refuse_beyond_host
from bench.modes.availability import why_unavailable
from bench.modes.found import find
from bench.plan.catalog import Workload, load_catalog
from bench.plan.load import PRESET_FOLDER, find_plan, load_plan
from bench.plan.mode import AsFound
from bench.plan.model import Plan
from bench.plan.schedule import Schedule, make_repeats, make_schedule
from bench.plan.select import Selection, select_modes
from bench.plan.whole_gpus import refuse_several_gpus
from bench.rig import Rig, find_device, reserved
from bench.store.record import RunRecord
from bench.store.resume import supersede_broken_blocks
from bench.store.run_folder import RunFolder, run_id
from bench.store.software import software
from bench.verbs import EXIT_OK
from bench.verbs.clock_lock import find_lock, refuse_impossible_lock, with_lock
from bench.verbs.conduct import conduct
from bench.verbs.dry_run import print_schedule

DEFAULTS: dict[str, Any] = {"plan": "standard", "device": "auto", "launcher": "auto", "results": "results"}
TAKEN_FROM_FOLDER = ("mode", "plan", "device", "launcher", "results", "seed", "allow_reset", "lock_clocks")

Conduct = Callable[[Schedule, Rig, RunFolder, bool], int]


def start(options: argparse.Namespace, how: Conduct = conduct) -> int:
    """Measure a plan in a new folder; `how` is another way of doing so than `run`'s, which ends in a report."""
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    device = find_device(options.device)
    path = find_plan(options.plan, device.kind)
    preset = path.parent == PRESET_FOLDER
    names = [name for text in options.mode for name in text.split(",") if name]
    selection = select_modes(load_plan(path, load_catalog()), names, preset, device.kind)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    schedule = make_schedule(selection.plan, seed)
    _refuse_impossible(selection, device, options.allow_reset)
    refuse_impossible_lock(options.lock_clocks, device)
    if options.dry_run:
        print_schedule(schedule, device, options.lock_clocks)
        return EXIT_OK
    with reserved(device, options.launcher, options.allow_reset, _workloads(selection.plan)) as bare:
        lock = find_lock(options.lock_clocks, bare, selection.plan, seed)
        rig = with_lock(bare, lock)
        now = utc_now()
        record = RunRecord(
            run_id=run_id(now, selection.plan.name, device.name),
            simulated=device.simulated,
            plan_source=options.plan,
            modes=tuple(names) or None,
            preset=preset,
            seed=seed,
            device_request=device.selector,
            launcher_request=options.launcher,
            allow_reset=options.allow_reset,
            clock_lock=lock,
            device=_set_up(rig, selection.plan),
            software=software(),
            inputs={name: file.sha256 for name, file in selection.plan.files.items()},
            created_at=now.isoformat(),
        )
        text, files = path.read_text(encoding="utf-8"), selection.plan.files.values()
        folder = RunFolder.create(Path(options.results), record, text, files)
        return how(schedule, rig, folder, options.quiet)


def resume(options: argparse.Namespace) -> int:
    """Go on with a run; everything but --quiet and --dry-run is taken from its folder."""
    given = [f"--{name.replace('_', '-')}" for name in TAKEN_FROM_FOLDER if _is_given(getattr(options, name))]
    if given:
        raise SetupError(f"--resume takes {', '.join(given)} from the run's folder; leave it out")
    folder = RunFolder.open(Path(options.resume))
    record = folder.record
    device = find_device(record.device_request)
    plan = folder.plan(load_catalog())
    selection = select_modes(plan, record.modes or (), record.preset, device.kind)
    decision = folder.decision
    plan_now = selection.plan.lasting(decision.blocks if decision else None)
    schedule = make_schedule(plan_now, record.seed)
    mhz = record.clock_lock.sm_clock_mhz if record.clock_lock else None
    refuse_impossible_lock(mhz, device)
    if options.dry_run:
        print_schedule(schedule, device, mhz, decision is not None and decision.is_final)
        return EXIT_OK
    with reserved(device, record.launcher_request, record.allow_reset, _workloads(plan)) as bare:
        rig = with_lock(bare, record.clock_lock)
        _refuse_other_setup(record, _set_up(rig, selection.plan))
        repeats = make_repeats(plan_now, record.seed, folder.repeats.blocks)
        for block in (*supersede_broken_blocks(folder, schedule), *supersede_broken_blocks(folder, repeats)):
            print(f"block {block} was interrupted for long or by a reboot and is repeated whole", file=sys.stderr)
        return conduct(schedule, rig, folder, options.quiet)


def _refuse_impossible(selection: Selection, device: Device, allow_reset: bool) -> None:
    """Refuse, before anything is touched, what was asked for by name and cannot be had here."""
    if device.kind == "cpu" and selection.plan.timing.measures == "switching":
        raise SetupError(
            "plan switching: on --device cpu nothing is switched, so there is nothing to time; "
            "name a GPU with --device cuda, or walk through it with --device simulated"
        )
    refuse_several_gpus(selection.plan, load_catalog(), device.kind)
    if device.kind == "gpu" and not device.simulated:
        refuse_beyond_host(selection.plan, load_catalog())
    for label, why in why_unavailable(selection.plan.modes, device, allow_reset or device.simulated).items():
        if label in selection.required:
            raise ModeUnavailable(f"mode {label}: {why}")


def _set_up(rig: Rig, plan: Plan) -> dict[str, Any]:
    """Return what identifies the set-up; a run that takes the device as it is says what that was."""
    as_found = any(isinstance(mode, AsFound) for mode in plan.modes) and rig.device.kind == "gpu"
    return {**rig.description, **({"found": find(rig.device).words} if as_found else {})}


def _refuse_other_setup(record: RunRecord, set_up: dict[str, Any]) -> None:
    """Refuse to go on with a run on another device, driver or code than it began on."""
    here = {**set_up, "commit": software()["commit"]}
    then = {**record.device, "commit": record.software.get("commit")}
    for name, value in then.items():
        if here.get(name) != value:
            raise SetupError(
                f"this run began with {name} = {value!r}, here it is {here.get(name)!r}; start a new run"
            )


def _workloads(plan: Plan) -> list[Workload]:
    catalog = load_catalog()
    jobs = {job.workload: job for mix in plan.mixes for job in mix.jobs}
    return [job.workload_in(catalog) for job in jobs.values()]


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != []
