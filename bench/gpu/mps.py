"""Questions for an MPS control daemon; nothing here starts, stops or sets anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DeviceError
from bench.gpu.tool import Answer, ask

MPS_TOOL = "nvidia-cuda-mps-control"
_TIMEOUT_S = 10.0
_SOCKET_PATH_LIMIT = 107  # of Linux; a daemon with a longer one dies, and only this tells why
_YES_NO = {"Yes": True, "No": False}
_NO_DAEMON = "Cannot find MPS control daemon process"


@dataclass(frozen=True)
class MpsStatus:
    """A daemon that answered: the share of the SMs that new servers get, and the pids of its servers."""

    default_active_thread_percentage: float
    servers: tuple[int, ...]


@dataclass(frozen=True)
class SmPartition:
    """SMs that a daemon keeps for those who name this partition; `has_clients` is None before any server."""

    id: str  # as `lspart` has it: without the device
    chunks: int
    has_clients: bool | None


@dataclass(frozen=True)
class SmPartitions:
    """How a daemon with static partitions divides its device: in chunks, of `chunk_sms` SMs each."""

    chunks: int
    chunk_sms: int
    partitions: tuple[SmPartition, ...]


class MpsControl:
    """Questions for the daemon of one pipe directory.

    Methods raise SetupError if there is no such tool, and DeviceError if no daemon listens in the pipe directory
    (`is_alive` and `status` answer that instead) or if it answers something else than it was asked. The tool's
    exit code says only that a daemon was reached, so every answer is read strictly.
    """

    def __init__(self, environment: Mapping[str, str], pipe_directory: Path) -> None:
        self._environment = {**environment, "CUDA_MPS_PIPE_DIRECTORY": str(pipe_directory)}
        self._pipe_directory = pipe_directory

    def is_alive(self) -> bool:
        """Tell whether a daemon listens in the pipe directory."""
        return self.status() is not None

    def status(self) -> MpsStatus | None:
        """Return what the daemon says of itself, from one call; None if there is no daemon."""
        answer = self._ask("get_default_active_thread_percentage", "get_server_list")
        if _NO_DAEMON in answer.message:
            return None
        percentage, *servers = self._lines(answer) or [""]
        return MpsStatus(self._number(percentage, answer), self._pids(servers, answer))

    def default_active_thread_percentage(self) -> float:
        """Return the share of the SMs, in percent, that servers started from now on give their clients."""
        answer = self._ask("get_default_active_thread_percentage")
        return self._number("\n".join(self._lines(answer)), answer)

    def active_thread_percentage(self, server: int) -> float:
        """Return the share of the SMs, in percent, that a running server gives clients that come now."""
        answer = self._ask(f"get_active_thread_percentage {server}")
        return self._number("\n".join(self._lines(answer)), answer)

    def server_list(self) -> tuple[int, ...]:
        """Return the pids of the running servers; there is none before the first client."""
        answer = self._ask("get_server_list")
        return self._pids(self._lines(answer), answer)

    def client_list(self, server: int) -> tuple[int, ...]:
        """Return the pids of a server's clients, as the daemon's PID namespace numbers them."""
        answer = self._ask(f"get_client_list {server}")
        return self._pids(self._lines(answer), answer)

    def partitions(self) -> SmPartitions:
        """Return the static SM partitions; DeviceError from a daemon that was started without any."""
        answer = self._ask("lspart")
        rows = [line.split() for line in self._lines(answer) if line.lstrip().startswith(("GPU-", "MIG-"))]
        try:
            (_, _, free, used, free_sms, used_sms, _), *parts = rows
            chunks = int(free) + int(used)
            found = tuple(SmPartition(row[1], int(row[3]), _YES_NO.get(row[6])) for row in parts)
            return SmPartitions(chunks, (int(free_sms) + int(used_sms)) // chunks, found)
        except (ValueError, IndexError, ZeroDivisionError) as other:
            raise self._wrong(answer) from other

    def _ask(self, *questions: str) -> Answer:
        return ask([MPS_TOOL], self._environment, _TIMEOUT_S, "".join(f"{line}\n" for line in questions))

    def _lines(self, answer: Answer) -> list[str]:
        if answer.status or _NO_DAEMON in answer.message:
            raise self._wrong(answer)
        return [line.strip() for line in answer.output.splitlines() if line.strip()]

    def _number(self, text: str, answer: Answer) -> float:
        try:
            return float(text)
        except ValueError as other:
            raise self._wrong(answer) from other

    def _pids(self, lines: list[str], answer: Answer) -> tuple[int, ...]:
        if not all(line.isdecimal() for line in lines):
            raise self._wrong(answer)
        return tuple(map(int, lines))

    def _wrong(self, answer: Answer) -> DeviceError:
        too_long = len(bytes(self._pipe_directory / "control")) > _SOCKET_PATH_LIMIT
        reason = f"; no socket fits in a path that long ({_SOCKET_PATH_LIMIT} bytes)" if too_long else ""
        return DeviceError(
            f"the MPS daemon at {self._pipe_directory} was asked and `{answer.command}` said, with exit code "
            f"{answer.status}:\n  {answer.message or 'nothing'}{reason}\n"
            "next: look at control.log in its log directory; `python -m bench mode restore` puts the GPU back"
        )
