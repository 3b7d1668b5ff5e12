"""What `python -m bench report` costs when a run holds many requests: seconds, CPU seconds, and memory.

Run it from the checkout, some five minutes: `python benchmarks/report_speed.py`. It simulates one standard run of
three modes and ten blocks with a job that serves users, and writes it again through the store with 10^5, 10^6 and
10^7 requests in all. Beside each report stands the floor: reading every Parquet file of the run and sorting the
latencies once, in as many processes. Exit code 1 where the largest run takes more than 20 s or 1.5 GiB.

Memory is the largest sum, over all processes at one moment, of what each has for itself and its part of what they
share (PSS, looked at every 50 ms), and beside it the largest resident set of any one process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.launch.contract import Tenant
from bench.launch.corun import CoRun, Outcome, Window
from bench.launch.events import JobEvents
from bench.modes.contract import Grant
from bench.plan.catalog import load_catalog
from bench.store.record import Status, TenantRecord, TrialRecord
from bench.store.run_folder import RunFolder
from bench.telemetry.contract import Telemetry

ROOT = Path(__file__).resolve().parents[1]
PLAN = """
name: report-speed
modes: [time-slicing, mps, mig]
mixes: {serving beside training: [resnet50-training, {workload: jupyter, slo_s: 0.05}]}
timing: standard
"""
SIZES = (100_000, 1_000_000, 10_000_000)
MOST_WALL_S, MOST_MEMORY_MIB = 20.0, 1536.0
MEDIAN_S, LOG_SD, LATE_SHARE = 0.02, 0.5, 0.005
"""Of the requests made up: median and spread of their response times, and how many of them time out."""
PROCESSES = 2
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Cost:
    """What one command took, all its processes together."""

    wall_s: float
    cpu_s: float
    memory_mib: float
    largest_process_mib: float


def main() -> int:
    """Measure every size, print a line for each, and say whether the largest keeps the promise."""
    options = _options()
    if options.floor:
        read_and_sort(options.floor)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        source = simulated_run(Path(folder))
        print(_HEADING)
        for size in options.sizes:
            run = with_requests(source, Path(folder) / str(size), size)
            report = cost([sys.executable, "-m", "bench", "report", str(run.path)])
            floor = cost([sys.executable, __file__, "--floor", str(run.path)])
            print(_line(size, report, floor), flush=True)
    kept = report.wall_s <= MOST_WALL_S and max(report.memory_mib, report.largest_process_mib) <= MOST_MEMORY_MIB
    promise = f"{size:,} requests in at most {MOST_WALL_S:g} s and {MOST_MEMORY_MIB:g} MiB"
    print(f"{promise}: {'kept' if kept else 'NOT kept'}")
    return 0 if kept else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="requests in all; default %(default)s")
    parser.add_argument("--floor", type=Path, metavar="RUN", help="only read RUN's files and sort its latencies")
    return parser.parse_args()


_HEADING = "  requests  report: wall s   CPU s     MiB  largest MiB    floor: wall s   CPU s  report / floor (CPU)"


def _line(size: int, report: Cost, floor: Cost) -> str:
    return (
        f"{size:>10,}  {report.wall_s:>14.2f}  {report.cpu_s:>6.2f}  {report.memory_mib:>6.0f}  "
        f"{report.largest_process_mib:>11.0f}  {floor.wall_s:>15.2f}  {floor.cpu_s:>6.2f}  "
        f"{report.cpu_s / floor.cpu_s:>20.1f}"
    )


def simulated_run(folder: Path) -> RunFolder:
    """Conduct the plan on a simulated device, with a state of its own beside whatever else runs here."""
    plan = folder / "plan.yaml"
    plan.write_text(PLAN, encoding="utf-8")
    asked = ["run", "--plan", str(plan), "--device", "simulated", "--results", str(folder / "simulated")]
    environment = {**os.environ, "BENCH_STATE_DIR": str(folder / "state")}
    subprocess.run(
        [sys.executable, "-m", "bench", *asked], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    (path,) = (folder / "simulated").iterdir()
    return RunFolder.open(path)


def with_requests(source: RunFolder, results: Path, total: int) -> RunFolder:
    """Write a run again, with so many requests in place of those it has, as many in each trial that has any."""
    run = RunFolder.create(results, source.record, source.plan_file.read_text(encoding="utf-8"))
    records = list(source.trials())
    served = [record.id for record in records if record.status is Status.OK and _serving(record)]
    for record in records:
        corun, telemetry = _corun(source, record, total // len(served)), source.telemetry(record.id)
        run.scratch(record.id)
        if corun is not None and telemetry is not None:
            run.keep_samples(record.id, corun, Telemetry(telemetry, source.energy(record.id)))
        run.keep(record)
    return run


def _serving(record: TrialRecord) -> bool:
    return any(tenant.reports == "requests" for tenant in record.tenants)


def _corun(source: RunFolder, record: TrialRecord, requests: int) -> CoRun | None:
    """Return what a trial left behind as if it had just ended, its requests replaced; it started at 0 s."""
    steps = source.steps(record.id)
    if record.window is None or steps is None:
        return None
    window, rng = Window(0.0, record.window.settle_s, record.window.stop_s), np.random.default_rng(record.seed)
    return CoRun(
        tuple(
            _outcome(tenant, steps[(steps["slot"] == slot) & ~steps["warmup"]], window, requests, rng)
            for slot, tenant in enumerate(record.tenants)
        ),
        window,
    )


def _outcome(
    record: TenantRecord, steps: pd.DataFrame, window: Window, requests: int, rng: np.random.Generator
) -> Outcome:
    tenant = Tenant(
        name=record.name, job=record.job, workload=load_catalog()[record.workload], parameters=record.parameters,
        seed=0, device="cuda", grant=Grant(None), folder=Path("nowhere"), cpus=None, memory_gb=0, run_id="",
    )  # fmt: skip
    events = JobEvents(step_batches=[{name: steps[name].to_numpy() for name in ("end_s", "duration_s", "items")}])
    if record.reports == "requests":
        events.request_batches = [_requests(window.stop_s, requests, rng)]
    return Outcome(tenant, 0, events, None, told_to_end=False)


def _requests(stop_s: float, count: int, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """Return requests of an open loop in the order in which they ended; a few of them time out."""
    scheduled_s = rng.uniform(0, stop_s, count)
    done_s = scheduled_s + rng.lognormal(np.log(MEDIAN_S), LOG_SD, count)
    order = np.argsort(done_s)
    status = np.where(rng.random(count) < LATE_SHARE, "timeout", "ok")
    sent_s = scheduled_s + 1e-5
    columns = {"scheduled_s": scheduled_s[order], "sent_s": sent_s[order], "done_s": done_s[order]}
    return {**columns, "status": status, "items": np.ones(count)}


def read_and_sort(run: Path) -> None:
    """Read every Parquet file of a run and sort its latencies once: what no report can do without."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(_read_and_sort, sorted(run.glob("trials/*/*.parquet")), chunksize=16))


def _read_and_sort(file: Path) -> None:
    table = pq.ParquetFile(file).read(use_threads=False)
    if file.name == "requests.parquet":
        np.sort(table["done_s"].to_numpy() - table["scheduled_s"].to_numpy())
    if file.name == "steps.parquet":
        np.sort(table["duration_s"].to_numpy())


def cost(command: list[str]) -> Cost:
    """Run a command to its end and return what it took; raises CalledProcessError where it fails."""
    began_s, memory_mib = time.monotonic(), 0.0
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        memory_mib = max(memory_mib, sum(_pss_mib(each) for each in _tree(child.pid)))
        time.sleep(LOOK_EVERY_S)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(time.monotonic() - began_s, cpu_s, memory_mib, usage.ru_maxrss / 1024)


def _tree(pid: int) -> list[int]:
    """Return a process and its descendants, as far as they are still there."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # it has just ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
