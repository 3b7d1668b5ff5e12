"""Be a server with users: start the inference server, and send it requests, as one tenant.

The server (workloads/inference/inference_server.py) is a child with a folder of its own in the job's, where its
Unix socket and its events lie; no port is open. It answers before the job is ready. The load is that of
`load_test`: requests come at --rate from start to stop, whatever became of the ones before, and each is followed
to its end. Identity and peak memory are those of the server, which has the device. If it dies, so does the job.

With --search-max-rate the job finds, before it is ready, the highest Poisson rate at which the requests are
answered within --slo-s, confirmed by --confirmations more runs; it sends nothing between start and stop, and what
it found is in the event `load`.

On a GPU the load has the last of the job's cores for itself, where there are two or more.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from workloads import models
from workloads.inference import inference_server
from workloads.inference.load import options as load_options
from workloads.inference.load.arrivals import POISSON, PROCESSES
from workloads.inference.load.client import Client
from workloads.inference.load.summary import Run
from workloads.inference.load_test import summarised
from workloads.inference.serving.process import ServerProcess
from workloads.job import JOB_DIR_VARIABLE, Job
from workloads.options import positive, workload_parser
from workloads.torch_device import installed_libraries

BODY = '{"sample": 7}'
STARTUP_S = 3600.0  # the launcher has a deadline of its own


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=inference_server.BATCH_SIZE)
    parser.set_defaults(warmup_steps=inference_server.WARMUP_STEPS)
    inference_server.add_serving_options(parser)
    load = parser.add_argument_group("load")
    load.add_argument("--rate", type=float, default=10.0, help="requests a second")
    load.add_argument("--arrivals", choices=PROCESSES, default=POISSON, help="how they are spread")
    load.add_argument("--trace", metavar="FILE", help="CSV of seconds after the start, for trace")
    load.add_argument("--slo-s", type=float, help="latency that is promised, in s; a search needs it")
    load.add_argument("--slo-percentile", type=float, default=99.0, help="how many are promised it, in %%")
    load.add_argument("--connections", type=positive, default=256, help="requests in flight at most")
    load.add_argument("--search-max-rate", action="store_true", help="find the highest rate that keeps it")
    load.add_argument("--probe-s", type=float, default=60.0, help="length of a step of the search, at least")
    load.add_argument("--confirm-s", type=float, default=60.0, help="length of a confirmation run, at least")
    load.add_argument("--confirmations", type=positive, default=5, help="runs that must pass at the end")
    return parser


def server_arguments(options: Namespace) -> list[str]:
    """Return the server's own command line: all that describes the model and its batches."""
    own = workload_parser(None, batch_size=1)
    inference_server.add_serving_options(own)
    names = vars(own.parse_args([])).keys() - {"seconds"}
    return [word for name in sorted(names) for word in _flag(name, getattr(options, name))]


def load_arguments(options: Namespace) -> Namespace:
    """Return the same load in the words of `load_test`."""
    words = {
        "url": f"unix:{inference_server.SOCKET}:/predict",
        "json_body": BODY,
        "rate": options.rate,
        "arrivals": POISSON if options.search_max_rate else options.arrivals,
        "seed": options.seed,
        "connections": options.connections,
        "items": options.output_length if options.model in models.GPT2S else 1,
        "startup_s": STARTUP_S,
        "seconds": options.confirm_s,
        "probe_seconds": options.probe_s,
        "confirmations": options.confirmations,
        "slo_percentile": options.slo_percentile,
        **({} if options.slo_s is None else {"slo_ms": 1000 * options.slo_s}),
        **({} if options.trace is None else {"trace": options.trace}),
    }
    searching = ["--search-max-rate"] if options.search_max_rate else []
    return load_options.parse([word for name in words for word in _flag(name, words[name])] + searching, None)


def work(job: Job, client: Client, server: ServerProcess, options: Namespace) -> None:
    """Warm up, say who computes, and send requests; or search, and tell the rate that was found."""
    client.warm_up(job)
    identity = server.identity()
    if identity is None:
        sys.exit()  # asked to stop before the server was up
    job.identity(**identity)
    if options.search_max_rate:
        found = client.search_max_rate(server.warm_rate_per_s()).as_dict()
        client.stay(job)
        job.load(None, 0.0, **found)
        return
    asked = load_arguments(options)
    client.as_tenant(job, lambda run: _account(run, asked, server))


def _account(run: Run, asked: Namespace, server: ServerProcess) -> dict[str, Any]:
    """Return what a reader wants to know of the load besides how it was made."""
    told = summarised(run, asked)
    names = ("slo_ms", "offered_per_s", "send_lag_ms", "client_cpu_share", "gates", "arrivals_check")
    return {**{name: told[name] for name in names}, "client_fault": run.client_fault(), "server_cpus": server.cpus}


def _stopping(job: Job, server: ServerProcess, searching: bool) -> Callable[[], bool]:
    """Return what the client asks all the time: whether to stop; raises where the server is gone."""

    def stopping() -> bool:
        server.check()
        if searching and job.asked_to_stop():
            sys.exit()  # half a search says nothing
        return job.asked_to_stop()

    return stopping


def _require(distributions: Sequence[str]) -> None:
    """Raise ModuleNotFoundError for what the server would miss, without importing it here."""
    for name in (each.replace("-", "_") for each in distributions):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}")


@contextmanager
def _folder() -> Iterator[Path]:
    """Give the server's folder: in that of the job, or one that goes again."""
    if job_folder := os.environ.get(JOB_DIR_VARIABLE):
        folder = Path(job_folder) / "server"
        folder.mkdir()
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="server-") as name:
        yield Path(name)


def _flag(name: str, value: object) -> tuple[str, ...]:
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return (f"--{word}" if value else f"--no-{word}",)
    return (f"--{word}", str(value))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    with Job.open(inference_server.WRAPPED, options.seconds) as job, installed_libraries(), _folder() as folder:
        _require(inference_server.WRAPPED)
        server = ServerProcess(inference_server.__name__, server_arguments(options), folder, options.device)
        with server:
            stopping = _stopping(job, server, options.search_max_rate)
            with closing(Client(load_arguments(options), folder, stopping=stopping)) as client:
                work(job, client, server, options)
        job.peak_memory_mib = server.peak_memory_mib()


if __name__ == "__main__":
    main()
