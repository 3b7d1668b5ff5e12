"""How punctual the load generator is at 2,000 requests/s, and what it costs; the promise is a p99 lag of 1 ms.

Run it on a quiet machine with two cores: `python benchmarks/load_generator.py`. The client has one core, a
trivial server the other. If `wrk` is on the PATH it asks the same server, over TCP as it knows no other way.
It is a closed loop, so its rate is set by a pause after each reply, and it has no send lag to tell; what
compares is CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PORT = 18471
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WRK_CONNECTIONS, WRK_PAUSE_MS = 20, 10
WRK_SCRIPT = f"function delay() return {WRK_PAUSE_MS} end\n"


class Answerer(asyncio.Protocol):
    """Answers each request as soon as it is there; requests without a body, one at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        assert isinstance(self._transport, asyncio.WriteTransport)
        if data.endswith(b"\r\n\r\n"):
            self._transport.write(REPLY)


async def serve(socket_path: str) -> None:
    """Serve on a Unix socket and on TCP until killed."""
    loop = asyncio.get_running_loop()
    await loop.create_server(Answerer, "127.0.0.1", PORT)
    await loop.create_unix_server(Answerer, socket_path, backlog=1024)
    await asyncio.Event().wait()


@contextmanager
def server(core: int, socket_path: Path) -> Iterator[None]:
    """Run the server on one core."""
    with on_core(core, [sys.executable, __file__, "--serve", str(socket_path)]) as process:
        try:
            yield
        finally:
            process.kill()


def on_core(core: int, command: list[str], stdout: int | None = None) -> subprocess.Popen[str]:
    """Start a command on one core, which it has to itself as far as this program goes."""
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return subprocess.Popen(command, cwd=CHECKOUT, text=True, stdout=stdout)
    finally:
        os.sched_setaffinity(0, here)


def ours(core: int, socket_path: Path, rate: float, seconds: float, seed: int) -> str:
    """Run the load generator and return its line."""
    found = socket_path.with_name("found.json")
    command = [sys.executable, "-m", "workloads.inference.load_test", "--url", f"unix:{socket_path}:/"]
    asked = {"rate": rate, "seconds": seconds, "seed": seed, "json": found, "warmup-requests": 500}
    command += [word for key, value in asked.items() for word in (f"--{key}", str(value))]
    with on_core(core, command, stdout=subprocess.DEVNULL) as process:
        process.wait()
    run = json.loads(found.read_text(encoding="utf-8"))
    lag, response = run["send_lag_ms"], run["response_ms"]
    lags = f"send lag p50 {lag['p50']:.3f} p99 {lag['p99']:.3f} p99.9 {lag['p99_9']:.3f} max {lag['max']:.3f} ms"
    answers = f"response p50 {response['p50']:.3f} p99 {response['p99']:.3f} ms"
    return f"load_test  {run['completed_per_s']:7.1f}/s  {lags}  {answers}  CPU {run['client_cpu_share']:.2f} core"


def wrk(core: int, script: Path, seconds: float) -> str:
    """Run wrk against the same server and return its line."""
    script.write_text(WRK_SCRIPT, encoding="utf-8")
    command = ["wrk", "-t1", f"-c{WRK_CONNECTIONS}", f"-d{seconds:.0f}", "--latency", "-s", str(script)]
    before_s = children_cpu_s()
    with on_core(core, [*command, f"http://127.0.0.1:{PORT}/"], stdout=subprocess.PIPE) as process:
        text, _ = process.communicate()
    rate = re.search(r"Requests/sec: +([\d.]+)", text)
    p50, p99 = (re.search(rf"{p}% +(\S+)", text) for p in (50, 99))
    if not (rate and p50 and p99):
        return f"wrk said: {text}"
    share = (children_cpu_s() - before_s) / seconds
    return f"wrk        {float(rate[1]):7.1f}/s  response p50 {p50[1]} p99 {p99[1]}  CPU {share:.2f} core"


def children_cpu_s() -> float:
    """Return CPU seconds of ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, or serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0, help="requests a second (2000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each repeat (10)")
    parser.add_argument("--repeats", type=int, default=5, help="of everything (5)")
    parser.add_argument("--serve", metavar="SOCKET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    client_core, server_core, *_ = sorted(os.sched_getaffinity(0)) * 2
    with tempfile.TemporaryDirectory() as folder, server(server_core, Path(folder) / "socket"):
        for seed in range(options.repeats):
            print(f"load average {os.getloadavg()[0]:.2f}", flush=True)
            print(ours(client_core, Path(folder) / "socket", options.rate, options.seconds, seed), flush=True)
            if shutil.which("wrk"):
                print(wrk(client_core, Path(folder) / "pause.lua", options.seconds), flush=True)


if __name__ == "__main__":
    main()
