"""Running one of the driver's tools to its end."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import DeviceError, SetupError


@dataclass(frozen=True)
class Answer:
    """What a tool said: the command, its exit status, and its two streams."""

    command: str
    status: int
    output: str
    errors: str

    @property
    def message(self) -> str:
        """Both streams as one text; the tools print failures on either."""
        return "\n".join(filter(None, (self.output.strip(), self.errors.strip())))


def ask(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float, questions: str | None = None
) -> Answer:
    """Run a tool in the C locale and return its answer, whatever its exit status.

    Raises SetupError if there is no such tool, DeviceError if it has not answered within `timeout_s`.
    """
    shown = " ".join(command)
    try:
        process = subprocess.Popen(
            command,
            env={**environment, "LC_ALL": "C"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as missing:
        raise tool_missing(command[0], environment, missing) from missing
    try:
        output, errors = process.communicate(questions, timeout_s)
    except subprocess.TimeoutExpired as late:
        process.kill()  # and no wait for its end: a tool stuck inside the driver cannot die
        raise DeviceError(
            f"`{shown}` did not answer within {timeout_s:g} s; a driver that hangs needs a look at "
            "`dmesg | grep -i nvrm` and usually a reset of the GPU or a reboot"
        ) from late
    return Answer(shown, process.returncode, output, errors)


def tool_missing(tool: str, environment: Mapping[str, str], cause: OSError) -> SetupError:
    """Describe a tool that could not be started."""
    path = environment.get("PATH", os.defpath)
    wrong = f"`{tool}` cannot be run ({cause.strerror}); looked in PATH={path}"
    return SetupError(
        f"{wrong}. It comes with the NVIDIA driver: "
        "install the driver, or measure without a GPU (--device cpu, --device simulated)",
        wrong,
        "sudo ubuntu-drivers install  # on Debian: sudo apt-get install nvidia-driver",
    )
