"""The folder of one run. No other code builds a path under results/.

A trial is written into a folder whose name begins with a dot and then renamed, so that it is there whole or not
at all; a runner that is killed loses the trial it was in, and nothing else.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import RecordError, SetupError
from bench.launch.corun import CoRun
from bench.launch.events import Steps
from bench.plan.catalog import Catalog
from bench.plan.inputs import InputFile, copy_name
from bench.plan.load import load_plan
from bench.plan.model import Plan
from bench.plan.schedule import Block, block_name
from bench.store.decision import BlockDecision, Calibration, RepeatDecision
from bench.store.record import RunRecord, TrialRecord, VisitRecord, read
from bench.telemetry.contract import Telemetry

STEP_COLUMNS = ("slot", "warmup", "end_s", "duration_s", "items", "wait_s")
REQUEST_COLUMNS = ("slot", "scheduled_s", "sent_s", "done_s", "status", "items")


class RunFolder:
    """Paths, writing and reading of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan_file = path / "plan.yaml"
        self.run_file = path / "run.json"
        self.decision_file = path / "blocks.json"
        self.calibration_file = path / "calibration.json"
        self.repeats_file = path / "repeats.json"
        self.inputs_folder = path / "inputs"
        self.trials_folder = path / "trials"
        self.visits_folder = path / "visits"
        self.report_folder = path / "report"

    @classmethod
    def create(
        cls, results: Path, record: RunRecord, plan_text: str, inputs: Iterable[InputFile] = ()
    ) -> "RunFolder":
        """Make the folder with plan, its files and run.json; raises SetupError where it cannot be written."""
        run = cls(results / record.run_id)
        try:
            run.trials_folder.mkdir(parents=True)
            run.plan_file.write_text(plan_text, encoding="utf-8")
            for file in inputs:
                run.inputs_folder.mkdir(exist_ok=True)
                (run.inputs_folder / file.copy_name).write_bytes(file.content)
            _replace(run.run_file, record.model_dump_json(indent=2) + "\n")
        except FileExistsError as error:
            raise SetupError(f"{run.path}: there already; start again, or name another --results DIR") from error
        except OSError as error:
            raise SetupError(
                f"{results}: {error.strerror}; name a folder that can be written with --results DIR"
            ) from error
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run; raises SetupError where the folder is not one."""
        run = cls(path.resolve())
        if not run.run_file.is_file() or not run.plan_file.is_file():
            raise SetupError(
                f"{path}: not the folder of a run (no run.json and plan.yaml); name one under results/"
            )
        return run

    @property
    def record(self) -> RunRecord:
        """What holds for the whole run."""
        return read(self.run_file, RunRecord)

    def plan(self, catalog: Catalog) -> Plan:
        """Read the plan with the copies of its files; raises SetupError where one is not as it was."""
        known = self.record.inputs
        plan = load_plan(self.plan_file, catalog, lambda name: self._input(name, known.get(name)))
        for name, file in plan.files.items():
            if file.sha256 != known.get(name):
                raise SetupError(
                    f"{self._input(name, known.get(name))}: is not the {name} with which this run began (SHA-256 "
                    f"in {self.run_file.name}); put that back, or start a new run"
                )
        return plan

    def _input(self, name: str, digest: str | None) -> Path:
        return self.inputs_folder / copy_name(name, digest or "missing")

    @property
    def decision(self) -> BlockDecision | None:
        """How many blocks the pilot asked for; None where that was not asked, or not yet."""
        return read(self.decision_file, BlockDecision) if self.decision_file.is_file() else None

    def keep_decision(self, decision: BlockDecision) -> None:
        """Write how many blocks there are to be."""
        with self.writing():
            _replace(self.decision_file, decision.model_dump_json(indent=2) + "\n")

    @property
    def calibration(self) -> Calibration | None:
        """Which rates stand for the loads of the plan; None where it names none, or they are not found yet."""
        return read(self.calibration_file, Calibration) if self.calibration_file.is_file() else None

    def keep_calibration(self, calibration: Calibration) -> None:
        """Write the rates that were found."""
        with self.writing():
            _replace(self.calibration_file, calibration.model_dump_json(indent=2) + "\n")

    @property
    def repeats(self) -> RepeatDecision:
        """Which blocks are measured once more; until blocks have been judged, none."""
        return read(self.repeats_file, RepeatDecision) if self.repeats_file.is_file() else RepeatDecision()

    def keep_repeats(self, decision: RepeatDecision) -> None:
        """Write which blocks are to be measured once more."""
        with self.writing():
            _replace(self.repeats_file, decision.model_dump_json(indent=2) + "\n")

    def has(self, trial_id: str) -> bool:
        """Whether this trial has been measured and written."""
        return (self.trials_folder / trial_id / "trial.json").is_file()

    def scratch(self, trial_id: str) -> Path:
        """Return an empty folder in which the trial is made; a later `keep` gives it its name."""
        folder = self.trials_folder / f".{trial_id}"
        with self.writing():
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        return folder

    def keep_samples(self, trial_id: str, corun: CoRun, telemetry: Telemetry) -> None:
        """Write what was sampled into the trial's scratch folder; raises RecordError as `keep` does."""
        folder = self.trials_folder / f".{trial_id}"
        with self.writing():
            folder.mkdir(exist_ok=True)
            if corun.window is not None:
                pq.write_table(_steps_table(corun, corun.window.start_s), folder / "steps.parquet")
                _keep_requests(folder, corun, corun.window.start_s)
            _keep_telemetry(folder, telemetry, corun.window.start_s if corun.window else 0.0)
            _keep_logs(folder, corun)

    def keep(self, record: TrialRecord) -> None:
        """Write a record and give the trial's scratch folder its name: from now on the trial is there.

        Nothing stays in the folder of a trial that has no tenants: an attempt may have been killed while it was
        written. Raises RecordError where the disk is full or read-only.
        """
        folder = self.trials_folder / f".{record.id}" if record.tenants else self.scratch(record.id)
        with self.writing():
            folder.mkdir(exist_ok=True)
            (folder / "trial.json").write_text(record.model_dump_json(indent=2) + "\n")
            folder.rename(self.trials_folder / record.id)

    def keep_visit(self, record: VisitRecord) -> None:
        """Write what switching took, in place of what was known earlier in the same visit."""
        with self.writing():
            self.visits_folder.mkdir(exist_ok=True)
            _replace(self._visit_file(record), record.model_dump_json(indent=2) + "\n")

    def supersede(self, trial_id: str) -> None:
        """Set a trial aside because its block is repeated whole; it stays readable under superseded/."""
        self._set_aside(self.trials_folder / trial_id)

    def supersede_visits(self, block: Block) -> None:
        """Set aside what switching took in a block that is repeated whole."""
        for file in self.visits_folder.glob(f"{block.name}-*.json"):
            self._set_aside(file)

    def _set_aside(self, path: Path) -> None:
        aside = self.path / "superseded"
        with self.writing():
            aside.mkdir(exist_ok=True)
            earlier = len(list(aside.glob(f"{path.name}.*")))
            path.rename(aside / f"{path.name}.{earlier + 1}")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise RecordError, with the way to go on, where this folder is full, read-only or gone."""
        try:
            yield
        except OSError as error:
            raise RecordError(
                f"{error.filename or self.path}: {error.strerror or error}; every finished trial is safe. "
                f"Make room, then go on with: python run_experiments.py --resume {self.path}"
            ) from error

    def trials(self) -> Iterator[TrialRecord]:
        """Read all trials, in the order of their names."""
        for file in sorted(self.trials_folder.glob("[!.]*/trial.json")):
            yield read(file, TrialRecord)

    def visits(self) -> Iterator[VisitRecord]:
        """Read what switching took in each visit, in the order of their names."""
        for file in sorted(self.visits_folder.glob("[!.]*.json")):
            yield read(file, VisitRecord)

    def _visit_file(self, record: VisitRecord) -> Path:
        """Return `b03-mig.json`, or where a resumed run goes on with the visit `b03-mig.2.json`."""
        name = f"{block_name(record.block, record.longer)}-{record.mode.slug}"
        names = chain([name], (f"{name}.{part}" for part in count(2)))
        files = (self.visits_folder / f"{each}.json" for each in names)
        ours = (file for file in files if not file.exists() or read(file, VisitRecord).began_at == record.began_at)
        return next(ours)

    def steps(self, trial_id: str) -> pd.DataFrame | None:
        """Return the trial's units of work (STEP_COLUMNS; seconds after the common start), None if it has none.

        Runs of before `wait_s` was told lack that column.
        """
        return _parquet(self.trials_folder / trial_id / "steps.parquet")

    def requests(self, trial_id: str) -> pd.DataFrame | None:
        """Return the trial's requests (REQUEST_COLUMNS; instants after the common start), None if it has none.

        Millions of them are nothing special: `status` is categorical, so that no word is made for each.
        """
        return _parquet(self.trials_folder / trial_id / "requests.parquet", words=["status"])

    def telemetry(self, trial_id: str) -> pd.DataFrame | None:
        """Return the device's samples, `time_s` in seconds after the common start; None if there are none."""
        return _parquet(self.trials_folder / trial_id / "telemetry.parquet")

    def energy(self, trial_id: str) -> pd.DataFrame | None:
        """Return the energy counter (`time_s`, `energy_j`); None where the device has none."""
        return _parquet(self.trials_folder / trial_id / "energy.parquet")


