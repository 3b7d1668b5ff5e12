"""A real Jupyter kernel: started, asked to execute cells, and ended. It is the one that uses the device."""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import ast
import os
import shutil
import tempfile
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any

CHECKOUT = Path(__file__).parents[2]
LOOK_PERIOD_S = 1.0  # how often a kernel that does not answer is looked at


class CellError(RuntimeError):
    """A cell that raised; the message is what the kernel said."""


class Kernel:
    """An IPython kernel behind Unix sockets, so that no port is open; use it as a context manager."""

    def __init__(self) -> None:
        from jupyter_client.manager import KernelManager

        self._folder = tempfile.mkdtemp(prefix="kernel-")  # short: a socket's path has 107 characters at most
        connection = str(Path(self._folder) / "kernel.json")
        self._manager = KernelManager(transport="ipc", ip=f"{self._folder}/k", connection_file=connection)
        path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        self._manager.start_kernel(env={**os.environ, "PYTHONPATH": path, "IPYTHONDIR": self._folder})
        self._client = self._manager.client()
        self._client.start_channels(shell=True, iopub=False, stdin=False, hb=False)

    def execute(self, code: str, want: str | None = None) -> Any:
        """Execute one cell and wait for its end; return the literal value of the expression `want`, if any.

        Raises CellError where the cell or the expression raised, RuntimeError where the kernel died.
        """
        wanted = {"want": want} if want else None
        sent = self._client.execute(code, store_history=False, allow_stdin=False, user_expressions=wanted)
        content = self._reply_to(sent)
        answer = content if content["status"] != "ok" or not want else content["user_expressions"]["want"]
        if answer["status"] != "ok":
            raise CellError(f"{answer.get('ename', answer['status'])}: {answer.get('evalue', '')}")
        return ast.literal_eval(answer["data"]["text/plain"]) if want else None

    def _reply_to(self, sent: str) -> dict[str, Any]:
        while True:
            try:
                reply = self._client.get_shell_msg(timeout=LOOK_PERIOD_S)
            except Empty:
                if not self._manager.is_alive():
                    raise RuntimeError(
                        "the kernel died before it answered; its last words are in the log"
                    ) from None
                continue
            if reply["parent_header"].get("msg_id") == sent:
                return dict(reply["content"])

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End the kernel: asked first, killed only if it does not listen."""
        self._client.stop_channels()
        self._manager.shutdown_kernel()
        shutil.rmtree(self._folder, ignore_errors=True)
