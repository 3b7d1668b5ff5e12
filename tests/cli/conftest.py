import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SMALL = """\
name: small
modes: [mps, mig]
mixes: {pair: [resnet50-training, bert-base-training]}
timing: smoke
blocks: 1
"""
PID = re.compile(r"\b4194[3-9]\d\d\b")  # of the stand-in driver: they count up, so a killed run has used some


@dataclass
class Place:
    """A folder with a plan and results, and a driver of its own."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def plan(self) -> Path:
        return self.folder / "small.yaml"

    @property
    def fault_file(self) -> Path:
        return self.folder / "faults.json"

    @property
    def run_folder(self) -> Path:
        (found,) = self.results.iterdir()
        return found

    def environment(self) -> dict[str, str]:
        own = {"BENCH_STATE_DIR": str(self.folder / "s"), "BENCH_SIM_FAULTS": str(self.fault_file)}
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**inherited, **own}

    def faults(self, *rules: dict[str, Any]) -> None:
        self.fault_file.write_text(json.dumps(rules))

    def begin(self, *arguments: str | Path, program: str = "run_experiments.py", **options: Any) -> Any:
        """Start the command line in the background."""
        options = {"env": self.environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [sys.executable, *program.split(), *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, text=True, **options)

    def run(
        self, *arguments: str | Path, within_s: float = 60, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command line to its end; one minute is for a very busy host."""
        process = self.begin(*arguments, **options)
        output, errors = process.communicate(timeout=within_s)
        assert "Traceback" not in errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def begin_small(self, **options: Any) -> Any:
        return self.begin("--plan", self.plan, "--results", self.results, "--seed", "7", "--quiet",
                          "--device", "simulated:a100-80gb", **options)  # fmt: skip

    def resume(self) -> "subprocess.CompletedProcess[str]":
        return self.run("--resume", self.run_folder, "--quiet")

    def driver_state(self) -> list[str]:
        """The stand-in driver's state, a fact a line, less its counter of pids."""
        (file,) = self.folder.glob("s/GPU-*/driver/state.txt")
        return [fact for fact in file.read_text().splitlines() if not fact.startswith("next_pid ")]

    def records(self) -> dict[str, Any]:
        """All records with their tables, less what differs between any two runs: run id, host, pids, folders."""
        return {file.parent.name: self._record(file) for file in self.run_folder.glob("trials/[!.]*/trial.json")}

    def _record(self, file: Path) -> Any:
        text = PID.sub("0", file.read_text().replace(str(self.folder), ""))
        record = json.loads(text)
        del record["run_id"], record["host"]
        tables = {table.name: pd.read_parquet(table).to_json() for table in file.parent.glob("*.parquet")}
        return record, tables

    def finished(self) -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in self.results.glob("*/trials/[!.]*/*")}


def until(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Wait for something that the process will bring about; fail as soon as it has ended without."""
    deadline = time.monotonic() + 60
    while not condition():
        ended = process.poll() is not None
        assert not ended or condition(), f"ended with {process.returncode}: {process.communicate()}"
        assert time.monotonic() < deadline, "waited a minute"
        time.sleep(0.01)


@pytest.fixture(name="until")
def fixture_until() -> Callable[..., None]:
    return until


def _place() -> Place:
    place = Place(Path(tempfile.mkdtemp(prefix="b", dir="/tmp")))  # short: an MPS socket must fit in 107 bytes
    place.plan.write_text(SMALL)
    place.faults()
    return place


@pytest.fixture
def place() -> Iterator[Place]:
    place = _place()
    yield place
    shutil.rmtree(place.folder)


@pytest.fixture(scope="session")
def undisturbed() -> Iterator[tuple[Place, "subprocess.CompletedProcess[str]"]]:
    """A small run that nobody disturbed, and what it printed."""
    place = _place()
    process = place.begin_small()
    output, errors = process.communicate(timeout=60)
    yield place, subprocess.CompletedProcess(process.args, process.returncode, output, errors)
    shutil.rmtree(place.folder)
