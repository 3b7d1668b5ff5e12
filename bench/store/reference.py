"""Keeping what was measured for everybody to read: without the marks of the machine that it was measured on."""

import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.errors import SetupError
from bench.gpu.device import state_root
from bench.store.run_folder import RunFolder
from bench.store.software import CHECKOUT

REFERENCE_FOLDER = CHECKOUT / "results" / "reference"
_UUID = re.compile(r"\b(GPU-|MIG-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_FIXED_PATH = "tmp/nvidia-mps"  # MPS's own default: the same everywhere
_PATH = re.compile(rf"(?<![\w./-])/(?!{_FIXED_PATH}\b)(?:[\w.@+~-]+/)+([\w.@+~-]+)")
_CUT_PATH = re.compile(r"\.{3}[\w.@+~/-]*/([\w.@+~-]+)")  # as tables shorten it
_NOBODYS_NAMES = {
    "root",
    "localhost",
    "host",
    "user",
    "gpu",
    "cpu",
    "cuda",
    "nvidia",
    "docker",
}  # and words of ours
_SERIAL = re.compile(r"^(\s*(?:[\w ]*Serial Number|[\w ]*GUID|GPU PDI)\s*: )(?!N/A).*$", re.MULTILINE)


def masked(text: str) -> str:
    """Return the text without ids of devices, serial numbers, names of host and user, and folders.

    Of a path its last part stays (`.../python3`), of a GPU's UUID that it is one (`GPU-xxxxxxxx`).
    """
    for folder in _folders():
        text = text.replace(folder, "...")
    for name, word in _names().items():
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", word, text)
    text = _UUID.sub(lambda found: f"{found[1] or ''}xxxxxxxx", text)
    text = _SERIAL.sub(r"\1masked", text)
    return _CUT_PATH.sub(r".../\1", _PATH.sub(r".../\1", text))


def make_output(output: Path) -> None:
    """Make the folder that evidence goes to; raises SetupError where nothing can be written into it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise _unwritable(output, error) from error


def keep_reference(output: Path, name: str, files: Mapping[str, str], run: RunFolder) -> Path:
    """Write texts and the run's plan, records and tables into a folder under `output`, and return that folder.

    Every text is masked; logs are left out. The folder is there whole or not at all. Raises SetupError where it
    cannot be written.
    """
    temporary, folder = output / f".{name}-{secrets.token_hex(4)}", output / name
    try:
        for relative, text in {**files, **_texts_of(run)}.items():
            file = temporary / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(masked(text), encoding="utf-8")
        for table in run.trials_folder.glob("[!.]*/*.parquet"):
            shutil.copyfile(table, temporary / "run" / table.relative_to(run.path))
        return temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> SetupError:
    return SetupError(f"{folder}: {error.strerror}; name another folder with --output DIR")


def _texts_of(run: RunFolder) -> dict[str, str]:
    files = [run.plan_file, run.run_file, *sorted(run.trials_folder.glob("[!.]*/trial.json"))]
    return {f"run/{file.relative_to(run.path)}": file.read_text(encoding="utf-8") for file in files}


def _folders() -> list[str]:
    """Return the folders that this process itself knows of, longest first; names in them may hold anything."""
    known = {str(state_root()), str(CHECKOUT), tempfile.gettempdir(), str(Path.home()), str(Path.cwd())}
    return sorted((folder for folder in known if folder.count("/") > 1), key=len, reverse=True)


def _names() -> dict[str, str]:
    """Return host and user, and what is written in their place."""
    users = {os.environ.get("USER", ""), os.environ.get("LOGNAME", ""), Path.home().name}
    named = {platform.node(): "host", **dict.fromkeys(users, "user")}
    return {name: word for name, word in named.items() if len(name) > 2 and name not in _NOBODYS_NAMES}
