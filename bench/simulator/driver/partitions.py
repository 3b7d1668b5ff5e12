"""Static SM partitions of an MPS daemon: `sm_partition add`, `sm_partition rm` and `lspart`."""

from .cuda import chunk_sms, device_sms
from .state import Daemon, DriverState, Partition

HEADER = "GPU Partition free used free used clients\nchunk chunk SM SM\n"
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
REFUSED = "Failed to change SM partitions: "


def command(state: DriverState, daemon: Daemon, words: list[str]) -> str:
    """Carry out one command of these, and return what the daemon answers."""
    match words:
        case ["lspart"]:
            return _listing(state, daemon)
        case ["sm_partition", "add", device, chunks] if device == daemon.device and chunks.isdecimal():
            return _add(state, daemon, int(chunks))
        case ["sm_partition", "rm", name]:
            return _remove(state, daemon, name)
    return f"{REFUSED}Invalid Argument\n"


def _free(state: DriverState, daemon: Daemon) -> int:
    """Return the chunks in no partition; SMs that fill no chunk are in none ever."""
    whole = device_sms(state, daemon.device) // chunk_sms(state)
    return whole - sum(part.chunks for part in daemon.partitions)


def _add(state: DriverState, daemon: Daemon, chunks: int) -> str:
    if not 0 < chunks <= _free(state, daemon):
        return f"{REFUSED}Insufficient Resources\n"
    taken = {part.id for part in daemon.partitions}
    names = (f"{daemon.device}/Dx4{digit}{'A' * 32}" for digit in DIGITS)
    part = Partition(next(name for name in names if name not in taken), chunks)
    state.replace_daemon(daemon, daemon.replace(partitions=(*daemon.partitions, part)))
    return f"{part.id}\n"


def _remove(state: DriverState, daemon: Daemon, name: str) -> str:
    if name in {client.sm_partition for client in state.clients_of(daemon)}:
        return f"{REFUSED}In use by another client\n"
    rest = tuple(part for part in daemon.partitions if part.id != name)
    if len(rest) == len(daemon.partitions):
        return f"{REFUSED}Not Found\n"
    state.replace_daemon(daemon, daemon.replace(partitions=rest))
    return ""


def _listing(state: DriverState, daemon: Daemon) -> str:
    """Return a row for the device and one for each partition; of clients there is word once there is a server."""
    size, free = chunk_sms(state), _free(state, daemon)
    used = sum(part.chunks for part in daemon.partitions)
    short = "-".join(daemon.device.split("-")[:2])
    named = {client.sm_partition for client in state.clients_of(daemon)}
    rows = [f"{short} - {free} {used} {free * size} {used * size} -"]
    for part in daemon.partitions:
        clients = "-" if daemon.server_pid is None else "Yes" if part.id in named else "No"
        name = part.id.partition("/")[2]
        rows.append(f"{short} {name} - {part.chunks} - {part.chunks * size} {clients}")
    return HEADER + "".join(f"{row}\n" for row in rows)
