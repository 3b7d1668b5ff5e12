"""Running one of the driver's tools to its end."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.errors import DeviceError, SetupError

SERVER_VARIABLE = "BENCH_TOOL_SERVER"
"""Names the abstract socket of a process that runs tools on request; only a simulated driver has one."""


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
    run = _run_served if SERVER_VARIABLE in environment else _run
    try:
        return Answer(shown, *run(command, {**environment, "LC_ALL": "C"}, timeout_s, questions or ""))
    except TimeoutError as late:
        raise DeviceError(
            f"`{shown}` did not answer within {timeout_s:g} s; a driver that hangs needs a look at "
            "`dmesg | grep -i nvrm` and usually a reset of the GPU or a reboot"
        ) from late
    except OSError as missing:
        raise tool_missing(command[0], environment, missing) from missing


def _run(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float, questions: str
) -> tuple[int, str, str]:
    """Start the tool; return its exit status and both streams."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        output, errors = process.communicate(questions, timeout_s)
    except subprocess.TimeoutExpired as late:
        process.kill()  # and no wait for its end: a tool stuck inside the driver cannot die
        raise TimeoutError from late
    return process.returncode, output, errors


def _run_served(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float, questions: str
) -> tuple[int, str, str]:
    """Have the tool run by the server that the environment names; one that dies has no more to say than that."""
    tool, *arguments = command
    call = {"tool": tool, "arguments": arguments, "environment": dict(environment), "said": questions}
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_s)
        line.connect(f"\0{environment[SERVER_VARIABLE]}")
        line.sendall(json.dumps(call).encode())
        line.shutdown(socket.SHUT_WR)
        answer = line.makefile(encoding="utf-8")
        pid = int(answer.readline())
        try:
            told = answer.read()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
    status, output = json.loads(told) if told else (-signal.SIGKILL, "")
    return status, output, ""


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
