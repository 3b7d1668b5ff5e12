"""The ways of sharing a GPU, as a closed union: one frozen type per mode, and no options that contradict it."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WrapValidator

MIB_PER_GIB = 1024
_Value = TypeVar("_Value")


def _one_or_each(kind: Any) -> WrapValidator:
    """Check an option that is one value for every job, or a list with one for each.

    A union of the two would tell each fault twice, once for either form.
    """
    value: TypeAdapter[Any] = TypeAdapter(kind)

    def check(given: Any, _union: object) -> Any:
        if isinstance(given, list | tuple) and given:
            return tuple(value.validate_python(each) for each in given)
        return None if given is None else value.validate_python(given)

    return WrapValidator(check)


_PERCENTAGE = _one_or_each(Annotated[int, Field(strict=True, ge=1, le=100)])
_MEMORY_GIB = _one_or_each(Annotated[float, Field(strict=True, ge=0.1, allow_inf_nan=False)])
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

    def shares_for_other_than(self, _jobs: int, /) -> tuple[str, ...]:
        """Return what the mode has, `2 instances`, where that does not fit a mix of so many jobs."""
        return ()


class Exclusive(_Mode):
    """One job at a time: nothing co-runs. The reference for every other mode."""

    mode: Literal["exclusive"] = "exclusive"


class TimeSlicing(_Mode):
    """Several processes on one GPU in compute mode DEFAULT; the driver switches between their contexts.

    `time_slice` asks the driver for a policy of its own; how long a slice then lasts NVIDIA does not publish.
    """

    mode: Literal["time-slicing"] = "time-slicing"
    time_slice: Literal["short", "medium", "long"] | None = None

    @property
    def label(self) -> str:
        """`time-slicing`, or `time-slicing short` where the plan asks for a policy."""
        return "time-slicing" if self.time_slice is None else f"time-slicing {self.time_slice}"


class Mps(_Mode):
    """CUDA Multi-Process Service: kernels of several processes run at once, with no limit, or with some.

    A limit is one value for every job, or a list with one for each, in plan order.
    """

    mode: Literal["mps"] = "mps"
    active_thread_percentage: Annotated[int | tuple[int, ...] | None, _PERCENTAGE] = None
    memory_limit_gib: Annotated[float | tuple[float, ...] | None, _MEMORY_GIB] = None

    @property
    def label(self) -> str:
        """`mps`, `mps 50%`, `mps 70%+30% 48gib+24gib`: what each tenant is capped at."""
        percentages = _joined(self.active_thread_percentage, lambda value: f"{value}%")
        return f"mps{percentages}{_joined(self.memory_limit_gib, lambda value: f'{value:g}gib')}"

    def shares_for_other_than(self, jobs: int, /) -> tuple[str, ...]:
        """One percentage and one memory limit a job, where each job has its own."""
        percentages = _unless(jobs, self.active_thread_percentage, "thread percentages")
        return (*percentages, *_unless(jobs, self.memory_limit_gib, "memory limits"))

    def percentage_of(self, slot: int) -> int | None:
        """Return the share of the SMs, in percent, at which a job of the mix is capped."""
        return _at(self.active_thread_percentage, slot)

    def memory_limit_mib_of(self, slot: int) -> int | None:
        """Return the memory, in MiB, at which a job of the mix is capped."""
        limit_gib = _at(self.memory_limit_gib, slot)
        return None if limit_gib is None else int(limit_gib * MIB_PER_GIB)


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

    def shares_for_other_than(self, jobs: int, /) -> tuple[str, ...]:
        """One partition a job."""
        return _unless(jobs, self.chunks, "partitions")


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

    def shares_for_other_than(self, jobs: int, /) -> tuple[str, ...]:
        """One instance a job."""
        return _unless(jobs, self.profiles, "instances")


class MigMps(_Cut):
    """MIG with an MPS daemon in each instance, jobs dealt out in turn; without a layout, ceil(n/2) equal ones."""

    mode: Literal["mig-mps"] = "mig-mps"

    def instances_for(self, jobs: int) -> int:
        """Return how many instances a mix of so many jobs gets: two jobs share one unless the layout says else."""
        return len(self.profiles) if self.profiles else (jobs + 1) // 2

    def shares_for_other_than(self, jobs: int, /) -> tuple[str, ...]:
        """One job an instance at least: none may lie idle."""
        return (f"{self.instances_for(jobs)} instances",) if jobs < self.instances_for(jobs) else ()


class CpuShared(_Mode):
    """Several jobs on the host's cores, shared by the operating system; the only sharing mode without a GPU."""

    mode: Literal["cpu-shared"] = "cpu-shared"


class AsFound(_Mode):
    """The device as a cluster gave it, MIG slice, MPS daemon or time-sliced GPU; nothing is changed."""

    mode: Literal["as-found"] = "as-found"


def _at(option: _Value | tuple[_Value, ...], slot: int) -> _Value:
    return option[slot] if isinstance(option, tuple) else option


def _joined(option: _Value | tuple[_Value, ...] | None, word: Callable[[_Value], str]) -> str:
    """Write an option's values, ` 70%+30%`; nothing where it is not set."""
    if option is None:
        return ""
    return " " + "+".join(map(word, option if isinstance(option, tuple) else (option,)))


def _unless(jobs: int, values: Any, what: str) -> tuple[str, ...]:
    """Say how many of `what` there are, unless there are as many as jobs, or one for all."""
    return (f"{len(values)} {what}",) if isinstance(values, tuple) and len(values) != jobs else ()


SwitchingMode = Exclusive | TimeSlicing | Mps | MpsEqual | MpsPartitions | Mig | MigMps | CpuShared
Mode = Annotated[SwitchingMode | AsFound, Field(discriminator="mode")]

MODE_TYPES: dict[str, type[_Mode]] = {
    kind.model_fields["mode"].default: kind
    for kind in (Exclusive, TimeSlicing, Mps, MpsEqual, MpsPartitions, Mig, MigMps, CpuShared, AsFound)
}
GPU_SHARING_MODES = ("time-slicing", "mps", "mps-equal", "mig")
MODE_ADAPTER: TypeAdapter[Mode] = TypeAdapter(Mode)


def why_not_together(modes: Sequence[Mode]) -> str | None:
    """Return why these modes cannot stand in one plan; None if they can."""
    others = [mode.label for mode in modes if not isinstance(mode, AsFound)]
    if not others or len(others) == len(modes):
        return None
    return (
        f"as-found takes the device as it is, and {', '.join(others)} would change it; "
        "measure as-found in a plan of its own, which runs each job alone as well"
    )
