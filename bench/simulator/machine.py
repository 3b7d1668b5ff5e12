"""Setting up a simulated GPU: its driver state on disk, its tools in front of PATH, its board in this process."""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from bench.errors import SetupError
from bench.gpu.device import Device, state_root
from bench.gpu.lock import make_state_folder
from bench.gpu.tool import SERVER_VARIABLE
from bench.simulator.board import Board
from bench.simulator.clock import VirtualClock
from bench.simulator.driver.install import install, server_command
from bench.simulator.driver.models import MODELS
from bench.simulator.driver.state import DriverState, create

DEFAULT_MODEL = "a100-80gb"


def simulated_device(model: str | None) -> Device:
    """Return a simulated GPU of this model; its driver state is made when it is first asked for."""
    key = model or DEFAULT_MODEL
    if key not in MODELS:
        near = get_close_matches(key, MODELS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SetupError(f"--device simulated:{key}: no such model{hint}; known: {', '.join(MODELS)}")
    gpu_uuid = f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'simulated {key}')}"
    board = MODELS[key]
    tools = state_root() / gpu_uuid / "driver" / "bin"
    device = Device(
        kind="gpu",
        simulated=True,
        name=f"SIMULATED {board.name}",
        uuid=gpu_uuid,
        selector=f"simulated:{key}",
        memory_total_mib=board.memory_mib,
        driver_version=DriverState.driver_version,
        vbios_version=None,
        environment={"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
    )
    _install(device, key)
    return device


def _install(device: Device, model: str) -> None:
    """Make the driver's state, unless it is there, and its tools."""
    state_file = _state_file(device)
    try:
        make_state_folder(device)
        if not state_file.exists():
            create(state_file, model, device.uuid)
        install(state_file.parent / "bin", state_file)
    except OSError as refused:
        raise SetupError(
            f"{refused.filename}: the simulated driver cannot keep its state there ({refused.strerror}); "
            "set BENCH_STATE_DIR to a folder of yours"
        ) from refused


def _state_file(device: Device) -> Path:
    return device.state_folder / "driver" / "state.txt"


@contextmanager
def served(device: Device) -> Iterator[Device]:
    """Let one process answer for the device's tools: an interpreter for each call took half of a run's time."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # Linux finds a name, which dies with the socket
        listener.listen(socket.SOMAXCONN)
        process = subprocess.Popen(
            server_command(listener.fileno(), _state_file(device)),
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
        name = listener.getsockname()[1:].decode()
    with process:  # whose standard input ends here
        yield replace(device, environment={**device.environment, SERVER_VARIABLE: name})


def board_of(device: Device) -> Board:
    """Return the board whose driver state the device's tools speak for."""
    return Board(_state_file(device), VirtualClock())


def model_of(device: Device) -> str:
    """Return the model's key, as in `--device simulated:KEY`."""
    return DriverState.load(_state_file(device)).model_key
