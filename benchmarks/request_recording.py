"""What recording one request costs a job, in microseconds; the promise is 5 or less.

Run it from the checkout: `python benchmarks/request_recording.py`. `Job.request` is called as a load generator
calls it, against a launcher's folder, so bookkeeping and the writing of events are inside. CPU time is told, too,
because other work on the machine adds to the wall time only.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workloads.job import JOB_DIR_VARIABLE, PROTOCOL, Job, now_s

REQUESTS = 200_000


def request_cost_us() -> tuple[float, float]:
    """Return wall and CPU microseconds a request."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[JOB_DIR_VARIABLE] = folder
        instants = {"protocol": PROTOCOL, "start_s": now_s(), "settle_s": 0.0, "stop_s": now_s() + 3600.0}
        (Path(folder) / "start.json").write_text(json.dumps(instants), encoding="utf-8")
        with Job.open() as job:
            start_s, _ = job.span()
            times_s = [start_s + k / 3000 for k in range(REQUESTS)]  # as many digits as real instants have
            wall_s, cpu_s = -now_s(), -time.process_time()
            for at_s in times_s:
                job.request(at_s, at_s, at_s)
            wall_s, cpu_s = wall_s + now_s(), cpu_s + time.process_time()
    return 1e6 * wall_s / REQUESTS, 1e6 * cpu_s / REQUESTS


if __name__ == "__main__":
    sys.stdout.write("{:.2f} us a request, {:.2f} us of CPU\n".format(*request_cost_us()))
