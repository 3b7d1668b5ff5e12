"""Put the stand-in tools into a folder, ready to stand in front of `PATH`."""

import os
import sys
from pathlib import Path

TOOLS = {"nvidia-smi": "nvidia_smi", "nvidia-cuda-mps-control": "mps_control"}
SHEBANG_LIMIT = 250
_FOLDER = Path(__file__).resolve().parent


def install(bin_directory: Path, state_file: Path) -> None:
    """Write `nvidia-smi` and `nvidia-cuda-mps-control` for the driver state in `state_file`.

    They need no variable and no path but their own. Files that already say the same are left alone.
    """
    bin_directory.mkdir(parents=True, exist_ok=True)
    for tool, module in TOOLS.items():
        text = _script(module, state_file.absolute())
        target = bin_directory / tool
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            _write_executable(target, text)


def server_command(listener_fd: int, state_file: Path) -> list[str]:
    """Return the command of a process that answers for both tools on a listening socket (`server`)."""
    words = f"serve({listener_fd}, {str(state_file.absolute())!r})"
    return [
        _interpreter(),
        "-IS",
        "-c",
        f"import sys\n{_package()}from {_FOLDER.name}.server import serve\n{words}",
    ]


def _interpreter() -> str:
    """Return the interpreter behind a virtual environment, which has nothing to look up."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _package() -> str:
    return f"sys.path.append({str(_FOLDER.parent)!r})\n"


def _script(module: str, state_file: Path) -> str:
    """Return a program of a few lines: it is compiled anew at each call, the package `driver` is not.

    A fifth of a call's time is saved by the choice of interpreter, and by an end that does not take it down.
    """
    return (
        f"{_first_lines(_interpreter())}"
        "import posix, sys\n"
        f"{_package()}"
        f"from {_FOLDER.name}.{module} import main\n"
        f"code = main(sys.argv[1:], {str(state_file)!r})\n"
        "sys.stdout.flush()\n"
        "posix._exit(code)\n"
    )


def _first_lines(interpreter: str) -> str:
    """Return the shebang; one that the kernel would split or cut goes through the shell instead."""
    if " " not in interpreter and len(interpreter) < SHEBANG_LIMIT:
        return f"#!{interpreter} -IS\n"
    return f"#!/bin/sh\n''''exec \"{interpreter}\" -IS \"$0\" \"$@\" # '''\n"


def _write_executable(target: Path, text: str) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o755)
    temporary.replace(target)
