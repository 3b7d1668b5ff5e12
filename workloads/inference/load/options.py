"""The load generator's command line."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from workloads.inference.load.arrivals import POISSON, PROCESSES, TRACE, Bursts
from workloads.options import positive

SERVER, CLOSED, SINGLE_STREAM, MULTI_STREAM, OFFLINE = SCENARIOS = (
    "server", "closed", "single-stream", "multi-stream", "offline",
)  # fmt: skip
SAMPLES_PER_QUERY = {SINGLE_STREAM: 1, MULTI_STREAM: 8, OFFLINE: 24576}  # as MLPerf Inference has it


def option_parser(description: str | None = None) -> ArgumentParser:
    """Return the program's command line."""
    parser = ArgumentParser(
        prog="python -m workloads.inference.load_test",
        description=description,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", required=True, help="http://HOST:PORT/PATH or unix:SOCKET:/PATH")
    parser.add_argument("--scenario", choices=SCENARIOS, default=SERVER, help="see above (server)")
    parser.add_argument("--seconds", type=_above_zero, default=60.0, help="what counts of a run, in s (60)")
    parser.add_argument("--settle-s", type=_not_negative, default=1.0, help="load before that, in s (1)")
    parser.add_argument("--seed", type=int, default=0, help="of arrivals and think times (0)")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="nothing to a client; launchers name it")
    _add_request(parser)
    _add_server(parser)
    _add_others(parser)
    _add_promise(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there, too")
    parser.add_argument("--requests", type=Path, metavar="FILE", help="write one CSV row for each request counted")
    return parser


def parse(arguments: Sequence[str] | None, description: str | None) -> Namespace:
    """Return the options, which fit together; exits with a message where they do not."""
    return checked(option_parser(description), arguments)


def checked(parser: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    """Return what a parser with these options, and maybe more, makes of the arguments."""
    options = parser.parse_args(arguments)
    if options.arrivals == TRACE and options.trace is None:
        parser.error("--arrivals trace needs --trace FILE")
    if options.search_max_rate and (options.slo_ms is None or options.scenario != SERVER):
        parser.error("--search-max-rate needs --slo-ms and is about --scenario server")
    if options.search_max_rate and options.arrivals != POISSON:
        parser.error("--search-max-rate finds the highest poisson rate; leave --arrivals away")
    if options.samples_per_query is None:
        options.samples_per_query = SAMPLES_PER_QUERY.get(options.scenario, 1)
    return options


def _add_request(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what is asked")
    body = group.add_mutually_exclusive_group()
    body.add_argument("--body", type=Path, metavar="FILE", help="POST the contents of this file")
    body.add_argument("--json-body", metavar="TEXT", help="POST this as application/json; neither: GET")
    group.add_argument("--content-type", default=None, help="of the body (application/octet-stream)")
    group.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="one more header")
    group.add_argument("--items", type=positive, default=1, help="the work of one request, in items (1)")
    group.add_argument("--connections", type=positive, default=256, help="most requests in flight (256)")
    group.add_argument("--timeout-s", type=_above_zero, default=30.0, help="for one reply, in s (30)")
    group.add_argument("--startup-s", type=_above_zero, default=60.0, help="for the first good reply, in s (60)")
    group.add_argument("--warmup-requests", type=positive, default=10, help="one after another, not counted (10)")


def _add_server(parser: ArgumentParser) -> None:
    group, bursts = parser.add_argument_group("scenario server"), Bursts()
    group.add_argument("--rate", type=_above_zero, default=10.0, help="mean arrivals a second (10)")
    group.add_argument("--arrivals", choices=PROCESSES, default=POISSON, help="how they are spread (poisson)")
    group.add_argument("--trace", type=Path, metavar="FILE", help="CSV of seconds after the start, for trace")
    group.add_argument(
        "--burst-factor",
        type=_above_zero,
        default=bursts.factor,
        help="bursty: rate in a burst over calm rate (5)",
    )
    group.add_argument("--burst-s", type=_above_zero, default=bursts.burst_s, help="bursty: mean length, in s (1)")
    group.add_argument("--calm-s", type=_above_zero, default=bursts.calm_s, help="bursty: mean pause, in s (4)")


def _add_others(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("other scenarios")
    group.add_argument("--concurrency", type=positive, default=1, help="closed: clients (1)")
    group.add_argument(
        "--think-ms", type=_not_negative, default=0.0, help="closed: mean think time, exponential (0)"
    )
    group.add_argument("--samples-per-query", type=positive, help="requests a query (1, 8, or 24576, see above)")


def _add_promise(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("service level objective (SLO)")
    group.add_argument("--slo-ms", type=_above_zero, help="latency within which a request must be answered, in ms")
    group.add_argument("--slo-percentile", type=_percentile, default=0.99, help="how many must, in %% (99)")
    group.add_argument("--search-max-rate", action="store_true", help="find the highest rate that keeps the SLO")
    group.add_argument(
        "--probe-seconds", type=_above_zero, default=60.0, help="length of a search step, in s (60)"
    )
    group.add_argument("--confirmations", type=positive, default=5, help="runs that must pass at the end (5)")


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _percentile(text: str) -> float:
    value = float(text) / 100
    if not 0.5 <= value < 1:
        raise ValueError(text)
    return value
