"""Watching a real GPU: one long-lived `nvidia-smi`, with NVML's energy counter and the host's idle time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

from bench.clock import Clock
from bench.errors import DeviceError
from bench.gpu.device import Device
from bench.gpu.energy import EnergyCounter
from bench.gpu.smi import NvidiaSmi
from bench.gpu.stream import SampleStream, StreamEnd, thread_cpu_s
from bench.telemetry.contract import Telemetry
from bench.telemetry.host_cpu import idle_s
from bench.telemetry.parse import SAMPLED_FIELDS, parse_stream

_COUNTER_PERIOD_S = 0.5  # that of energy follows a sensor which is updated every 0.1 s


class NvidiaSampler:
    """Watches one GPU with a sampling process and a thread; both end with the watch.

    Below 0.1 s most samples repeat the one before (`utilization.gpu` of an A100 moves once a second).
    """

    def __init__(self, device: Device, clock: Clock, period_s: float = 0.2) -> None:
        self._device = device
        self._clock = clock
        self._period_s = period_s
        self._smi = NvidiaSmi(device.tool_environment)  # kept: it remembers which fields this driver knows

    @contextmanager
    def watch(self) -> Iterator["NvidiaWatch"]:
        """Watch until the context is left.

        Raises SetupError or DeviceError if sampling cannot start; what breaks later is a remark in the result.
        """
        fields = list(self._smi.names_of(SAMPLED_FIELDS).values())
        if not fields:
            raise DeviceError("`nvidia-smi --help-query-gpu` names none of the fields that are sampled")
        counters = _Counters(self._device.uuid, self._clock)
        try:
            stream = self._smi.stream(self._device.uuid, fields, round(self._period_s * 1000), self._clock)
            watch = NvidiaWatch(stream, counters, self._period_s)
            try:
                yield watch
            finally:
                watch.end = stream.stop()
        finally:
            counters.stop()


class NvidiaWatch:
    """A watch on a real GPU."""

    def __init__(self, stream: SampleStream, counters: "_Counters", period_s: float) -> None:
        self.end: StreamEnd | None = None
        self._stream = stream
        self._counters = counters
        self._period_s = period_s

    @property
    def ended(self) -> bool:
        """Whether no more samples will come."""
        return self._stream.ended

    def result(self) -> Telemetry:
        """Return what was seen up to now; whole once the context of the watch has been left."""
        telemetry = parse_stream(list(self._stream.received), self._period_s)
        telemetry.energy, telemetry.host_idle = self._counters.energy(), self._counters.host_idle()
        if telemetry.energy is None:
            telemetry.reasons["energy"] = self._counters.reason
        else:
            telemetry.remarks += _energy_remarks(telemetry.energy, self._counters.reason)
        if self.end:
            telemetry.sampler_cpu_s = self.end.cpu_s + self._counters.cpu_s
            telemetry.remarks += _remarks(self.end, self._stream.command)
        return telemetry


class _Counters:
    """Reads the GPU's energy and the host's idle time at once, then every half second, and at the end."""

    def __init__(self, uuid: str, clock: Clock) -> None:
        self.cpu_s = 0.0
        self.reason = ""
        self._uuid = uuid
        self._clock = clock
        self._energy: list[tuple[float, float]] = []
        self._idle: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the last reading and end."""
        self._over.set()
        self._thread.join()

    def energy(self) -> pd.DataFrame | None:
        """Return `time_s` and `energy_j`; None if there was no reading."""
        return _table(self._energy, "energy_j")

    def host_idle(self) -> pd.DataFrame | None:
        """Return `time_s` and `idle_s`; None if there was no reading."""
        return _table(self._idle, "idle_s")

    def _poll(self) -> None:
        with EnergyCounter(self._uuid) as counter:
            self._read(counter)
            while not self._over.wait(_COUNTER_PERIOD_S):
                self._read(counter)
            self._read(counter)
            self.reason = counter.reason or ""
        self.cpu_s = thread_cpu_s()

    def _read(self, counter: EnergyCounter) -> None:
        now_s = self._clock.monotonic_s()
        for readings, value in ((self._energy, counter.read_j()), (self._idle, idle_s())):
            if value is not None:
                readings.append((now_s, value))


def _table(readings: list[tuple[float, float]], column: str) -> pd.DataFrame | None:
    return pd.DataFrame(readings, columns=["time_s", column]) if readings else None


def _energy_remarks(energy: pd.DataFrame, reason: str) -> tuple[str, ...]:
    """Tell of a counter that failed on the way, or that a reload of the driver has set back."""
    failed = [f"the energy counter fell silent: {reason}"] if reason else []
    back = [] if energy["energy_j"].is_monotonic_increasing else ["the energy counter went backwards"]
    return (*failed, *back)


def _remarks(end: StreamEnd, command: str) -> tuple[str, ...]:
    """Tell of a stream that ended by itself, and of anything it complained about."""
    ended = [f"`{command}` ended by itself with exit code {end.status}"] if end.early else []
    stuck = ["the sampling process did not end when it was killed"] if end.status is None else []
    return (*ended, *stuck, *filter(None, [end.errors]))
