"""What was found before a mode was entered, on disk, so that a killed runner's traces can be undone."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.errors import DeviceError
from bench.gpu.device import Device
from bench.modes.helpers import Call
from bench.modes.observe import DeviceState


@dataclass(frozen=True)
class Journal:
    """The state before, and the calls that put it back; written before the first change."""

    mode: str
    before: DeviceState
    undo: tuple[Call, ...]

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

    @classmethod
    def read(cls, device: Device) -> "Journal | None":
        """Read the journal that a killed runner left; None if there is none."""
        path = cls.path(device)
        try:
            record = json.loads(path.read_text())
            undo = tuple(Call(call["helper"], tuple(call["options"])) for call in record["undo"])
            return cls(record["mode"], DeviceState.from_record(record["before"]), undo)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DeviceError(
                f"{path}: cannot be read ({error}); look at the device with gpu_configs/status.sh, put it back by "
                "hand, then remove that file"
            ) from error

    @classmethod
    def close(cls, device: Device) -> None:
        """Remove the journal: the device is as it was."""
        cls.path(device).unlink(missing_ok=True)
