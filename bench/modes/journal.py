"""What was found before a mode was entered, on disk, so that a killed runner's traces can be undone."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.errors import DeviceError
from bench.gpu.device import Device
from bench.modes.helpers import Call
from bench.modes.observe import DeviceState, Instance


@dataclass(frozen=True)
class Claim:
    """A MIG instance that is ours: by profile and first slice, and by its id once the driver has given it one."""

    profile: str
    start: int
    number: int | None = None

    def covers(self, instance: Instance) -> bool:
        """Whether an instance as the device lists it is the one that is claimed."""
        profile, number, start = instance
        return (profile, start) == (self.profile, self.start) and self.number in (None, number)


@dataclass(frozen=True)
class Journal:
    """The state before, and the calls that put it back; written before the first change.

    `claims` name the MIG instances that are ours, so that one which somebody else makes meanwhile is left alone.
    """

    mode: str
    before: DeviceState
    undo: tuple[Call, ...]
    claims: tuple[Claim, ...] = ()

    @staticmethod
    def path(device: Device) -> Path:
        """Return where the journal of a device lies, if there is one."""
        return device.state_folder / "journal.json"

    def write(self, device: Device) -> None:
        """Put the journal on disk, whole, and flushed: it must survive a crash of the machine, too."""
        path = self.path(device)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("w") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)

    def owns(self, instance: Instance) -> bool:
        """Whether an instance as the device lists it is one of ours."""
        return any(claim.covers(instance) for claim in self.claims)

    @classmethod
    def read(cls, device: Device) -> "Journal | None":
        """Read the journal that a killed runner left; None if there is none."""
        path = cls.path(device)
        try:
            record = json.loads(path.read_text())
            undo = tuple(Call(call["helper"], tuple(call["options"])) for call in record["undo"])
            claims = tuple(Claim(**claim) for claim in record["claims"])
            return cls(record["mode"], DeviceState.from_record(record["before"]), undo, claims)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DeviceError(
                f"{path}: cannot be read ({error}); look at the device with gpu_configs/status.sh, put it back by "
                "hand, then remove that file"
            ) from error

    @classmethod
    def of_visit(cls, device: Device) -> "Journal":
        """Read the journal of the visit that goes on; nothing is cut without one."""
        journal = cls.read(device)
        if journal is None:
            raise DeviceError(
                f"{cls.path(device)}: somebody removed it while the device was in use; look at the device with "
                "gpu_configs/status.sh"
            )
        return journal

    def claim(self, device: Device, claims: Iterable[Claim]) -> None:
        """Put on disk which MIG instances are ours: before a cut those to come, after it those that are there."""
        replace(self, claims=tuple(claims)).write(device)

    def undo_first(self, device: Device, calls: Iterable[Call]) -> None:
        """Put on disk, before something more is changed, what undoes that before all else."""
        first = tuple(call for call in calls if call not in self.undo)
        replace(self, undo=(*first, *self.undo)).write(device)

    @classmethod
    def close(cls, device: Device) -> None:
        """Remove the journal: the device is as it was."""
        cls.path(device).unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Put a new name on disk, too: a file that is flushed can still be missing from its folder after a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
