"""Going on with an interrupted run: which blocks must be repeated whole.

A block is the unit of comparison: its trials share the device's temperature and whatever else drifts. If it was
interrupted for long, or by a reboot, its halves are not comparable, so its old trials are set aside.
"""

from collections.abc import Sequence
from datetime import datetime

from bench.clock import utc_now
from bench.plan.schedule import Block, Schedule
from bench.store.record import TrialRecord, read
from bench.store.run_folder import RunFolder
from bench.store.software import boot_id

LONG_S = 3600.0


def supersede_broken_blocks(run: RunFolder, schedule: Schedule) -> list[int]:
    """Set aside the trials of each half-measured block that cannot be continued; return the blocks' numbers.

    A simulated device has no temperature and no boot: its blocks go on where they stopped.
    """
    broken = [block for block in schedule.blocks if _is_broken(_records(run, block), _size(block))]
    for block in broken:
        for record in _records(run, block):
            run.supersede(record.id)
        run.supersede_visits(block)
    return [block.index for block in broken]


def _records(run: RunFolder, block: Block) -> list[TrialRecord]:
    ids = [trial.id for visit in block.visits for trial in visit.trials]
    return [read(run.trials_folder / name / "trial.json", TrialRecord) for name in ids if run.has(name)]


def _size(block: Block) -> int:
    return sum(len(visit.trials) for visit in block.visits)


def _is_broken(records: Sequence[TrialRecord], size: int) -> bool:
    if not 0 < len(records) < size or records[0].simulated:
        return False
    last = max(datetime.fromisoformat(record.host.ended_at) for record in records)
    rebooted = any(record.host.boot_id != boot_id() for record in records)
    return rebooted or (utc_now() - last).total_seconds() > LONG_S
