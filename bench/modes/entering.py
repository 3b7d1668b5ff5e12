"""Entering a mode and leaving it again: observe, write the journal, apply, verify; restore, whatever happened."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, assert_never

from bench.errors import BenchError, DeviceError, ModeUnavailable, RestoreError
from bench.gpu.device import Device
from bench.interrupts import uninterrupted
from bench.modes.as_found import AsFoundGpu
from bench.modes.contract import ActiveMode
from bench.modes.cpu import CpuHost
from bench.modes.helpers import Call
from bench.modes.journal import Journal
from bench.modes.mig import MigGpu
from bench.modes.mig_mps import MigMpsGpu
from bench.modes.mps import MpsGpu
from bench.modes.mps_daemon import daemons_left
from bench.modes.mps_partitions import MpsPartitionsGpu
from bench.modes.observe import DeviceState, observe
from bench.modes.switch import Switch
from bench.modes.whole import WholeGpu
from bench.plan.mode import (
    AsFound,
    CpuShared,
    Exclusive,
    Mig,
    MigMps,
    Mode,
    Mps,
    MpsEqual,
    MpsPartitions,
    SwitchingMode,
    TimeSlicing,
)

UNLOCK = Call("lock_clocks", ("--reset",))


class _Switchable(ActiveMode, Protocol):
    def undo(self, before: DeviceState, /) -> tuple[Call, ...]: ...

    def apply(self, before: DeviceState, /) -> None: ...

    def verify(self) -> None: ...


@contextmanager
def entered(mode: Mode, switch: Switch) -> Iterator[ActiveMode]:
    """Put the device into a mode, prove it by asking the device again, and put everything back on the way out.

    Raises ModeUnavailable where the device cannot do it, DeviceError where it failed or reads back otherwise. The
    caller holds the device's lock.
    """
    if switch.device.kind == "cpu":
        host = CpuHost(mode)
        host.verify()
        yield host
        return
    if isinstance(mode, AsFound):
        found = AsFoundGpu(mode, switch)
        found.verify()
        _refuse_unproven(found)
        yield found
        found.leave()
        return
    refuse_part(switch.device)
    recover(switch)
    switch.stopwatch.entering()
    before = observe(switch.device)
    _refuse_foreign_instances(before, switch)
    active = _implementation(mode, switch)
    journal = Journal(mode.label, before, active.undo(before))
    journal.write(switch.device)
    try:
        active.apply(before)
        _lock_clocks(switch, journal)
        active.verify()
        _refuse_unproven(active)
        switch.stopwatch.entered()
        yield active
    finally:
        with uninterrupted():
            switch.stopwatch.leaving()
            restore(Journal.read(switch.device) or journal, switch)  # on disk it names the instances that are ours
            switch.stopwatch.left()


def recover(switch: Switch) -> Journal | None:
    """Undo what a killed runner left, if it left anything; returns its journal."""
    journal = Journal.read(switch.device)
    if journal is not None:
        restore(journal, switch)
    return journal


def restore(journal: Journal, switch: Switch) -> None:
    """Run the journal's undo calls, all of them, then ask the device whether it is as it was.

    A call may fail where it had nothing to undo, so only the device's state decides; but for a call of which the
    state does not tell. Ctrl-C waits for the end.
    """
    with uninterrupted():
        outcomes = [(call, _failure(call, journal, switch)) for call in journal.undo]
        failures = [failure for _, failure in outcomes if failure]
        in_doubt = any(failure and not call.is_read_back for call, failure in outcomes)
        now = _observed_after(journal, switch)
        left = daemons_left(switch.device)
        if left or in_doubt or not _is_put_back(now, journal):
            state = f"  it was {journal.before},\n  it is {now}\n"
            daemons = [f"  our MPS daemon is still in {pipe}\n" for pipe in left]
            raise RestoreError(
                f"{switch.device.uuid} could not be put back after mode {journal.mode}:\n"
                + "".join([state, *daemons, *(f"  {failure}\n" for failure in failures)])
                + _next_step(switch)
            )
        Journal.close(switch.device)


def _lock_clocks(switch: Switch, journal: Journal) -> None:
    """Lock the SM clock where the run wants it; after the mode is set, because a GPU reset forgets locks."""
    if switch.sm_clock_mhz is None:
        return
    replace(journal, undo=(UNLOCK, *journal.undo)).write(switch.device)
    try:
        switch.run(lock_call(switch.sm_clock_mhz))
    except ModeUnavailable:
        journal.write(switch.device)  # it was refused: there is no lock to undo, nor would that be allowed
        raise


def lock_call(sm_clock_mhz: int, *options: str) -> Call:
    """Return the call that locks the SM clock."""
    return Call("lock_clocks", ("--sm-mhz", str(sm_clock_mhz), *options))


def _failure(call: Call, journal: Journal, switch: Switch) -> str | None:
    try:
        ours = _of_ours_only(call, journal, switch)
        if ours is not None:
            switch.run(ours)
    except BenchError as error:
        return str(error)
    return None


def _of_ours_only(call: Call, journal: Journal, switch: Switch) -> Call | None:
    """Name our own MIG instances to the helper that destroys them; None where there are only other people's."""
    if call.helper != "disable_mig":
        return call
    there = observe(switch.device).instances
    ours = [str(instance[1]) for instance in there if journal.owns(instance)]
    if ours:
        return Call(call.helper, ("--instances", ",".join(ours), *call.options))
    return None if there else call


