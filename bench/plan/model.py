"""What to measure, as frozen types. One YAML file becomes one `Plan`; nothing else describes an experiment."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from bench.plan.catalog import ParameterValue
from bench.plan.mode import Mode

Metric = Literal["stp", "antt", "smallest_progress", "jain"]
PRIMARY_METRICS: tuple[Metric, ...] = get_args(Metric)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Timing(_Frozen):
    """How long a trial lasts and how many blocks a plan has unless it says otherwise."""

    name: str
    blocks: int
    settle_s: float
    window_s: float
    publishable: bool
    most_blocks: int | None = None
    """Up to so many blocks follow a pilot of `blocks`, by what the pilot shows; None: their number is fixed."""
    measures: Literal["sharing", "switching"] = "sharing"
    """What the report is about: how modes compare, or what entering and leaving them costs (and nothing else)."""

    @property
    def has_controls(self) -> bool:
        """Whether each block also measures a mode against itself, and a tenant slowed by a known share."""
        return self.publishable and self.measures == "sharing"


TIMINGS = {
    "selftest": Timing(name="selftest", blocks=1, settle_s=3, window_s=6, publishable=False),
    "smoke": Timing(name="smoke", blocks=2, settle_s=3, window_s=5, publishable=False),
    "standard": Timing(name="standard", blocks=10, settle_s=30, window_s=120, publishable=True),
    "paper": Timing(name="paper", blocks=10, settle_s=60, window_s=600, publishable=True, most_blocks=40),
    "switching": Timing(
        name="switching", blocks=10, settle_s=0, window_s=1, publishable=True, measures="switching"
    ),
}


class Job(_Frozen):
    """One workload with the parameters in which it differs from the catalog: one tenant of the GPU."""

    workload: str
    parameters: Mapping[str, ParameterValue] = {}

    @property
    def label(self) -> str:
        """The job as tables name it: `resnet50-training`, or `resnet50-training batch_size=8`."""
        options = [f"{key}={value}" for key, value in sorted(self.parameters.items())]
        return " ".join([self.workload, *options])


class Mix(_Frozen):
    """The jobs that run side by side, in plan order."""

    name: str
    jobs: tuple[Job, ...] = Field(min_length=1)

    @property
    def tenants(self) -> tuple[str, ...]:
        """A name for each job of the mix; equal jobs are told apart by a number."""
        labels = [job.label for job in self.jobs]
        total, seen = Counter(labels), Counter[str]()
        names = []
        for label in labels:
            seen[label] += 1
            names.append(f"{label} #{seen[label]}" if total[label] > 1 else label)
        return tuple(names)


class Plan(_Frozen):
    """One experiment: every mode meets every mix, in `blocks` randomised blocks."""

    name: str
    modes: tuple[Mode, ...] = Field(min_length=1)
    mixes: tuple[Mix, ...] = Field(min_length=1)
    timing: Timing
    blocks: int = Field(ge=1, le=1000)
    baseline: str | None = None
    primary: tuple[Metric, ...] = Field(default=("stp",), min_length=1)

    @property
    def sharing_modes(self) -> tuple[Mode, ...]:
        """The modes in which jobs co-run; `exclusive` is measured in every plan and is not among them."""
        return tuple(mode for mode in self.modes if mode.mode != "exclusive")

    @property
    def reference(self) -> str | None:
        """Label of the sharing mode that the others are compared with; None where there is only one."""
        labels = [mode.label for mode in self.sharing_modes]
        if len(labels) < 2:
            return None
        wanted = self.baseline or "time-slicing"
        return wanted if wanted in labels else labels[0]

    def lasting(self, blocks: int | None) -> "Plan":
        """Return the plan with the number of blocks that its pilot asked for; None leaves it as it is."""
        return self if blocks is None else self.model_copy(update={"blocks": blocks})

    @property
    def repeated_mode(self) -> Mode | None:
        """The sharing mode that a plan with controls measures against itself: the reference, else the only one."""
        if not self.timing.has_controls:
            return None
        shared = self.sharing_modes
        return next((mode for mode in shared if mode.label == self.reference), shared[0] if shared else None)
