"""Failures on demand: `BENCH_SIM_FAULTS` names a JSON file with rules for the stand-in tools.

A rule is `{"tool": "nvidia-smi", "match": "-mig 1", "action": ...}`; `match` is a part of the command line,
or of the text on standard input for the MPS front-end. Actions: `fail` (prints `text`, exits `rc`), `lie`
(prints `text`, exits 0, does nothing), `hang` (waits `seconds`, then goes on). `times` limits how often a
rule acts. An empty `match` means every call: `hang` for some milliseconds is a driver that answers slowly.

For the tool `job`, `match` is a part of the job's folder, which names its trial: `drift` makes its steps longer
by and by, at the window's end by `share`.

What is wrong with the device itself is kept in its state (`state.DriverState`): `holder` (who holds it),
`privileged`, `monitors_mig` and `shows_mig` (what the caller may), `passed_through` (a virtual machine),
`persistence`, `lost` (fell off the bus), `frozen` (columns that never move, or read `[Unknown Error]`),
`driver_version`.
Accidents under MPS are calls: `accidents.fault_client`, `accidents.kill_daemon`.
"""

from __future__ import annotations

import posix  # a part of `os`, which would cost each call of a tool a millisecond
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = b"BENCH_SIM_FAULTS"


def intervene(tool: str, said: str) -> int | None:
    """Act on the first rule that matches; return the exit code to end with, or None to go on."""
    path = posix.environ.get(VARIABLE)
    rule = _take(path, tool, said) if path else None
    if rule is None:
        return None
    if rule["action"] == "hang":
        time.sleep(rule["seconds"])
        return None
    sys.stdout.write(rule.get("text", ""))
    return int(rule["rc"]) if rule["action"] == "fail" else 0


def drift_of(folder: str) -> float:
    """Return by which share the steps of the job in this folder are longer when its window ends."""
    path = posix.environ.get(VARIABLE)
    rule = _take(path, "job", folder) if path else None
    return float(rule["share"]) if rule else 0.0


def _take(path: bytes, tool: str, said: str) -> dict[str, Any] | None:
    """Find the rule that applies and count it down, under a lock: tools run side by side."""
    import fcntl
    import json

    with open(path, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rules: list[dict[str, Any]] = json.load(file)
        for rule in rules:
            if rule["tool"] == tool and rule["match"] in said and rule.get("times", 1) > 0:
                _count_down(file, rules, rule)
                return rule
    return None


def _count_down(file: Any, rules: list[dict[str, Any]], rule: dict[str, Any]) -> None:
    import json

    if "times" in rule:
        rule["times"] -= 1
        file.seek(0)
        file.truncate()
        json.dump(rules, file)