def run_id(now: datetime, plan_name: str, device_name: str) -> str:
    """Return a folder name that sorts by time and says what was measured on what."""
    words = "-".join("".join(c if c.isalnum() else " " for c in f"{plan_name} {device_name}".lower()).split())
    return f"{now:%Y%m%d-%H%M%S}-{words[:60].strip('-')}"


def _steps_table(corun: CoRun, start_s: float) -> pa.Table:
    parts = [
        _columns(slot, phase, steps, start_s)
        for slot, outcome in enumerate(corun.outcomes)
        for phase, steps in ((True, outcome.events.warmup), (False, outcome.events.steps))
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in STEP_COLUMNS}
    return pa.table({**columns, "wait_s": pa.array(columns["wait_s"], from_pandas=True)})  # NaN becomes null


def _columns(slot: int, warmup: bool, steps: Steps, start_s: float) -> Mapping[str, Any]:
    n = len(steps)
    return {
        "slot": np.full(n, slot, dtype=np.int16),
        "warmup": np.full(n, warmup),
        "end_s": steps.end_s - start_s,
        "duration_s": steps.duration_s,
        "items": steps.items,
        "wait_s": np.full(n, np.nan) if steps.wait_s is None else steps.wait_s,
    }


def _keep_requests(folder: Path, corun: CoRun, start_s: float) -> None:
    """Write the requests of all tenants, where there are any; `sent_s` is NaN for what was never sent."""
    parts = []
    for slot, outcome in enumerate(corun.outcomes):
        columns = vars(outcome.events.requests)
        moved = {name: column - start_s for name, column in columns.items() if name.endswith("_s")}
        parts.append(pd.DataFrame({"slot": np.int16(slot), **columns, **moved}, columns=list(REQUEST_COLUMNS)))
    if table := [part for part in parts if len(part)]:
        pq.write_table(pa.Table.from_pandas(pd.concat(table), preserve_index=False), folder / "requests.parquet")


