"""What work costs: energy, money, memory, and the time of running jobs one after the other.

Energy is that of the whole device and is never split between the tenants of a mix. Source of the products:
Gonzalez & Horowitz, IEEE JSSC 31(9), 1996.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate

from bench.stats.checks import finite, positive, same_length


@dataclass(frozen=True)
class Energy:
    """The device's energy over a fixed amount of work that took `time_s`."""

    energy_j: float
    time_s: float

    def __post_init__(self) -> None:
        if not (self.energy_j >= 0 and self.time_s > 0):
            raise ValueError(f"{self.energy_j} J in {self.time_s} s is no measurement of energy")

    @property
    def mean_power_w(self) -> float:
        """Energy over time."""
        return self.energy_j / self.time_s

    @property
    def edp_js(self) -> float:
        """The energy-delay product."""
        return self.energy_j * self.time_s

    @property
    def ed2p_js2(self) -> float:
        """Energy times squared delay, which does not change when only voltage is scaled."""
        return self.energy_j * self.time_s**2

    def per_unit_j(self, units: float) -> float | None:
        """Return energy per unit of work; None without work done."""
        return self.energy_j / units if units > 0 else None

    def above_idle(self, idle_power_w: float) -> "Energy":
        """Return what the work added to an idle device, never below 0: the second line, beside the whole."""
        return Energy(max(self.energy_j - idle_power_w * self.time_s, 0.0), self.time_s)


def counted_energy_j(start_mj: int, end_mj: int) -> float | None:
    """Return the energy between two readings of the driver's counter; None if it was reset in between."""
    return (end_mj - start_mj) / 1000 if end_mj >= start_mj else None


def sampled_energy_j(time_s: ArrayLike, power_w: ArrayLike) -> float | None:
    """Return the trapezoid integral of sampled power, a fallback for the counter; None below two samples."""
    time, power = finite("time_s", time_s), finite("power_w", power_w)
    same_length(time_s=time, power_w=power)
    if (np.diff(time) <= 0).any():
        raise ValueError("time_s must increase from sample to sample")
    return float(integrate.trapezoid(power, time)) if len(time) > 1 else None


def cost_per_million(price_per_hour: float, units_per_s: float) -> float | None:
    """Return the price of a million units, in the currency of the price; None without work done.

    The report states the price with its source and date.
    """
    return price_per_hour / (3600 * units_per_s) * 1e6 if units_per_s > 0 else None


def rate_per_gib(units_per_s: float, peak_memory_mib: float | None) -> float | None:
    """Return units per second per GiB of peak memory; None where the peak is unknown or 0."""
    return 1024 * units_per_s / peak_memory_mib if peak_memory_mib else None


def makespan_gain(solo_times_s: ArrayLike, shared_time_s: float) -> float:
    """Return how much sooner a finite mix ends than its jobs run one after the other on the whole device.

    Below 1, sharing loses to what users could do without it.
    """
    times = positive("solo_times_s", solo_times_s)
    return float(times.sum() / positive("shared_time_s", shared_time_s)[0])
