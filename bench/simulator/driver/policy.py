"""`nvidia-smi compute-policy --set-timeslice`: a policy that no tool reads back.

What the real one prints when it succeeds is not known; this one then prints nothing: only its exit code counts.
"""

from .arguments import USAGE, Answer, BadArgumentError
from .state import DriverState

OK, NOT_AVAILABLE, NO_PERMISSION = 0, 3, 4
POLICIES = ("Default", "Short", "Medium", "Long")


def set_time_slice(state: DriverState, value: str) -> Answer:
    """Answer `--set-timeslice 0..3`; there are no time slices to set on a GPU in MIG mode."""
    if value not in {"0", "1", "2", "3"}:
        raise BadArgumentError(USAGE)
    wanted = POLICIES[int(value)]
    if state.mig_enabled:
        return _refused(wanted, "Not Supported"), NOT_AVAILABLE
    if not state.privileged:
        return _refused(wanted, "Insufficient Permissions"), NO_PERMISSION
    state.time_slice = wanted
    return "", OK


def _refused(wanted: str, why: str) -> str:
    return (
        f"Failed to set timeslice policy with value {wanted} for GPU 0 : {why}\n"
        f"Failed to set timeslice for requested devices : {why}\n"
    )