def _keep_telemetry(folder: Path, telemetry: Telemetry, start_s: float) -> None:
    for name, table in (("telemetry", telemetry.samples), ("energy", telemetry.energy)):
        if table is not None and len(table):
            moved = table.assign(time_s=table["time_s"] - start_s)
            pq.write_table(pa.Table.from_pandas(moved, preserve_index=False), folder / f"{name}.parquet")


def _keep_logs(folder: Path, corun: CoRun) -> None:
    """Keep what the jobs printed; their event files are in the tables and the record by now."""
    for slot, outcome in enumerate(corun.outcomes):
        log_file = outcome.tenant.log_file
        if log_file.is_file() and log_file.stat().st_size:
            shutil.copyfile(log_file, folder / f"job-{slot}.log")
    shutil.rmtree(folder / "jobs", ignore_errors=True)


def _parquet(path: Path, words: Sequence[str] = ()) -> pd.DataFrame | None:
    """Read one table on this thread alone: a pool of readers costs more than it gains.

    `words` are columns of few different ones. Columns are not copied together, as pandas does by default.
    """
    if not path.is_file():
        return None
    table = pq.ParquetFile(path, read_dictionary=words).read(use_threads=False)
    frame: pd.DataFrame = table.to_pandas(split_blocks=True)
    return frame


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
