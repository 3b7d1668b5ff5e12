"""Serve a model over HTTP: POST /predict, and GET /healthz, /readyz and /metrics; /openapi.json tells the rest.

Requests that come close together run as one batch of at most --batch-size: the first waits --max-delay-ms for
company. At most --max-queue wait; who comes then is told 503, with Retry-After. Weights and samples are random:

  resnet18, resnet50   {"sample": 7}                          one of 64 images on the device; answers a class
  bert-base            {"sample": 7} or {"tokens": [1, 2]}    answers a label
  gpt2                 the same, and "max_tokens": 8          answers tokens

It listens on a Unix socket (--socket, relative to the job's folder where there is one), or with --port on TCP,
this machine only. SIGTERM: nothing more is accepted, what was accepted is answered, and the exit status is 0.

As a job its steps are batches. It is ready when every size of a batch has run, serves from then on, and goes on
past the stop until its clients have closed their connections, or for --linger-s.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workloads import models
from workloads.inference.load.target import unix_address
from workloads.job import JOB_DIR_VARIABLE, Job, now_s
from workloads.options import (
    add_generation_options,
    add_image_options,
    add_text_options,
    positive,
    workload_parser,
)
from workloads.torch_device import TorchDevice, installed_libraries

if TYPE_CHECKING:
    import uvicorn

    from workloads.inference.serving.batching import Batch
    from workloads.inference.serving.models import Served
    from workloads.inference.serving.queries import Kind

SOCKET = "server.sock"
BATCH_SIZE, WARMUP_STEPS = 16, 3
LOOK_S = 0.1
BACKLOG = 1024
IDLE_S = 75  # an idle connection is kept for so long
WRAPPED = ("torch", "torchvision", "transformers", "fastapi", "uvicorn", "prometheus-client")


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=BATCH_SIZE)
    parser.set_defaults(seconds=math.inf, warmup_steps=WARMUP_STEPS)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--socket", type=Path, default=Path(SOCKET), help="Unix socket to listen on")
    where.add_argument("--port", type=int, help="TCP port of 127.0.0.1 to listen on instead; 0: any that is free")
    parser.add_argument("--max-connections", type=positive, default=1024, help="connections; 503 beyond")
    parser.add_argument("--linger-s", type=float, default=30.0, help="how long to wait for clients at the end")
    add_serving_options(parser)
    return parser


def add_serving_options(parser: ArgumentParser) -> None:
    """Add what is served, and how requests become batches."""
    names = (*models.RESNETS, *models.BERTS, *models.GPT2S)
    parser.add_argument("--model", choices=names, default="resnet50", help="what to serve")
    parser.add_argument("--max-delay-ms", type=float, default=2.0, help="what a request waits for company at most")
    parser.add_argument("--max-queue", type=positive, default=64, help="requests that may wait")
    add_image_options(parser)
    add_text_options(parser)
    add_generation_options(parser)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    options = option_parser().parse_args(arguments)
    with Job.open(WRAPPED, options.seconds) as job, installed_libraries():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))  # Ctrl-C ends it as well as SIGTERM does
        with listening(options) as listener:
            asyncio.run(Server(options, job).serve(listener))


@contextmanager
def listening(options: Namespace) -> Iterator[socket.socket]:
    """Give the socket to listen on, bound; one that an earlier server left behind is replaced."""
    if options.port is not None:
        with socket.create_server(("127.0.0.1", options.port), backlog=BACKLOG) as bound:
            sys.stderr.write(f"listening on http://127.0.0.1:{bound.getsockname()[1]}\n")
            yield bound
        return
    path = Path(os.environ.get(JOB_DIR_VARIABLE, ".")) / options.socket
    if path.is_socket():
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(unix_address(path))
        bound.listen(BACKLOG)
        sys.stderr.write(f"listening on unix:{path}\n")
        yield bound
    path.unlink(missing_ok=True)


class Server:
    """One model behind HTTP. The event loop has the main thread; the device has one thread, always the same."""

    def __init__(self, options: Namespace, job: Job) -> None:
        from workloads.inference.serving.batching import Batcher, Limits
        from workloads.inference.serving.metrics import Metrics
        from workloads.inference.serving.queries import kind_of

        self._options = options
        self._job = job
        self._counts_from_s = math.inf  # batches from then on are steps of the job
        self._model: Served | None = None
        self._kind: Kind = kind_of(options)
        self._metrics = Metrics()
        self._thread = ThreadPoolExecutor(1, "device")
        limits = Limits(options.batch_size, options.max_delay_ms / 1000, options.max_queue)
        self._batcher = Batcher(limits, self._thread, self._note)

    async def serve(self, listener: socket.socket) -> None:
        """Answer at once that the model is not ready, load it, serve, and end in order."""
        http = self._http()
        serving = asyncio.create_task(http.serve([listener]))
        model = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        batching = asyncio.create_task(self._batcher.work(model))
        await self._until_the_end(http, serving)
        http.should_exit = True
        await serving  # answers what was accepted
        batching.cancel()
        if self._batcher.error:
            raise self._batcher.error

    def _http(self) -> uvicorn.Server:
        import uvicorn

        from workloads.inference.serving.app import make_app

        app = make_app(self._kind, self._batcher, self._metrics)
        return uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_keep_alive=IDLE_S,
                limit_concurrency=self._options.max_connections,
                timeout_graceful_shutdown=math.ceil(self._options.linger_s),
            )
        )

    def _load(self) -> Served:
        """Build the model and run every size of a batch; on the device's thread, which owns the device."""
        from workloads.inference.serving.models import served

        device = TorchDevice(self._options)
        self._job.identity(**device.identity())
        self._model = model = served(self._options, device)
        tunes = device.is_cuda and self._options.model in models.RESNETS
        for size in range(1, self._options.batch_size + 1):
            queries = [self._kind.query() for _ in range(size)]
            for _ in self._job.warmup(self._options.warmup_steps, size, autotune=tunes):
                model(queries)
        self._device = device
        return model

    async def _until_the_end(self, http: uvicorn.Server, serving: asyncio.Task[None]) -> None:
        """Wait for the stop and then for the clients to go; or for a signal, which ends `serving`."""
        start_s, stop_s = await asyncio.to_thread(self._job.span)
        if start_s < stop_s < math.inf:
            self._counts_from_s = start_s
        await self._look_until(stop_s, serving)
        lingering_s = now_s() + self._options.linger_s
        while http.server_state.connections and now_s() < lingering_s and not self._is_over(serving):
            await self._look_until(now_s() + LOOK_S, serving)
        self._job.peak_memory_mib = self._device.peak_memory_mib()

    async def _look_until(self, instant_s: float, serving: asyncio.Task[None]) -> None:
        """Wait; what the job has to tell is written meanwhile."""
        while not self._is_over(serving) and (left_s := instant_s - now_s()) > 0:
            await asyncio.wait({serving}, timeout=min(left_s, LOOK_S))

    def _is_over(self, serving: asyncio.Task[None]) -> bool:
        return self._job.asked_to_stop() or serving.done()

    def _note(self, batch: Batch) -> None:
        """Take in a batch that has run; a server that runs for ever keeps no list of them."""
        self._metrics.observe(batch)
        if batch.began_s >= self._counts_from_s and self._model:
            self._job.step(batch.ended_s, batch.ended_s - batch.began_s, self._model.items(batch.answers))


if __name__ == "__main__":
    main()
