"""`run`: from command line to report, for a new run or one that goes on."""

import argparse
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.clock import utc_now
from bench.errors import ModeUnavailable, RestoreError, SetupError
from bench.experiment import Experiment
from bench.gpu.device import Device
from bench.launch.tenants import refuse_beyond_host
from bench.modes.availability import why_unavailable
from bench.modes.entering import recover
from bench.modes.found import find
from bench.plan.catalog import Workload, load_catalog
from bench.plan.load import PRESET_FOLDER, find_plan, load_plan
from bench.plan.mode import AsFound
from bench.plan.model import Plan, Timing
from bench.plan.schedule import Role, Schedule, Trial, make_repeats, make_schedule
from bench.plan.select import Selection, select_modes
from bench.plan.whole_gpus import refuse_several_gpus
from bench.progress import Progress
from bench.rig import Rig, find_device, reserved
from bench.store.record import RunRecord, Status
from bench.store.resume import supersede_broken_blocks
from bench.store.run_folder import RunFolder, run_id
from bench.store.software import software
from bench.verbs.calibration import find_rates, searching
from bench.verbs.clock_lock import find_lock, refuse_impossible_lock, with_lock
from bench.verbs.expectations import expectations

if TYPE_CHECKING:
    from bench.analysis.trials import TrialMeasure

EXIT_OK, EXIT_FAILURES, EXIT_INTERRUPTED = 0, 1, 130
FAILURES = (Status.FAILED, Status.INVALID)
DEFAULTS: dict[str, Any] = {"plan": "standard", "device": "auto", "launcher": "auto", "results": "results"}
TAKEN_FROM_FOLDER = ("mode", "plan", "device", "launcher", "results", "seed", "allow_reset", "lock_clocks")

Conduct = Callable[[Schedule, Rig, RunFolder, bool], int]


def start(options: argparse.Namespace, conduct: Conduct | None = None) -> int:
    """Measure a plan in a new folder; `conduct` does it in place of `run`'s own way, with a report at its end."""
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
        _print_schedule(schedule, device, options.lock_clocks)
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
            created_at=now.isoformat(),
        )
        folder = RunFolder.create(Path(options.results), record, path.read_text(encoding="utf-8"))
        return (conduct or _conduct)(schedule, rig, folder, options.quiet)


def resume(options: argparse.Namespace) -> int:
    """Go on with a run; everything but --quiet and --dry-run is taken from its folder."""
    given = [f"--{name.replace('_', '-')}" for name in TAKEN_FROM_FOLDER if _is_given(getattr(options, name))]
    if given:
        raise SetupError(f"--resume takes {', '.join(given)} from the run's folder; leave it out")
    folder = RunFolder.open(Path(options.resume))
    record = folder.record
    device = find_device(record.device_request)
    plan = load_plan(folder.plan_file, load_catalog())
    selection = select_modes(plan, record.modes or (), record.preset, device.kind)
    decision = folder.decision
    plan_now = selection.plan.lasting(decision.blocks if decision else None)
    schedule = make_schedule(plan_now, record.seed)
    mhz = record.clock_lock.sm_clock_mhz if record.clock_lock else None
    refuse_impossible_lock(mhz, device)
    if options.dry_run:
        _print_schedule(schedule, device, mhz, decision is not None)
        return EXIT_OK
    with reserved(device, record.launcher_request, record.allow_reset, _workloads(plan)) as bare:
        rig = with_lock(bare, record.clock_lock)
        _refuse_other_setup(record, _set_up(rig, selection.plan))
        repeats = make_repeats(plan_now, record.seed, folder.repeats.blocks)
        for block in (*supersede_broken_blocks(folder, schedule), *supersede_broken_blocks(folder, repeats)):
            print(f"block {block} was interrupted for long or by a reboot and is repeated whole", file=sys.stderr)
        return _conduct(schedule, rig, folder, options.quiet)


def _conduct(schedule: Schedule, rig: Rig, folder: RunFolder, quiet: bool) -> int:
    """Measure what is missing, write the report, and say the answer."""
    done = sum(folder.has(trial.id) for trial in schedule.trials)
    if rig.left_behind:
        print(f"put the GPU back from mode {rig.left_behind}, which a killed run had left", file=sys.stderr)
    if rig.device.simulated:  # nothing is measured, so the charts may be imported while the driver's tools run
        threading.Thread(target=import_module, args=("bench.verbs.report",), daemon=True).start()
    try:
        find_rates(schedule, rig, folder)
        with Progress(schedule, done, quiet) as progress:
            experiment = Experiment(rig, folder, load_catalog(), progress)
            known = _measure(schedule, experiment, folder)
            if schedule.timing.most_blocks and folder.decision is None:
                known = _measure(_beyond_the_pilot(folder, progress, known), experiment, folder, known)
        _tell(folder, known)
    except KeyboardInterrupt:
        if rig.device.kind == "gpu":
            recover(rig.switch)  # where the signal came between the end of a trial and the restoring
        print(f"\ninterrupted; the device is as it was. {_how_to_go_on(folder)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except RestoreError as error:
        raise RestoreError(f"{error}\n  {_how_to_go_on(folder)}") from error
    return EXIT_FAILURES if any(trial.status in FAILURES for trial in folder.trials()) else EXIT_OK


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


def _beyond_the_pilot(folder: RunFolder, progress: Progress, known: Sequence["TrialMeasure"]) -> Schedule:
    """Decide from the finished pilot how many blocks there are to be; return the schedule of all of them.

    The same seed goes on, so the pilot's part of it is as it was.
    """
    from bench.analysis.blocks import decide_blocks  # noqa: PLC0415 - other runs need no statistics before the report
    from bench.analysis.summary import plan_of  # noqa: PLC0415

    decision = decide_blocks(folder, known)
    folder.keep_decision(decision)
    print(f"\npilot of {decision.pilot_blocks} blocks finished; blocks in all: {decision.blocks}", file=sys.stderr)
    schedule = make_schedule(plan_of(folder), folder.record.seed)
    progress.extended(sum(trial.block > decision.pilot_blocks for trial in schedule.trials))
    return schedule


def _tell(folder: RunFolder, known: Sequence["TrialMeasure"]) -> None:
    from bench.verbs.report import tell  # noqa: PLC0415 - a dry run or a refusal need not wait a second for charts

    tell(folder, known)


def _how_to_go_on(folder: RunFolder) -> str:
    return f"Every finished trial is kept; go on with:\n  python run_experiments.py --resume {folder.path}"


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


def _print_schedule(schedule: Schedule, device: Device, lock: int | str | None, decided: bool = False) -> None:
    print(f"device: {device.name}")
    if lock is not None:
        print(f"SM clock: locked at {f'{lock} MHz' if isinstance(lock, int) else 'what a short trial finds'}")
    for trial in schedule.trials:
        print(f"block {trial.block:>2}  {trial.mode.label:<14} {trial.mix.name}{_alone(trial)}")
    for trial in searching(schedule):
        print(f"before block 1: the highest rate of {trial.tenants[0]}, alone; its time is not in what follows")
    for line in expectations(schedule, decided):
        print(line)


def _alone(trial: Trial) -> str:
    """Say of a job that runs alone in what (of exclusive that goes without saying), and what a control is."""
    if trial.role is Role.SHARE:
        return f", {trial.tenants[0]} alone in its share"
    if trial.role is Role.REPEAT:
        return ", once more (A/A)"
    if trial.slowdown is not None:
        return f", slowed by {100 * trial.slowdown:g} % (positive control)"
    return ", alone" if trial.role is Role.SOLO and isinstance(trial.mode, AsFound) else ""


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != []
