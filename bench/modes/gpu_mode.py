"""What the modes of a GPU have in common: who may be on the device before, during and after a trial.

A look at the idle device after one trial is the idle check of the next. Every process that computes takes memory,
so while memory and utilisation stand still, the driver need not be asked for its processes again.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench.clock import Clock
from bench.errors import DeviceError
from bench.gpu.device import Device
from bench.modes.contract import Evidence, Grade
from bench.modes.proof import Look, look, named, newcomer_evidence
from bench.modes.switch import Switch

LINGER_S = 5.0  # a process that has just ended is listed a little longer, and utilisation lags by up to a second
LINGER_POLL_S = 0.5
SPARE_MIB = 128  # a context takes 250 MiB and more; the driver itself a few tens
INSTANCE_MIB = 64  # a MIG instance that was made since takes some tens
IDLE_PCT = 5  # some GPUs go on reporting work after a process was killed; others do work that we cannot see


class GpuMode(ABC):
    """A mode of a GPU. Looks are kept, so that what changes from one to the next shows."""

    switch: Switch
    evidence: tuple[Evidence, ...]
    _entry: Look | None = None  # when the mode was entered
    _rest: Look | None = None  # the last one between trials
    _known: frozenset[int] = frozenset()  # those that computed when the last tenants were confirmed

    @property
    def device(self) -> Device:
        """The device this mode is for."""
        return self.switch.device

    @property
    def servers(self) -> Sequence[int]:
        """Our own MPS servers."""
        return ()

    def verify(self) -> None:
        """Ask again what was changed, and who computes there: an MPS server would make clients of our jobs."""
        self._entry = self._rest = self._look()
        self.evidence = (*self._proof(self._entry), *lock_evidence(self.switch))

    def inspect(self) -> tuple[Evidence, ...]:
        """Check between trials that the device is still in the mode, and that nobody came meanwhile."""
        self._rest = self._look(self._rest)
        return (*self._proof(self._rest), newcomer_evidence(self._rest.apps, self._known))

    def await_idle(self, clock: Clock) -> None:
        """Wait a few seconds for what is still on the device; raises DeviceError that names what stays."""
        deadline_s = clock.monotonic_s() + LINGER_S
        while why := self._why_busy():
            if clock.monotonic_s() >= deadline_s:
                raise DeviceError(
                    f"the device is not idle: {why}; "
                    "a trial shares it with nobody, so end what is there, then repeat"
                )
            clock.sleep(LINGER_POLL_S)
            self._rest = self._look()

    @abstractmethod
    def _proof(self, seen: Look) -> tuple[Evidence, ...]:
        """Compare device and daemon with what the mode needs, with or without tenants."""

    def _look(self, last: Look | None = None) -> Look:
        return look(
            self.device, last, likely_cut=self._rest is not None and self._rest.state.mig_mode == "Enabled"
        )

    def _look_at_tenants(self) -> Look:
        seen = self._look()
        self._known = frozenset(app.pid for app in seen.apps)
        return seen

    def _why_busy(self) -> str | None:
        if self._rest is None or self._entry is None:
            return None
        others = [app for app in self._rest.apps if app.pid not in self.servers]
        if others:
            return f"somebody computes on it: {', '.join(named(others))}"
        used_mib, entry_mib = self._rest.memory_used_mib, self._entry.memory_used_mib
        ours_mib = sum(app.used_memory_mib or 0 for app in self._rest.apps)
        spare_mib = SPARE_MIB + INSTANCE_MIB * len(self._rest.state.instances)
        if used_mib is not None and entry_mib is not None and used_mib - entry_mib - ours_mib > spare_mib:
            return f"{used_mib} MiB of memory are in use, {entry_mib} MiB when the mode was entered"
        if (self._rest.utilization_pct or 0) > IDLE_PCT:
            return f"its utilisation is {self._rest.utilization_pct} %, by no process that can be seen"
        return None


def lock_evidence(switch: Switch) -> tuple[Evidence, ...]:
    """Note the clock lock; no tool reads it back, so the clocks in the window must show it."""
    if switch.sm_clock_mhz is None:
        return ()
    claim = "SM clock locked, in MHz; not readable, seen in the window"
    return (Evidence(claim, switch.sm_clock_mhz, None, Grade.REQUESTED_ONLY, True),)
