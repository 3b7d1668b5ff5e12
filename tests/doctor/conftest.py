"""Doctor through its command line, on the hosts that it must be able to judge."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.simulator.driver.install import install
from bench.simulator.driver.state import DriverState, create, updated

GPU = "GPU-11111111-2222-3333-4444-555555555555"


class Bench:
    """A host with a stand-in driver that the tool takes for a real one: its GPU is not asked for as simulated."""

    def __init__(self, folder: Path, model: str) -> None:
        self.bin = folder / "bin"
        self.state_file = folder / "driver" / "state.txt"
        create(self.state_file, model, GPU)
        install(self.bin, self.state_file)

    @property
    def state(self) -> DriverState:
        return DriverState.load(self.state_file)

    def change(self, change: Callable[[DriverState], object]) -> None:
        with updated(self.state_file) as state:
            change(state)

    def wrap(self, filters: str) -> None:
        """Let nvidia-smi's output pass through a shell pipeline."""
        real = self.bin / "nvidia-smi-real"
        (self.bin / "nvidia-smi").rename(real)
        script = self.bin / "nvidia-smi"
        script.write_text(f'#!/bin/bash\nset -o pipefail\n{real} "$@" | {filters}\n')
        script.chmod(0o755)


@pytest.fixture(autouse=True)
def empty_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No engine, no driver's tools beside the system's own, and a state folder that nobody has made yet."""
    monkeypatch.setenv("BENCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bench]:
    def make(model: str) -> Bench:
        bench = Bench(tmp_path, model)
        monkeypatch.setenv("PATH", f"{bench.bin}{os.pathsep}{os.environ['PATH']}")
        return bench

    return make


@pytest.fixture
def diagnosis(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run `doctor --json` and return its document; a diagnosis is no failure, whatever it says."""

    def run(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["doctor", "--json", *arguments]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return run


@pytest.fixture
def modes(diagnosis: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, dict[str, Any]]]:
    """Return what doctor says of each mode, by name."""
    return lambda *arguments: {mode["name"]: mode for mode in diagnosis(*arguments)["modes"]}
