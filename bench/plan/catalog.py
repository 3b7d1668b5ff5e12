"""The catalog of workloads: what each is, which parameters it takes, and what it asks of the host."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from bench.errors import SetupError
from bench.plan.wording import shown

EXTRA = "-e '.[workloads]'"  # the project, with the libraries of its own workloads
SLO = "slo_s"
LIMIT = 1e9  # no size, count or rate of a job comes near it

ParameterValue = bool | int | float | str
CATALOG_FILE = Path(__file__).parents[2] / "workloads" / "catalog.yaml"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(_Entry):
    """What a job gets of the host, solo and co-located, in every mode: exactly this."""

    cpus: int = Field(ge=1)
    memory_gb: float = Field(gt=0)


class SimulationProfile(_Entry):
    """Per-step cost on the default simulated device: T(n) = max(host, fixed + scaling * n), in milliseconds."""

    host_ms: float = Field(ge=0)
    fixed_ms: float = Field(ge=0)
    scaling_ms: float = Field(ge=0)
    gpu_memory_gb: float = Field(gt=0)  # without the CUDA context
    step_cv: float = Field(ge=0, lt=1)  # standard deviation of a step's duration over its mean
    provenance: str


class Workload(_Entry):
    """A program that can be a tenant, and everything the runner must know of it."""

    name: str
    module: str | None  # None: the plan's own command or image
    image: str | None
    kind: Literal["training", "inference", "interactive", "probe", "own"]
    unit: str
    parameters: Mapping[str, ParameterValue]
    cpu_parameters: Mapping[str, ParameterValue] = {}
    one_of: Mapping[str, ParameterValue] = {}  # a job names exactly one of these; the values are examples
    choices: Mapping[str, tuple[ParameterValue, ...]] = {}
    files: Mapping[str, Literal["arrivals", "notebook"]] = {}
    """Parameters that name a file (unless they have their default), and what is to be in it."""
    requires: tuple[str, ...] = ()  # Python packages that the module imports
    install: str = EXTRA  # what pip takes to have them
    whole_gpus: int = Field(default=1, ge=1)  # more than one: the job cannot share a GPU
    resources: Resources
    simulation: SimulationProfile | None = None  # None: nothing is known to simulate it by
    command: tuple[str, ...] = ()  # instead of a module; empty beside an image: the image's own
    working_directory: str | None = None
    reports: Literal["steps", "requests", "nothing"] = "steps"
    """What its work is counted in: steps of a closed loop, requests of users, or (no protocol) nothing."""
    slo_s: float | None = Field(default=None, gt=0)
    """Within which users want an answer, unless a plan says otherwise; only where it reports requests."""

    def parameters_on(self, device_kind: str) -> dict[str, ParameterValue]:
        """Return the default parameters on a device of this kind (`cpu` has small sizes)."""
        return {**self.parameters, **(self.cpu_parameters if device_kind == "cpu" else {})}

    @property
    def options(self) -> Mapping[str, ParameterValue]:
        """What a plan may set, each with a default or an example: parameters, and what the users want (SLO)."""
        promise = {SLO: self.slo_s or 1.0} if self.reports == "requests" else {}
        return {**self.parameters, **self.one_of, **promise}

    def problem_with(self, option: str, value: object) -> str | None:
        """Say why `value` cannot be given to a known option, or None if it can."""
        default, allowed = self.options[option], self.choices.get(option)
        if allowed is not None and value not in allowed:
            return f"must be one of {', '.join(map(str, allowed))}, not {shown(value)}"
        if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
            example = "such as" if option in self.one_of else "default"
            return f"must be of type {type(default).__name__} ({example} {default!r}), not {shown(value)}"
        if option in ("intensity", "load") and isinstance(value, int | float) and not 0 < value <= 1:
            return f"must be above 0 and at most 1, not {shown(value)}"
        if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < LIMIT:
            return f"must be positive and below {LIMIT:g}, not {shown(value)}"
        return None


Catalog = Mapping[str, Workload]


@cache
def load_catalog(path: Path = CATALOG_FILE) -> Catalog:
    """Read `workloads/catalog.yaml`; raises SetupError where the checkout is not whole."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["workloads"]
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}; run from a complete checkout of this project") from error
    return {name: Workload(name=name, **entry) for name, entry in entries.items()}
