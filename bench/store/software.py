"""What code ran: this tool's commit and whether the checkout differs from it, interpreter, kernel."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def software() -> dict[str, str | int | bool | None]:
    """Return the versions a record carries; commit and dirty are None outside a git checkout."""
    status = _git("status", "--porcelain")
    return {
        "bench": _own_version(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "host_cores": os.cpu_count(),
    }


def _own_version() -> str | None:
    """Return this tool's version; None where it is run from a checkout that was never installed."""
    try:
        return version("gpu-sharing-bench")
    except PackageNotFoundError:
        return None


def boot_id() -> str | None:
    """Return the kernel's id of this boot; a change means that the machine was restarted."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
