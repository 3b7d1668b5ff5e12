"""What a cluster gave us: a whole GPU or a MIG device, with or without an MPS daemon. Only looked at.

What this user may not read is None. What the environment promises and is not there is refused: CUDA would fall
back to time slices without a word.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, ModeUnavailable
from bench.gpu.device import Device
from bench.gpu.mig_tables import MigDevice
from bench.gpu.mps import MpsControl, MpsStatus
from bench.gpu.sm_counts import known_sm_count
from bench.gpu.smi import NvidiaSmi
from bench.gpu.values import text_or_none
from bench.modes.mps import MEMORY_LIMIT_VARIABLE, PERCENTAGE_VARIABLE
from bench.modes.proof import DEFAULT_PIPE, MPS_SERVER, PIPE_VARIABLE, processes

PARTITION_VARIABLE = "CUDA_MPS_SM_PARTITION"
_NAMES_DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_PROMISES_MPS = (PIPE_VARIABLE, PERCENTAGE_VARIABLE, MEMORY_LIMIT_VARIABLE, PARTITION_VARIABLE)
_FOR_CLIENTS = (
    *_PROMISES_MPS[1:],
    "CUDA_MPS_CLIENT_PRIORITY",
    "CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING",
)


@dataclass(frozen=True)
class Found:
    """What was given to us; None for what it is not, or for what this user may not read."""

    device_id: str  # UUID of the GPU or of the MIG device
    profile: str | None  # of the MIG device; None: the whole GPU
    compute_mode: str | None
    sm_count: int | None  # without MPS
    memory_mib: int | None  # of the MIG device
    pipe_directory: Path | None  # of the MPS daemon that answers; None: there is none
    default_percentage: float | None  # the daemon's
    limits: dict[str, str]  # what the environment holds for MPS clients

    @property
    def words(self) -> str:
        """All of it in one line, as a reader of the report understands it."""
        sms = "SM count not told" if self.sm_count is None else f"{self.sm_count} SMs"
        memory = "memory not told" if self.memory_mib is None else f"{self.memory_mib} MiB"
        mode = f"compute mode {self.compute_mode or 'not told'}"
        if self.profile is None:
            what = f"the whole GPU ({self.device_id}, {mode})"
        else:
            what = f"a MIG instance {self.profile} ({self.device_id}, {sms}, {memory}, {mode})"
        if self.pipe_directory is None:
            return f"{what} with no MPS daemon"
        given = "".join(f", {name}={value}" for name, value in sorted(self.limits.items()))
        daemon = f"default thread percentage {self.default_percentage:g}{given}"
        return f"{what} with an MPS daemon at {self.pipe_directory} ({daemon})"


def find(device: Device) -> Found:
    """Look at what there is. Nothing is changed.

    Raises ModeUnavailable where no job could run in it, or not as the environment promises; DeviceError or
    SetupError where the device does not answer.
    """
    smi = NvidiaSmi(device.tool_environment)
    seen = smi.query_gpu(device.uuid, ("compute_mode", "mig.mode.current"))
    compute_mode, mig_mode = (text_or_none(value) for value in seen.values())
    part = None if mig_mode == "Disabled" else _given(device, smi.mig_devices(device.uuid), mig_mode)
    daemon = _daemon(device)
    if compute_mode == "Prohibited" or (compute_mode == "Exclusive_Process" and daemon is None):
        raise _closed(device, compute_mode)
    if part is None and daemon is None:
        _refuse_foreign_server(device)
    sm_count, memory_mib = _size(smi, part) if part else (known_sm_count(device.name), None)
    limits = {name: device.tool_environment[name] for name in _FOR_CLIENTS if name in device.tool_environment}
    return Found(
        part.uuid if part else device.uuid,
        part.profile if part else None,
        compute_mode,
        sm_count,
        memory_mib,
        _pipe_directory(device) if daemon else None,
        daemon.default_active_thread_percentage if daemon else None,
        limits if daemon else {},
    )


def _given(device: Device, listed: Sequence[MigDevice], mig_mode: str | None) -> MigDevice | None:
    """Return our MIG device: the one named by --device or by the environment, else the only one in sight."""
    if not listed and mig_mode != "Enabled" and device.mig_uuid is None:
        return None
    named = [device.mig_uuid] if device.mig_uuid else list(_named_in(device))
    ours = [mig for mig in listed if not named or mig.uuid.startswith(tuple(named))]
    if len(ours) == 1:
        return ours[0]
    if not ours:
        what = f"{', '.join(named)} is not there" if named else "there is no MIG device to use"
        raise ModeUnavailable(f"{device.uuid} is in MIG mode, and {what}; compare with: nvidia-smi -L",
                              f"{device.uuid} is in MIG mode, and {what}", "nvidia-smi -L")  # fmt: skip
    run = (
        f"CUDA_VISIBLE_DEVICES={ours[0].uuid} python run_experiments.py --mode as-found --device {device.selector}"
    )
    wrong = f"{device.uuid} shows {len(ours)} MIG devices, and a process can use but one: name it"
    raise ModeUnavailable(f"{wrong}\nnext: {run}", wrong, run)


def _named_in(device: Device) -> Iterator[str]:
    for variable in _NAMES_DEVICES:
        names = device.tool_environment.get(variable, "").split(",")
        mig = [name.strip() for name in names if name.strip().startswith("MIG-")]
        if mig:
            yield mig[0]
            return


def _size(smi: NvidiaSmi, part: MigDevice) -> tuple[int | None, int | None]:
    """Return SMs and memory (MiB) of a MIG device; a compute instance has all memory, and a part of the SMs."""
    slices, _, whole = part.profile.rpartition("c.")
    try:
        profile = next((each for each in smi.mig_profiles(part.gpu_uuid) if each.name == whole), None)
    except BenchError:  # it may not be listed by everybody
        profile = None
    if profile is None:
        return None, None
    return None if slices else profile.sm_count, round(profile.memory_gib * 1024)


def _pipe_directory(device: Device) -> Path:
    return Path(device.tool_environment.get(PIPE_VARIABLE) or DEFAULT_PIPE)


def _daemon(device: Device) -> MpsStatus | None:
    """Return what the daemon says that this environment leads to; None where it leads to none."""
    pipe = _pipe_directory(device)
    promised = [f"{name}={value}" for name in _PROMISES_MPS if (value := device.tool_environment.get(name))]
    status = None
    if os.access(pipe / "control", os.F_OK):
        try:
            status = MpsControl(device.tool_environment, pipe).status()
        except BenchError as unasked:
            raise ModeUnavailable(
                f"whether an MPS daemon answers at {pipe} cannot be told: {unasked}"
            ) from unasked
    if status is None and promised:
        wrong = (
            f"{', '.join(promised)} promises MPS, but no daemon answers at {pipe}: CUDA would take time slices "
            "without a word"
        )
        unset = "unset " + " ".join(each.partition("=")[0] for each in promised)
        raise ModeUnavailable(f"{wrong}\nnext: ask for the daemon, or measure without it: {unset}", wrong, unset)
    return status


def _closed(device: Device, compute_mode: str) -> ModeUnavailable:
    alone = "lets one process compute at a time, since there is no MPS daemon"
    why = "lets no process compute" if compute_mode == "Prohibited" else alone
    wrong = f"compute mode {compute_mode} of {device.uuid} {why}"
    command = f"sudo nvidia-smi -i {device.uuid} -c DEFAULT"
    return ModeUnavailable(f"{wrong}; ask the administrator for: {command}", wrong, command)


def _refuse_foreign_server(device: Device) -> None:
    servers = [app.pid for app in processes(device) if (app.process_name or "").endswith(MPS_SERVER)]
    if servers:
        raise ModeUnavailable(
            f"an MPS server (process {servers[0]}) computes on {device.uuid}, and no daemon answers at "
            f"{_pipe_directory(device)}; name the directory of its daemon: export {PIPE_VARIABLE}=DIR"
        )
