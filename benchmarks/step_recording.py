"""What recording one step costs a job, in microseconds; the promise is 5 or less.

Run it from the checkout: `python benchmarks/step_recording.py`. An empty loop through `Job.steps` is timed
against a launcher's folder, so clock reads, bookkeeping and the writing of events are all inside.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workloads.job import JOB_DIR_VARIABLE, PROTOCOL, Job, now_s

SECONDS = 3.0


def step_cost_us() -> float:
    """Return microseconds a step, when a step does nothing for `SECONDS`."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[JOB_DIR_VARIABLE] = folder
        start_s = now_s() + 0.05
        instants = {"protocol": PROTOCOL, "start_s": start_s, "settle_s": 0.0, "stop_s": start_s + SECONDS}
        (Path(folder) / "start.json").write_text(json.dumps(instants), encoding="utf-8")
        with Job.open() as job:
            count = sum(1 for _ in job.steps())
        return 1e6 * SECONDS / count


if __name__ == "__main__":
    sys.stdout.write(f"{step_cost_us():.2f} us a step\n")
