"""`nvidia-smi -lgc`, `-rgc`, `-lmc`, `-rmc`, `-pl` and `-r`: clock locks, the power cap, a reset of the GPU.

A lock is taken as it is written, nonsense included, as real drivers were seen to do; it shows in the clocks of a
GPU that computes. Exit codes 4 and 255 are those of transcripts, 2 and 3 of the manual page.
"""

from .arguments import USAGE, Answer, BadArgumentError
from .models import Model
from .query import BUS_ID
from .settings import PERSISTENCE_WARNING
from .state import DriverState

OK, INVALID, NOT_AVAILABLE, NO_PERMISSION, OTHER = 0, 2, 3, 4, 255
DONE = "All done.\n"
ABORTED = "Terminating early due to previous errors.\n"
IN_USE = f"""The following GPUs could not be reset:
  GPU {BUS_ID}: In use by another client

1 device is currently being used by one or more other processes (e.g. Fabric Manager, CUDA application, graphics \
application such as an X server, or a monitoring application such as another instance of nvidia-smi). Please \
first kill all processes using this device and all compute applications running in the system.
"""


LOWEST_MHZ, STEP_MHZ = 210, 15
"""The steps in which SM clocks go; assumed for every board, as A100 and H100 have them."""


def supported_clocks(model: Model) -> range:
    """Return the SM clocks of a board in MHz, highest first."""
    return range(model.max_sm_clock_mhz, LOWEST_MHZ - 1, -STEP_MHZ)


def lock_clocks(state: DriverState, value: str) -> Answer:
    """Answer `-lgc MIN[,MAX]`."""
    return _lock(state, "clock_lock", "GPU", "gpuClk", value)


def lock_memory_clocks(state: DriverState, value: str) -> Answer:
    """Answer `-lmc MIN[,MAX]`."""
    return _lock(state, "memory_clock_lock", "Memory", "memClk", value)


def _lock(state: DriverState, field: str, what: str, short: str, value: str) -> Answer:
    if not state.privileged:
        return _forbidden("clocks")
    low, _, high = value.partition(",")
    setattr(state, field, f"{low},{high or low}")
    note = "" if state.persistence else PERSISTENCE_WARNING
    said = f'"({short}Min {low}, {short}Max {high or low})"'
    return f"{what} clocks set to {said} for GPU {BUS_ID}\n{note}{DONE}", OK


def unlock_clocks(state: DriverState, _: str) -> Answer:
    """Answer `-rgc`."""
    return _unlock(state, "clock_lock")


def unlock_memory_clocks(state: DriverState, _: str) -> Answer:
    """Answer `-rmc`."""
    return _unlock(state, "memory_clock_lock")


def _unlock(state: DriverState, field: str) -> Answer:
    if not state.privileged:
        return _forbidden("clocks")
    setattr(state, field, None)
    return DONE, OK


def _forbidden(what: str) -> Answer:
    return (
        f"The current user does not have permission to change {what} for GPU {BUS_ID}.\n{ABORTED}",
        NO_PERMISSION,
    )


def cap_power(state: DriverState, value: str) -> Answer:
    """Answer `-pl WATTS`; a virtual machine's is refused with exit code 0."""
    if state.passed_through:
        return f"Changing power management limit is not supported in current scope for GPU: {BUS_ID}.\n{DONE}", OK
    if not state.privileged:
        return _forbidden("power limit")
    if not value.replace(".", "", 1).isdigit():
        raise BadArgumentError(USAGE)
    wanted_w, lowest_w, highest_w = float(value), state.model.power_min_w, state.model.power_limit_w
    if not lowest_w <= wanted_w <= highest_w:
        bounds = f"which should be between {lowest_w:.2f} W and {highest_w:.2f} W for GPU {BUS_ID}"
        return f"Provided power limit {wanted_w:.2f} W is not a valid power limit {bounds}\n{ABORTED}", INVALID
    before_w, state.power_cap_w = state.power_limit_w, wanted_w
    return f"Power limit for GPU {BUS_ID} was set to {wanted_w:.2f} W from {before_w:.2f} W.\n{DONE}", OK


def reset_gpu(state: DriverState, _: str) -> Answer:
    """Answer `-r`: refused while anything holds the GPU, persistence mode included; frees every MIG instance."""
    if state.passed_through:
        return f"Resetting GPU {BUS_ID} is not supported.\n", NOT_AVAILABLE
    if not state.privileged:
        return f"Unable to reset GPU {BUS_ID}: Insufficient Permissions\n", NO_PERMISSION
    if state.in_use or state.persistence:
        return IN_USE, OTHER
    state.instances = []
    state.mig_enabled = state.mig_pending
    state.forget_settings()
    return f"GPU {BUS_ID} was successfully reset.\n", OK


SETTERS = {
    "lock-gpu-clocks": lock_clocks,
    "reset-gpu-clocks": unlock_clocks,
    "lock-memory-clocks": lock_memory_clocks,
    "reset-memory-clocks": unlock_memory_clocks,
    "power-limit": cap_power,
    "gpu-reset": reset_gpu,
}
