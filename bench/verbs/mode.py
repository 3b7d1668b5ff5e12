"""`mode status` and `mode restore`: look at a device, and undo what a killed run left on it."""

import argparse

from bench.gpu.device import Device
from bench.gpu.lock import held
from bench.modes.entering import recover
from bench.modes.helpers import Call, run_helper
from bench.modes.journal import Journal
from bench.modes.switch import Switch
from bench.rig import find_device


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
        print(f"  a killed run left mode {journal.mode}; put it back with: python -m bench mode restore")
    return 0


def _restore(device: Device, allow_reset: bool) -> int:
    if device.kind == "cpu":
        print("nothing to put back on a CPU")
        return 0
    with held(device) as lock:
        journal = recover(Switch(device, allow_reset or device.simulated, lock.fd))
    print(f"put back from mode {journal.mode}" if journal else "nothing to put back: no run was killed in a mode")
    return 0
