"""Entering a mode and leaving it again: observe, write the journal, apply, verify; restore, whatever happened."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, assert_never

from bench.errors import BenchError, DeviceError, RestoreError
from bench.modes.contract import ActiveMode
from bench.modes.cpu import CpuHost
from bench.modes.helpers import Call
from bench.modes.journal import Journal
from bench.modes.mig import MigGpu
from bench.modes.mps import MpsGpu
from bench.modes.observe import DeviceState, observe
from bench.modes.switch import Switch
from bench.modes.whole import WholeGpu
from bench.plan.mode import CpuShared, Exclusive, Mig, Mode, Mps, MpsEqual, TimeSlicing


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
    recover(switch)
    before = observe(switch.device)
    active = _implementation(mode, switch)
    journal = Journal(mode.label, before, active.undo(before))
    journal.write(switch.device)
    try:
        active.apply(before)
        active.verify()
        _refuse_unproven(active)
        yield active
    finally:
        with _uninterrupted():
            restore(journal, switch)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C wait: the device comes first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def recover(switch: Switch) -> Journal | None:
    """Undo what a killed runner left, if it left anything; returns its journal."""
    journal = Journal.read(switch.device)
    if journal is not None:
        restore(journal, switch)
    return journal


def restore(journal: Journal, switch: Switch) -> None:
    """Run the journal's undo calls, all of them, then ask the device whether it is as it was."""
    failures = []
    for call in journal.undo:
        try:
            switch.run(call)
        except BenchError as error:
            failures.append(str(error))
    now = _observed_after(journal, switch)
    if now != journal.before:
        raise RestoreError(
            f"{switch.device.uuid} could not be put back after mode {journal.mode}:\n"
            f"  it was {journal.before},\n  it is {now}\n"
            + "".join(f"  {failure}\n" for failure in failures)
            + "  next: mend the cause, then: python -m bench mode restore"
        )
    Journal.close(switch.device)


def _observed_after(journal: Journal, switch: Switch) -> DeviceState:
    try:
        return observe(switch.device)
    except BenchError as error:
        raise RestoreError(
            f"{switch.device.uuid} does not answer after mode {journal.mode}, so nobody knows its state: {error}\n"
            "  next: mend the cause, then: python -m bench mode restore"
        ) from error


def _implementation(mode: Mode, switch: Switch) -> _Switchable:
    match mode:
        case Exclusive() | TimeSlicing():
            return WholeGpu(mode, switch)
        case Mps() | MpsEqual():
            return MpsGpu(mode, switch)
        case Mig():
            return MigGpu(mode, switch)
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
