"""Send requests to an HTTP server and measure how it answers: a load generator, alone or as a job.

Latency counts from the instant for which a request was scheduled, so a server that stalls cannot hide it.
Arrivals are made from a seed before the load begins. Scenarios:

  server         open loop: requests come at --rate, whatever became of the ones before, as users' do; spread
                 by --arrivals poisson, constant, bursty or trace; --slo-ms adds goodput and attainment
  closed         closed loop: --concurrency clients, each asks again --think-ms after the reply
  single-stream  MLPerf: one request after another; the metric is the p90 latency
  multi-stream   MLPerf: queries of 8 requests at once, one query after another; the p99 query latency
  offline        MLPerf: 24,576 requests at once; samples a second

For instance:

  load_test --url unix:/run/server.sock:/predict --body image.jpg --rate 100 --slo-ms 50
  load_test --url http://127.0.0.1:8000/predict --json-body '{"text": "hi"}' --scenario closed --concurrency 16
  load_test --url http://127.0.0.1:8000/predict --body image.jpg --slo-ms 50 --search-max-rate

The last finds the highest Poisson rate at which 99 % of the requests are answered within the SLO: it doubles
--rate until that fails, bisects to 2 %, and steps down until five more runs of --seconds confirm the rate.

In a launcher's job folder (BENCH_JOB_DIR) it speaks the job protocol; a relative socket then lies in there.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from workloads.inference.load.client import Client, how_made
from workloads.inference.load.options import parse
from workloads.inference.load.report import search_text, summary_text
from workloads.inference.load.summary import Run, arrivals_check, mlperf
from workloads.job import JOB_DIR_VARIABLE, Job


def alone(options: Namespace) -> None:
    """Run the scenario once and tell what came of it."""
    with closing(Client(options, Path.cwd())) as client:
        client.warm_up()
        run = client.alone()
    summary = summarised(run, options)
    tell(summary_text(summary), summary, options)
    if options.requests:
        run.requests.write_csv(options.requests)


def search(options: Namespace) -> None:
    """Search for the highest rate and tell it."""
    with closing(Client(options, Path.cwd())) as client:
        client.warm_up()
        found = client.search_max_rate()
    tell(search_text(found, options.slo_ms), {"slo_ms": options.slo_ms, **found.as_dict()}, options)


def as_tenant(options: Namespace, folder: Path) -> None:
    """Be a job: requests go into the events, and the summary, of all from start to stop, into the log."""
    with Job.open() as job, closing(Client(options, folder)) as client:
        job.identity(device_name=f"{os.uname().machine} host")
        client.warm_up(job)
        summary = summarised(client.as_tenant(job), options)
        tell(summary_text(summary), summary, options)


def summarised(run: Run, options: Namespace) -> dict[str, Any]:
    """Return what was asked for, and what came of it."""
    made = how_made(options)
    checked = arrivals_check(run, options.rate) if made.get("arrivals") == "poisson" else None
    summary = {**made, **run.summary(), "arrivals_check": checked, "mlperf": mlperf(options.scenario, run)}
    return {"url": options.url, "settle_s": options.settle_s, **summary}


def tell(text: str, content: dict[str, Any], options: Namespace) -> None:
    """Print text, and write the content where it was asked for."""
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says. A search stands alone even in a job folder."""
    options = parse(arguments, __doc__)
    folder = os.environ.get(JOB_DIR_VARIABLE)
    if options.search_max_rate:
        search(options)
    elif folder:
        as_tenant(options, Path(folder))
    else:
        alone(options)


if __name__ == "__main__":
    main()
