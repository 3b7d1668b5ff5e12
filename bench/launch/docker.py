"""Tenants as Docker containers: their own cores, memory and job folder, no network, and no rights to speak of.

The one door to docker-py, which is imported on first use. A container differs from a process of the host only
where the experiment wants it to: it shares the host's clock, uid:gid and IPC namespace (MPS needs the latter), and
these are the same in every mode. What a killed runner leaves behind is known by its labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, LaunchError, SetupError
from bench.launch.contract import JOB_FOLDER_VARIABLE, Handle, Tenant
from bench.launch.host import descendants, is_gone, this_process
from bench.plan.catalog import Workload

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

RUN_LABEL = "bench.run"
TENANT_LABEL = "bench.tenant"
RUNNER_LABEL = "bench.runner"  # boot id, PID namespace, PID and start time of the runner: see `_runner`

STOP_GRACE_S = 10  # an MPS client killed in mid-kernel can harm its server: ask, and give it time
LOG_LIMIT = "64m"
KILLED = 137
BUILD_COMMAND = "dockerfiles/build_all.sh"

CONFIGURE_TOOLKIT = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"

# Signs in the engine's own words (toolkit issues, moby's source), what to do about each, and the command for it.
_ADVICE = (
    (
        "could not select device driver",
        "the NVIDIA container toolkit is missing or not configured: install nvidia-container-toolkit, then run",
        CONFIGURE_TOOLKIT,
    ),
    ("unresolvable CDI devices", "run", "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"),
    ("unknown device", "the driver has no such GPU or MIG instance (any more); compare with", "nvidia-smi -L"),
    ("driver not loaded", "the NVIDIA driver is not loaded; look at", "nvidia-smi -q"),
    ("No such image", "build the images with", BUILD_COMMAND),
    ("Permission denied", "join the group docker, then log in again", "sudo usermod -aG docker $USER"),
    ("No such file or directory", "install and start an engine", "sudo apt-get install docker.io"),
    ("Connection refused", "start the engine", "sudo systemctl start docker"),
)


class DockerLauncher:
    """Runs each tenant in a container of its own, made from the image that the catalog names for its workload."""

    name = "docker"

    def __init__(self, gpu: str | None = None) -> None:
        """Take the UUID of the GPU that tenants will be given, so that preflight can try whether that works."""
        self._gpu = gpu
        self._images: dict[str, Image] = {}

    def preflight(self, workloads: Iterable[Workload]) -> None:
        """Raise SetupError, naming the command that mends it: no engine, no image, or no access to the GPU."""
        self._refuse_foreign_host()
        workloads = list(workloads)
        for workload in workloads:
            if workload.image is None:
                raise SetupError(
                    f"--launcher docker: {workload.name} names no image; add `image:`, or use --launcher process"
                )
        images = sorted({workload.image for workload in workloads if workload.image})
        missing = [name for name in images if self._image(name) is None]
        if missing:
            wrong = f"--launcher docker: no image {', '.join(missing)}"
            raise SetupError(f"{wrong}; build the images with: {BUILD_COMMAND}", wrong, BUILD_COMMAND)
        if self._gpu is not None and images:
            self._try_gpu(images[0], self._gpu)

    def engine_info(self) -> dict[str, Any]:
        """Return what the engine says of itself: ServerVersion, Runtimes, ...; raises SetupError without one."""
        engine = self._engine
        with _plainly("the Docker engine did not describe itself", SetupError):
            return dict(engine.info())

    def has_image(self, name: str) -> bool:
        """Whether the engine holds an image of this name; raises SetupError without an engine."""
        return self._image(name) is not None

    def provenance(self, workload: Workload) -> dict[str, str | None]:
        """Return the image's name, id (a digest of all its content), registry digest and labels."""
        image = self._image(workload.image) if workload.image else None
        if image is None:
            return {"image": workload.image, "image_id": None, "registry_digest": None}
        digests = image.attrs.get("RepoDigests") or [None]
        labels = {f"image_label {key}": value for key, value in sorted(image.labels.items())}
        return {"image": workload.image, "image_id": image.id, "registry_digest": digests[0], **labels}

    def start(self, tenant: Tenant) -> Handle:
        """Create and start one container; raises LaunchError where the engine refuses, and leaves nothing then."""
        name = tenant.workload.image or ""
        image = self._images.get(name, name)  # the one of preflight: a name may be given to another meanwhile
        with _plainly(f"{tenant.name} could not be started from image {name}"):
            container = self._engine.containers.create(image, **_settings(tenant))
            try:
                container.start()
            except BaseException:
                _discard(container)
                raise
        return _ContainerHandle(container, tenant)

    def clean_up(self) -> None:
        """Remove the containers of runners that live no more; those of a runner at work are left alone."""
        with _plainly("containers of an earlier run could not be removed", SetupError):
            ours = self._engine.containers.list(all=True, filters={"label": RUNNER_LABEL}, ignore_removed=True)
            for container in ours:
                if is_gone(container.labels[RUNNER_LABEL]):
                    _discard(container)

    @cached_property
    def _engine(self) -> docker.DockerClient:
        import docker  # noqa: PLC0415  (a tenth of a second that only container runs need)

        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        with _plainly(f"--launcher docker: no Docker engine answers at {address}", SetupError):
            return docker.from_env()

    def _image(self, name: str) -> Image | None:
        """Look an image up, and remember it: all containers of a run are made from the same one."""
        from docker.errors import ImageNotFound  # noqa: PLC0415

        engine = self._engine
        if name not in self._images:
            with _plainly(f"image {name} could not be looked up", SetupError), suppress(ImageNotFound):
                self._images[name] = engine.images.get(name)
        return self._images.get(name)

    def _refuse_foreign_host(self) -> None:
        """Refuse an engine in a virtual machine or on another host: clock, GPU and job folders must be shared."""
        theirs = self.engine_info()["KernelVersion"]
        if theirs != (ours := os.uname().release):
            raise SetupError(
                f"--launcher docker: the engine runs on kernel {theirs}, this runner on {ours}; containers must "
                "share this host's clock and GPU: use an engine of this host (DOCKER_HOST), or --launcher process"
            )

    def _try_gpu(self, image: str, gpu: str) -> None:
        """Hand the GPU to a container that does nothing; engines refuse this only at the start."""
        settings = {"labels": {RUNNER_LABEL: this_process()}, "network_mode": "none", **_gpu_request(gpu)}
        with _plainly(f"--launcher docker: containers cannot be given {gpu}", SetupError):
            container = self._engine.containers.create(image, entrypoint=["true"], **settings)
            try:
                container.start()
            finally:
                _discard(container)


