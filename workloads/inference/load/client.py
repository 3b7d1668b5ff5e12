"""From options to measured runs: what is sent where, warm-up, one run of a scenario, the search."""

from __future__ import annotations

import gc
import math
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workloads.inference.load import arrivals
from workloads.inference.load.early_stopping import minimum_count
from workloads.inference.load.http_pool import HttpPool
from workloads.inference.load.options import CLOSED, OFFLINE, SERVER
from workloads.inference.load.request_log import RequestLog
from workloads.inference.load.scenarios import ClosedLoop, OpenLoop, QueryStream, Scenario, drive
from workloads.inference.load.slo_search import MaxRate, Probe, Search
from workloads.inference.load.summary import Run
from workloads.inference.load.target import Target
from workloads.inference.load.wire import OK, Request
from workloads.job import POLL_PERIOD_S, Job, now_s

RETRY_S = 0.1
Pool = Callable[[Target, bytes, int, float], HttpPool]
Stopping = Callable[[], bool]
NOTICE_S = 0.2  # from naming the start to the start: arrivals are made meanwhile


class Client:
    """A pool of connections to a server, and the load that goes through it."""

    def __init__(
        self, options: Namespace, folder: Path, pool: Pool = HttpPool, stopping: Stopping | None = None
    ) -> None:
        """Read what is to be sent where; `stopping`, if given, is asked all the time in place of the job."""
        self._options = options
        self._stopping = stopping
        try:
            target, message = _request(options, folder)
        except (OSError, ValueError) as error:
            sys.exit(str(error))
        self._pool = pool(target, message, connections(options), options.timeout_s)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def warm_up(self, job: Job | None = None) -> None:
        """Open all connections, wait until the server gives a good answer, and send the warm-up requests."""
        deadline_s = now_s() + self._options.startup_s
        stopping = self._stopping_with(job)
        while (trouble := self._trouble()) and not stopping():
            if now_s() > deadline_s:
                asked = f"{self._options.url}: no good answer within {self._options.startup_s:g} s"
                sys.exit(f"{asked}; the last try: {trouble}. Is the server up, and does it take this body?")
            time.sleep(RETRY_S)
        for _ in (job.warmup if job else range)(self._options.warmup_requests):
            self._ask()

    def alone(self) -> Run:
        """Run the scenario once: settle, then what counts; offline counts as long as its one query takes."""
        start_s = now_s() + NOTICE_S
        if self._options.scenario == OFFLINE:
            return self._run(start_s, start_s, math.inf, self._queries(start_s, math.inf, count=1))
        counts_s = start_s + self._options.settle_s
        stop_s = counts_s + self._options.seconds
        return self._run(start_s, counts_s, stop_s, self._scenario(start_s, stop_s))

    def as_tenant(self, job: Job, details: Callable[[Run], Mapping[str, Any]] = lambda _: {}) -> Run:
        """Run the scenario between the launcher's instants, each request an event; `details` go with the load."""
        start_s, stop_s = job.span()
        scenario = self._scenario(start_s, stop_s)
        run = self._run(start_s, start_s, stop_s, scenario, job)
        self.stay(job)
        planned = scenario.planned if isinstance(scenario, OpenLoop) else None
        job.load(planned, run.cpu_s, **how_made(self._options), **details(run))
        return run

    def stay(self, job: Job) -> None:
        """Be there until the stop: a tenant to whom nobody comes any more still takes its share of the device."""
        _, stop_s = job.span()
        stopping = self._stopping_with(job)
        while not stopping() and (left_s := stop_s - now_s()) > 0:
            time.sleep(min(left_s, POLL_PERIOD_S))

    def search_max_rate(self, first_per_s: float | None = None) -> MaxRate:
        """Find the highest rate that keeps the SLO, from a first guess (None: the rate of the options)."""
        options = self._options
        search = Search(self._probe, options.seed, options.slo_percentile, options.confirmations)
        return search.find(first_per_s or options.rate)

    def _probe(self, rate_per_s: float, seed: int, confirms: bool) -> Probe:
        """Do one run at one rate, long enough for MLPerf's rule, and tell it on standard error."""
        options = self._options
        seconds = options.seconds if confirms else options.probe_seconds
        seconds = max(seconds, minimum_count(options.slo_percentile, over=1) / rate_per_s)
        start_s = now_s() + NOTICE_S
        counts_s = start_s + options.settle_s
        stop_s = counts_s + seconds
        came_s = arrivals.within(arrivals.poisson(rate_per_s, seed), stop_s - start_s)
        run = self._run(start_s, counts_s, stop_s, OpenLoop(came_s, start_s))
        probe = Probe(
            rate_per_s,
            seed,
            len(run.requests),
            run.requests.over(options.slo_ms / 1000),
            run.client_fault(),
            confirms,
        )
        verdict = probe.client_fault or ("passes" if probe.passes(options.slo_percentile) else "fails")
        sys.stderr.write(f"{rate_per_s:10.2f}/s  {100 * probe.attainment:7.3f} % within the SLO  {verdict}\n")
        return probe

    def _scenario(self, start_s: float, stop_s: float) -> Scenario:
        options = self._options
        if options.scenario == SERVER:
            return OpenLoop(arrivals_of(options, stop_s - start_s), start_s)
        if options.scenario == CLOSED:
            return ClosedLoop(options.concurrency, start_s, stop_s, options.think_ms / 1000, options.seed)
        return self._queries(start_s, stop_s)

    def _queries(self, start_s: float, stop_s: float, count: float = math.inf) -> QueryStream:
        return QueryStream(self._options.samples_per_query, start_s, stop_s, connections(self._options), count)

    def _run(
        self, start_s: float, counts_s: float, stop_s: float, scenario: Scenario, job: Job | None = None
    ) -> Run:
        """Drive the scenario to its end; requests scheduled in [counts, stop) are what the run is about."""
        options, log = self._options, RequestLog()

        def record(request: Request) -> None:
            log.append(request)
            if job:
                items = options.items if request.items is None else request.items
                job.request(request.scheduled_s, request.sent_s, request.done_s, request.status, items)

        began_s = time.process_time()
        with _no_garbage_collection():
            drive(self._pool, scenario, record, self._stopping_with(job))
        cpu_s = time.process_time() - began_s
        stop_s = min(stop_s, now_s()) if stop_s == math.inf else stop_s
        return Run(
            requests=log.scheduled_within(counts_s, stop_s),
            start_s=counts_s,
            stop_s=stop_s,
            cpu_s=cpu_s,
            cpu_share=cpu_s / (stop_s - start_s) if stop_s > start_s else 0.0,
            is_open=isinstance(scenario, OpenLoop),
            slo_s=options.slo_ms / 1000 if options.slo_ms else None,
            percentile=options.slo_percentile,
        )

    def _stopping_with(self, job: Job | None) -> Stopping:
        return self._stopping or (job.asked_to_stop if job else _never)

    def _trouble(self) -> str | None:
        """Say why the server does not answer well yet, if it does not."""
        try:
            self._pool.open()
        except OSError as error:
            return str(error)
        status = self._ask()
        return None if status == OK else status

    def _ask(self) -> str:
        """Send one request, wait for its end and return its status."""
        ended: list[Request] = []
        drive(self._pool, QueryStream(1, now_s(), math.inf, at_once=1, queries=1), ended.append)
        return ended[0].status


