"""What to measure, as frozen types. One YAML file becomes one `Plan`; nothing else describes an experiment."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from bench.plan.catalog import Catalog, ParameterValue, Resources, Workload
from bench.plan.inputs import InputFile
from bench.plan.mode import Mode
from bench.plan.price import Price

Metric = Literal["stp", "antt", "smallest_progress", "jain"]
LOAD = "load"  # a share of the highest rate that a job takes alone; a calibration finds the rate
PRIMARY_METRICS: tuple[Metric, ...] = get_args(Metric)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Stopping = Literal["fixed", "stein", "sequential"]


class Timing(_Frozen):
    """How long a trial lasts and how many blocks a plan has unless it says otherwise."""

    name: str
    blocks: int
    settle_s: float
    window_s: float
    publishable: bool
    stopping: Stopping = "fixed"
    """Whether the blocks are all there are, the pilot of Stein's two stages, or those before the first look."""
    most_blocks: int | None = None
    """The cap, where what is measured decides how many blocks there are."""
    measures: Literal["sharing", "switching"] = "sharing"
    """What the report is about: how modes compare, or what entering and leaving them costs (and nothing else)."""

    @property
    def repeats_unsteady(self) -> bool:
        """Whether a block is measured once more, longer, where a window of it was not steady."""
        return self.publishable and self.measures == "sharing"

    @property
    def longer(self) -> "Timing":
        """The timing of such a repeat: its windows are twice as long."""
        return self.model_copy(update={"window_s": 2 * self.window_s})

    @property
    def longest_trial_s(self) -> float:
        """How long jobs run from the common start at most, repeats included."""
        return self.settle_s + (self.longer if self.repeats_unsteady else self).window_s

    @property
    def has_controls(self) -> bool:
        """Whether each block also measures a mode against itself, and a tenant slowed by a known share."""
        return self.publishable and self.measures == "sharing"


TIMINGS = {
    "selftest": Timing(name="selftest", blocks=1, settle_s=3, window_s=6, publishable=False),
    "smoke": Timing(name="smoke", blocks=2, settle_s=3, window_s=5, publishable=False),
    "standard": Timing(name="standard", blocks=10, settle_s=30, window_s=120, publishable=True),
    "paper": Timing(
        name="paper", blocks=10, settle_s=60, window_s=600, publishable=True, stopping="stein", most_blocks=40
    ),
    "sequential": Timing(
        name="sequential",
        blocks=10,
        settle_s=30,
        window_s=120,
        publishable=True,
        stopping="sequential",
        most_blocks=40,
    ),
    "switching": Timing(
        name="switching", blocks=10, settle_s=0, window_s=1, publishable=True, measures="switching"
    ),
}


class Program(_Frozen):
    """A command or an image of the user's own. With a `unit` it speaks the job protocol, else it is silent."""

    command: tuple[str, ...] = ()
    image: str | None = None
    unit: str | None = None
    working_directory: str | None = None
    cpus: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=4, gt=0)

    def as_workload(self, name: str) -> Workload:
        """Return what a catalog entry would say of it."""
        return Workload(
            name=name, module=None, image=self.image, kind="own", unit=self.unit or "runs", parameters={},
            resources=Resources(cpus=self.cpus, memory_gb=self.memory_gb), command=self.command,
            working_directory=self.working_directory, reports="steps" if self.unit else "nothing",
        )  # fmt: skip


class Job(_Frozen):
    """One workload with the parameters in which it differs from the catalog: one tenant of the GPU.

    A `program` of the user's own needs no catalog; `workload` is then its name.
    """

    workload: str
    parameters: Mapping[str, ParameterValue] = {}
    program: Program | None = None
    serves_users: bool = False
    """Whether it reports the requests of its users: its rate is theirs, and in exclusive it takes no turns."""
    files: Mapping[str, InputFile] = {}
    """What is in the files that some of its parameters name, by parameter."""

    @property
    def label(self) -> str:
        """The job as tables name it: `resnet50-training`, or `resnet50-training batch_size=8`."""
        options = [f"{key}={value}" for key, value in sorted(self.parameters.items())]
        return " ".join([self.workload, *options])

    @property
    def load(self) -> float | None:
        """Which share of its solo maximum its users ask for; None where a rate is named, or there are no users."""
        share = self.parameters.get(LOAD)
        return None if share is None else float(share)

    @property
    def is_silent(self) -> bool:
        """Whether it is a program that does not speak the job protocol."""
        return self.program is not None and self.program.unit is None

    @property
    def takes_turns(self) -> bool:
        """Whether it works in a closed loop, so that there is a progress to hold against its own alone."""
        return not (self.is_silent or self.serves_users)

    def workload_in(self, catalog: Catalog) -> Workload:
        """Return what is known of the job's workload."""
        return self.program.as_workload(self.workload) if self.program else catalog[self.workload]


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

    @property
    def turns(self) -> int:
        """How many of the jobs take turns where nothing co-runs."""
        return sum(job.takes_turns for job in self.jobs)

    @property
    def serves_only_users(self) -> bool:
        """Whether no job of it has a progress: none works in a closed loop."""
        return all(job.serves_users for job in self.jobs)


class Plan(_Frozen):
    """One experiment: every mode meets every mix, in `blocks` randomised blocks."""

    name: str
    modes: tuple[Mode, ...] = Field(min_length=1)
    mixes: tuple[Mix, ...] = Field(min_length=1)
    timing: Timing
    blocks: int = Field(ge=1, le=1000)
    baseline: str | None = None
    primary: tuple[Metric, ...] = Field(default=("stp",), min_length=1)
    price: Price | None = None

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

    @property
    def files(self) -> Mapping[str, InputFile]:
        """The files that its jobs name, by the names that it has for them."""
        jobs = (job for mix in self.mixes for job in mix.jobs)
        return {file.name: file for job in jobs for file in job.files.values()}

    def lasting(self, blocks: int | None) -> "Plan":
        """Return the plan with the number of blocks that its pilot asked for; None leaves it as it is."""
        return self if blocks is None else self.model_copy(update={"blocks": blocks})

    @property
    def slowed_job(self) -> Job | None:
        """The job that a plan with controls also measures slowed by a known share; None where no rate tells."""
        jobs = (job for mix in self.mixes for job in mix.jobs if job.takes_turns)
        return next(jobs, None) if self.timing.has_controls else None

    @property
    def repeated_mode(self) -> Mode | None:
        """The sharing mode that a plan with controls measures against itself: the reference, else the only one."""
        if not self.timing.has_controls:
            return None
        shared = self.sharing_modes
        return next((mode for mode in shared if mode.label == self.reference), shared[0] if shared else None)
