"""What every launcher keeps to: start one tenant, tell what became of it, leave nothing behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from bench.modes.contract import Grant
from bench.plan.catalog import ParameterValue, Workload
from bench.plan.inputs import InputFile

JOB_FOLDER_VARIABLE = "BENCH_JOB_DIR"
SLOWDOWN_VARIABLE = "BENCH_SLOWDOWN"  # by which share a job makes each step longer; set for the positive control
EVENTS_FILE = "events.jsonl"
START_FILE = "start.json"
LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Tenant:
    """One job as it will run: what to run, in which private folder, with which part of device and host."""

    name: str
    job: str  # label of the job: equal for equal jobs
    workload: Workload
    parameters: Mapping[str, ParameterValue]
    seed: int
    device: Literal["cuda", "cpu"]
    grant: Grant
    folder: Path  # private and writable; holds events, start signal and log
    cpus: tuple[int, ...] | None  # None: not pinned
    memory_gb: float
    run_id: str
    users_seed: int = 0  # of what its users do, where it reports requests: the same in every mode of a block
    slo_s: float | None = None  # within which they want an answer; None: nobody said
    files: Mapping[str, InputFile] = field(default_factory=dict)  # in its folder, each by its parameter's name

    @property
    def arguments(self) -> tuple[str, ...]:
        """Command-line arguments of the workload's program: `--device cuda --seed 1 --batch-size 64 …`."""
        folder = self.folder.resolve()  # the same in a container
        here = {key: str(folder / key) for key in self.files}
        flags = [flag for key, value in {**self.parameters, **here}.items() for flag in _flag(key, value)]
        seed = self.users_seed if self.workload.reports == "requests" else self.seed
        return ("--device", self.device, "--seed", str(seed), *flags)

    @property
    def log_file(self) -> Path:
        """Where the launcher puts standard output and standard error of the job."""
        return self.folder / LOG_FILE


class Handle(Protocol):
    """A started tenant. All methods may be called at any time and more than once."""

    def exit_status(self) -> int | None:
        """Return the exit status, or None while the job runs; 137 means killed (out of host memory, say)."""
        ...

    def host_pids(self) -> tuple[int, ...]:
        """Return the job's process ids as the host (and the driver) sees them; empty where unknown."""
        ...

    def terminate(self) -> None:
        """Ask the job to finish its step and end (SIGTERM)."""
        ...

    def remove(self) -> None:
        """End the job if it still runs, write its log file, and remove whatever was created for it."""
        ...


class Launcher(Protocol):
    """A way of running tenants: `process`, `docker`, or simulated."""

    name: str

    def preflight(self, workloads: Iterable[Workload]) -> None:
        """Raise SetupError, naming the command that mends it, where these workloads cannot be launched here."""
        ...

    def provenance(self, workload: Workload) -> dict[str, str | None]:
        """Return what pins down the code that runs: image name and digest, or interpreter."""
        ...

    def start(self, tenant: Tenant) -> Handle:
        """Start one tenant; raises LaunchError where it could not be started."""
        ...

    def clean_up(self) -> None:
        """Remove what an earlier, killed runner of ours left behind on this host."""
        ...


def _flag(key: str, value: ParameterValue) -> tuple[str, ...]:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return (f"--{name}" if value else f"--no-{name}",)
    return (f"--{name}", str(value))