def arrivals_of(options: Namespace, seconds: float) -> Sequence[float]:
    """Return the arrivals that the options name."""
    made: dict[str, Callable[[], Any]] = {
        arrivals.POISSON: lambda: arrivals.poisson(options.rate, options.seed),
        arrivals.CONSTANT: lambda: arrivals.constant(options.rate),
        arrivals.BURSTY: lambda: arrivals.bursty(options.rate, options.seed, bursts_of(options)),
        arrivals.TRACE: lambda: arrivals.trace(options.trace),
    }
    return arrivals.within(made[options.arrivals](), seconds)


def bursts_of(options: Namespace) -> arrivals.Bursts:
    """Return the parameters of bursty arrivals."""
    return arrivals.Bursts(options.burst_factor, options.burst_s, options.calm_s)


def connections(options: Namespace) -> int:
    """Return the size of the pool: what the scenario can use, at most what was allowed."""
    if options.scenario == CLOSED:
        return int(options.concurrency)
    return int(options.connections if options.scenario == SERVER else
               min(options.samples_per_query, options.connections))  # fmt: skip


def how_made(options: Namespace) -> dict[str, Any]:
    """Return what else a reader of the record will want to know of the load."""
    told = {"scenario": options.scenario, "seed": options.seed, "connections": connections(options)}
    told["cpus"] = sorted(os.sched_getaffinity(0))
    if options.scenario == CLOSED:
        return told | {"concurrency": options.concurrency, "think_ms": options.think_ms}
    if options.scenario != SERVER:
        return told | {"samples_per_query": options.samples_per_query}
    told |= {"arrivals": options.arrivals}
    if options.arrivals != arrivals.TRACE:  # which has a rate of its own
        told["rate_per_s"] = options.rate
    return told | (vars(bursts_of(options)) if options.arrivals == arrivals.BURSTY else {})


def _request(options: Namespace, folder: Path) -> tuple[Target, bytes]:
    """Return where to send what; raises OSError or ValueError where that is not to be had."""
    target = Target.parse(options.url, folder)
    if options.json_body is not None:
        body, content_type = options.json_body.encode(), "application/json"
    else:
        body = options.body.read_bytes() if options.body else None
        content_type = "application/octet-stream"
    if options.arrivals == arrivals.TRACE:
        arrivals.trace(options.trace)  # fails now, not after the warm-up
    return target, target.message(body, options.content_type or content_type, options.header)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from pausing the client; nothing here makes cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _never() -> bool:
    return False
