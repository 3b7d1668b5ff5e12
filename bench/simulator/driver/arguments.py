"""Command lines in the manner of `nvidia-smi`: `-i X`, `--id=X`, `--id X`, and what it says to wrong ones."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"

Request = dict[str, str]
"""A parsed command line: options by their long name, flags with an empty value."""
Answer = tuple[str, int]
"""What the tool prints, and its exit code."""

OPTIONS = {
    "-i": "id",
    "--id": "id",
    "-f": "filename",
    "--filename": "filename",
    "-l": "loop",
    "--loop": "loop",
    "-lms": "loop-ms",
    "--loop-ms": "loop-ms",
    "--format": "format",
    "--query-gpu": "query-gpu",
    "--query-compute-apps": "query-compute-apps",
    "--query-supported-clocks": "query-supported-clocks",
    "-pm": "persistence-mode",
    "--persistence-mode": "persistence-mode",
    "-c": "compute-mode",
    "--compute-mode": "compute-mode",
    "-mig": "mig-mode",
    "--multi-instance-gpu": "mig-mode",
    "-lgc": "lock-gpu-clocks",
    "--lock-gpu-clocks": "lock-gpu-clocks",
    "-lmc": "lock-memory-clocks",
    "--lock-memory-clocks": "lock-memory-clocks",
    "-pl": "power-limit",
    "--power-limit": "power-limit",
}
FLAGS = {
    "-L": "list",
    "--list-gpus": "list",
    "--version": "version",
    "--help-query-gpu": "help-query-gpu",
    "-r": "gpu-reset",
    "--gpu-reset": "gpu-reset",
    "-rgc": "reset-gpu-clocks",
    "--reset-gpu-clocks": "reset-gpu-clocks",
    "-rmc": "reset-memory-clocks",
    "--reset-memory-clocks": "reset-memory-clocks",
}
POLICY_OPTIONS = {"-i": "id", "--id": "id", "--set-timeslice": "set-timeslice"}
MIG_OPTIONS = {
    "-i": "id",
    "--id": "id",
    "-gi": "gi",
    "--gpu-instance-id": "gi",
    "-ci": "ci",
    "--compute-instance-id": "ci",
    "-cgi": "cgi",
    "--create-gpu-instance": "cgi",
    "-cci": "cci",
    "--create-compute-instance": "cci",
}
MIG_FLAGS = {flag: flag[1:] for flag in ("-lgip", "-lgipp", "-lcip", "-lgi", "-lci", "-dgi", "-dci", "-C")}
VALUE_MAY_LACK = {"cci"}


class BadArgumentError(Exception):
    """The command line is not one that the tool understands; the text is what it prints."""


def parse(words: list[str], options: dict[str, str], flags: dict[str, str]) -> Request:
    """Read a command line; BadArgumentError if the tool would not take it."""
    request: Request = {}
    rest = list(words)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option in flags:
            request[flags[option]] = ""
        elif option not in options:
            raise BadArgumentError(f"ERROR: Option {option} is not recognized. Please run 'nvidia-smi -h'.\n")
        else:
            request[options[option]] = value if equals else _value(options[option], rest)
    return request


def _value(name: str, rest: list[str]) -> str:
    """Take the value of an option from the words that follow it."""
    if name in VALUE_MAY_LACK and (not rest or rest[0].startswith("-")):
        return ""
    if not rest:
        raise BadArgumentError(USAGE)
    return rest.pop(0)


def columns(text: str, canonical: Callable[[str], str | None]) -> list[str]:
    """Translate the fields of a query into column names; one unknown field spoils the whole query."""
    found: list[str] = []
    for name in text.split(","):
        column = canonical(name.strip())
        if column is None:
            raise BadArgumentError(f'Field "{name.strip()}" is not a valid field to query.\n')
        found.append(column)
    return found


def numbers(text: str | None) -> frozenset[int] | None:
    """Read a list of instance ids; None if the option was not given."""
    if text is None:
        return None
    if not all(number.isdigit() for number in text.split(",")):
        raise BadArgumentError(USAGE)
    return frozenset(int(number) for number in text.split(","))


def period_s(request: Request) -> float | None:
    """Return how long `-l` or `-lms` waits between samples, in seconds; None for a single sample."""
    try:
        if "loop-ms" in request:
            return int(request["loop-ms"]) / 1000
        return float(request["loop"]) if "loop" in request else None
    except ValueError:
        raise BadArgumentError(USAGE) from None
