"""How fast a server is beside a plain service around its library: `python benchmarks/server_reference.py --help`.

Two servers listen on Unix sockets, each a process of its own with the same cores and thread settings. A is ours
with the catalog's parameters; B is benchmarks/plain_server.py, a FastAPI endpoint as the docs write it, without
batches. A closed loop of a few clients asks one of them at a time, in the order A, B, B, A, so that whatever else
the machine does meets both. Printed for each server: the ratio of requests a second (1: as many as the plain
service) with its 95 % interval over rounds, from the t distribution of log-ratios, and how many answers to the
same questions, asked one by one, were the same. At least 0.95 is the target; below it the exit code is 1.

The clients' requests meet in batches. One alone (--clients 1) finds no company, and shows what waiting for it
costs. Where other programs keep the cores busy, the plain service's many threads get more of them than our few:
there only --cpu-time says how much work a request is.
"""

import argparse
import http.client
import json
import math
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from side_by_side import TARGET, arguments, interval

from bench.plan.catalog import Workload, load_catalog
from workloads.inference import inference_server, server_and_load
from workloads.inference.load import options as load_options
from workloads.inference.load.client import Client
from workloads.inference.load.target import Target
from workloads.inference.load.wire import OK
from workloads.inference.serving.process import ServerError, ServerProcess

CHECKOUT = Path(__file__).resolve().parents[1]
PLAIN = "benchmarks.plain_server"
SETTLE_S = 0.5
STARTUP_S = 600
QUESTIONS = 8


def main() -> int:
    """Compare the servers named, or all; 0 where each reaches the target."""
    known = {name: each for name, each in load_catalog().items() if each.module == server_and_load.__name__}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*known], help="servers of the catalog (default: all)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to serve (default: cuda)")
    parser.add_argument("--rounds", type=int, default=6, help="estimates of the ratio (default: 6)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each of a round's four turns (default: 4)")
    parser.add_argument("--clients", type=int, default=8, help="requests in flight (default: 8)")
    parser.add_argument(
        "--cpu-time", action="store_true", help="requests a CPU second of the server, for a busy machine"
    )
    parser.add_argument(
        "--endpoint", choices=("def", "async"), default="def", help="the plain one's (default: def)"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to stop"))  # servers are ended on the way out
    os.chdir(CHECKOUT)  # both servers are modules there
    if options.device == "cpu":
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is there, as TorchDevice does
    reached = [compare(known[name], options) for name in options.names]
    return 0 if all(reached) else 1


def compare(workload: Workload, options: argparse.Namespace) -> bool:
    """Measure one server and print its line; whether it reaches the target."""
    try:
        with _both(workload, options) as pair:
            same = _same_answers(pair)
            _warm_up, *log_ratios = (_log_ratio(pair, options.cpu_time) for _ in range(1 + options.rounds))
    except ServerError as error:
        sys.exit(f"{workload.name}: {error}")
    low, ratio, high = interval(log_ratios)
    measured = f"{ratio:.3f} of the plain service, 95 % interval {low:.3f} to {high:.3f}"
    print(f"{workload.name}: {measured}; {same} of {QUESTIONS} answers are the same", flush=True)
    return ratio >= TARGET


@dataclass(frozen=True)
class Asked:
    """A server, the folder of its socket, and the closed loop that asks it."""

    folder: Path
    server: ServerProcess
    client: Client


@contextmanager
def _both(workload: Workload, options: argparse.Namespace) -> Iterator[list[Asked]]:
    """Run both servers, ours first; each has answered well."""
    own = server_and_load.option_parser().parse_args(arguments(workload, options.device))
    served = server_and_load.server_arguments(own)
    programs = ((inference_server.__name__, served), (PLAIN, [*served, "--endpoint", options.endpoint]))
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, cores)
        pair = []
        for module, words in programs:
            os.sched_setaffinity(0, cores)  # beside a GPU a server leaves its starter one core
            pair.append(stack.enter_context(_asked(module, words, options)))
        for each in pair:
            each.client.warm_up()
        yield pair


@contextmanager
def _asked(module: str, words: Sequence[str], options: argparse.Namespace) -> Iterator[Asked]:
    with tempfile.TemporaryDirectory(prefix="server-") as name:
        folder = Path(name)
        told = [*words, "--socket", str(folder / inference_server.SOCKET)]
        with (
            ServerProcess(module, told, folder, options.device) as server,
            closing(_client(server, folder, options)) as client,
        ):
            yield Asked(folder, server, client)


def _client(server: ServerProcess, folder: Path, options: argparse.Namespace) -> Client:
    """Return the closed loop, which ends with an error when its server does."""
    load = {
        "url": f"unix:{inference_server.SOCKET}:/predict", "json-body": server_and_load.BODY,
        "scenario": load_options.CLOSED, "concurrency": options.clients,
        "seconds": options.seconds, "settle-s": 0 if options.cpu_time else SETTLE_S, "startup-s": STARTUP_S,
    }  # fmt: skip
    words = [word for name, value in load.items() for word in (f"--{name}", str(value))]

    def stopping() -> bool:
        server.check()
        return False

    return Client(load_options.parse(words, None), folder, stopping=stopping)


def _log_ratio(pair: Sequence[Asked], cpu_time: bool) -> float:
    """Return the logarithm of our rate of requests over that of the plain service, in one round."""
    rates: tuple[list[float], list[float]] = [], []
    for which in (0, 1, 1, 0):
        rates[which].append(_rate_per_s(pair[which], cpu_time))
    return math.log(sum(rates[0]) / sum(rates[1]))


def _rate_per_s(asked: Asked, cpu_time: bool) -> float:
    """Return requests answered a second, or a CPU second; exits where that would say little about the server."""
    began_s = asked.server.cpu_s()
    run = asked.client.alone()
    spent_s = asked.server.cpu_s() - began_s
    found = run.summary()
    if set(found["statuses"]) != {OK}:
        sys.exit(f"not every request was answered: {found['statuses']}; try longer --seconds or fewer --clients")
    if fault := run.client_fault():
        sys.exit(f"the client is what limits the rate: {fault}")
    return float(found["requests"] / spent_s if cpu_time else found["completed_per_s"])


def _same_answers(pair: Sequence[Asked]) -> int:
    """Ask both servers the same, and count on how much they agree; rounding may part them below fp32."""
    own, plain = ([_answer(each.folder, sample) for sample in range(QUESTIONS)] for each in pair)
    return sum(a == b for a, b in zip(own, plain, strict=True))


def _answer(folder: Path, sample: int) -> Any:
    target = Target.parse(f"unix:{inference_server.SOCKET}:/predict", folder)
    with socket.socket(target.family, socket.SOCK_STREAM) as wire:
        wire.connect(target.address)
        wire.sendall(target.message(json.dumps({"sample": sample}).encode(), "application/json"))
        reply = http.client.HTTPResponse(wire, method="POST")
        reply.begin()
        return json.loads(reply.read())


if __name__ == "__main__":
    sys.exit(main())
