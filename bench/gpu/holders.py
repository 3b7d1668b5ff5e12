"""Who holds the GPU open, computing or not: monitors, display servers and MPS daemons block a reset, too."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NODES = "/dev/nvidia"
_MPS_COMM = "nvidia-cuda-mps"  # what Linux keeps of the names of MPS daemon and server
_PIPE_VARIABLE = b"CUDA_MPS_PIPE_DIRECTORY="
_DEFAULT_PIPE_DIRECTORY = "/tmp/nvidia-mps"


@dataclass(frozen=True)
class Holder:
    """A process with device nodes of NVIDIA's open, or one of MPS's; Linux cuts `name` at 15 characters."""

    pid: int
    name: str
    nodes: tuple[str, ...]
    mps_pipe_directory: str | None


def holders(proc: Path = Path("/proc")) -> list[Holder]:
    """List them by pid. Other users' processes, and all outside this container, show only to the host's root."""
    pids = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())
    seen = (_holder(proc / str(pid)) for pid in pids)
    return [holder for holder in seen if holder.nodes or holder.mps_pipe_directory]


def _holder(process: Path) -> Holder:
    name = _read(process / "comm").decode(errors="replace").strip()
    pipe_directory = _pipe_directory(process) if name == _MPS_COMM else None
    return Holder(int(process.name), name, tuple(sorted(set(_open_nodes(process)))), pipe_directory)


def _open_nodes(process: Path) -> Iterator[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # another user's process, or one that has just ended
        return
    for descriptor in descriptors:
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith(_NODES):
            yield target


def _pipe_directory(process: Path) -> str | None:
    """Return an MPS process's pipe directory; None where its environment may not be read."""
    environment = _read(process / "environ")
    if not environment:
        return None
    named = (entry for entry in environment.split(b"\0") if entry.startswith(_PIPE_VARIABLE))
    return next((os.fsdecode(entry.removeprefix(_PIPE_VARIABLE)) for entry in named), _DEFAULT_PIPE_DIRECTORY)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
