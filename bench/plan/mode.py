"""The ways of sharing a GPU, as a closed union: one frozen type per mode, and no options that contradict it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


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


class Mig(_Mode):
    """Multi-Instance GPU: the device is cut into instances; without a layout, into n equal ones."""

    mode: Literal["mig"] = "mig"
    layout: Annotated[str, Field(pattern=r"^\d+g\.\d+gb(\+\d+g\.\d+gb)*$")] | None = None

    @property
    def label(self) -> str:
        """`mig`, or `mig 3g.40gb+3g.40gb` where the plan gives the layout."""
        return "mig" if self.layout is None else f"mig {self.layout}"

    @property
    def profiles(self) -> tuple[str, ...] | None:
        """The profile each job takes, in plan order; None where the layout follows from the job count."""
        return None if self.layout is None else tuple(self.layout.split("+"))


class CpuShared(_Mode):
    """Several jobs on the host's cores, shared by the operating system; the only sharing mode without a GPU."""

    mode: Literal["cpu-shared"] = "cpu-shared"


class AsFound(_Mode):
    """The device as a cluster gave it, MIG slice, MPS daemon or time-sliced GPU; nothing is changed."""

    mode: Literal["as-found"] = "as-found"


SwitchingMode = Exclusive | TimeSlicing | Mps | MpsEqual | Mig | CpuShared
Mode = Annotated[SwitchingMode | AsFound, Field(discriminator="mode")]

MODE_TYPES: dict[str, type[_Mode]] = {
    kind.model_fields["mode"].default: kind
    for kind in (Exclusive, TimeSlicing, Mps, MpsEqual, Mig, CpuShared, AsFound)
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
