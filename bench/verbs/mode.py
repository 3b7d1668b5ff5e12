"""`mode status` and `mode restore`: look at a device, and undo what a killed run left on it."""

import argparse

from bench.gpu.device import Device
from bench.gpu.lock import holder
from bench.modes.helpers import Call, run_helper
from bench.modes.journal import Journal
from bench.rig import find_device, reserved


def mode(options: argparse.Namespace) -> int:
    """Print the state of a device, or put it back as it was before a killed run."""
    device = find_device(options.device or "auto")
    return _status(device) if options.action == "status" else _restore(device, options.allow_reset)


def _status(device: Device) -> int:
    print(f"{device.name} ({device.uuid})")
    if device.kind == "cpu":
        print("nothing to switch on a CPU")
        return 0
    for key, value in run_helper(Call("status"), device).items():
        print(f"  {key.replace('_', ' ')}: {value}")
    journal = Journal.read(device)
    if journal:
        print(f"  {_whose(journal, device)}")
    return 0


def _whose(journal: Journal, device: Device) -> str:
    if runner := holder(device):
        return f"in mode {journal.mode}, held by {runner}"
    restore = f"python -m bench mode restore --device {device.selector}"
    return f"a killed run left mode {journal.mode}; put the device back with: {restore}"


def _restore(device: Device, allow_reset: bool) -> int:
    if device.kind == "cpu":
        print("nothing to put back on a CPU")
        return 0
    with reserved(device, "auto", allow_reset, []) as rig:
        mode = rig.left_behind
    print(f"put back from mode {mode}" if mode else "nothing to put back: no run was killed in a mode")
    return 0
