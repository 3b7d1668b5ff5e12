import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

EXCERPTS = Path(__file__).parent / "fixtures" / "nvidia_smi"


def pytest_configure() -> None:
    """Let Ctrl-C arrive in what tests start, even where a shell started them in the background, deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that need an engine in one process: they look at all that the engine holds."""
    for item in items:
        if item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.xdist_group("docker"))


@pytest.fixture
def excerpt() -> Callable[[str], str]:
    """Read one of the genuine excerpts."""
    return lambda name: (EXCERPTS / name).read_text()


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Write a shell script in a tool's name, and return an environment whose PATH finds it first."""

    def write(name: str, body: str) -> dict[str, str]:
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        return {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}", "EXCERPTS": str(EXCERPTS)}

    return write
