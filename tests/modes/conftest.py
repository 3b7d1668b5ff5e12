import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.device import Device
from bench.gpu.lock import held
from bench.modes.switch import Switch
from bench.plan.model import Job, Mix
from bench.simulator.driver.state import updated
from bench.simulator.machine import simulated_device

LOGGED = """#!/bin/sh
if [ $# -gt 0 ]; then said="$*"; else input=$(cat) && said="<<< $input"; fi
echo "{tool} $said" >>{folder}/effects
work() {{ if [ $# -gt 0 ]; then {real} "$@"; else echo "$input" | {real}; fi; }}
case " $said " in
*" -mig "* | *" -c "* | *" -lgc "* | *" -rgc "* | *" -cgi "* | *" -dci"* | *" -dgi"* \
    | *" --set-timeslice "* | " -d "* | *"<<< quit"* | *"<<< sm_partition"*)
    n=0
    echo >>{folder}/count
    while read -r _; do n=$((n + 1)); done <{folder}/count
    [ ! -e {folder}/copies_of ] || {{ read -r from to <{folder}/copies_of && cp -r "$from" "$to/$n"; }}
    [ ! -e {folder}/armed ] || read -r at way <{folder}/armed
    [ "$n" != "$at" ] || case $way in
        fails) echo "Unknown Error" && exit 255 ;;
        lies) echo "All done." && exit 0 ;;
        hangs) exec sleep 60 ;;
        killed) work "$@" && kill -KILL $$ ;;
        interrupted) kill -INT {runner} ;;
    esac ;;
esac
work "$@"
"""


@dataclass
class Machine:
    """A simulated GPU with a state folder of its own."""

    device: Device
    switch: Switch
    fault_file: Path
    effects: Path

    @property
    def state_file(self) -> Path:
        return self.device.state_folder / "driver" / "state.txt"

    def state(self) -> list[str]:
        """The driver's state, a fact a line, less the counter of pids."""
        facts = self.state_file.read_text().splitlines()
        return [fact for fact in facts if not fact.startswith("next_pid ")]

    def change(self, **fields: Any) -> None:
        """What somebody else did to the device before us."""
        with updated(self.state_file) as state:
            for name, value in fields.items():
                setattr(state, name, value)

    def faults(self, *rules: dict[str, Any]) -> None:
        """What the driver's tools will get wrong from now on."""
        self.fault_file.write_text(json.dumps(rules))

    def arm(self, at: int, way: str) -> None:
        """Spoil the change of this number, counted from 1; what was recorded so far is forgotten."""
        self.effects.unlink(missing_ok=True)
        self.effects.with_name("count").unlink(missing_ok=True)
        self.effects.with_name("armed").write_text(f"{at} {way}\n")

    def keep_copies(self, folder: Path | None) -> None:
        """Copy the device's state folder to a numbered one in `folder` before each change from now on."""
        link = self.effects.with_name("copies_of")
        link.unlink(missing_ok=True)
        if folder is not None:
            link.write_text(f"{self.device.state_folder} {folder}\n")

    def changes(self) -> list[str]:
        """Every command so far that changes the device, in order, without the GPU's UUID."""
        lines = self.effects.read_text().splitlines() if self.effects.exists() else []
        named = (f"-i {self.device.uuid} ", f"{self.device.uuid} ")
        return [line.replace(named[0], "").replace(named[1], "") for line in lines if _is_change(line)]


def _is_change(line: str) -> bool:
    words = (
        " -mig ",
        " -c ",
        " -lgc ",
        " -rgc",
        " -cgi ",
        " -dci",
        " -dgi",
        " --set-timeslice ",
        "control -d",
        "<<< quit",
        "<<< sm_partition",
        "trial ",
        "block ",
    )
    return any(word in line for word in words)


@pytest.fixture
def make_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Machine]]:
    """Return a maker of machines; the folder's name is short because an MPS socket must fit in 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
    monkeypatch.setenv("BENCH_STATE_DIR", str(folder))
    monkeypatch.setenv("BENCH_SIM_FAULTS", str(folder / "faults.json"))
    (folder / "faults.json").write_text("[]")
    locks = []

    def make(model: str = "a100-80gb", allow_reset: bool = True) -> Machine:
        device = _logged(simulated_device(model), folder)
        locks.append(held(device))
        switch = Switch(device, allow_reset, locks[-1].__enter__().fd)
        return Machine(device, switch, folder / "faults.json", folder / "effects")

    yield make
    for lock in locks:
        lock.__exit__(None, None, None)
    shutil.rmtree(folder)


def _logged(device: Device, folder: Path) -> Device:
    """Put scripts in front of the stand-in tools that write down what they are told."""
    tools = device.state_folder / "driver" / "bin"
    logged = folder / "bin"
    logged.mkdir(exist_ok=True)
    for real in tools.iterdir():
        script = logged / real.name
        script.write_text(LOGGED.format(tool=real.name, folder=folder, real=real, runner=os.getpid()))
        script.chmod(0o755)
    return replace(device, environment={"PATH": f"{logged}:{device.environment['PATH']}"})


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    return make_machine()


@pytest.fixture
def pair() -> Mix:
    return Mix(name="pair", jobs=(Job(workload="resnet50-training"), Job(workload="bert-base-training")))
