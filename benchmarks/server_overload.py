"""What the inference server does at twice its capacity: memory, refusals, latency of what it accepts, its end.

`python benchmarks/server_overload.py` starts a server on one core (on a GPU: --device cuda), finds its capacity
with a closed loop that keeps its queue filled, asks twice of that for a minute from another core, and ends it
with SIGTERM in the middle of the load. Exit status 1: a promise was not kept; the last lines say which.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
SERVER, LOAD = "workloads.inference.inference_server", "workloads.inference.load_test"
BATCH_SIZE, QUEUE = 8, 64
CONNECTIONS = 256
STARTUP_S = 300
SAMPLE_S = 1.0
SMALL = {"precision": "fp32", "image-size": 64, "layers": 2, "hidden-size": 128, "attention-heads": 2}  # for a CPU
MEMORY_GROWTH = 1.1  # of the largest resident set in the last third of the minute, over that in the first
LATENCY_BOUND = 2.0  # of the p99 latency, over the time for a full queue and the batches around it
SHUTDOWN_S = 10.0


def start(module: str, flags: Mapping[str, object], core: int, *words: str) -> subprocess.Popen[str]:
    """Start a program on one core, which it has to itself as far as this one goes."""
    command = [sys.executable, "-m", module, *words]
    command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        os.sched_setaffinity(0, here)


class Memory:
    """The resident set of a process, sampled once a second."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, float]] = []  # instant (s), resident set (MiB)
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            found = re.search(r"VmRSS:\s+(\d+) kB", self._status.read_text(encoding="utf-8"))
            if found:
                self.samples.append((time.monotonic(), int(found[1]) / 1024))

    def growth(self) -> float:
        """Return the largest resident set in the last third over that in the first."""
        sizes = [mib for _, mib in self.samples]
        third = max(len(sizes) // 3, 1)
        return max(sizes[-third:]) / max(sizes[:third])

    def told(self) -> str:
        """Return some of the samples as text."""
        began_s = self.samples[0][0]
        some = self.samples[:: max(len(self.samples) // 8, 1)]
        sizes = ", ".join(f"{at_s - began_s:.0f} s: {mib:.0f}" for at_s, mib in some)
        return f"resident set (MiB) {sizes}; largest {max(mib for _, mib in self.samples):.1f}"


def load(url: str, core: int, folder: Path, **flags: object) -> dict[str, Any]:
    """Run the load generator on a core and return its summary."""
    found = folder / "summary.json"
    asked = {"url": url, "json-body": "{}", "json": found, "startup-s": STARTUP_S, **flags}
    with start(LOAD, {name.replace("_", "-"): value for name, value in asked.items()}, core) as client:
        said, _ = client.communicate()
    if client.returncode:
        sys.exit(f"the load generator failed: {said}")
    summary: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return summary


@contextmanager
def serving(options: argparse.Namespace, core: int, socket: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the server."""
    sizes = SMALL if options.device == "cpu" else {}
    flags = {"device": options.device, "model": options.model, "batch-size": BATCH_SIZE, "max-queue": QUEUE}
    with start(SERVER, {**flags, **sizes, "socket": socket}, core) as server:
        try:
            yield server
        finally:
            server.kill()


def shutdown(server: subprocess.Popen[str], url: str, core: int, rate: float, folder: Path) -> dict[str, Any]:
    """Send SIGTERM in the middle of the load; return seconds until the end, exit status, and what clients saw."""
    results: list[dict[str, Any]] = []
    flags = {"rate": rate, "seconds": 6, "settle_s": 0.5, "connections": CONNECTIONS}
    client = threading.Thread(target=lambda: results.append(load(url, core, folder, **flags)))
    client.start()
    time.sleep(4)
    began_s = time.monotonic()
    server.send_signal(signal.SIGTERM)
    server.wait(60)
    took_s = time.monotonic() - began_s
    client.join()
    return {"seconds": took_s, "status": server.returncode, "statuses": results[0]["statuses"]}


def main() -> int:
    """Measure, tell, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu", help="where to serve (cpu)")
    parser.add_argument("--model", default="resnet18", help="what to serve (resnet18)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload (60)")
    options = parser.parse_args()
    client_core, server_core, *_ = sorted(os.sched_getaffinity(0)) * 2
    with tempfile.TemporaryDirectory() as name, serving(options, server_core, Path(name) / "socket") as server:
        url, folder = f"unix:{name}/socket:/predict", Path(name)
        flags = {"scenario": "closed", "concurrency": 4 * BATCH_SIZE, "seconds": 10}
        capacity = load(url, client_core, folder, **flags)["completed_per_s"]
        print(f"capacity {capacity:.1f}/s (closed loop, {4 * BATCH_SIZE} clients)", flush=True)
        with Memory(server.pid) as memory:
            flags = {"rate": 2 * capacity, "seconds": options.seconds, "connections": CONNECTIONS}
            found = load(url, client_core, folder, **flags)
        end = shutdown(server, url, client_core, 2 * capacity, folder)
    tell(found, memory, end)
    return judge(found, memory, end, capacity)


def tell(found: Mapping[str, Any], memory: Memory, end: Mapping[str, Any]) -> None:
    """Print what was found."""
    latency = found["latency_ms"]
    rates = f"asked {found['planned_per_s']:.1f}/s, answered well {found['completed_per_s']:.1f}/s"
    print(f"{rates}: {found['statuses']}")
    told = ", ".join(f"{name} {latency[name]:.1f}" for name in ("p50", "p99", "max"))
    print(f"latency of accepted requests (ms): {told}")
    print(memory.told())
    print(
        f"SIGTERM under load: ended after {end['seconds']:.2f} s, exit status {end['status']}, {end['statuses']}"
    )


def judge(found: Mapping[str, Any], memory: Memory, end: Mapping[str, Any], capacity: float) -> int:
    """Say which promises were not kept, and return the exit status."""
    bound_ms = LATENCY_BOUND * 1000 * (QUEUE + 2 * BATCH_SIZE) / capacity
    promises: Sequence[tuple[str, bool]] = (
        ("every reply is ok or 503", set(found["statuses"]) <= {"ok", "http-503"}),
        ("there are 503s", found["statuses"].get("http-503", 0) > 0),
        (f"p99 latency of accepted requests within {bound_ms:.0f} ms", found["latency_ms"]["p99"] <= bound_ms),
        (f"memory grows by less than {MEMORY_GROWTH - 1:.0%}", memory.growth() < MEMORY_GROWTH),
        (f"ends within {SHUTDOWN_S:g} s", end["seconds"] <= SHUTDOWN_S),
        ("ends with exit status 0", end["status"] == 0),
    )
    for promise, is_kept in promises:
        print(f"{'kept  ' if is_kept else 'BROKEN'}  {promise}")
    return 0 if all(is_kept for _, is_kept in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