def _is_put_back(now: DeviceState, journal: Journal) -> bool:
    """Whether the device is as it was, but for MIG instances that somebody else made meanwhile."""
    theirs = tuple(instance for instance in now.instances if not journal.owns(instance))
    return now == replace(journal.before, instances=theirs)


def _observed_after(journal: Journal, switch: Switch) -> DeviceState:
    try:
        return observe(switch.device)
    except BenchError as error:
        raise RestoreError(
            f"{switch.device.uuid} does not answer after mode {journal.mode}, so nobody knows its state: {error}\n"
            + _next_step(switch)
        ) from error


def _next_step(switch: Switch) -> str:
    return f"  next: mend the cause, then: python -m bench mode restore --device {switch.device.selector}"


def _refuse_foreign_instances(before: DeviceState, switch: Switch) -> None:
    """Refuse before anything is journalled: what restores a mode must never meet what is not ours."""
    if before.instances:
        uuid = switch.device.uuid
        raise ModeUnavailable(
            f"{uuid} is cut into MIG instances that this tool did not make; "
            f"destroy them with: gpu_configs/disable_mig.sh --gpu {uuid} --keep-mode"
        )


def refuse_part(device: Device) -> None:
    """Raise ModeUnavailable where only a part of the GPU is ours: what switches modes changes the whole of it."""
    if device.mig_uuid is not None:
        run = f"python run_experiments.py --mode as-found --device {device.selector}"
        wrong = f"only the MIG device {device.mig_uuid} of this GPU was given to us, and this mode needs the whole"
        raise ModeUnavailable(f"{wrong}; measure in it with: {run}", wrong, run)


def _implementation(mode: SwitchingMode, switch: Switch) -> _Switchable:
    match mode:
        case Exclusive() | TimeSlicing():
            return WholeGpu(mode, switch)
        case Mps() | MpsEqual():
            return MpsGpu(mode, switch)
        case MpsPartitions():
            return MpsPartitionsGpu(mode, switch)
        case Mig():
            return MigGpu(mode, switch)
        case MigMps():
            return MigMpsGpu(mode, switch)
        case CpuShared():
            return CpuHost(mode)
        case _:
            assert_never(mode)


def _refuse_unproven(active: ActiveMode) -> None:
    for evidence in active.evidence:
        if not evidence.holds:
            raise DeviceError(
                f"mode {active.mode.label} was set without an error but is not there: "
                f"{evidence.claim} is {evidence.observed}, not {evidence.expected}"
            )
