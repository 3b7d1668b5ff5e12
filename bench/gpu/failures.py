"""What the exit codes and the complaints of `nvidia-smi` mean, and what to do about each."""

from bench.errors import BenchError, DeviceError, SetupError
from bench.gpu.tool import Answer

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
    2: "check that this driver knows the option (`nvidia-smi --help`)",
    4: "run as root, or ask the administrator",
    6: "`nvidia-smi -L` lists what is there",
    8: "have the power cable of the board checked",
    9: "load the driver (`sudo modprobe nvidia`) and look at `dmesg | grep -i nvidia`",
    12: "reinstall the driver's user-space libraries (libnvidia-ml)",
    13: "install a newer driver",
    15: "reboot the host; `dmesg | grep -i xid` says why",
    18: "reboot the host, or reload the NVIDIA kernel modules",
}
_NEXT_BY_TEXT = {
    "Driver/library version mismatch": _NEXT_BY_STATUS[18],
    "couldn't communicate with the NVIDIA driver": _NEXT_BY_STATUS[9],
    "Failed to initialize NVML: Unknown Error": "restart the container: it lost the GPU's device nodes",
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
    step = step or _NEXT_BY_STATUS.get(answer.status, "run it by hand and look at `dmesg | grep -i nvrm`")
    said = answer.message or "it printed nothing"
    kind = SetupError if answer.status in _MACHINE_AT_FAULT else DeviceError
    return kind(f"`{answer.command}` failed with exit code {answer.status} ({meaning}):\n  {said}\nnext: {step}")
