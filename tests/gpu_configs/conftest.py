"""One modelled GPU behind the stand-in tools, and the shell helpers run against it as a user would."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.simulator.driver.install import install
from bench.simulator.driver.state import DriverState, create

HELPERS = Path(__file__).resolve().parents[2] / "gpu_configs"
GPU = "GPU-11111111-2222-3333-4444-555555555555"


class Switchboard:
    """A modelled GPU, its folder, and the helpers that act on it."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self.gpu = GPU
        self.state_file = folder / "state.txt"
        self.pipe = folder / "pipe"
        self.logs = folder / "log"
        self.faults = folder / "faults.json"
        create(self.state_file, model, GPU)
        install(folder / "bin", self.state_file)

    @property
    def state(self) -> DriverState:
        return DriverState.load(self.state_file)

    def run(self, helper: str, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a helper for this GPU."""
        return self.run_plain(helper, "--gpu", self.gpu, *words, **options)

    def run_plain(self, helper: str, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a helper with exactly these words."""
        environment = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
        pipe = options.pop("CUDA_MPS_PIPE_DIRECTORY", None)
        environment |= {} if pipe is None else {"CUDA_MPS_PIPE_DIRECTORY": str(pipe)}
        if self.faults.exists():
            environment["BENCH_SIM_FAULTS"] = str(self.faults)
        command = [str(HELPERS / helper), *words]
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command, env=environment, capture_output=True, text=True, timeout=60, check=False, **options
        )

    def mps(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Enable MPS in this test's own directories."""
        directories = ("--pipe-directory", str(self.pipe), "--log-directory", str(self.logs))
        return self.run("enable_mps.sh", *directories, *words, **options)

    def no_mps(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Disable what `mps` enabled."""
        return self.run("disable_mps.sh", "--pipe-directory", str(self.pipe), *words)

    def fail(self, **rule: object) -> None:
        """Let a stand-in tool fail, lie or hang by one more rule."""
        rules = json.loads(self.faults.read_text()) if self.faults.exists() else []
        self.faults.write_text(json.dumps([*rules, rule]))


def without_times(said: dict[str, str]) -> dict[str, str]:
    """Leave out how long steps took, which must be a number of seconds."""
    assert all(0 < float(value) < 60 for key, value in said.items() if key.endswith("_s"))
    return {key: value for key, value in said.items() if not key.endswith("_s")}


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Read the RESULT line of a helper that succeeded."""
    assert done.returncode == 0, done.stderr
    word, *pairs = shlex.split(done.stdout.splitlines()[-1])
    assert word == "RESULT"
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture(name="without_times")
def fixture_without_times() -> Callable[[dict[str, str]], dict[str, str]]:
    return without_times


@pytest.fixture
def make_gpu(tmp_path: Path):
    """Make modelled GPUs, each in a folder of its own."""

    def make(model: str) -> Switchboard:
        folder = tmp_path / f"gpu-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Switchboard(folder, model)

    return make


@pytest.fixture
def a100(tmp_path: Path) -> Switchboard:
    return Switchboard(tmp_path, "a100-80gb")


@pytest.fixture
def h100(tmp_path: Path) -> Switchboard:
    return Switchboard(tmp_path, "h100-80gb")


@pytest.fixture
def rtx4090(tmp_path: Path) -> Switchboard:
    return Switchboard(tmp_path, "rtx-4090")


@pytest.fixture
def result():
    return result_of
