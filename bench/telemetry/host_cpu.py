"""How long the cores that we may use had nothing to do: where none rests, jobs wait for the host, not the GPU."""

import os
from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE_FIELDS = slice(4, 6)  # `cpuN user nice system idle iowait ...`


def idle_s() -> float | None:
    """Return the idle time of the mean core since boot, in seconds; None where the kernel does not tell.

    Cores are those that this process may run on. Source: proc_stat(5), whose times are in clock ticks.
    """
    try:
        lines = [line.split() for line in _STAT.read_text().splitlines() if line.startswith("cpu")]
    except OSError:
        return None
    mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    idle = [sum(int(ticks) for ticks in line[_IDLE_FIELDS]) for line in lines if line[0] in mine]
    return sum(idle) / len(idle) / os.sysconf("SC_CLK_TCK") if idle else None
