"""What a mode owes the rooms above it: a grant for each tenant, and evidence that the mode is real."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from bench.clock import Clock
from bench.plan.mode import Mode
from bench.plan.model import Mix


class Grade(StrEnum):
    """How strong a piece of evidence is, strongest first."""

    READ_BACK = "read back"  # the device itself was asked again after the change
    SEEN_BY_TENANT = "seen by the tenant"
    HOST_ONLY = "host only"
    REQUESTED_ONLY = "requested only"  # cannot be read back (time-slice policy, clock locks)


@dataclass(frozen=True)
class Evidence:
    """One claim about the mode, what would have to be seen for it to hold, and what was seen."""

    claim: str
    expected: Any
    observed: Any
    grade: Grade
    holds: bool

    def as_record(self) -> dict[str, Any]:
        """Return the form in which records keep it."""
        return asdict(self)


@dataclass(frozen=True)
class Mount:
    """A folder of the host that a container needs at the same path."""

    path: Path
    read_only: bool = False


@dataclass(frozen=True)
class Grant:
    """What one tenant gets of the device: its id (GPU or MIG UUID), environment and mounts."""

    device_id: str | None
    environment: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    share: str | None = None
    sm_count: int | None = None  # SMs the tenant must see, where the mode fixes them; None: the whole device
    memory_mib: int | None = None  # memory the tenant must see, where the mode gives it a device of its own
    memory_limit_mib: int | None = None  # memory the tenant can allocate at most, where the mode sets a limit
    shares_board: bool = False  # strangers may compute there, too: power, energy and clocks are not ours alone


@dataclass(frozen=True)
class Identity:
    """What a tenant itself saw of its device, from its `identity` event; None where it could not tell."""

    tenant: str
    device_name: str | None = None
    device_uuid: str | None = None
    sm_count: int | None = None
    memory_total_mib: int | None = None
    mps_pipe_directory: str | None = None
    mps_active_thread_percentage: float | None = None
    mps_in_container_default: bool | None = None  # whether /tmp/nvidia-mps is there for the tenant
    allocatable_mib: int | None = None  # memory it could allocate before it began, where it was asked to try
    host_pids: tuple[int, ...] = ()

    @property
    def said_nothing(self) -> bool:
        """Whether the tenant sent no `identity`; its process ids are the launcher's word."""
        return self == Identity(self.tenant, host_pids=self.host_pids)


class ActiveMode(Protocol):
    """A mode that has been entered and read back."""

    @property
    def mode(self) -> Mode:
        """The mode that was asked for."""
        ...

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What the device read back when the mode was entered."""
        ...

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Prepare the device for a mix and return a grant for each of its jobs, in plan order."""
        ...

    def await_idle(self, clock: Clock, /) -> None:
        """Return when nothing foreign is on the device; raises DeviceError where something stays."""
        ...

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity], /) -> tuple[Evidence, ...]:
        """Compare what the tenants saw with what they were granted; failed evidence makes the trial invalid."""
        ...

    def inspect(self) -> tuple[Evidence, ...]:
        """Ask the device again, between trials, for all that must hold without tenants, too."""
        ...
