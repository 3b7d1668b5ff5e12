"""What the exit codes and the complaints of `nvidia-smi` mean, and what to do about each."""

from typing import NamedTuple

from bench.errors import BenchError, DeviceError, SetupError
from bench.gpu.tool import Answer


class _Step(NamedTuple):
    advice: str
    command: str | None = None  # what to type first, where there is such a thing


# Exit codes from the manual page of nvidia-smi, section RETURN VALUE; 18 as seen after driver upgrades.
_STATUS = {
    2: "bad argument or flag",
    3: "operation not available on this device",
    4: "no permission",
    6: "object not found",
    8: "external power cable not attached",
    9: "NVIDIA driver not loaded",
    10: "interrupt problem",
    12: "NVML library not found",
    13: "NVML library too old for this function",
    14: "infoROM corrupt",
    15: "GPU fell off the bus",
    18: "driver and library versions differ",
    255: "other or internal error",
}
_NEXT_BY_STATUS = {
    2: _Step("check that this driver knows the option (`nvidia-smi --help`)", "nvidia-smi --help"),
    4: _Step("run as root, or ask the administrator"),
    6: _Step("`nvidia-smi -L` lists what is there", "nvidia-smi -L"),
    8: _Step("have the power cable of the board checked"),
    9: _Step(
        "load the driver (`sudo modprobe nvidia`) and look at `dmesg | grep -i nvidia`", "sudo modprobe nvidia"
    ),
    12: _Step("reinstall the driver's user-space libraries (libnvidia-ml)", "ldconfig -p | grep libnvidia-ml"),
    13: _Step("install a newer driver"),
    15: _Step("reboot the host; `dmesg | grep -i xid` says why", "sudo dmesg | grep -i xid; sudo reboot"),
    18: _Step("reboot the host, or reload the NVIDIA kernel modules", "sudo reboot"),
}
_BY_HAND = _Step("run it by hand and look at `dmesg | grep -i nvrm`", "sudo dmesg | grep -i nvrm")
_NEXT_BY_TEXT = {
    "Driver/library version mismatch": _NEXT_BY_STATUS[18],
    "couldn't communicate with the NVIDIA driver": _NEXT_BY_STATUS[9],
    "Failed to initialize NVML: Unknown Error": _Step(
        "restart the container: it lost the GPU's device nodes", "docker restart CONTAINER"
    ),
    "Insufficient Permissions": _NEXT_BY_STATUS[4],
    "Unable to determine the device handle": _NEXT_BY_STATUS[15],
}
_MACHINE_AT_FAULT = (4, 9, 12, 13, 18)


def refusal(answer: Answer) -> BenchError:
    """Turn a failed call into an error: what was run, what came back, what that means, what to do next.

    SetupError where the machine must be mended first (driver, libraries, permission), else DeviceError.
    """
    meaning = _STATUS.get(answer.status, "undocumented exit code")
    step = next((step for text, step in _NEXT_BY_TEXT.items() if text in answer.message), None)
    step = step or _NEXT_BY_STATUS.get(answer.status, _BY_HAND)
    said = answer.message or "it printed nothing"
    kind = SetupError if answer.status in _MACHINE_AT_FAULT else DeviceError
    tool = answer.command.split()[0]
    return kind(
        f"`{answer.command}` failed with exit code {answer.status} ({meaning}):\n  {said}\nnext: {step.advice}",
        f"{tool} failed with exit code {answer.status} ({meaning}): {said}",
        step.command,
    )
