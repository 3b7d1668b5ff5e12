"""What can happen to a GPU and its MPS daemons while nobody commands it; for simulator and tests to call."""

from __future__ import annotations

from .state import DriverState


def fault_client(state: DriverState, pid: int) -> None:
    """Let MPS client `pid` die of a fatal error: its server is in FAULT until the others that it hit have gone."""
    client = next(client for client in state.clients if client.pid == pid)
    daemon = state.daemon_of(client)
    if daemon is not None:
        state.replace_daemon(daemon, daemon.replace(faulty=True))
    state.remove_client(pid)


def kill_daemon(state: DriverState, pipe_directory: str) -> None:
    """Kill the daemon in `pipe_directory` with its server and clients; its files stay, as after a crash."""
    daemon = state.daemon_at(pipe_directory)
    if daemon is None:
        raise ValueError(f"no MPS daemon in {pipe_directory}")
    pids = [client.pid for client in state.clients_of(daemon)]
    state.daemons.remove(daemon)
    for pid in pids:
        state.remove_client(pid)
