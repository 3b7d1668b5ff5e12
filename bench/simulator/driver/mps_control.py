"""A stand-in for `nvidia-cuda-mps-control`: `-d` starts a modelled daemon, commands on stdin talk to it.

With `-d -S` it keeps static SM partitions, as driver 590 and newer do. What the real one says to a wrong
`sm_partition` is not known, nor what it prints after `rm`: here a line in its manner, and nothing.

The daemon is an entry in the driver state, not a process: its pid belongs to nobody. Its pipe directory gets
the files of a real one, as plain files. The front-end ends with 0 whenever it reached a daemon, whatever it
was asked, and with 1 where there is none.
"""

import os
import sys
import time

from . import faults
from .arguments import Answer
from .state import Daemon, DriverState, updated

DEFAULT_PIPE_DIRECTORY = "/tmp/nvidia-mps"
PID_FILE = "nvidia-cuda-mps-control.pid"
PIPE_FILES = ("control", "control_lock", "control_privileged", "log", PID_FILE)
SOCKET_PATH_LIMIT = 107
NO_DAEMON = "Cannot find MPS control daemon process\n"
ALREADY_RUNNING = "An instance of this daemon is already running\n"
POLL_S = 0.02
FIRST_WITH_PARTITIONS = 590
"""The driver branch (CUDA 13.1) from which there are static SM partitions."""


def main(argv: list[str], state_path: str) -> int:
    """Start the daemon (`-d`) or carry out the commands on stdin; print the answer, return the exit code."""
    said = " ".join(argv) if argv else sys.stdin.read()
    ended = faults.intervene("nvidia-cuda-mps-control", said)
    if ended is not None:
        return ended
    if argv in (["-d"], ["-d", "-S"]):
        text, code = _start(state_path, static="-S" in argv)
    else:
        text, code = _converse(said, state_path, argv)
    sys.stdout.write(text)
    return code


def pipe_directory() -> str:
    """Return the pipe directory that daemon, front-end and clients must agree on."""
    return os.environ.get("CUDA_MPS_PIPE_DIRECTORY", DEFAULT_PIPE_DIRECTORY)


def _start(state_path: str, static: bool) -> Answer:
    """Start a daemon as its environment says; with too long a socket path it dies without a word."""
    directory = pipe_directory()
    with updated(state_path) as state:
        if static and int(state.driver_version.partition(".")[0]) < FIRST_WITH_PARTITIONS:
            return "Unrecognized option: -S\n", 1
        if state.daemon_at(directory):
            return ALREADY_RUNNING, 1
        if len(os.fsencode(f"{directory}/control")) > SOCKET_PATH_LIMIT:
            return "", 0
        percentage = float(os.environ.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "100"))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", state.gpu_uuid)
        device = state.gpu_uuid if visible == "0" else visible
        daemon = Daemon(state.take_pid(), directory, device, percentage, static=static)
        state.daemons.append(daemon)
        _lay_out(daemon)
    return "", 0


def _lay_out(daemon: Daemon) -> None:
    """Create the files of a live pipe directory, and the first lines of the log."""
    os.makedirs(daemon.pipe_directory, exist_ok=True)
    for name in PIPE_FILES:
        with open(f"{daemon.pipe_directory}/{name}", "w", encoding="utf-8") as file:
            file.write(f"{daemon.pid}\n" if name == PID_FILE else "")
    logs = os.environ.get("CUDA_MPS_LOG_DIRECTORY")
    if logs and os.path.isdir(logs):
        stamp = time.strftime("%Y-%m-%d %H:%M:%S.000")
        with open(f"{logs}/control.log", "a", encoding="utf-8") as file:
            socket = f"{daemon.pipe_directory}/control"
            file.write(f"[{stamp} Control {daemon.pid}] Starting control daemon using socket {socket}\n")


def _converse(said: str, state_path: str, argv: list[str]) -> Answer:
    if argv:
        return f"Unrecognized option: {argv[0]}\n", 1
    directory = pipe_directory()
    answers: list[str] = []
    for line in said.splitlines():
        words = line.split()
        if words[:1] == ["quit"] and "-t" not in words:
            _await_clients(state_path, directory)
        with updated(state_path) as state:
            daemon = state.daemon_at(directory)
            if daemon is None:
                return "".join(answers) + NO_DAEMON, 1
            answers.append(_obey(state, daemon, words))
    return "".join(answers), 0


