"""The ways of sharing a GPU, as a closed union: one frozen type per mode, and no options that contradict it."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

_FROM_LIST = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)  # as YAML has it


class _Mode(BaseModel):
    """What all modes have in common: a name, and a label that is unique among modes with other options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str

    @property
    def label(self) -> str:
        """The mode as tables and charts name it, options included: `mps 50%`, `mig 3g.40gb+3g.40gb`."""
        return self.mode

    @property
    def slug(self) -> str:
        """The label in letters that file names and ids can hold."""
        return self.label.replace("%", "pct").replace(" ", "-")

    def shares_for_other_than(self, _jobs: int, /) -> str | None:
        """Return what the mode has, `2 instances`, where that does not fit a mix of so many jobs; else None."""
        return None


class Exclusive(_Mode):
    """One job at a time: nothing co-runs. The reference for every other mode."""

    mode: Literal["exclusive"] = "exclusive"


class TimeSlicing(_Mode):
    """Several processes on one GPU in compute mode DEFAULT; the driver switches between their contexts."""

    mode: Literal["time-slicing"] = "time-slicing"


class Mps(_Mode):
    """CUDA Multi-Process Service: kernels of several processes run at once, with no limit or one for all."""

    mode: Literal["mps"] = "mps"
    active_thread_percentage: int | None = Field(default=None, ge=1, le=100)

    @property
    def label(self) -> str:
        """`mps`, or `mps 50%` where each tenant is capped at half of the SMs."""
        return "mps" if self.active_thread_percentage is None else f"mps {self.active_thread_percentage}%"


class MpsEqual(_Mode):
    """MPS in which each of n tenants gets floor(100/n) % of the SMs and 1/n of the memory."""

    mode: Literal["mps-equal"] = "mps-equal"


class MpsPartitions(_Mode):
    """MPS with static SM partitions, one a job, which nobody else can use; without `chunks`, n equal ones.

    A chunk is 8 SMs from Hopper on and 4 before. It needs driver 590 and an Ampere board, or newer ones.
    """

    mode: Literal["mps-partitions"] = "mps-partitions"
    chunks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], _FROM_LIST, Field(min_length=1)] | None = None

    @property
    def label(self) -> str:
        """`mps-partitions`, or `mps-partitions 7+6` where the plan gives each job's chunks."""
        return self.mode if self.chunks is None else f"{self.mode} {'+'.join(map(str, self.chunks))}"

    def shares_for_other_than(self, jobs: int, /) -> str | None:
        """One partition a job."""
        return None if self.chunks is None or len(self.chunks) == jobs else f"{len(self.chunks)} partitions"


class _Cut(_Mode):
    """What modes that cut the device into MIG instances have in common."""

    layout: Annotated[str, Field(pattern=r"^\d+g\.\d+gb(\+\d+g\.\d+gb)*$")] | None = None

    @property
    def label(self) -> str:
        """`mig`, or `mig 3g.40gb+3g.40gb` where the plan gives the layout."""
        return self.mode if self.layout is None else f"{self.mode} {self.layout}"

    @property
    def profiles(self) -> tuple[str, ...] | None:
        """The profiles of the instances in order; None where the layout follows from the job count."""
        return None if self.layout is None else tuple(self.layout.split("+"))


class Mig(_Cut):
    """Multi-Instance GPU: the device is cut into instances, one a job; without a layout, into n equal ones."""

    mode: Literal["mig"] = "mig"

    def instances_for(self, jobs: int) -> int:
        """Return how many instances a mix of so many jobs gets."""
        return jobs

    def shares_for_other_than(self, jobs: int, /) -> str | None:
        """One instance a job."""
        return None if self.profiles is None or len(self.profiles) == jobs else f"{len(self.profiles)} instances"


class MigMps(_Cut):
    """MIG with an MPS daemon in each instance, jobs dealt out in turn; without a layout, ceil(n/2) equal ones."""

    mode: Literal["mig-mps"] = "mig-mps"

    def instances_for(self, jobs: int) -> int:
        """Return how many instances a mix of so many jobs gets: two jobs share one unless the layout says else."""
        return len(self.profiles) if self.profiles else (jobs + 1) // 2

    def shares_for_other_than(self, jobs: int, /) -> str | None:
        """One job an instance at least: none may lie idle."""
        return None if self.profiles is None or len(self.profiles) <= jobs else f"{len(self.profiles)} instances"


class CpuShared(_Mode):
    """Several jobs on the host's cores, shared by the operating system; the only sharing mode without a GPU."""

    mode: Literal["cpu-shared"] = "cpu-shared"


Mode = Annotated[
    Exclusive | TimeSlicing | Mps | MpsEqual | MpsPartitions | Mig | MigMps | CpuShared,
    Field(discriminator="mode"),
]

MODE_TYPES: dict[str, type[_Mode]] = {
    kind.model_fields["mode"].default: kind
    for kind in (Exclusive, TimeSlicing, Mps, MpsEqual, MpsPartitions, Mig, MigMps, CpuShared)
}
GPU_SHARING_MODES = ("time-slicing", "mps", "mps-equal", "mig")
MODE_ADAPTER: TypeAdapter[Mode] = TypeAdapter(Mode)
