"""What the server tells of itself at /metrics, in Prometheus' text format; times in seconds."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from workloads.inference.serving.batching import Batch

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server; this process's memory and CPU time are among them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._replies = Counter(
            "inference_requests",
            "Requests to /predict by the HTTP status of the reply",
            ["status"],
            registry=self.registry,
        )
        self._queue_s = self._histogram("inference_queue_seconds", "What a request waited for its batch", SECONDS)
        self._batch_s = self._histogram("inference_batch_seconds", "What a batch took on the device", SECONDS)
        self._sizes = self._histogram("inference_batch_size", "Requests in a batch", SIZES)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Tell the length of the queue from now on, as `length` returns it when asked."""
        Gauge("inference_queue_length", "Requests that wait", registry=self.registry).set_function(length)

    def count_reply(self, status: int) -> None:
        """Count one reply to /predict."""
        self._replies.labels(str(status)).inc()

    def observe(self, batch: Batch) -> None:
        """Take in a batch that has run."""
        self._batch_s.observe(batch.ended_s - batch.began_s)
        self._sizes.observe(len(batch.waits_s))
        for wait_s in batch.waits_s:
            self._queue_s.observe(wait_s)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        text: bytes = generate_latest(self.registry)
        return text

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, told, buckets=buckets, registry=self.registry)
