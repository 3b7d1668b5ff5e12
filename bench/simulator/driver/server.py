"""Answers of the stand-in tools from a process that is there already: a call costs a fork, no start of Python.

Each call still is a process with its caller's environment, which can fail, lie, hang and be killed. One connection
is one call: it says `{"tool", "arguments", "environment", "said"}` as JSON and ends its side; it is told the pid
on a line, then `[status, output]`. Where the call dies before, nothing follows the pid.
"""

import io
import json
import os
import posix
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress

from . import mig, mps_control, nvidia_smi, policy, settings  # noqa: F401 - here once, and not in each call
from .install import TOOLS

PROGRAMS = {"nvidia_smi": nvidia_smi.main, "mps_control": mps_control.main}
STDIN = 0


def serve(listener_fd: int, state_path: str) -> None:
    """Answer until standard input ends, which it does with the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends calls
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets calls that have ended
    with socket.socket(fileno=listener_fd) as listener:
        while STDIN not in select.select([listener.fileno(), STDIN], [], [])[0]:
            line, _ = listener.accept()
            if os.fork() == 0:
                _be_a_call(line, state_path)
            line.close()


def _be_a_call(line: socket.socket, state_path: str) -> None:
    """Be the process of one call, and end; whoever asked may be gone by then."""
    try:
        with suppress(ConnectionError, json.JSONDecodeError):
            _answer(line, state_path)
    finally:
        posix._exit(0)


def _answer(line: socket.socket, state_path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    line.sendall(f"{os.getpid()}\n".encode())
    call = json.load(line.makefile(encoding="utf-8"))
    posix.environ.clear()  # what `os.environ` looks into, too
    posix.environ.update({os.fsencode(name): os.fsencode(value) for name, value in call["environment"].items()})
    sys.stdin, sys.stdout = io.StringIO(call["said"]), io.StringIO()
    try:
        status = PROGRAMS[TOOLS[call["tool"]]](call["arguments"], state_path)
    except Exception:  # noqa: BLE001 - as an interpreter ends, with the reason where it can be seen
        status = 1
        traceback.print_exc()
    line.sendall(json.dumps([status, sys.stdout.getvalue()]).encode())
