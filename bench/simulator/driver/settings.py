"""`nvidia-smi -pm`, `-c` and `-mig`: what the device lets itself be told, and how it refuses.

NVML's error numbers serve as exit codes of refusals: 4 no permission (seen in transcripts), 19 in use.
"""

from .arguments import USAGE, Answer, BadArgumentError
from .query import BUS_ID
from .state import DriverState

OK, NO_PERMISSION, IN_USE = 0, 4, 19
SWITCH = {"1": True, "ENABLED": True, "enabled": True, "0": False, "DISABLED": False, "disabled": False}
COMPUTE_MODES = {"0": "DEFAULT", "2": "PROHIBITED", "3": "EXCLUSIVE_PROCESS"}
SHOWN_MODES = {"DEFAULT": "Default", "PROHIBITED": "Prohibited", "EXCLUSIVE_PROCESS": "Exclusive_Process"}
PERSISTENCE_WARNING = (
    f"\nWarning: persistence mode is disabled on device {BUS_ID}. See the Known Issues section of the "
    "nvidia-smi(1) man page for more information. Run with [--help | -h] switch to get more information on "
    "how to enable persistence mode.\n"
)
HELD = (
    f"{BUS_ID} is currently being used by one or more other processes (e.g. CUDA application or a "
    "monitoring application such as another instance of nvidia-smi). Please first kill all processes using "
    "the device and retry the command or reboot the system to make MIG mode effective.\n"
)

REBOOT = f"Reboot the system or try nvidia-smi --gpu-reset to make MIG mode effective on GPU {BUS_ID}\n"


def set_persistence(state: DriverState, value: str) -> Answer:
    """Answer `-pm 0|1`."""
    wanted = _switch(value)
    if not state.privileged:
        return _unable("set persistence mode", "Insufficient Permissions", NO_PERMISSION)
    word = "Enabled" if wanted else "Disabled"
    how = " via daemon" if state.holder == "nvidia-persistenced" else ""
    if wanted == state.persistence:
        return f"Persistence mode is already {word} for GPU {BUS_ID}.\nAll done.\n", OK
    state.persistence = wanted
    return f"{word} persistence mode{how} for GPU {BUS_ID}.\nAll done.\n", OK


def set_compute_mode(state: DriverState, value: str) -> Answer:
    """Answer `-c MODE`, a number or a name."""
    mode = COMPUTE_MODES.get(value, value)
    if mode not in SHOWN_MODES:
        raise BadArgumentError(USAGE)
    if not state.privileged:
        return _unable("set the compute mode", "Insufficient Permissions", NO_PERMISSION)
    if state.compute_mode == SHOWN_MODES[mode]:
        return f"Compute mode is already set to {mode} for GPU {BUS_ID}.\nAll done.\n", OK
    state.compute_mode = SHOWN_MODES[mode]
    return f"Set compute mode to {mode} for GPU {BUS_ID}.\nAll done.\n", OK


def set_mig(state: DriverState, value: str) -> Answer:
    """Answer `-mig 0|1`: at once on Hopper, through a reset on Ampere, not at all on other boards."""
    wanted = _switch(value)
    verb = "enable" if wanted else "disable"
    if not state.model.mig_capable:
        text = f"Unable to {verb} MIG Mode for GPU {BUS_ID}: Not Supported\n"
        return f"{text}Treating as warning and moving on.\nAll done.\n", OK
    if not state.privileged:
        return _unable(f"{verb} MIG Mode", "Insufficient Permissions", NO_PERMISSION)
    if wanted == state.mig_enabled:
        state.mig_pending = wanted
    elif state.instances or (state.in_use and not state.model.mig_needs_reset):
        return _unable(f"{verb} MIG Mode", "In use by another client", IN_USE)
    elif state.passed_through and state.model.mig_needs_reset:
        state.mig_pending = wanted
        return _mig_waits(f"{verb} state for GPU {BUS_ID}:Not Supported\n{REBOOT}")
    else:
        return _switch_mig(state, verb, wanted)
    return _mig_done(state, verb)


def _switch_mig(state: DriverState, verb: str, wanted: bool) -> Answer:
    """Change the mode; on Ampere it stays pending where the reset that it needs is impossible."""
    state.mig_pending = wanted
    if state.in_use:
        return _mig_waits(f"{verb} state for GPU {BUS_ID}:In use by another client\n{HELD}")
    state.mig_enabled = wanted
    return _mig_done(state, verb)


def _mig_waits(why: str) -> Answer:
    return f"Warning: MIG mode is in pending {why}All done.\n", OK


def _mig_done(state: DriverState, verb: str) -> Answer:
    note = "" if state.persistence else PERSISTENCE_WARNING
    return f"{verb.capitalize()}d MIG Mode for GPU {BUS_ID}\n{note}All done.\n", OK


def _switch(value: str) -> bool:
    if value not in SWITCH:
        raise BadArgumentError(USAGE)
    return SWITCH[value]


def _unable(what: str, reason: str, code: int) -> Answer:
    return f"Unable to {what} for GPU {BUS_ID}: {reason}\nTerminating early due to previous errors.\n", code


SETTERS = {
    "persistence-mode": set_persistence,
    "compute-mode": set_compute_mode,
    "mig-mode": set_mig,
}