def _await_clients(state_path: str, directory: str) -> None:
    """Wait until the last client has left, as a plain `quit` does; with `-t` modelled clients are cut off."""
    while True:
        state = DriverState.load(state_path)
        daemon = state.daemon_at(directory)
        if daemon is None or not state.clients_of(daemon):
            return
        time.sleep(POLL_S)


def _obey(state: DriverState, daemon: Daemon, words: list[str]) -> str:
    """Carry out one command and return what the daemon answers."""
    match words:
        case ["get_server_list"]:
            answer = "" if daemon.server_pid is None else f"{daemon.server_pid}\n"
        case ["get_server_status", pid] if pid == str(daemon.server_pid):
            answer = "FAULT\n" if daemon.faulty else "ACTIVE\n"
        case ["get_client_list", pid] if pid == str(daemon.server_pid):
            answer = "".join(f"{client.pid}\n" for client in state.clients_of(daemon))
        case ["start_server", "-uid", uid]:
            state.start_server(daemon, int(uid))
            answer = ""
        case ["ps"]:
            answer = _process_table(state, daemon)
        case ["terminate_client", server, pid] if server == str(daemon.server_pid):
            answer = _terminate(state, daemon, pid)
        case ["lspart"] | ["sm_partition", "add" | "rm", *_] if daemon.static:
            from .partitions import command

            answer = command(state, daemon, words)
        case ["quit"] | ["quit", "-t", _]:
            answer = _quit(state, daemon)
        case _:
            answer = _obey_on_limits(state, daemon, words)
    return answer


def _obey_on_limits(state: DriverState, daemon: Daemon, words: list[str]) -> str:
    """Carry out a command about what each client may have."""
    answer = f"Unrecognized command: {' '.join(words)}\n"
    match words:
        case ["get_default_active_thread_percentage"]:
            answer = f"{daemon.active_thread_percentage:.1f}\n"
        case ["set_default_active_thread_percentage", percentage]:
            state.replace_daemon(daemon, daemon.replace(active_thread_percentage=float(percentage)))
            answer = f"{float(percentage):.1f}\n"
        case ["get_active_thread_percentage", pid] if pid == str(daemon.server_pid):
            answer = f"{daemon.server_percentage:.1f}\n"
        case ["get_default_device_pinned_mem_limit", "0" | daemon.device]:
            answer = f"{daemon.memory_limit or 'Not set'}\n"
        case ["set_default_device_pinned_mem_limit", "0" | daemon.device, limit] if is_memory(limit):
            state.replace_daemon(daemon, daemon.replace(memory_limit=limit))
            answer = ""
    return answer


def is_memory(text: str) -> bool:
    """Whether a text is an amount of memory as the daemon takes it: a whole number of gigabytes or megabytes."""
    return text[-1:] in ("G", "M") and text[:-1].isdecimal() and int(text[:-1]) > 0


def _process_table(state: DriverState, daemon: Daemon) -> str:
    rows = ["PID ID SERVER DEVICE NAMESPACE COMMAND"]
    for client in state.clients_of(daemon):
        device = "-".join(client.device.split("-")[:4])
        rows.append(f"{client.pid} 0 {daemon.server_pid} {device} 4026531836 {client.name}")
    return "".join(f"{row}\n" for row in rows)


def _terminate(state: DriverState, daemon: Daemon, pid: str) -> str:
    if pid not in {str(client.pid) for client in state.clients_of(daemon)}:
        return f"Failed to terminate client {pid}: no such client\n"
    state.remove_client(int(pid))
    return "0\n"


def _quit(state: DriverState, daemon: Daemon) -> str:
    """End the server and whatever clients it still has, then the daemon and the files it made."""
    for client in state.clients_of(daemon):
        state.remove_client(client.pid)
    state.daemons.remove(daemon)
    for name in PIPE_FILES:
        path = f"{daemon.pipe_directory}/{name}"
        if os.path.exists(path):
            os.unlink(path)
    return ""
