"""Processes of this host, from Linux's /proc: which are at work, and which of them belong together."""

import os
from pathlib import Path


def this_process() -> str:
    """Name this process such that none before or after it bears the same name on this host."""
    return " ".join([*_kernel(), str(os.getpid()), _start_time(os.getpid()) or ""])


def is_gone(name: str) -> bool:
    """Whether the process so named ended; one in another PID namespace cannot be judged, and counts as alive."""
    boot, namespace, pid, start_time = name.split(" ")
    our_boot, our_namespace = _kernel()
    if boot != our_boot:
        return True
    return namespace == our_namespace and _start_time(int(pid)) != start_time


def descendants(pid: int) -> tuple[int, ...]:
    """Return a process and all below it, parents first; empty where it is no more."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        lists = []
    if not lists:  # a living process has at least one thread
        return ()
    children = [int(child) for text in lists for child in text.split()]
    return (pid, *(each for child in children for each in descendants(child)))


def _kernel() -> tuple[str, str]:
    """Return the boot id, and the PID namespace in which this process knows others."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return boot_id, str(Path("/proc/self/ns/pid").readlink())


def _start_time(pid: int) -> str | None:
    """Return when a process started, in ticks since boot; None where it is no more, or waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start_time = fields[0], fields[19]
    return None if state in "ZX" else start_time
