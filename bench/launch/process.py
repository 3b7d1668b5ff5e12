"""Tenants as plain processes of this host, each in a session of its own."""

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import LaunchError, SetupError
from bench.launch.contract import JOB_FOLDER_VARIABLE, SLOWDOWN_VARIABLE, Handle, Tenant
from bench.launch.host import descendants
from bench.plan.catalog import EXTRA, Workload

CHECKOUT = Path(__file__).parents[2]
STOP_GRACE_S = 10.0  # an MPS client killed in mid-kernel can harm its server: ask, and give it time


def install_command(what: Iterable[str] = (EXTRA,)) -> str:
    """Return the command that installs what workloads need into this interpreter's environment."""
    return f"{sys.executable} -m pip install {' '.join(sorted(what))}"


class ProcessLauncher:
    """Runs each tenant with this interpreter. Cores are pinned where asked; host memory is not limited."""

    name = "process"

    def __init__(self, stop_grace_s: float = STOP_GRACE_S) -> None:
        self._stop_grace_s = stop_grace_s

    def preflight(self, workloads: Iterable[Workload]) -> None:
        """Raise SetupError where a package that these workloads import is not installed."""
        workloads = list(workloads)
        for workload in workloads:
            if workload.module is None and not workload.command:
                raise SetupError(
                    f"--launcher process: {workload.name} is an image without a command; use --launcher docker"
                )
        needed = {package: workload.install for workload in workloads for package in workload.requires}
        missing = sorted(package for package in needed if importlib.util.find_spec(package) is None)
        if missing:
            wrong = f"--launcher process: {', '.join(missing)} not installed for {sys.executable}"
            command = install_command({needed[package] for package in missing})
            raise SetupError(f"{wrong}; install with: {command}", wrong, command)

    def provenance(self, workload: Workload) -> dict[str, str | None]:
        """Return the interpreter; library versions come from the job itself."""
        if workload.module is None:
            return {"command": shlex.join(workload.command), "working_directory": workload.working_directory}
        return {"interpreter": sys.version.split()[0], "module": workload.module}

    def start(self, tenant: Tenant) -> Handle:
        """Start the workload's module, or its own command; raises LaunchError where the host refuses."""
        workload = tenant.workload
        program = workload.command or (sys.executable, "-m", str(workload.module), *tenant.arguments)
        try:
            with tenant.log_file.open("wb") as log, _pinned(tenant.cpus):
                process = subprocess.Popen(
                    [*_ends_with_runner(), *program], cwd=_working_directory(workload), env=_environment(tenant),
                    start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                )  # fmt: skip
        except OSError as error:
            raise LaunchError(f"{workload.module or workload.name} could not be started: {error}") from error
        return _ProcessHandle(process, self._stop_grace_s)

    def clean_up(self) -> None:
        """Do nothing: jobs end by themselves when their runner is gone."""


class _ProcessHandle:
    """One process and whatever it started."""

    def __init__(self, process: subprocess.Popen[bytes], stop_grace_s: float) -> None:
        self._process = process
        self._stop_grace_s = stop_grace_s
        self._asked = False

    def exit_status(self) -> int | None:
        """Return the exit status in the shell's form (128 + signal), or None while it runs."""
        status = self._process.poll()
        return status if status is None or status >= 0 else 128 - status

    def host_pids(self) -> tuple[int, ...]:
        """Return the process and whatever it started: any of them may be the one that uses the GPU."""
        return descendants(self._process.pid) or (self._process.pid,)

    def terminate(self) -> None:
        """Ask the process to finish its step and end; once, for a second SIGTERM would kill it while it ends."""
        if not self._asked and self._process.poll() is None:
            self._asked = True
            self._process.terminate()

    def remove(self) -> None:
        """Ask, wait, and only then kill it and whatever of its session is left; its log is already in place."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._stop_grace_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _working_directory(workload: Workload) -> Path:
    """Return where a program starts: the checkout has our modules; an own command starts where the user is."""
    return CHECKOUT if workload.module else Path(workload.working_directory or ".").resolve()


def _environment(tenant: Tenant) -> dict[str, str]:
    """Return the tenant's environment: this one's, without what only mode and trial may set."""
    foreign = ("CUDA_MPS_", SLOWDOWN_VARIABLE)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return {
        **inherited,
        "CUDA_VISIBLE_DEVICES": tenant.grant.device_id or "",
        **tenant.grant.environment,
        JOB_FOLDER_VARIABLE: str(tenant.folder),
    }


def _ends_with_runner() -> list[str]:
    """Return a prefix that has the kernel stop the job (SIGTERM) should this runner be killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


@contextmanager
def _pinned(cpus: tuple[int, ...] | None) -> Iterator[None]:
    """Give what is started inside these cores: a child inherits the affinity of the thread that starts it."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
