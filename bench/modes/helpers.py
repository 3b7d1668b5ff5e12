"""Calling the shell helpers in gpu_configs/: the only way by which this tool changes a device."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, DeviceError, ModeUnavailable, SetupError
from bench.gpu.device import Device

HELPER_FOLDER = Path(__file__).parents[2] / "gpu_configs"
DEADLINE_S = 300.0  # a GPU reset and a full MPS recovery included
_UNABLE, _NO_PERMISSION, _IN_USE, _NEEDS_RESET, _NO_TOOL = 3, 4, 5, 6, 7


@dataclass(frozen=True)
class Call:
    """One helper with its options; `--gpu` is added when it is run."""

    helper: str
    options: tuple[str, ...] = ()

    @property
    def is_read_back(self) -> bool:
        """Whether the device tells afterwards what the call did; of policies and clock locks no tool tells."""
        return "--time-slice" not in self.options and self.helper != "lock_clocks"


def run_helper(call: Call, device: Device, inherited: Sequence[int] = ()) -> dict[str, str]:
    """Run a helper on the device and return the pairs of its RESULT line.

    `inherited` are file descriptors (the device's lock) that it holds as long as it runs, even if this runner is
    killed. Raises ModeUnavailable, SetupError or DeviceError by the helper's exit code, with its own words.
    """
    command = [str(HELPER_FOLDER / f"{call.helper}.sh"), "--gpu", device.uuid, *call.options]
    elsewhere = {
        "CUDA_MPS_PIPE_DIRECTORY": str(device.state_folder / "no-mps")
    }  # where our jobs look for a daemon
    try:
        done = subprocess.run(
            command, env={**device.tool_environment, **elsewhere}, pass_fds=inherited, timeout=DEADLINE_S,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            start_new_session=True,  # Ctrl-C is for the runner; a helper is never cut off in mid-change
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{shlex.join(command)} did not end in {DEADLINE_S:.0f} s") from error
    if done.returncode != 0:
        raise _failure(command, done.returncode, done.stderr.strip() or done.stdout.strip())
    return _result(command, done.stdout)


def _failure(command: Sequence[str], code: int, words: str) -> BenchError:
    text = f"{words}\n  (exit code {code} of: {shlex.join(command)})"
    if code in (_UNABLE, _NEEDS_RESET, _NO_PERMISSION, _IN_USE):
        return ModeUnavailable(text)
    return SetupError(text) if code == _NO_TOOL else DeviceError(text)


def _result(command: Sequence[str], output: str) -> dict[str, str]:
    line = output.strip().rpartition("\n")[2]
    if not line.startswith("RESULT"):
        raise DeviceError(
            f"{shlex.join(command)} ended without a RESULT line; it said: {output.strip() or 'nothing'}"
        )
    words = shlex.split(line)[1:]
    return dict(word.split("=", 1) for word in words)
