"""What a long training job needs to go on where it was: weights, optimizer, loss scale, random numbers, steps."""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from workloads.job import JOB_DIR_VARIABLE

FILE = "checkpoint.pt"
MAY_DIFFER = frozenset(
    {"seconds", "warmup_steps", "loader_workers", "checkpoint_every", "checkpoint_dir", "rank", "meeting_point"}
)


class Checkpoints:
    """One file that is replaced as a whole, so that a kill at any moment leaves the old one or the new one."""

    def __init__(self, options: Namespace) -> None:
        folder = options.checkpoint_dir or os.environ.get(JOB_DIR_VARIABLE) or "."
        self._file = Path(folder) / FILE
        self._settings = {key: value for key, value in vars(options).items() if key not in MAY_DIFFER}
        self.every = options.checkpoint_every

    def load(self) -> dict[str, Any] | None:
        """Return what was saved, or None; exits where it was saved by a job with other options."""
        import torch

        if not self.every or not self._file.exists():
            return None
        saved: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
        theirs = saved.pop("settings")
        differ = sorted(key for key in {*theirs, *self._settings} if theirs.get(key) != self._settings.get(key))
        if differ:
            was = ", ".join(f"{key}={theirs.get(key)}" for key in differ)
            raise SystemExit(f"{self._file} was saved with {was}; use these, or another --checkpoint-dir")
        return saved

    def save(self, state: dict[str, Any]) -> None:
        """Write the file aside, then put it in place."""
        import torch

        self._file.parent.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_name(f".{FILE}.{os.getpid()}")
        with aside.open("wb") as file:
            torch.save({**state, "settings": self._settings}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._file)


def random_state() -> dict[str, Any]:
    """Return the state of torch's random numbers, on the CPU and on this process's GPU if it uses one."""
    import torch

    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if in_use else None}


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on with random numbers where they were."""
    import torch

    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