def why_not_docker(workloads: Iterable[Workload], gpu: str | None = None) -> str | None:
    """Say why these workloads cannot run in containers here, or None if they can; costs milliseconds."""
    try:
        DockerLauncher(gpu).preflight(workloads)
    except SetupError as error:
        return str(error)
    return None


class _ContainerHandle:
    """One container. It is removed with its log only by `remove`; how it ended stays known after that."""

    def __init__(self, container: Container, tenant: Tenant) -> None:
        self._container = container
        self._tenant = tenant
        self._exit_status: int | None = None
        self._asked = False
        self._removed = False

    def exit_status(self) -> int | None:
        """Return the exit status, or None while the job runs; a container removed by others counts as killed."""
        if self._exit_status is None:
            state = self._state()
            if state is None:
                self._exit_status = KILLED
            elif state["Status"] in ("exited", "dead"):
                self._exit_status = int(state["ExitCode"])
        return self._exit_status

    def host_pids(self) -> tuple[int, ...]:
        """Return the container's processes as the host sees them, its init first."""
        state = self._state()
        return descendants(state["Pid"]) if state and state["Pid"] else ()

    def terminate(self) -> None:
        """Ask the job to finish its step and end (SIGTERM, passed on by the container's init).

        It is asked once: a second SIGTERM would kill it while it ends.
        """
        if not self._asked:
            with _plainly(f"{self._tenant.name} could not be signalled"), _ignoring(404, 409):  # gone; not running
                self._container.kill("SIGTERM")
            self._asked = True

    def remove(self) -> None:
        """Ask, wait, and only then kill; keep the log, and remove the container."""
        if self._removed:
            return
        self.terminate()
        with _plainly(f"the container of {self._tenant.name} could not be removed"):
            _end(self._container)
            self.exit_status()
            log = self._log()
            _discard(self._container)
        self._removed = True
        self._tenant.log_file.write_bytes(log)

    def _state(self) -> dict[str, Any] | None:
        """Ask the engine; None where the container exists no more."""
        if self._removed:
            return None
        with _plainly(f"the engine lost sight of {self._tenant.name}"), _ignoring(404):
            self._container.reload()
            return dict(self._container.attrs["State"])
        return None

    def _log(self) -> bytes:
        """Return what the job printed, and how it was killed where it could not say so itself."""
        state = self._state()
        if state is None:
            return b"the container was removed by somebody else; what it printed is lost\n"
        limit = f"killed by the kernel: host memory beyond the {self._tenant.memory_gb:g} GB this job declares\n"
        return self._container.logs() + (limit.encode() if state["OOMKilled"] else b"")


