"""What jobs are started with: a container engine with its GPU toolkit and our images, or Python packages."""

import importlib.metadata
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.doctor.finding import Finding, refused
from bench.errors import BenchError
from bench.launch.docker import BUILD_COMMAND, CONFIGURE_TOOLKIT, DockerLauncher
from bench.launch.process import install_command
from bench.plan.catalog import EXTRA, load_catalog

_HOOK = "nvidia-container-runtime-hook"  # with it on its PATH, an engine takes `--gpus`
_CONFIGURER = "nvidia-ctk"
_CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
_CDI_KIND = "nvidia.com/gpu"


@dataclass(frozen=True)
class Launchers:
    """The engine, its toolkit, the images and packages that the project's own workloads need.

    What comes with requirements of its own (TensorFlow) is asked for when a plan names it.
    """

    engine: Finding
    toolkit: Finding
    images: tuple[Finding, ...]
    packages: tuple[Finding, ...]

    @property
    def docker_ready(self) -> bool:
        """Whether containers can be started; whether they get the GPU is tried when a run begins."""
        return self.engine.available and all(image.available for image in self.images)

    @property
    def process_ready(self) -> bool:
        """Whether `--launcher process` has its packages."""
        return all(package.available for package in self.packages)


def launchers() -> Launchers:
    """Look at both ways of starting jobs; no container is started."""
    docker = DockerLauncher()
    catalog = [workload for workload in load_catalog().values() if workload.install == EXTRA]
    names = sorted({workload.image for workload in catalog if workload.image})
    info: dict[str, Any] = {}
    try:
        info = docker.engine_info()
        docker.preflight([])
        engine = Finding("container engine", available=True, detail=str(info.get("ServerVersion")))
        images = tuple(_image(name, docker.has_image(name)) for name in names)
    except BenchError as error:
        engine = refused("container engine", error)
        images = tuple(_image(name, built=False) for name in names)
    packages = sorted({package for workload in catalog for package in workload.requires})
    return Launchers(engine, _toolkit(info), images, tuple(map(_package, packages)))


def _image(name: str, built: bool) -> Finding:
    if built:
        return Finding(name, available=True)
    return Finding(name, available=False, reason="not built", command=BUILD_COMMAND)


def _package(name: str) -> Finding:
    try:
        return Finding(name, available=True, detail=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, available=False, reason="not installed", command=install_command())


def _toolkit(info: Mapping[str, Any]) -> Finding:
    """Tell of the container toolkit by its traces; only a container that starts with a GPU would prove it."""
    name = "container toolkit"
    traces = [*_on_path(_HOOK), *_on_path(_CONFIGURER), *_runtimes(info), *_cdi_devices(info)]
    if any(trace != _CONFIGURER for trace in traces):
        return Finding(name, available=True, detail=f"{', '.join(traces)}; tried when a run begins")
    if traces:
        return Finding(name, available=False, reason="installed, but not configured", command=CONFIGURE_TOOLKIT)
    reason = f"no {_HOOK} on PATH, no runtime named nvidia, no CDI device {_CDI_KIND}"
    install = f"sudo apt-get install nvidia-container-toolkit && {CONFIGURE_TOOLKIT}"
    return Finding(name, available=False, reason=reason, command=install)


def _on_path(tool: str) -> Iterable[str]:
    return [tool] if shutil.which(tool, path=os.environ.get("PATH", os.defpath)) else []


def _runtimes(info: Mapping[str, Any]) -> Iterable[str]:
    return [f"runtime {name}" for name in info.get("Runtimes") or {} if name == "nvidia"]


def _cdi_devices(info: Mapping[str, Any]) -> Iterable[str]:
    """Return what the engine discovered (Docker 28.3 and newer tell), or the specifications on disk."""
    found = [str(device.get("ID")) for device in info.get("DiscoveredDevices") or []]
    ours = [f"CDI {name}" for name in found if name.startswith(_CDI_KIND)]
    return ours or [
        f"CDI {path}"
        for folder in info.get("CDISpecDirs") or _CDI_FOLDERS
        for path in sorted(Path(folder).glob("nvidia*"))
    ]
