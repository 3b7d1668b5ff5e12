"""What the driver's tools print, word for word: evidence for a reader, and fixtures for the parsers.

Only questions: nothing here changes the device. A question that this driver does not know is an answer, too.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.gpu.device import Device
from bench.gpu.mps import MPS_TOOL, MpsControl
from bench.gpu.smi import NvidiaSmi
from bench.gpu.tool import Answer, ask

_TOOL = "nvidia-smi"
_TIMEOUT_S = 30.0
_LOG_LINES = 200
_APPS = ("--query-compute-apps=gpu_uuid,pid,process_name,used_gpu_memory", "--format=csv,nounits")
_DAEMON_QUESTIONS = ("get_default_active_thread_percentage", "get_server_list", "ps", "lspart")
_ERROR = "# stderr: "
_HEADER = re.compile(r"# (?P<command>.*) \(exit code (?P<status>-?\d+)\)")


@dataclass(frozen=True)
class Capture:
    """One answer and where it belongs: `name` tells command and state (`nvidia-smi_mig_-lgip__idle.txt`)."""

    name: str
    answer: Answer

    @property
    def text(self) -> str:
        """The command in a line of its own, then all that was printed, errors last and told apart."""
        head = f"# {self.answer.command} (exit code {self.answer.status})\n"
        errors = (f"{_ERROR}{line}\n" for line in self.answer.errors.splitlines())
        return "".join([head, self.answer.output, *errors])


def read_capture(text: str) -> Answer:
    """Read the text of a capture; raises ValueError where it is none."""
    first, _, printed = text.partition("\n")
    head = _HEADER.fullmatch(first)
    if head is None:
        raise ValueError(f"no capture of a tool's output: it begins with {first!r}")
    output, *errors = printed.split(_ERROR)
    return Answer(head["command"], int(head["status"]), output, "".join(errors))


def at_rest(device: Device, fields: Iterable[str]) -> list[Capture]:
    """Ask all that this tool ever asks of a GPU, the given fields of `--query-gpu` among it, and a little more."""
    known = NvidiaSmi(device.tool_environment).names_of([*dict.fromkeys(["uuid", *fields])])
    selected = ("-i", device.uuid)
    questions = (
        ("-L",), ("--version",), ("--help-query-gpu",), (*selected,), (*selected, "-q"),
        (*selected, f"--query-gpu={','.join(known.values())}", "--format=csv,nounits"),
        (*selected, *_APPS),
        (*selected, "--query-supported-clocks=graphics", "--format=csv,nounits"),
        *(("mig", *selected, listing) for listing in ("-lgip", "-lgipp", "-lgi")),
        ("compute-policy", *selected, "--list"),
    )  # fmt: skip
    return [_capture(device, question, "idle") for question in questions]


def while_tenants_run(device: Device, state: str) -> list[Capture]:
    """Ask who computes on a GPU; `state` says in which mode that was."""
    selected = ("-i", device.uuid)
    return [_capture(device, question, state) for question in (selected, (*selected, *_APPS))]


def of_daemon(environment: Mapping[str, str], pipe_directory: Path, logs: Path, state: str) -> list[Capture]:
    """Ask an MPS daemon about itself and the clients of each of its servers, and read the ends of its logs."""
    control = MpsControl(environment, pipe_directory)
    try:
        servers = control.server_list()
    except BenchError:  # the captures say it in the daemon's own words
        servers = ()
    questions = (*_DAEMON_QUESTIONS, *(f"get_client_list {server}" for server in servers))
    here = {**environment, "CUDA_MPS_PIPE_DIRECTORY": str(pipe_directory)}
    asked = [_daemon_capture(here, question, state) for question in questions]
    return asked + [_log_capture(logs / name, state) for name in ("control.log", "server.log")]


def _capture(device: Device, arguments: Sequence[str], state: str) -> Capture:
    words = [word.split("=")[0] for word in arguments if word not in ("-i", device.uuid)]
    name = "_".join([_TOOL, *(word for word in words if word != "--format")])
    return Capture(f"{name}__{state}.txt", _answer([_TOOL, *arguments], device.tool_environment))


def _daemon_capture(environment: Mapping[str, str], question: str, state: str) -> Capture:
    answer = _answer([MPS_TOOL], environment, f"{question}\n")
    told = Answer(f"echo {question} | {MPS_TOOL}", answer.status, answer.output, answer.errors)
    return Capture(f"{MPS_TOOL}_{question.partition(' ')[0]}__{state}.txt", told)


def _log_capture(log: Path, state: str) -> Capture:
    try:
        lines = log.read_text(errors="replace").splitlines(keepends=True)
    except OSError as missing:
        return Capture(f"mps_{log.name}__{state}.txt", Answer(f"cat {log.name}", 1, "", f"{missing.strerror}\n"))
    command = f"tail -n {_LOG_LINES} {log.name}"
    return Capture(f"mps_{log.name}__{state}.txt", Answer(command, 0, "".join(lines[-_LOG_LINES:]), ""))


def _answer(command: Sequence[str], environment: Mapping[str, str], questions: str | None = None) -> Answer:
    """Ask; a tool that is not there or hangs answers with our own words and the shell's exit code for it."""
    try:
        return ask(command, environment, _TIMEOUT_S, questions)
    except BenchError as failed:
        return Answer(" ".join(command), 127, "", f"{failed.wrong}\n")
