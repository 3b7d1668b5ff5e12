"""Setting up a simulated GPU: its driver state on disk, its tools in front of PATH, its board in this process."""

import os
import uuid
from difflib import get_close_matches

from bench.errors import SetupError
from bench.gpu.device import Device, state_root
from bench.simulator.board import Board
from bench.simulator.clock import VirtualClock
from bench.simulator.driver.install import install
from bench.simulator.driver.models import MODELS
from bench.simulator.driver.query import DRIVER_VERSION
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
    folder = state_root() / gpu_uuid
    state_file = folder / "driver" / "state.txt"
    tools = folder / "driver" / "bin"
    state = DriverState.load(state_file) if state_file.exists() else create(state_file, key, gpu_uuid)
    install(tools, state_file)
    return Device(
        kind="gpu",
        simulated=True,
        name=state.gpu_name,
        uuid=gpu_uuid,
        memory_total_mib=state.model.memory_mib,
        driver_version=DRIVER_VERSION,
        vbios_version=None,
        environment={"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
    )


def board_of(device: Device) -> Board:
    """Return the board whose driver state the device's tools speak for."""
    return Board(device.state_folder / "driver" / "state.txt", VirtualClock())


def model_of(device: Device) -> str:
    """Return the model's key, as in `--device simulated:KEY`."""
    return DriverState.load(device.state_folder / "driver" / "state.txt").model_key