def _settings(tenant: Tenant) -> dict[str, Any]:
    """Return how a tenant's container is made: the rights of a plain process, less all it has no use for."""
    from docker.types import LogConfig  # noqa: PLC0415

    folder = tenant.folder.resolve()
    memory_bytes = round(tenant.memory_gb * 1e9)
    return {
        **_program(tenant),
        "labels": {RUN_LABEL: tenant.run_id, TENANT_LABEL: tenant.name, RUNNER_LABEL: this_process()},
        "environment": _environment(tenant, folder),
        "mounts": [_bind(folder), *(_bind(mount.path, mount.read_only) for mount in tenant.grant.mounts)],
        "user": f"{os.getuid()}:{os.getgid()}",
        "ipc_mode": "host",
        "network_mode": "none",
        "read_only": True,
        "tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # exec: kernels compiled at run time load from it
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "cpuset_cpus": None if tenant.cpus is None else ",".join(map(str, tenant.cpus)),
        "mem_limit": memory_bytes,
        "memswap_limit": memory_bytes,  # equal: no swap
        "log_config": LogConfig(type="json-file", config={"max-size": LOG_LIMIT}),
        "init": True,  # reaps, and passes SIGTERM on: PID 1 itself would ignore it
        **_gpu_request(tenant.grant.device_id),
    }


def _program(tenant: Tenant) -> dict[str, Any]:
    """Return what the container runs: our module, or the image as it is with the plan's own command, if any."""
    workload = tenant.workload
    if workload.module is not None:
        return {"entrypoint": ["python", "-m", workload.module], "command": list(tenant.arguments)}
    return {"command": list(workload.command) or None, "working_dir": workload.working_directory}


def _environment(tenant: Tenant, folder: Path) -> dict[str, str]:
    """Return the tenant's environment; libraries look for a home and a user, which a bare uid has not."""
    return {
        "HOME": "/tmp",
        "USER": "bench",
        "PYTHONUNBUFFERED": "1",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        "NVIDIA_VISIBLE_DEVICES": tenant.grant.device_id or "void",  # some images say `all`
        **tenant.grant.environment,
        JOB_FOLDER_VARIABLE: str(folder),
    }


def _gpu_request(device_id: str | None) -> dict[str, Any]:
    """Ask for one GPU or MIG instance by its UUID, or for none."""
    from docker.types import DeviceRequest  # noqa: PLC0415

    if device_id is None:
        return {}
    return {"device_requests": [DeviceRequest(device_ids=[device_id], capabilities=[["gpu"]])]}


def _bind(path: Path, read_only: bool = False) -> Any:
    from docker.types import Mount  # noqa: PLC0415

    return Mount(target=str(path), source=str(path), type="bind", read_only=read_only)


def _end(container: Container) -> None:
    """Wait for the end of a container that was asked to end, and kill it when the grace is over."""
    from requests.exceptions import ConnectionError, ReadTimeout  # noqa: PLC0415

    with _ignoring(404, 409):  # gone; not running
        try:
            container.wait(timeout=STOP_GRACE_S)
        except (ConnectionError, ReadTimeout):  # requests says either when the time is over
            container.kill("SIGKILL")


def _discard(container: Container) -> None:
    with _ignoring(404, 409):  # removed already, or just being removed
        container.remove(force=True, v=True)


@contextmanager
def _plainly(what: str, kind: type[BenchError] = LaunchError) -> Iterator[None]:
    """Turn whatever docker-py raises into one of our errors: what failed, the engine's words, what to do next."""
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        yield
    except (DockerException, OSError) as error:  # requests' exceptions are OSErrors
        words = str(getattr(error, "explanation", None) or error)
        wrong = f"{what}: {words}"
        for sign, advice, command in _ADVICE:
            if sign in words:
                raise kind(f"{wrong}; {advice}: {command}", wrong, command) from error
        raise kind(wrong) from error


@contextmanager
def _ignoring(*status_codes: int) -> Iterator[None]:
    """Let the engine's answers with these HTTP status codes pass."""
    from docker.errors import APIError  # noqa: PLC0415

    try:
        yield
    except APIError as error:
        if error.status_code not in status_codes:
            raise
